"""``memory:``, the shortest correct storage. Read it first if you write your own.

It keeps everything in a few dicts until ``close`` or the end of the process, and says so with
``durable = False``; a voter in a cluster of several nodes needs ``allow_volatile`` to use it. Nothing
here survives a crash, so the code does not show how to keep the clauses C1 to C3 and C8 of
``paxospp.storage.contract``, nor the anchor; ``paxospp_file`` does.

``memory:name`` is one store in this process, and only one handle at a time may have it open (C9).
``memory:`` alone is a new store each time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace

import paxospp
from paxospp import DurableState, Entry, Slot, SnapshotMeta, SnapshotReader, SnapshotWriter, StorageBackend, WriteBatch
from paxospp.errors import CorruptedError, LockedError, StorageError, TrimmedError
from paxospp.storage import check_batch

_held: set[str] = set()  # the open names; shared by all handles of this process, as a directory would be


class MemoryStorage(paxospp.Storage):
    """A storage that keeps everything in memory, guarded by one lock."""

    durable = False

    def __init__(self, path: str = "") -> None:
        if path in _held:
            raise LockedError(f"process {os.getpid()} (memory:{path})")
        if path:
            _held.add(path)
        self._path = path
        self._pid = os.getpid()
        self._state: DurableState | None = None
        self._entries: dict[Slot, Entry] = {}
        self._snapshots: dict[SnapshotMeta, bytes] = {}
        self._staging: SnapshotMeta | None = None
        self._failed = self._closed = False
        self._lock = threading.Lock()  # read and snapshots run beside persist

    def load(self) -> DurableState:
        if self._state is not None or self._closed:
            raise StorageError("load() may be called once, before close()")
        self._state = DurableState()
        return self._state

    def persist(self, batch: WriteBatch) -> None:
        with self._lock:
            state = self._usable()
            if self._failed:
                raise StorageError("an earlier write failed, so the storage takes no more")
            self._failed = True  # reset below; if anything raises first, the failure is final (C4)
            if batch.snapshot is not None and batch.snapshot not in self._snapshots:
                raise StorageError(f"snapshot {batch.snapshot.id} of slot {batch.snapshot.slot} was not committed")
            check_batch(batch, snapshot=state.snapshot, first=state.first)
            snapshot = batch.snapshot or state.snapshot
            first = max(state.first, batch.trim or state.first)
            entries = {entry.slot: entry for entry in batch.accepted if entry.slot >= first}
            if first > state.first:
                self._entries = {slot: entry for slot, entry in self._entries.items() if slot >= first}
            self._entries.update(entries)
            if snapshot != state.snapshot and state.snapshot is not None:
                del self._snapshots[state.snapshot]  # an open reader keeps the bytes
            last = max(state.last, *entries, first - 1)
            if last not in self._entries:  # the former last entry was trimmed
                last = max(self._entries, default=first - 1)
            self._state = replace(
                state,
                promised=batch.promised or state.promised,
                decided=max(state.decided, batch.decided or state.decided),
                first=first,
                last=Slot(last),
                snapshot=snapshot,
                meta={**state.meta, **batch.meta},
            )
            self._failed = False

    def read(self, start: Slot, stop: Slot, max_bytes: int) -> Sequence[Entry]:
        with self._lock:
            state = self._usable()
            if start < state.first:
                raise TrimmedError(state.first)
            span = range(start, min(stop, state.last + 1))
            if len(span) > 4 * len(self._entries):  # few slots, far apart
                slots = sorted(slot for slot in self._entries if slot in span)
            else:
                slots = [Slot(slot) for slot in span if slot in self._entries]
            found: list[Entry] = []
            expected = start
            for slot in slots:
                if slot > expected <= state.decided:
                    break  # a decided slot without an entry is faulty, not a gap
                max_bytes -= len(self._entries[slot].value)
                if found and max_bytes < 0:
                    break
                found.append(self._entries[slot])
                expected = Slot(slot + 1)
            if not found and expected <= state.decided and expected < stop:
                raise CorruptedError(
                    f"slot {expected} is decided, but its entry is missing", [range(expected, expected + 1)]
                )
            return found

    def create_snapshot(self, meta: SnapshotMeta) -> SnapshotWriter:
        with self._lock:
            self._usable()
            if self._staging is not None:
                raise StorageError(f"snapshot {self._staging.id} is being written: commit or abort it first")
            if meta in self._snapshots:
                raise StorageError(f"snapshot {meta.id} of slot {meta.slot} exists already")
            self._staging = meta
            return _MemorySnapshotWriter(self, meta)

    def open_snapshot(self) -> SnapshotReader | None:
        with self._lock:
            meta = self._usable().snapshot
            return None if meta is None else _MemorySnapshotReader(meta, self._snapshots[meta])

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            _held.discard(self._path)
            self._entries, self._snapshots = {}, {}

    def _usable(self) -> DurableState:
        if self._state is None or self._closed or self._pid != os.getpid():
            raise StorageError("the storage is closed, was not loaded, or belongs to the parent process of this fork")
        return self._state

    def _on_committed(self, meta: SnapshotMeta, data: bytes) -> None:
        with self._lock:
            self._usable()
            self._staging = None
            self._snapshots[meta] = data

    def _on_aborted(self, meta: SnapshotMeta) -> None:
        with self._lock:
            if self._staging == meta:
                self._staging = None
            elif self._state is not None and meta != self._state.snapshot:
                self._snapshots.pop(meta, None)


class _MemorySnapshotWriter(SnapshotWriter):
    def __init__(self, storage: MemoryStorage, meta: SnapshotMeta) -> None:
        self._storage = storage
        self._meta = meta
        self._parts: list[bytes] | None = []

    def write(self, data: bytes) -> None:
        if self._parts is None:
            raise StorageError(f"snapshot {self._meta.id} is committed or aborted")
        self._parts.append(bytes(data))

    def commit(self) -> None:
        if self._parts is None:
            raise StorageError(f"snapshot {self._meta.id} is committed or aborted")
        parts, self._parts = self._parts, None
        self._storage._on_committed(self._meta, b"".join(parts))

    def abort(self) -> None:
        self._parts = None
        self._storage._on_aborted(self._meta)


class _MemorySnapshotReader(SnapshotReader):
    def __init__(self, meta: SnapshotMeta, data: bytes) -> None:
        self._meta = meta
        self._left: memoryview | None = memoryview(data)

    @property
    def meta(self) -> SnapshotMeta:
        return self._meta

    def read(self, size: int) -> bytes:
        if self._left is None:
            raise StorageError("the snapshot reader is closed")
        data, self._left = self._left[:size], self._left[size:]
        return bytes(data)

    def close(self) -> None:
        self._left = None


@paxospp.hookimpl
def paxospp_storages() -> Iterable[StorageBackend]:
    """Offer the scheme ``memory``."""
    return [StorageBackend("memory", MemoryStorage, "in memory, gone when the process ends; for tests and trials")]
