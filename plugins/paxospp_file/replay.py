"""Replays the records of a log, some of which may be damaged, missing or torn. Writes nothing.

Every record up to the anchor must be there. A missing one was lost, and its slots are faulty until
later records write them. Above the anchor, records count as long as they are unbroken. Since each
record says which batches were synced before it, only the last batch can be torn. A torn record and
everything after it were never acknowledged (C3).

If a single record is lost, the record after it names the slots that it wrote. If several are lost,
they may have written any slot from the lowest undecided one of the last intact record before them up
to the highest slot ever written. If a lost record began a segment, all empty slots are faulty too,
because its state block may have been the only one that listed them as faulty.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from paxospp.errors import CorruptedError
from paxospp.storage import SlotSet, Stamp
from paxospp_file.log_index import EntryLocation, LogIndex
from paxospp_file.record import MAGIC, FoundRecord, RecordForm, RecordHead


class LocatedRecord(NamedTuple):
    """A record and the number of its segment."""

    segment: int
    record: FoundRecord


def find_records(form: RecordForm, segment: int, data: bytes) -> Iterator[LocatedRecord]:
    """Yield the records of one segment, including those after damaged bytes."""
    view = memoryview(data)
    at = 0
    while at >= 0:
        record = form.decode(view, segment=segment, offset=at)
        if record is None:
            at = data.find(MAGIC, at + 1)
        else:
            yield LocatedRecord(segment, record)
            at += record.length


class Replay:
    """The state of a log after the records taken so far.

    ``head`` and ``checksum`` are those of the last record that counts, None and 0 before the first.

    Args:
        anchor: the stamp in the anchor.
        counted: records up to this number count, as a replay of more segments has shown.
    """

    def __init__(self, anchor: Stamp, counted: int = 0) -> None:
        self._anchor = anchor
        self._counted = counted
        self._begin: LocatedRecord | None = None
        self._meta_seen = 0
        self.index = LogIndex()
        self.faulty = SlotSet()
        self._known_empty = SlotSet()
        """Slots that were once faulty, and that a later record lists as empty."""
        self._unlisted_to = 0
        """Empty slots up to this one count as faulty, because the record that would have listed them is lost."""
        self.meta: Mapping[str, bytes] = {}
        self.head: RecordHead | None = None
        self.checksum = 0
        self.end = (0, 0)
        """Segment and offset of the end of the last record that counts."""
        self.above: list[LocatedRecord] = []
        """The records above the anchor that count; the store has to write them again."""
        self.last_slots = 1, 0
        """Lowest and highest slot of the last record that counts."""
        self._highest_number = 0

    def take(self, found: LocatedRecord) -> None:
        """Add the next record, in the order of the files.

        Raises:
            CorruptedError: the anchor holds another checksum for this record.
        """
        number = found.record.head.number
        if number <= self._highest_number:
            return  # it cannot belong to the history of this log, so its bytes count as damaged
        self._highest_number = number
        if number > self._anchor.number:
            self.above.append(found)
            return
        if number == self._anchor.number and found.record.checksum != self._anchor.checksum:
            raise CorruptedError(f"batch {number} is not the one that was stored under this number")
        self._apply(found)

    def finish(self) -> None:
        """Decide which records above the anchor count. Call this after the last ``take``.

        Raises:
            CorruptedError: the record that holds meta is lost.
        """
        proven = max([self._anchor.number, self._counted, *(found.record.head.synced for found in self.above)])
        if self.head is None:
            proven = max(proven, _begun_by_a_trim(self.above))
        waiting, self.above = self.above, []
        for found in waiting:
            last = self.head.number if self.head is not None else 0
            if found.record.head.number > proven and not _continues(found.record, last, self.checksum):
                break
            self._apply(found)
            self.above.append(found)
        head = self.head
        if head is None:
            return
        if self._meta_seen != head.meta_number:
            raise CorruptedError(f"batch {head.meta_number} is damaged, and with it the meta")
        assert self._begin is not None
        if not _may_begin_log(self._begin, head):
            self._unlisted_to = max(self._unlisted_to, self._begin.record.head.highest)
        self._lose_gaps(range(head.first, self._unlisted_to + 1), but=self._known_empty)
        self._lose_gaps(range(head.first, head.decided + 1))

    def lose(self, slots: range) -> None:
        """Mark ``slots`` as faulty: lost batches may have written them."""
        self.index.discard(slots)
        self.faulty.add(slots)

    def _lose_gaps(self, slots: range, but: SlotSet | None = None) -> None:
        """Mark the empty slots of ``slots`` as faulty, except those in ``but``."""
        gaps = SlotSet(self.index.gaps(slots))
        for part in () if but is None else but.ranges:
            gaps.discard(part)
        for gap in gaps.ranges:
            self.faulty.add(gap)

    def _apply(self, found: LocatedRecord) -> None:
        """Add a record that counts, and mark as faulty the slots of records that are missing before it."""
        segment, record = found
        head, last = record.head, self.head
        if last is not None and segment != self.end[0] and record.offset:
            # The first record of this segment is lost, and with it a list of faulty slots.
            self._unlisted_to = max(self._unlisted_to, last.highest, head.highest)
        if last is None:
            self._begin = found
        elif head.number > last.number + 2:
            # Several records are lost, so any slot that was undecided before them may be.
            self.lose(range(last.decided + 1, min(head.highest + 1, sys.maxsize)))
        elif head.number > last.number + 1 or head.previous != self.checksum:
            # The number follows but the checksum does not: a write was lost, and the record before is a stale one.
            self.lose(range(head.previous_low, min(head.previous_high + 1, sys.maxsize)))
        if last is None or head.first > last.first:
            self.index.discard(range(head.first))
            self.faulty.discard(range(head.first))
        if record.state is not None:
            self.meta, self._meta_seen = record.state.meta, head.meta_number
            for start, stop in record.state.faulty:
                self.lose(range(max(start, head.first), stop))
            for start, stop in record.state.known_empty:  # still true, even if records were lost since
                self.faulty.discard(range(start, stop))
                self._known_empty.add(range(start, stop))
        for entry in record.entries:
            slot = range(entry.slot, entry.slot + 1)
            if not entry.whole:
                self.lose(slot)
                continue
            self.index.put(EntryLocation(entry.slot, segment, entry.offset, entry.value_length))
            if self.faulty:
                self.faulty.discard(slot)
        self.head, self.checksum = head, record.checksum
        self.end = segment, record.offset + record.length
        slots = [entry.slot for entry in record.entries]
        self.last_slots = min(slots, default=1), max(slots, default=0)


def _continues(record: FoundRecord, number: int, checksum: int) -> bool:
    """Return whether ``record`` is intact and follows the record with this number and checksum."""
    head = record.head
    return head.number == number + 1 and head.previous == checksum and all(entry.whole for entry in record.entries)


def _begun_by_a_trim(log: Sequence[LocatedRecord]) -> int:
    """Return the number of the last record that confirms where the log begins; 0 if none does.

    A trim deletes older segments as soon as it is synced, and the anchor on disk may be older than
    all remaining records. Then no remaining record follows the anchor's batch.
    """
    number, before = 0, None
    for found in log:
        record = found.record
        if before is None:
            fits = record.offset == 0 and _continues(record, record.head.number - 1, record.head.previous)
        else:
            fits = _continues(record, before.head.number, before.checksum)
        if not fits:
            break
        if record.head.oldest == log[0].segment:
            number = record.head.number
        before = record
    return number


def _may_begin_log(begin: LocatedRecord, head: RecordHead) -> bool:
    """Return whether the log may begin with ``begin``, according to ``head``, that of its last record."""
    segment, record = begin
    return record.head.number == 1 or (segment == head.oldest and record.offset == 0)
