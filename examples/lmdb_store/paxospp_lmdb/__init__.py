"""``lmdb:DIRECTORY``: a paxospp log in LMDB. This module holds the hook; ``store`` holds the store.

Only ``store`` imports the driver, and only when somebody opens an ``lmdb:`` URL. Without the driver
``paxospp plugins`` says *unavailable*, and every other storage works as before.
"""

from __future__ import annotations

from collections.abc import Iterable

import paxospp


def open_lmdb(path: str, map_mib: str = "64") -> paxospp.Storage:
    """Open the store in the directory ``path``; ``map_mib`` is how large its memory map is at first."""
    from paxospp_lmdb.store import LmdbStorage

    return LmdbStorage(path, map_mib)


@paxospp.hookimpl
def paxospp_storages() -> Iterable[paxospp.StorageBackend]:
    yield paxospp.StorageBackend("lmdb", open_lmdb, "LMDB in a directory", drivers=["lmdb"], contract=1)
