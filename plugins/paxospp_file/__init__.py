"""``file:directory``, the default storage: a log in append-only segments, one ``fdatasync`` per batch."""

from collections.abc import Iterable

import paxospp
from paxospp import StorageBackend
from paxospp_file.file_storage import FileStorage

__all__ = ["FileStorage", "paxospp_storages"]


@paxospp.hookimpl
def paxospp_storages() -> Iterable[StorageBackend]:
    """Offer the scheme ``file``."""
    return [
        StorageBackend("file", FileStorage, "append-only files in a directory, one fdatasync per batch; the default")
    ]
