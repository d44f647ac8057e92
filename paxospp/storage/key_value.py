"""``KeyValueStorage``: the whole storage contract over any database with ordered keys.

A plug-in supplies four methods over keys and values (get, scan, one atomic durable write, close).
This module implements the rest: the single values, snapshots, the anchor, faulty slots, and what
readers see while a write is in progress. ``key_value_records`` defines the keys and records,
``key_value_load`` reads them at start-up, ``key_value_read`` serves readers, and ``key_snapshots``
keeps snapshots under keys.

It relies only on what those four methods promise. Each record carries a checksum over its key and
value, the record written by every batch says which slots must exist, and the anchor says which batch
must exist. So damage in the database shows up as a faulty slot or an error, never as an empty slot.

A batch is one ``write``. What it trims is deleted by a second write after the first has returned,
because readers see the former state until then. The second write is not part of the batch: it is not
synced, and ``load`` repeats it.
"""

from __future__ import annotations

import os
import threading
import zlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Protocol

from paxospp.errors import CorruptedError, StorageError, TrimmedError
from paxospp.model import Ballot, Entry, Slot, SnapshotMeta
from paxospp.storage.anchor import Anchor
from paxospp.storage.batch_check import check_batch
from paxospp.storage.contract import DurableState, SnapshotReader, SnapshotWriter, Storage, WriteBatch
from paxospp.storage.key_snapshots import KeySnapshots
from paxospp.storage.key_value_load import LoadedStore, load_keys
from paxospp.storage.key_value_read import ReadView, read_entries
from paxospp.storage.key_value_records import (
    HEAD_BYTES,
    META_KEY,
    RECORD_KEY,
    REPLACED_KEY,
    Record,
    encode_body,
    encode_meta,
    encode_record,
    encode_replaced,
    entry_checksum,
    entry_key,
)
from paxospp.storage.slot_set import SlotSet

REPLACED_MAX = 1024
"""How many replaced entries are remembered by checksum; enough for several windows of undecided slots."""


class SnapshotStore(Protocol):
    """Where the snapshots are kept: ``KeySnapshots``, or ``FileSnapshots`` for a store in a directory."""

    def create_snapshot(self, meta: SnapshotMeta) -> SnapshotWriter: ...
    def open_snapshot(self) -> SnapshotReader | None: ...
    def check_snapshot(self, meta: SnapshotMeta) -> None: ...
    def adopt_snapshot(self, meta: SnapshotMeta | None) -> None: ...
    def drop_staged(self) -> None: ...


class KeyValueStorage(Anchor, Storage):
    """A storage over ordered keys in the directory ``path``; a subclass defines four methods.

    ``write`` is never called twice at once. ``get`` and ``scan`` may run beside it and beside each
    other, in other threads. None of them is called before ``load`` or after ``close``.

    ``__init__`` makes and locks ``path``/anchor and writes nothing else. Open the driver in ``load``
    and end that method with ``return super().load()``. End ``close`` with ``super().close()``.

    Args:
        snapshots: where to keep snapshots; by default under keys of the same database.

    Raises:
        LockedError: another handle has the store open.
        ConfigError: the directory cannot be made or locked.
    """

    def __init__(self, path: str, *, snapshots: SnapshotStore | None = None) -> None:
        self._snapshots: SnapshotStore = snapshots or KeySnapshots(self)
        self._writing = threading.Lock()
        # What a new store holds, until ``load`` replaces it.
        self._promised: Ballot | None = None
        self._decided, self._first, self._last = 0, 1, 0
        self._absent, self._faulty = SlotSet(), SlotSet()
        self._snapshot: SnapshotMeta | None = None
        self._meta: dict[str, bytes] = {}
        self._replaced: dict[int, int] = {}
        """Slots that were written more than once, with the checksum of the newest entry of each."""
        self._meta_checksum = self._replaced_checksum = 0
        self._view = ReadView(1, 0, (), (), {})
        self.open_anchor(os.path.join(path, "anchor"))

    @abstractmethod
    def get(self, key: bytes) -> bytes | None:
        """Return the value of ``key``, or None if the key does not exist.

        Raises:
            CorruptedError: the value cannot be read.
        """

    @abstractmethod
    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the keys with ``start <= key < stop`` and their values, ascending.

        All pairs come from one state of the database: its state when the first pair was requested.

        Raises:
            CorruptedError: the next pair cannot be read. Never end the iteration early instead.
        """

    @abstractmethod
    def write(
        self, delete_ranges: Sequence[tuple[bytes, bytes]], puts: Sequence[tuple[bytes, bytes]], sync: bool
    ) -> None:
        """Delete the keys ``start <= key < stop`` of each range, then put keys and values: all of it or none.

        With ``sync``, return when this write and every earlier one survive power loss. Without it,
        the next power cut may lose this write, but only together with every later one.

        Raises:
            Exception: any kind; the outcome is unknown and the handle takes no further batch.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the driver, then call ``super().close()``. May be called twice, and before ``load``."""
        if self.usable:
            self._snapshots.drop_staged()
        self.close_anchor()

    # Loading

    def load(self) -> DurableState:
        """Read all keys, compare them with the anchor, and write everything again that may not be durable."""
        found = load_keys(self.get, self.scan, self.recover_anchor)
        orphans = self._snapshots.orphans(found.snapshot) if isinstance(self._snapshots, KeySnapshots) else []
        self._take_over(found)
        try:
            body = encode_body(self._record())
            puts = [*found.to_rewrite, (RECORD_KEY, encode_record(found.stamp, body))]
            self._write([(entry_key(0), entry_key(found.first)), *orphans], puts, sync=True)
            self.settle_anchor(found.stamp, found.promised)
        except BaseException as error:
            self.fail(error)
            raise
        self._snapshots.adopt_snapshot(found.snapshot)
        self._show()
        return DurableState(
            promised=found.promised,
            decided=Slot(found.decided),
            first=Slot(found.first),
            last=Slot(found.last),
            snapshot=found.snapshot,
            meta=dict(found.meta),
            faulty=found.faulty.ranges,
        )

    def _take_over(self, found: LoadedStore) -> None:
        """Make the state that was found the current one."""
        self._promised = found.promised
        self._decided = found.decided
        self._first = found.first
        self._last = found.last
        self._absent = found.absent
        self._faulty = found.faulty
        self._snapshot = found.snapshot
        self._meta = found.meta
        self._meta_checksum = found.meta_checksum
        self._replaced = found.replaced
        self._replaced_checksum = found.replaced_checksum

    # Writing

    def persist(self, batch: WriteBatch) -> None:
        self.check_usable()
        try:
            self._persist(batch)
        except BaseException as error:
            self.fail(error)
            raise

    def _persist(self, batch: WriteBatch) -> None:
        """Apply ``batch`` in memory, write all of it with one ``write``, and then show it to readers."""
        if batch.snapshot is not None:
            self._snapshots.check_snapshot(batch.snapshot)
        check_batch(batch, snapshot=self._snapshot, first=self._first)
        former, replaced = self._view, self._replaced
        if batch.trim is not None and batch.trim > self._first:
            self._move_first(batch.trim)
        puts, hidden, checksum = self._take_entries(batch)
        self._take_values(batch, puts)
        emptied: Sequence[tuple[bytes, bytes]] = ()
        if batch.faulty_until is not None and self._faulty:
            emptied = self._end_damage(max(batch.faulty_until, self._decided + 1))
        if self._replaced is not replaced:
            data = encode_replaced(self._replaced)
            self._replaced_checksum = zlib.crc32(data)
            puts.append((REPLACED_KEY, data))
        body = encode_body(self._record())
        stamp = self.stamp_batch(batch, zlib.crc32(body, checksum))
        puts.append((RECORD_KEY, encode_record(stamp, body)))
        if hidden:
            # Until the write returns, readers see what these slots held before it.
            self._view = ReadView(former.first, former.last, former.absent, former.faulty, hidden)
        sync = batch.sync or batch.trim is not None or batch.snapshot is not None
        self._write(emptied, puts, sync=sync)
        if sync:
            self.anchor_batch(stamp, self._promised)
        self._show()
        if self._first > former.first:
            self._write([(entry_key(former.first), entry_key(self._first))], (), sync=False)
        if batch.snapshot is not None:
            self._snapshots.adopt_snapshot(batch.snapshot)

    def _move_first(self, first: int) -> None:
        """Trim the slots below ``first``."""
        self._first = first
        self._last = max(self._last, first - 1)
        self._absent.discard(range(first))
        self._faulty.discard(range(first))

    def _take_entries(self, batch: WriteBatch) -> tuple[list[tuple[bytes, bytes]], dict[int, bytes | None], int]:
        """Return what to put, what the slots held before (for readers), and the running checksum."""
        checksum = self.stamp.checksum
        puts: list[tuple[bytes, bytes]] = []
        hidden: dict[int, bytes | None] = {}
        replaced: dict[int, int] = {}
        for entry in batch.accepted:
            slot = entry.slot
            if slot < self._first:
                continue
            key, data = entry_key(slot), entry.to_bytes()
            checksum = zlib.crc32(data[:HEAD_BYTES], checksum)
            puts.append((key, data))
            if slot > self._last:
                self._absent.add(range(self._last + 1, slot))
                self._last = slot
                hidden[slot] = None
            elif self._absent and slot in self._absent:
                self._absent.discard(range(slot, slot + 1))
                hidden[slot] = None
            else:
                if slot not in hidden:
                    hidden[slot] = self._former(key)
                replaced[slot] = entry_checksum(data)
            if self._faulty:
                self._faulty.discard(range(slot, slot + 1))
        if replaced:
            self._note_replaced(replaced)
        return puts, hidden, checksum

    def _note_replaced(self, replaced: dict[int, int]) -> None:
        """Add the checksums of entries that replace others, and keep the latest ``REPLACED_MAX``."""
        known = {slot: sum for slot, sum in self._replaced.items() if slot >= self._first and slot not in replaced}
        self._replaced = dict([*known.items(), *replaced.items()][-REPLACED_MAX:])

    def _former(self, key: bytes) -> bytes | None:
        """Return the value that ``key`` has before the write."""
        try:
            return self.get(key)
        except CorruptedError:
            return b""  # not an entry, so a reader reports damage

    def _take_values(self, batch: WriteBatch, puts: list[tuple[bytes, bytes]]) -> None:
        """Apply everything in ``batch`` except entries and trim; add to ``puts`` what has a key of its own."""
        if batch.promised is not None and (self._promised is None or batch.promised > self._promised):
            self._promised = batch.promised
        if batch.decided is not None and batch.decided > self._decided:
            self._decided = batch.decided
            if self._absent or self._decided > self._last:
                self._mark_missing_decided()
        if batch.snapshot is not None:
            self._snapshot = batch.snapshot
        if batch.meta:
            self._meta = {**self._meta, **batch.meta}
            data = encode_meta(self._meta)
            self._meta_checksum = zlib.crc32(data)
            puts.append((META_KEY, data))

    def _end_damage(self, start: int) -> Sequence[tuple[bytes, bytes]]:
        """Make the faulty slots from ``start`` on empty; return the ranges of keys to delete."""
        ended = self._faulty.cut(start)
        for part in ended:
            self._absent.add(range(part.start, min(part.stop, self._last + 1)))
        if self._last in self._absent:  # the highest slot that holds an entry is further down
            self._last = self._absent.ranges[-1].start - 1
            self._absent.discard(self._absent.ranges[-1])
        kept = {slot: sum for slot, sum in self._replaced.items() if not any(slot in part for part in ended)}
        if len(kept) < len(self._replaced):
            self._replaced = kept
        return [(entry_key(part.start), entry_key(part.stop)) for part in ended]

    def _mark_missing_decided(self) -> None:
        """Mark the empty slots up to ``decided`` as faulty: a value was decided in each of them, and it is missing."""
        for slots in (*self._absent.ranges, range(self._last + 1, self._decided + 1)):
            self._faulty.add(range(slots.start, min(slots.stop, self._decided + 1)))

    def _record(self) -> Record:
        snapshot = self._snapshot
        return Record(
            promised=self._promised,
            decided=self._decided,
            first=self._first,
            last=self._last,
            absent=self._absent.pairs,
            faulty=self._faulty.pairs,
            snapshot=None if snapshot is None else (snapshot.slot, snapshot.id),
            meta_checksum=self._meta_checksum,
            replaced_checksum=self._replaced_checksum,
        )

    def _write(
        self, delete_ranges: Sequence[tuple[bytes, bytes]], puts: Sequence[tuple[bytes, bytes]], *, sync: bool
    ) -> None:
        with self._writing:
            self.write(delete_ranges, puts, sync)

    def write_beside(
        self, delete_ranges: Sequence[tuple[bytes, bytes]], puts: Sequence[tuple[bytes, bytes]], *, sync: bool
    ) -> None:
        """Write something that is not a batch, from any thread; for ``KeySnapshots``."""
        self.check_usable()
        try:
            self._write(delete_ranges, puts, sync=sync)
        except Exception as error:
            self.fail(error)
            raise StorageError(f"cannot write a snapshot: {error}") from error

    # Reading

    def _show(self) -> None:
        """Let readers see the current state."""
        self._view = ReadView(self._first, self._last, self._absent.ranges, self._faulty.ranges, {})

    def read(self, start: Slot, stop: Slot, max_bytes: int) -> Sequence[Entry]:
        while True:
            self.check_readable()
            view = self._view
            if start < view.first:
                raise TrimmedError(view.first)
            faulty = view.faulty_from(start)
            end = stop if faulty is None else max(start, min(stop, faulty.start))
            entries: list[Entry] | None = []
            if start < end:
                rows = self.scan(entry_key(start), entry_key(end))
                entries = read_entries(view, partial(self._is_shown, view), rows, start, end, max_bytes)
            if entries is None:
                continue  # a batch began or ended while the scan began, so its rows may mix two states
            if not entries and faulty is not None and end < stop:
                raise CorruptedError(f"slot {end} is faulty", [faulty])
            return entries

    def _is_shown(self, view: ReadView) -> bool:
        return self._view is view

    def create_snapshot(self, meta: SnapshotMeta) -> SnapshotWriter:
        self.check_usable()
        return self._snapshots.create_snapshot(meta)

    def open_snapshot(self) -> SnapshotReader | None:
        self.check_readable()
        return self._snapshots.open_snapshot()
