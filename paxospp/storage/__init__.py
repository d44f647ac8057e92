"""Where the log is kept: the contract (``contract``) and what helps a store to keep it."""

from paxospp.storage.anchor import Anchor, Recovery
from paxospp.storage.contract import (
    DurableState,
    SnapshotReader,
    SnapshotWriter,
    Storage,
    StorageBackend,
    WriteBatch,
)
from paxospp.storage.directory_lock import DirectoryLock, lock_directory, make_directory, sync_directory
from paxospp.storage.file_snapshots import FileSnapshots
from paxospp.storage.key_value_records import entry_key
from paxospp.storage.slot_set import SlotSet
from paxospp.storage.stamp import Stamp, settles

__all__ = [
    "Anchor",
    "DirectoryLock",
    "DurableState",
    "FileSnapshots",
    "Recovery",
    "SlotSet",
    "SnapshotReader",
    "SnapshotWriter",
    "Stamp",
    "Storage",
    "StorageBackend",
    "WriteBatch",
    "entry_key",
    "lock_directory",
    "make_directory",
    "settles",
    "sync_directory",
]
