"""The file storage: one record per batch, appended to the current segment and synced once.

C1 to C10 in the comments of this package are the clauses of ``paxospp.storage.contract``.

This module owns the order of effects and leaves the rest to its neighbours: ``record`` encodes a
record, ``segment`` writes files, ``log_index`` finds entries, ``replay`` reads a damaged log, and
``log_view`` serves readers. ``persist`` writes a record, syncs it, moves the anchor, and only then
changes what readers see. Old segments and the former snapshot are deleted last. A record is never
changed once it is written.

A directory looks like this::

    anchor/     LOCK  anchor-a  anchor-b
    log/        log-0000000001  log-0000000002 ...
    snapshots/  snapshot-SLOT-ID

A segment is deleted when a ``trim`` leaves no entry in it or in any segment before it. A trim that
empties the current segment begins a new one, so that its space is freed before it has grown to 8 MiB.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import paxospp
from paxospp import Ballot, DurableState, Entry, Slot, SnapshotMeta, SnapshotReader, SnapshotWriter, WriteBatch
from paxospp.errors import ConfigError, CorruptedError, StorageError
from paxospp.storage import (
    FileSnapshots,
    SlotSet,
    Stamp,
    StoreAnchor,
    check_batch,
    make_directory,
    settles,
    sync_directory,
)
from paxospp_file.log_index import EntryLocation, LogIndex
from paxospp_file.log_view import LogView
from paxospp_file.record import RecordForm, RecordHead, StateBlock
from paxospp_file.replay import Replay, find_records
from paxospp_file.segment import Segment, SegmentFiles, list_segments, read_segment

SEGMENT_BYTES = "8388608"
_SEGMENT_BYTES_MIN, _SEGMENT_BYTES_MAX = 4096, 1 << 35
_RECORD_BYTES_MAX = (1 << 32) - 1


class FileStorage(paxospp.Storage):
    """The default storage: a log in the directory ``path``.

    Args:
        path: the directory; made if it is missing.
        segment_bytes: size in bytes at which a segment file is ended and the next one begun.

    Raises:
        ConfigError: an argument is not valid, or the directory cannot be made.
        LockedError: another process or handle has the store open.
    """

    def __init__(self, path: str, *, segment_bytes: str = SEGMENT_BYTES) -> None:
        if not path:
            raise ConfigError("file: needs a directory, as in file:./data/n1")
        digits = segment_bytes.isascii() and segment_bytes.isdecimal()
        if not digits or not _SEGMENT_BYTES_MIN <= int(segment_bytes) <= _SEGMENT_BYTES_MAX:
            raise ConfigError(
                f"segment_bytes={segment_bytes!r} is not a valid size: "
                f"use a number of bytes from {_SEGMENT_BYTES_MIN} to {_SEGMENT_BYTES_MAX}"
            )
        self._log = os.path.join(path, "log")
        make_directory(path)
        self._anchor = StoreAnchor(os.path.join(path, "anchor"))
        try:
            make_directory(self._log)
            self._snapshots = FileSnapshots(os.path.join(path, "snapshots"))
        except BaseException:
            self._anchor.close()
            raise
        # An empty log, until ``load`` replaces it.
        self._form = RecordForm(0)
        self._view = LogView(self._log, self._form, RecordHead(), LogIndex(), SlotSet())
        self._meta: dict[str, bytes] = {}
        self._segments = SegmentFiles(self._log, int(segment_bytes))
        self._unsynced = False
        """Whether the current segment holds a batch that is not synced."""
        self._synced_number = 0
        """Every batch up to this number is synced."""
        self._last_slots = 1, 0
        """Lowest and highest slot that the last record wrote; (1, 0) if it wrote none."""

    # Opening and closing

    def load(self) -> DurableState:
        self._anchor.check_unloaded()
        try:
            self._load()
        except OSError as error:
            self._anchor.fail(error)
            raise StorageError(f"the log in {self._log!r} cannot be opened: {error}") from error
        except BaseException as error:
            self._anchor.fail(error)
            raise
        head = self._view.head
        return DurableState(
            promised=head.promised,
            decided=Slot(head.decided),
            first=Slot(head.first),
            last=Slot(self._view.last),
            snapshot=head.snapshot,
            meta=dict(self._meta),
            faulty=self._view.faulty.ranges,
        )

    def _load(self) -> None:
        anchor = self._anchor.read()
        segments = self._segments.numbers = list_segments(self._log)
        if anchor is None and segments:
            raise CorruptedError(
                f"{self._log!r} holds a log, but both copies of its anchor are missing, so nobody can say what this "
                "store has promised: put back the files anchor-a and anchor-b of this log, or start the node with an "
                "empty directory; it then follows without a vote"
            )
        head, found = None, None
        if anchor is not None:
            replay = self._replay(anchor, segments)
            head = replay.head
            if head is not None and segments[0] < head.oldest:
                # A crash came after a trim was durable and before its segments were deleted: leave them out. The kept
                # records may all be newer than the anchor, so ``counted`` says up to which number they count.
                kept = [number for number in segments if number >= head.oldest]
                replay = self._replay(anchor, kept, counted=head.number)
        if head is not None and anchor is not None:
            undecided = Slot(head.decided + 1)
            found = Stamp(anchor.store, head.number, replay.checksum, undecided, head.settled, undecided)
        recovery = self._anchor.recover(found)
        self._form = RecordForm(recovery.stamp.store)
        if head is None:
            self._begin(recovery.stamp)
        else:
            self._recover(replay, head, recovery.promised, recovery.lost)
            self._anchor.settle(recovery.stamp, self._view.head.promised)
        self._synced_number = self._anchor.stamp.number
        self._snapshots.adopt_snapshot(self._view.head.snapshot)

    def _replay(self, anchor: Stamp, segments: Sequence[int], counted: int = 0) -> Replay:
        form, replay = RecordForm(anchor.store), Replay(anchor, counted)
        for number in segments:
            for found in find_records(form, number, read_segment(self._log, number)):
                replay.take(found)
        replay.finish()
        return replay

    def _begin(self, stamp: Stamp) -> None:
        """Begin a new store with an empty batch, so that a log that vanishes later is not mistaken for a new one."""
        self._segments.delete_after(0)  # left by a crash while the store was being made
        self._anchor.settle(stamp, None)
        self._view = LogView(self._log, self._form, RecordHead(), LogIndex(), SlotSet())
        self._append(WriteBatch())
        self._anchor.settle(self._anchor.stamp, None)

    def _recover(self, replay: Replay, head: RecordHead, promised: Ballot | None, lost: range | None) -> None:
        """Take over what the replay found, and make it durable whether or not earlier syncs succeeded."""
        self._last_slots = replay.last_slots
        if lost is not None:
            replay.lose(lost)
            head.highest = lost.stop - 1
            self._last_slots = lost.start, lost.stop - 1
        if promised is not None and (head.promised is None or promised > head.promised):
            head.promised = promised
        for number in {found.segment for found in replay.above} - {replay.end[0]}:
            self._renew(self._segments.reopen(number, end=1), replay).close()
        # What follows the end was never acknowledged or is lost. Delete it: its batch numbers are about to be reused.
        number, end = replay.end
        self._segments.delete_after(number)
        current = self._segments.current = self._segments.reopen(number, end)
        current.cut()
        self._renew(current, replay)
        if lost is not None:
            self._segments.end_current()  # the next record does not continue this segment
        sync_directory(self._log)
        self._view = LogView(self._log, self._form, head, replay.index, replay.faulty)
        self._meta = dict(replay.meta)
        self._segments.delete_before(head.oldest)
        if replay.faulty:
            # The next segment then begins with a list of the faulty slots, so that damaged segments can be deleted.
            self._segments.end_current()

    def _renew(self, segment: Segment, replay: Replay) -> Segment:
        """Write the records above the anchor in ``segment`` again, and sync it."""
        for found in replay.above:
            if found.segment == segment.number:
                segment.renew(found.record.offset, found.record.length)
        segment.sync_wholly()
        return segment

    def close(self) -> None:
        try:
            if self._anchor.usable:
                current = self._segments.current
                if current is not None:
                    if self._unsynced:
                        self._sync(current)
                        self._anchor.advance(self._anchor.stamp, self._view.head.promised)
                    current.cut()
                self._snapshots.drop_staged()
        except OSError as error:
            self._anchor.fail(error)
            raise StorageError(f"the last batches of {self._log!r} cannot be synced: {error}") from error
        finally:
            self._segments.end_current()
            self._anchor.close()

    # Writing

    def persist(self, batch: WriteBatch) -> None:
        self._anchor.check_usable()
        try:
            if batch.snapshot is not None:
                self._snapshots.check_snapshot(batch.snapshot)
            check_batch(batch, snapshot=self._view.head.snapshot, first=self._view.head.first)
            self._append(batch)
        except BaseException as error:
            self._anchor.fail(error)
            if isinstance(error, OSError):
                raise StorageError(f"the log in {self._log!r} cannot be written: {error}") from error
            raise

    def _append(self, batch: WriteBatch) -> None:
        """Write ``batch`` as one record, sync it if necessary, and then show it to readers."""
        last = self._view.head
        first = last.first if batch.trim is None else max(last.first, batch.trim)
        entries = [entry for entry in batch.accepted if entry.slot >= first]
        slots = [entry.slot for entry in entries]
        sync = batch.sync or batch.trim is not None or batch.snapshot is not None

        # Choose the segment for the record, and find the oldest segment that the log needs after it.
        bytes_about = sum([len(entry.value) for entry in entries]) + 128 * len(entries) + 256
        entries_left = self._view.entries_left(first) if first > last.first else None
        empties_current = entries_left is not None and not entries_left[self._segments.numbers[-1]]
        segment, is_new_segment = self._segment_for(bytes_about, empties_current=empties_current)
        oldest = last.oldest or segment.number
        if entries_left is not None:
            oldest = next((number for number in self._segments.numbers if entries_left[number]), segment.number)

        # Compose the record.
        faulty = self._still_faulty(first, slots)
        known_empty: Sequence[range] = ()
        if faulty and batch.faulty_until is not None:
            known_empty = faulty.cut(max(batch.faulty_until, last.decided + 1, (batch.decided or 0) + 1))
        meta = {**self._meta, **batch.meta} if batch.meta else self._meta
        state_block = None
        if is_new_segment or batch.meta or known_empty:
            state_block = StateBlock(meta, faulty.pairs, SlotSet(known_empty).pairs)
        # The batch ended the damage, so the highest slot that was ever written is known again.
        highest = max(self._view.last, known_empty[0].start - 1) if known_empty else last.highest
        next_head = self._next_head(batch, first, max([highest, *slots]), oldest)
        record_start = segment.end
        pieces, checksum, spans = self._form.encode(
            next_head, state_block, entries, segment=segment.number, offset=record_start
        )

        # Write it to disk, then show it to readers.
        record_bytes = sum(map(len, pieces))
        if record_bytes > _RECORD_BYTES_MAX:
            raise StorageError(f"a batch of {record_bytes} bytes is too large: a record holds {_RECORD_BYTES_MAX}")
        stamp = self._anchor.stamp_batch(batch, checksum)
        segment.append(pieces, record_bytes)
        self._unsynced = True
        if sync:
            self._sync(segment)
            self._anchor.advance(stamp, next_head.promised)
        locations = [
            EntryLocation(slot, segment.number, record_start + offset, length)
            for slot, (offset, length) in zip(slots, spans, strict=True)
        ]
        self._view.show(next_head, locations, faulty)
        self._meta = meta
        self._last_slots = (min(slots), max(slots)) if slots else (1, 0)
        if batch.snapshot is not None:
            self._snapshots.adopt_snapshot(next_head.snapshot)
        if oldest != last.oldest:
            self._segments.delete_before(oldest)

    def _next_head(self, batch: WriteBatch, first: int, highest: int, oldest: int) -> RecordHead:
        """Return the head of the next record, which holds ``batch``."""
        last, stamp = self._view.head, self._anchor.stamp
        number = stamp.number + 1
        return RecordHead(
            number=number,
            previous=stamp.checksum,
            synced=self._synced_number,
            decided=last.decided if batch.decided is None else max(last.decided, batch.decided),
            first=first,
            highest=highest,
            settled=number if settles(batch) else last.settled,
            meta_number=number if batch.meta else last.meta_number,
            oldest=oldest,
            previous_low=self._last_slots[0],
            previous_high=self._last_slots[1],
            promised=last.promised if batch.promised is None else batch.promised,
            snapshot=last.snapshot if batch.snapshot is None else batch.snapshot,
        )

    def _still_faulty(self, first: int, written: Sequence[int]) -> SlotSet:
        """Return the slots that are still faulty after a batch that trims to ``first`` and writes ``written``."""
        faulty = self._view.faulty
        if faulty:
            faulty = SlotSet(faulty.ranges)
            faulty.discard(range(first))
            for slot in written:
                faulty.discard(range(slot, slot + 1))
        return faulty

    def _segment_for(self, bytes_about: int, *, empties_current: bool) -> tuple[Segment, bool]:
        """Return the segment for the next record of about ``bytes_about`` bytes, and whether it is a new one."""
        current = self._segments.current
        if current is not None:
            if self._segments.takes(bytes_about, empties_current=empties_current):
                return current, False
            if self._unsynced:
                self._sync(current)  # before anything is written after it (C3)
        return self._segments.begin(), True

    def _sync(self, segment: Segment) -> None:
        """Sync the current segment, and with it every batch so far."""
        segment.sync()
        self._unsynced, self._synced_number = False, self._anchor.stamp.number

    # Reading and snapshots

    def read(self, start: Slot, stop: Slot, max_bytes: int) -> Sequence[Entry]:
        self._anchor.check_readable()
        return self._view.read(start, stop, max_bytes)

    def create_snapshot(self, meta: SnapshotMeta) -> SnapshotWriter:
        self._anchor.check_usable()
        return self._snapshots.create_snapshot(meta)

    def open_snapshot(self) -> SnapshotReader | None:
        self._anchor.check_readable()
        return self._snapshots.open_snapshot()
