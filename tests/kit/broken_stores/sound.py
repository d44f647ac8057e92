"""A small sound store; each broken store overrides one thing of it.

It keeps a journal of batches that begins with a record of the whole state; ``load`` and every trim rewrite it.
Everything that a broken store breaks is a method of its own here, so that the broken store consists of the difference
alone.
"""

from __future__ import annotations

import mmap
import os
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

import paxospp
from paxospp import Ballot, DurableState, Entry, Slot, SnapshotMeta, SnapshotReader, SnapshotWriter, WriteBatch
from paxospp.errors import CorruptedError, StorageError, TrimmedError
from paxospp.storage import Anchor, FileSnapshots, SlotSet, Stamp, sync_directory

MAGIC = b"JRNL"
HEAD_BYTES = 12
MAP_BYTES = 1 << 20


class Record(msgspec.Struct, array_like=True):
    """One batch, or the whole state at the beginning of a journal."""

    stamp: bytes
    whole: bool
    promised: bytes | None
    decided: int
    first: int
    snapshot: bytes | None
    meta: dict[str, bytes]
    faulty: list[tuple[int, int]]
    entries: list[tuple[int, bytes]]

    def encode(self) -> bytes:
        body = msgspec.msgpack.encode(self)
        return MAGIC + len(body).to_bytes(4, "big") + zlib.crc32(body).to_bytes(4, "big") + body


@dataclass
class State:
    """The state after all batches of the journal."""

    promised: Ballot | None = None
    decided: int = 0
    first: int = 1
    snapshot: SnapshotMeta | None = None
    meta: dict[str, bytes] = None  # type: ignore[assignment]
    faulty: SlotSet = None  # type: ignore[assignment]
    entries: dict[int, Entry] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.meta = self.meta or {}
        self.faulty = self.faulty or SlotSet()
        self.entries = self.entries or {}

    def copy(self) -> State:
        return replace(self, meta=dict(self.meta), faulty=SlotSet(self.faulty.ranges), entries=dict(self.entries))

    @property
    def last(self) -> int:
        return max(self.entries, default=self.first - 1)


class SoundStorage(Anchor, paxospp.Storage):
    def __init__(self, path: str) -> None:
        self.open_anchor(os.path.join(path, "anchor"))
        self.path = path
        self.journal = os.path.join(path, "journal")
        self.file = -1
        self.unsynced = False
        self.whole_bytes = 0
        self.shown = State()
        try:
            self.snapshots = FileSnapshots(os.path.join(path, "snapshots"))
        except BaseException:
            self.close_anchor()
            raise

    # Loading

    def load(self) -> DurableState:
        self.check_unloaded()
        found, state = self.replay()
        recovery = self.recover_anchor(found)
        if recovery.lost is not None:
            self.lose(state, recovery.lost)
        if recovery.promised is not None and (state.promised is None or recovery.promised > state.promised):
            state.promised = recovery.promised
        self.find_holes(state)
        self.take_over(recovery.stamp, state)
        self.settle_anchor(recovery.stamp, state.promised)
        self.shown = state
        self.snapshots.adopt_snapshot(state.snapshot)
        return DurableState(
            promised=state.promised,
            decided=Slot(state.decided),
            first=Slot(state.first),
            last=Slot(state.last),
            snapshot=state.snapshot,
            meta=dict(state.meta),
            faulty=state.faulty.ranges,
        )

    def replay(self) -> tuple[Stamp | None, State]:
        """Replay the journal up to the first damage."""
        try:
            with open(self.journal, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return None, State()
        found, state = None, State()
        for stamp, record in self.records(data):
            if not self.follows(stamp, found):
                break
            found, state = stamp, self.after(state, self.batch_of(record), record)
        return found, state

    def records(self, data: bytes) -> list[tuple[Stamp, Record]]:
        found, at = [], 0
        while (record := self.record_at(data, at)) is not None:
            found.append((Stamp.from_bytes(record.stamp), record))
            at += HEAD_BYTES + int.from_bytes(data[at + 4 : at + 8], "big")
        self.whole_bytes = at
        return found

    def follows(self, stamp: Stamp, found: Stamp | None) -> bool:
        return found is None or stamp.number == found.number + 1

    def record_at(self, data: bytes, at: int) -> Record | None:
        head = data[at : at + HEAD_BYTES]
        body = data[at + HEAD_BYTES : at + HEAD_BYTES + int.from_bytes(head[4:8], "big")]
        if head[:4] != MAGIC or zlib.crc32(body).to_bytes(4, "big") != head[8:]:
            return None
        return msgspec.msgpack.decode(body, type=Record)

    def batch_of(self, record: Record) -> WriteBatch:
        return WriteBatch(
            promised=Ballot.from_bytes(record.promised) if record.promised is not None else None,
            accepted=[self.decode_entry(slot, data) for slot, data in record.entries],
            decided=Slot(record.decided),
            trim=Slot(record.first),
            snapshot=SnapshotMeta.from_bytes(record.snapshot) if record.snapshot is not None else None,
            meta=record.meta,
        )

    def decode_entry(self, slot: int, data: bytes) -> Entry:
        return Entry.from_bytes(data, slot=Slot(slot))

    def lose(self, state: State, lost: range) -> None:
        state.faulty.add(lost)
        state.entries = {slot: entry for slot, entry in state.entries.items() if slot not in lost}

    def find_holes(self, state: State) -> None:
        for slot in range(state.first, state.decided + 1):
            if slot not in state.entries:
                state.faulty.add(range(slot, slot + 1))

    def take_over(self, stamp: Stamp, state: State) -> None:
        """Rewrite everything that was found: after a failed sync, only this makes it durable."""
        self.rewrite(stamp, state)

    # Writing

    def persist(self, batch: WriteBatch) -> None:
        self.check_usable()
        try:
            self.refuse(batch)
            state = self.after(self.shown, batch, None)
            stamp = self.stamp_batch(batch, zlib.crc32(repr(batch).encode(), self.stamp.checksum))
            self.write(batch, stamp, state)
            self.show(state)
            if batch.snapshot is not None:
                self.snapshots.adopt_snapshot(batch.snapshot)
        except BaseException as error:
            self.fail(error)
            raise

    def write(self, batch: WriteBatch, stamp: Stamp, state: State) -> None:
        """Write a batch, durably if it is to be synced."""
        if batch.trim is not None:
            self.rewrite(stamp, state)
            synced = True
        else:
            self.append(self.record(stamp, batch, state))
            self.unsynced = True
            if synced := batch.sync or batch.snapshot is not None:
                self.sync_journal()
        if synced:
            self.unsynced = False
            self.anchor_batch(stamp, state.promised)

    def refuse(self, batch: WriteBatch) -> None:
        state, snapshot = self.shown, self.shown.snapshot
        if batch.snapshot is not None:
            self.snapshots.check_snapshot(batch.snapshot)
            if snapshot is not None and batch.snapshot.slot < snapshot.slot:
                raise StorageError("an older snapshot never replaces a newer one")
            snapshot = batch.snapshot
        if batch.trim is not None and batch.trim > max(state.first, snapshot.slot + 1 if snapshot else 1):
            raise StorageError(f"nothing covers the slots below {batch.trim}")

    def after(self, state: State, batch: WriteBatch, record: Record | None) -> State:
        """Return the state after ``batch``; ``record`` is given if the batch comes from the journal."""
        state = state.copy()
        state.first = max(state.first, batch.trim or 0)
        for entry in batch.accepted:
            self.put(state, entry)
            state.faulty.discard(range(entry.slot, entry.slot + 1))
        state.entries = {slot: entry for slot, entry in state.entries.items() if self.is_kept(slot, state.first)}
        state.faulty.discard(range(state.first))
        if record is not None:
            for start, stop in record.faulty:
                state.faulty.add(range(start, stop))
        state.promised = self.newer_promise(state, batch)
        state.decided = max(state.decided, batch.decided or 0)
        state.snapshot = batch.snapshot or state.snapshot
        state.meta = self.merged(state.meta, batch.meta)
        return state

    def put(self, state: State, entry: Entry) -> None:
        state.entries[entry.slot] = entry

    def is_kept(self, slot: int, first: int) -> bool:
        return slot >= first

    def newer_promise(self, state: State, batch: WriteBatch) -> Ballot | None:
        return batch.promised if batch.promised is not None else state.promised

    def merged(self, old: dict[str, bytes], new: object) -> dict[str, bytes]:
        assert isinstance(new, dict)
        return {**old, **new}

    def show(self, state: State) -> None:
        self.shown = state

    def record(self, stamp: Stamp, batch: WriteBatch, state: State) -> bytes:
        return self.encode(stamp, False, state, batch.meta, [], batch.accepted).encode()

    def encode(
        self,
        stamp: Stamp,
        whole: bool,
        state: State,
        meta: object,
        faulty: Sequence[range],
        entries: Sequence[Entry],
    ) -> Record:
        assert isinstance(meta, dict)
        return Record(
            stamp=stamp.to_bytes(),
            whole=whole,
            promised=state.promised.to_bytes() if state.promised is not None else None,
            decided=state.decided,
            first=state.first,
            snapshot=state.snapshot.to_bytes() if state.snapshot is not None else None,
            meta=meta,
            faulty=[(slots.start, slots.stop) for slots in faulty],
            entries=[(entry.slot, self.encode_entry(entry)) for entry in entries],
        )

    def encode_entry(self, entry: Entry) -> bytes:
        return entry.to_bytes()

    # Files

    def append(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.file, data) :]

    def sync_journal(self) -> None:
        os.fdatasync(self.file)

    def rewrite(self, stamp: Stamp, state: State) -> None:
        """Replace the journal by a new one that begins with the whole state."""
        if self.file >= 0:
            os.close(self.file)
            self.file = -1
        new = self.journal + ".new"
        self.file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        whole = self.encode(stamp, True, state, state.meta, state.faulty.ranges, list(state.entries.values()))
        self.append(whole.encode())
        self.sync_new_journal()
        os.rename(new, self.journal)
        self.sync_name()
        self.unsynced = False

    def sync_new_journal(self) -> None:
        os.fsync(self.file)

    def sync_name(self) -> None:
        sync_directory(self.path)

    def close(self) -> None:
        try:
            if self.usable:
                if self.unsynced:
                    os.fdatasync(self.file)
                    self.anchor_batch(self.stamp, self.shown.promised)
                self.snapshots.drop_staged()
        finally:
            if self.file >= 0:
                os.close(self.file)
                self.file = -1
            self.close_anchor()

    # Reading

    def read(self, start: Slot, stop: Slot, max_bytes: int) -> Sequence[Entry]:
        self.check_readable()
        state = self.shown
        self.refuse_trimmed(start, state)
        found: list[Entry] = []
        for slot in self.order(state):
            if not start <= slot < stop:
                continue
            if self.hole_between(start if not found else found[-1].slot + 1, slot + 1, state) is not None:
                break
            max_bytes -= len(state.entries[slot].value)
            if self.is_enough(found, max_bytes):
                return found
            found.append(state.entries[slot])
        begin = start if not found else found[-1].slot + 1
        if not found and (hole := self.hole_between(begin, stop, state)) is not None:
            raise CorruptedError(f"slot {max(begin, hole.start)} is faulty", [hole])
        return found

    def refuse_trimmed(self, start: int, state: State) -> None:
        if start < state.first:
            raise TrimmedError(Slot(state.first))

    def order(self, state: State) -> Sequence[int]:
        return sorted(state.entries)

    def is_enough(self, found: list[Entry], left: int) -> bool:
        return bool(found) and left < 0

    def hole_between(self, start: int, stop: int, state: State) -> range | None:
        hole = state.faulty.next_from(start)
        if hole is not None and hole.start < min(stop, sys.maxsize):
            return hole
        return next(
            (range(s, s + 1) for s in range(start, min(stop, state.decided + 1)) if s not in state.entries), None
        )

    def create_snapshot(self, meta: SnapshotMeta) -> SnapshotWriter:
        self.check_usable()
        return self.snapshots.create_snapshot(meta)

    def open_snapshot(self) -> SnapshotReader | None:
        self.check_readable()
        return self.snapshots.open_snapshot()


class RefusesDamage(SoundStorage):
    """A sound store that refuses to load if slots are lost, instead of reporting them."""

    def lose(self, state: State, lost: range) -> None:
        raise CorruptedError(f"the slots from {lost.start} on are lost")


class WritesThroughAMap(SoundStorage):
    """A sound store whose journal is a shared mapping: no system call shows the bytes that ``msync`` makes durable."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.map: mmap.mmap | None = None
        self.end = 0

    def rewrite(self, stamp: Stamp, state: State) -> None:
        self.unmap()
        super().rewrite(stamp, state)

    def append(self, data: bytes) -> None:
        if self.map is None:
            self.end = 0
        if self.map is None or self.end + len(data) > len(self.map):
            size = MAP_BYTES * (1 + (self.end + len(data)) // MAP_BYTES)
            os.ftruncate(self.file, size)
            self.unmap()
            self.map = mmap.mmap(self.file, size)
        self.map[self.end : self.end + len(data)] = data
        self.end += len(data)

    def sync_journal(self) -> None:
        assert self.map is not None
        self.map.flush()
        os.fsync(self.file)  # its size

    def sync_new_journal(self) -> None:
        self.sync_journal()

    def close(self) -> None:
        try:
            if self.usable and self.unsynced:
                self.sync_journal()
        finally:
            super().close()
            self.unmap()

    def unmap(self) -> None:
        if self.map is not None:
            self.map.close()
            self.map = None
