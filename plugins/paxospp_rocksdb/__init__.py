"""``rocksdb:DIRECTORY``, a log in RocksDB: the hook, and the error if the driver is missing.

The store is in ``store``, the only module that imports rocksdict. It is imported when a store of this
scheme is opened.
"""

from __future__ import annotations

from collections.abc import Iterable

import paxospp


def open_rocksdb(path: str, *, write_buffer_mib: str = "8") -> paxospp.Storage:
    """Open the store in the directory ``path``.

    Args:
        write_buffer_mib: how many MiB are held in memory, and in the write-ahead log, before they are
            written to a sorted table. At rest the directory takes about four times as much.

    Raises:
        BackendUnavailableError: rocksdict is not installed.
        ConfigError: an argument is not valid.
        LockedError: another process or handle has the store open.
    """
    try:
        from paxospp_rocksdb.store import RocksdbStorage
    except ImportError as error:
        raise paxospp.BackendUnavailableError(
            f"rocksdb: the driver is missing ({error}); pip install 'paxospp[rocksdb]'"
        ) from error
    return RocksdbStorage(path, write_buffer_mib)


@paxospp.hookimpl
def paxospp_storages() -> Iterable[paxospp.StorageBackend]:
    """Offer the scheme ``rocksdb``."""
    yield paxospp.StorageBackend(
        "rocksdb",
        open_rocksdb,
        "RocksDB in a directory, through rocksdict; for logs larger than memory",
        drivers=["rocksdict"],
        contract=1,
    )
