"""Checks a batch against what the contract forbids, before a store writes anything of it (C10).

Every store needs the same two checks, and a batch that fails them is a bug in its caller. Whether the
snapshot that a batch names was committed is known only to the store's snapshots, which check that.
"""

from __future__ import annotations

from paxospp.errors import StorageError
from paxospp.model import SnapshotMeta
from paxospp.storage.contract import WriteBatch


def check_batch(batch: WriteBatch, *, snapshot: SnapshotMeta | None, first: int) -> None:
    """Raise StorageError if ``batch`` replaces a newer snapshot, or trims slots that no snapshot covers.

    Args:
        snapshot: the current snapshot of the store.
        first: the first slot of the store; a trim up to it changes nothing and is valid.
    """
    if batch.snapshot is not None:
        if snapshot is not None and batch.snapshot.slot < snapshot.slot:
            raise StorageError(
                f"a snapshot of slot {batch.snapshot.slot} is older than the current one of slot {snapshot.slot}"
            )
        snapshot = batch.snapshot
    if batch.trim is not None and batch.trim > max(first, 1 if snapshot is None else snapshot.slot + 1):
        covered = "the store has no snapshot" if snapshot is None else f"the snapshot ends at slot {snapshot.slot}"
        raise StorageError(f"cannot trim to slot {batch.trim}: {covered}")
