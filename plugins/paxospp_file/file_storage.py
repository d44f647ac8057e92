"""The store: one record per batch, appended to the current segment and synced once (C1, C2, C3).

It owns the order of effects, and little else: the form of a record, files, index, replay, anchor and
snapshots have rooms of their own. Nothing is written in place and nothing before its turn: the record,
its sync, the anchor, then memory, and only then old segments and the former snapshot go.

A directory looks like this::

    anchor/     LOCK  anchor-a  anchor-b
    log/        log-0000000001  log-0000000002 ...
    snapshots/  snapshot-SLOT-ID

A segment goes when a ``trim`` left no entry in it and in none before it; a trim that empties the
current segment begins a new one, so that space comes back without waiting for 8 MiB to fill.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import paxospp
from paxospp import Ballot, DurableState, Entry, Slot, SnapshotMeta, SnapshotReader, SnapshotWriter, WriteBatch
from paxospp.errors import ConfigError, CorruptedError, StorageError
from paxospp.storage import Anchor, FileSnapshots, SlotSet, Stamp, make_directory, settles, sync_directory
from paxospp_file.log_index import EntryLocation, LogIndex
from paxospp_file.log_view import LogView
from paxospp_file.record import RecordForm, RecordHead, State
from paxospp_file.replay import Replay, find_records
from paxospp_file.segment import Segment, list_segments, read_segment, segment_path

SEGMENT_BYTES = "8388608"
_SEGMENT_BYTES_MIN, _SEGMENT_BYTES_MAX = 4096, 1 << 35
_EMPTIED_BYTES = 1 << 20  # a trim that leaves nothing in so large a segment ends it
_RECORD_BYTES_MAX = (1 << 32) - 1


class FileStorage(Anchor, paxospp.Storage):
    """The default storage. ``segment_bytes``: how large a file grows before the next one is begun."""

    def __init__(self, path: str, *, segment_bytes: str = SEGMENT_BYTES) -> None:
        if not path:
            raise ConfigError("file: needs a directory, as in file:./data/n1")
        if not segment_bytes.isascii() or not segment_bytes.isdecimal():
            raise ConfigError(f"segment_bytes={segment_bytes!r} is no number of bytes")
        self._segment_bytes = int(segment_bytes)
        if not _SEGMENT_BYTES_MIN <= self._segment_bytes <= _SEGMENT_BYTES_MAX:
            raise ConfigError(f"segment_bytes={segment_bytes} is not from {_SEGMENT_BYTES_MIN} to {_SEGMENT_BYTES_MAX}")
        self._log = os.path.join(path, "log")
        make_directory(path)
        self.open_anchor(os.path.join(path, "anchor"))
        try:
            make_directory(self._log)
            self._snapshots = FileSnapshots(os.path.join(path, "snapshots"))
        except BaseException:
            self.close_anchor()
            raise
        self._form: RecordForm
        self._view: LogView
        self._segments: list[int] = []
        self._current: Segment | None = None
        self._unsynced = False
        self._meta: dict[str, bytes] = {}
        self._low_high = (1, 0)
        self._synced_number = 0

    # Opening and closing

    def load(self) -> DurableState:
        self.check_unloaded()
        try:
            self._load()
        except OSError as error:
            self.fail(error)
            raise StorageError(f"the log in {self._log!r} cannot be opened: {error}") from error
        except BaseException as error:
            self.fail(error)
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
        anchor = self.read_anchor()
        self._segments = list_segments(self._log)
        if anchor is None and self._segments:
            raise CorruptedError(f"there is a log in {self._log!r}, but both copies of its anchor are missing")
        head, found = None, None
        if anchor is not None:
            replay = self._replay(anchor, self._segments)
            head = replay.head
            if head is not None and self._segments[0] < head.oldest:
                # A crash came between a trim and giving the space back: what is left over says nothing.
                # What is kept may all stand above the anchor, so its first record continues nothing that is here.
                kept = [number for number in self._segments if number >= head.oldest]
                replay = self._replay(anchor, kept, counted=head.number)
        if head is not None and anchor is not None:
            undecided = Slot(head.decided + 1)
            found = Stamp(anchor.store, head.number, replay.checksum, undecided, head.settled, undecided)
        recovery = self.recover_anchor(found)
        self._form = RecordForm(recovery.stamp.store)
        if head is None:
            self._begin(recovery.stamp)
        else:
            self._recover(replay, head, recovery.promised, recovery.lost)
            self.settle_anchor(recovery.stamp, self._view.head.promised)
        self._synced_number = self.stamp.number
        self._snapshots.adopt_snapshot(self._view.head.snapshot)

    def _replay(self, anchor: Stamp, segments: Sequence[int], counted: int = 0) -> Replay:
        form, replay = RecordForm(anchor.store), Replay(anchor, counted)
        for number in segments:
            for found in find_records(form, number, read_segment(self._log, number)):
                replay.take(found)
        replay.finish()
        return replay

    def _begin(self, stamp: Stamp) -> None:
        """A new store: its first batch is empty, so that a log that is gone is never taken for a new one."""
        for number in self._segments:
            os.unlink(segment_path(self._log, number))  # torn while the store was being made
        self._segments = []
        self.settle_anchor(stamp, None)
        self._view = LogView(self._log, self._form, RecordHead(), LogIndex(), SlotSet())
        self._append(WriteBatch())
        self.settle_anchor(self.stamp, None)

    def _recover(self, replay: Replay, head: RecordHead, promised: Ballot | None, lost: range | None) -> None:
        """Take over what was found, and make it survive power loss whatever became of earlier syncs."""
        self._low_high = replay.last_slots
        if lost is not None:
            replay.lose(lost)
            head.highest = lost.stop - 1
            self._low_high = lost.start, lost.stop - 1
        if promised is not None and (head.promised is None or promised > head.promised):
            head.promised = promised
        for number in {found.segment for found in replay.above} - {replay.end[0]}:
            self._renew(Segment(self._log, number, end=1, bytes_max=0), replay).close()
        # What stands behind the end never counted, or is lost; its numbers are given to other batches from now on.
        number, end = replay.end
        for torn in [number for number in self._segments if number > replay.end[0]]:
            os.unlink(segment_path(self._log, torn))
            self._segments.remove(torn)
        current = Segment(self._log, number, end=end, bytes_max=self._segment_bytes)
        current.cut()
        self._renew(current, replay)
        if lost is None:
            self._current = current
        else:
            current.close()
        sync_directory(self._log)
        self._view = LogView(self._log, self._form, head, replay.index, replay.faulty)
        self._meta = dict(replay.meta)
        self._drop_segments(head.oldest)
        if replay.faulty:
            self._end_segment()  # the next one begins with what is faulty, so that damaged segments can go

    def _renew(self, segment: Segment, replay: Replay) -> Segment:
        for found in replay.above:
            if found.segment == segment.number:
                segment.renew(found.record.offset, found.record.length)
        segment.sync_wholly()
        return segment

    def close(self) -> None:
        try:
            if self.usable:
                if self._unsynced and self._current is not None:
                    self._current.sync()
                    self.anchor_batch(self.stamp, self._view.head.promised)
                if self._current is not None:
                    self._current.cut()
                self._snapshots.drop_staged()
        except OSError as error:
            self.fail(error)
            raise StorageError(f"the last batches of {self._log!r} cannot be synced: {error}") from error
        finally:
            self._end_segment()
            self.close_anchor()

    # Writing

    def persist(self, batch: WriteBatch) -> None:
        self.check_usable()
        try:
            self._refuse_what_is_forbidden(batch)
            self._append(batch)
        except BaseException as error:
            self.fail(error)
            if isinstance(error, OSError):
                raise StorageError(f"the log in {self._log!r} cannot be written: {error}") from error
            raise

    def _refuse_what_is_forbidden(self, batch: WriteBatch) -> None:
        current = self._view.head.snapshot
        if batch.snapshot is not None:
            self._snapshots.check_snapshot(batch.snapshot)
            if current is not None and batch.snapshot.slot < current.slot:
                raise StorageError(f"the snapshot of slot {current.slot} is newer than that of {batch.snapshot.slot}")
            current = batch.snapshot
        reaches = current.slot + 1 if current is not None else 1
        if batch.trim is not None and batch.trim > max(reaches, self._view.head.first):
            raise StorageError(f"a trim to slot {batch.trim} would drop slots that stand in no snapshot")

    def _append(self, batch: WriteBatch) -> None:
        last = self._view.head
        first = last.first if batch.trim is None else max(last.first, batch.trim)
        entries = [entry for entry in batch.accepted if entry.slot >= first]
        slots = [entry.slot for entry in entries]
        sync = batch.sync or batch.trim is not None or batch.snapshot is not None

        bytes_about = sum([len(entry.value) for entry in entries]) + 128 * len(entries) + 256
        left = self._view.left_by(first) if first > last.first else None
        segment, begun = self._segment_for(bytes_about, emptied=left is not None and not left[self._segments[-1]])
        oldest = last.oldest or segment.number
        if left is not None:
            oldest = next((number for number in self._segments if left[number]), segment.number)

        faulty = self._still_faulty(first, slots)
        sound: Sequence[range] = ()
        if faulty and batch.faulty_until is not None:
            sound = faulty.cut(max(batch.faulty_until, last.decided + 1, (batch.decided or 0) + 1))
        meta = {**self._meta, **batch.meta} if batch.meta else self._meta
        state = None
        if begun or batch.meta or sound:
            state = State(meta, faulty.pairs, SlotSet(sound).pairs)
        # All above what is held and what is still faulty is sound: the highest slot ever written is known again.
        highest = max(self._view.last, sound[0].start - 1) if sound else last.highest
        head = self._next_head(batch, first, max([highest, *slots]), oldest)
        begin = segment.end
        pieces, checksum, places = self._form.encode(head, state, entries, segment=segment.number, offset=begin)
        record_bytes = sum(map(len, pieces))
        if record_bytes > _RECORD_BYTES_MAX:
            raise StorageError(f"a batch of {record_bytes} bytes is more than a record can hold")
        stamp = self.stamp_batch(batch, checksum)
        segment.append(pieces, record_bytes)
        self._unsynced = True
        if sync:
            segment.sync()
            self._unsynced = False
            self._synced_number = stamp.number
            self.anchor_batch(stamp, head.promised)

        shown = [
            EntryLocation(slot, segment.number, begin + offset, length)
            for slot, (offset, length) in zip(slots, places, strict=True)
        ]
        self._view.show(head, shown, faulty)
        self._meta = meta
        self._low_high = (min(slots), max(slots)) if slots else (1, 0)
        if batch.snapshot is not None:
            self._snapshots.adopt_snapshot(head.snapshot)
        if oldest != last.oldest:
            self._drop_segments(oldest)

    def _next_head(self, batch: WriteBatch, first: int, highest: int, oldest: int) -> RecordHead:
        last, stamp = self._view.head, self.stamp
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
            previous_low=self._low_high[0],
            previous_high=self._low_high[1],
            promised=last.promised if batch.promised is None else batch.promised,
            snapshot=last.snapshot if batch.snapshot is None else batch.snapshot,
        )

    def _still_faulty(self, first: int, written: Sequence[int]) -> SlotSet:
        """What remains faulty after a batch that wrote these slots."""
        faulty = self._view.faulty
        if faulty:
            faulty = SlotSet(faulty.ranges)
            faulty.discard(range(first))
            for slot in written:
                faulty.discard(range(slot, slot + 1))
        return faulty

    # Segments

    def _segment_for(self, bytes_about: int, *, emptied: bool) -> tuple[Segment, bool]:
        """The segment that the next record goes to, and whether it is a new one."""
        current = self._current
        if current is not None:
            full = current.end + bytes_about > self._segment_bytes and current.end > 0
            if not full and not (emptied and current.end >= min(_EMPTIED_BYTES, self._segment_bytes)):
                return current, False
            if self._unsynced:
                current.sync()  # before anything stands behind it (C3)
                self._unsynced, self._synced_number = False, self.stamp.number
            current.cut()
            self._end_segment()
        number = max(self._segments, default=0) + 1
        self._current = current = Segment(self._log, number, bytes_max=self._segment_bytes)
        self._segments.append(number)
        sync_directory(self._log)
        return current, True

    def _end_segment(self) -> None:
        current, self._current = self._current, None
        if current is not None:
            current.close()

    def _drop_segments(self, oldest: int) -> None:
        """Give back what the log does not need any more; the record that says so is durable."""
        while self._segments[0] < oldest:
            os.unlink(segment_path(self._log, self._segments[0]))
            del self._segments[0]

    # Reading and snapshots

    def read(self, start: Slot, stop: Slot, max_bytes: int) -> Sequence[Entry]:
        self.check_readable()
        return self._view.read(start, stop, max_bytes)

    def create_snapshot(self, meta: SnapshotMeta) -> SnapshotWriter:
        self.check_usable()
        return self._snapshots.create_snapshot(meta)

    def open_snapshot(self) -> SnapshotReader | None:
        self.check_readable()
        return self._snapshots.open_snapshot()
