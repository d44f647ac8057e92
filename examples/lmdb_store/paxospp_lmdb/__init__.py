"""``lmdb:DIRECTORY``: a paxospp log in LMDB. This module holds the hook, ``store`` the store.

Only ``store`` imports the driver, and it is imported when an ``lmdb:`` URL is opened. Without the driver,
``paxospp plugins`` shows the scheme as *unavailable*, and every other storage works.
"""

from __future__ import annotations

from collections.abc import Iterable

import paxospp


def open_lmdb(path: str, map_mib: str = "64") -> paxospp.Storage:
    """Open the store in the directory ``path``; ``map_mib`` is the initial size of its memory map, in MiB."""
    from paxospp_lmdb.store import LmdbStorage

    return LmdbStorage(path, map_mib)


@paxospp.hookimpl
def paxospp_storages() -> Iterable[paxospp.StorageBackend]:
    yield paxospp.StorageBackend("lmdb", open_lmdb, "LMDB in a directory", drivers=["lmdb"], contract=1)
