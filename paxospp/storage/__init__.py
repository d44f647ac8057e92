"""Storages: the contract that keeps a replica's log (``contract``), and helpers for plug-ins that implement it."""

from paxospp.storage.anchor import Anchor, Recovery, StoreAnchor
from paxospp.storage.batch_check import check_batch
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
    "StoreAnchor",
    "WriteBatch",
    "check_batch",
    "entry_key",
    "lock_directory",
    "make_directory",
    "settles",
    "sync_directory",
]
