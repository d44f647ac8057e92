"""Stores that handle snapshots or trims wrongly (C10)."""

from __future__ import annotations

import os

from paxospp import SnapshotMeta, SnapshotWriter, WriteBatch
from paxospp.errors import StorageError
from paxospp.storage import FileSnapshots, Stamp
from tests.kit.broken_stores.sound import Record, SoundStorage, State


class DeletesWhatIsAbove(SoundStorage):
    """Drops the entries above a snapshot when it is published."""

    def after(self, state: State, batch: WriteBatch, record: Record | None) -> State:
        if record is None and batch.snapshot is not None:
            state = state.copy()
            state.entries = {slot: entry for slot, entry in state.entries.items() if slot <= batch.snapshot.slot}
        return super().after(state, batch, record)

    def write(self, batch: WriteBatch, stamp: Stamp, state: State) -> None:
        if batch.snapshot is not None and batch.trim is None:
            self.rewrite(stamp, state)
            self.anchor_batch(stamp, state.promised)
        else:
            super().write(batch, stamp, state)


class CurrentAtCommit(SoundStorage):
    """Makes a snapshot current when it is committed, before a batch names it."""

    def create_snapshot(self, meta: SnapshotMeta) -> SnapshotWriter:
        return _Eager(self, super().create_snapshot(meta), meta)


class _Eager(SnapshotWriter):
    def __init__(self, store: CurrentAtCommit, inner: SnapshotWriter, meta: SnapshotMeta) -> None:
        self.store, self.inner, self.meta = store, inner, meta

    def write(self, data: bytes) -> None:
        self.inner.write(data)

    def commit(self) -> None:
        self.inner.commit()
        self.store.snapshots.adopt_snapshot(self.meta)

    def abort(self) -> None:
        self.inner.abort()


class _KeepsAll(FileSnapshots):
    def adopt_snapshot(self, meta: SnapshotMeta | None) -> None:
        self._adopted = True
        self._current = meta
        if meta is not None:
            self._committed.discard(meta)

    def drop_staged(self) -> None:
        self._staging = None
        self._committed.clear()


class OrphansStay(SoundStorage):
    """Never removes snapshots that no batch named."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.snapshots = _KeepsAll(os.path.join(path, "snapshots"))


class OlderOverNewer(SoundStorage):
    """Publishes an older snapshot over a newer one."""

    def refuse(self, batch: WriteBatch) -> None:
        snapshot = self.shown.snapshot
        try:
            super().refuse(batch)
        except StorageError:
            if batch.snapshot is None or snapshot is None or batch.snapshot.slot >= snapshot.slot:
                raise


class GivesBackTooEarly(SoundStorage):
    """Removes the former snapshot before it writes the batch that replaces it."""

    def write(self, batch: WriteBatch, stamp: Stamp, state: State) -> None:
        if batch.snapshot is not None:
            self.snapshots.adopt_snapshot(batch.snapshot)
        super().write(batch, stamp, state)


class TrimsBeyondTheSnapshot(SoundStorage):
    """Trims slots that no snapshot covers."""

    def refuse(self, batch: WriteBatch) -> None:
        super().refuse(WriteBatch(snapshot=batch.snapshot))


class StagedNotSynced(SoundStorage):
    """Syncs the batch that names a snapshot, but not the snapshot's bytes."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.snapshots = _NeverSynced(os.path.join(path, "snapshots"))


class _NeverSynced(FileSnapshots):
    def create_snapshot(self, meta: SnapshotMeta) -> SnapshotWriter:
        writer = super().create_snapshot(meta)
        return _Unsynced(self, writer, meta)


class _Unsynced(SnapshotWriter):
    def __init__(self, owner: _NeverSynced, inner: SnapshotWriter, meta: SnapshotMeta) -> None:
        self.owner, self.inner, self.meta = owner, inner, meta

    def write(self, data: bytes) -> None:
        self.inner.write(data)

    def commit(self) -> None:
        fsync, os.fsync = os.fsync, lambda file: None
        try:
            self.inner.commit()
        finally:
            os.fsync = fsync

    def abort(self) -> None:
        self.inner.abort()
