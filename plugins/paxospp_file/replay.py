"""What the records of a log amount to when some are damaged, missing or torn. Reads bytes, writes nothing.

Records up to the anchor must be there: a missing one is a loss, and its slots are faulty until later
records wrote them. Above the anchor the log counts as far as it is unbroken, but a record also proves
that what it calls synced was synced, so only the very last batch can pass for torn. What is torn, and
all behind it, never counted (C3).

The slots of a lost record are: those its successor says it wrote, if it is the only one; else all
from the lowest undecided slot of its last intact predecessor up to the highest slot ever written. If it
began a segment, all slots that nothing holds are faulty too: it may have been the only one to say so.
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
    """A record and where it stands."""

    segment: int
    record: FoundRecord


def find_records(form: RecordForm, segment: int, data: bytes) -> Iterator[LocatedRecord]:
    """The records of one segment, also those behind damaged bytes."""
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
    """The state of a log, record by record; ``head`` and ``checksum`` are those of the last that counts.

    ``counted``: records up to this number are known to count, by a replay of more segments than these.
    """

    def __init__(self, anchor: Stamp, counted: int = 0) -> None:
        self._anchor = anchor
        self._counted = counted
        self._begin: LocatedRecord | None = None
        self._meta_seen = 0
        self.index = LogIndex()
        self.faulty = SlotSet()
        self._sound = SlotSet()
        """Slots that were once faulty, and of which a record says that they hold nothing."""
        self._unsaid = 0
        """Slots up to this one may be faulty without a record that says so: the one that began a segment is lost."""
        self.meta: Mapping[str, bytes] = {}
        self.head: RecordHead | None = None
        self.checksum = 0
        self.end = (0, 0)
        """Segment and offset behind the last record that counts."""
        self.above: list[LocatedRecord] = []
        """The records above the anchor that count; to be written anew."""
        self.last_slots = 1, 0
        """Lowest and highest slot of the last record that counts."""
        self._highest_number = 0

    def take(self, found: LocatedRecord) -> None:
        """The next record in the order of the files; raises CorruptedError if the anchor knows another one."""
        number = found.record.head.number
        if number <= self._highest_number:
            return  # of no history that this log could have; its place counts as damaged
        self._highest_number = number
        if number > self._anchor.number:
            self.above.append(found)
            return
        if number == self._anchor.number and found.record.checksum != self._anchor.checksum:
            raise CorruptedError(f"batch {number} is not the one that was stored under this number")
        self._apply(found)

    def finish(self) -> None:
        """All records are taken; raises CorruptedError when meta is lost."""
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
        if not _is_natural(self._begin, head):
            self._unsaid = max(self._unsaid, self._begin.record.head.highest)
        self._lose_gaps(range(head.first, self._unsaid + 1), but=self._sound)
        self._lose_gaps(range(head.first, head.decided + 1))

    def lose(self, slots: range) -> None:
        """``slots`` may have been written by batches that are lost: faulty from now on."""
        self.index.discard(slots)
        self.faulty.add(slots)

    def _lose_gaps(self, slots: range, but: SlotSet | None = None) -> None:
        gaps = SlotSet(self.index.gaps(slots))
        for part in () if but is None else but.ranges:
            gaps.discard(part)
        for gap in gaps.ranges:
            self.faulty.add(gap)

    def _apply(self, found: LocatedRecord) -> None:
        segment, record = found
        head, last = record.head, self.head
        if last is not None and segment != self.end[0] and record.offset:
            self._unsaid = max(self._unsaid, last.highest, head.highest)
        if last is None:
            self._begin = found
        elif head.number > last.number + 2:
            self.lose(range(last.decided + 1, min(head.highest + 1, sys.maxsize)))
        elif head.number > last.number + 1 or head.previous != self.checksum:
            # With an unbroken number but another checksum the predecessor is a stale one: a lost write.
            self.lose(range(head.previous_low, min(head.previous_high + 1, sys.maxsize)))
        if last is None or head.first > last.first:
            self.index.discard(range(head.first))
            self.faulty.discard(range(head.first))
        if record.state is not None:
            self.meta, self._meta_seen = record.state.meta, head.meta_number
            for start, stop in record.state.faulty:
                self.lose(range(max(start, head.first), stop))
            for start, stop in record.state.sound:  # still true, whatever was lost since
                self.faulty.discard(range(start, stop))
                self._sound.add(range(start, stop))
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
    """Whether ``record`` is whole and follows the one with this number and checksum."""
    head = record.head
    return head.number == number + 1 and head.previous == checksum and all(entry.whole for entry in record.entries)


def _begun_by_a_trim(log: Sequence[LocatedRecord]) -> int:
    """The number of the last record that says that the log begins where it does; 0 if none does.

    A trim gives the segments before it back as soon as it is synced, and the anchor on disk may be
    older than all that is left: then nothing that is there continues what the anchor knows.
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


def _is_natural(begin: LocatedRecord, head: RecordHead) -> bool:
    """Whether the log may begin with ``begin``, by what its last record, with ``head``, says of it."""
    segment, record = begin
    return record.head.number == 1 or (segment == head.oldest and record.offset == 0)
