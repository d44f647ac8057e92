"""``rocksdb:DIRECTORY``, a log in RocksDB: the hook, and what happens when the driver is missing.

The store itself is in ``store``, the only module that imports rocksdict, and is imported when
somebody asks for this scheme.
"""

from __future__ import annotations

from collections.abc import Iterable

import paxospp


def open_rocksdb(path: str, *, write_buffer_mib: str = "8") -> paxospp.Storage:
    """Open the store in the directory ``path``.

    ``write_buffer_mib`` is how much is held in memory, and in the write-ahead log, before it is
    sorted into a table; about four times that is what the directory takes at rest.
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
    yield paxospp.StorageBackend(
        "rocksdb",
        open_rocksdb,
        "RocksDB in a directory, through rocksdict; for logs larger than memory",
        drivers=["rocksdict"],
        contract=1,
    )
