"""The index of the log: a page table from slots to the locations of their entries, 12 bytes per slot.

A dict would need ten times the memory, and a log may hold millions of slots between trims. The index
knows nothing of files: a location is the number of a segment and an offset in it, packed into one
integer.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

_PAGE_BITS = 10
_PAGE = 1 << _PAGE_BITS
_OFFSET_BITS = 40  # a segment may exceed its limit (32 GiB at most) by one batch (4 GiB at most)
_EMPTY = array("Q", [0]) * _PAGE
_EMPTY_LENGTHS = array("I", [0]) * _PAGE


class EntryLocation(NamedTuple):
    """The location of an entry: its head begins at ``offset`` of the segment, and its value follows the head."""

    slot: int
    segment: int
    offset: int
    value_length: int


class LogIndex:
    """The locations of all entries. ``held`` counts the entries of each segment."""

    def __init__(self) -> None:
        self._pages: dict[int, tuple[array[int], array[int]]] = {}
        self._order: list[int] = []
        self.held: Counter[int] = Counter()
        self._last = 0

    def put(self, place: EntryLocation) -> None:
        """Set the location of a slot, and replace any former one."""
        slot, segment, offset, value_length = place
        page = self._pages.get(slot >> _PAGE_BITS)
        if page is None:
            page = self._pages[slot >> _PAGE_BITS] = _EMPTY[:], _EMPTY_LENGTHS[:]
            insort(self._order, slot >> _PAGE_BITS)
        at = slot & (_PAGE - 1)
        if page[1][at]:
            self.held[page[0][at] >> _OFFSET_BITS] -= 1
        page[0][at] = segment << _OFFSET_BITS | offset
        page[1][at] = value_length + 1  # 0: empty
        self.held[segment] += 1
        if slot > self._last:
            self._last = slot

    def places(self, slots: range) -> Iterator[EntryLocation]:
        """Yield the locations of the entries in ``slots``, ascending."""
        start, stop = slots.start, slots.stop
        for number in self._order[bisect_left(self._order, start >> _PAGE_BITS) :]:
            base = number << _PAGE_BITS
            if base >= stop:
                break
            codes, lengths = self._pages[number]
            for at in range(max(start - base, 0), min(stop - base, _PAGE)):
                if lengths[at]:
                    code = codes[at]
                    yield EntryLocation(
                        base + at, code >> _OFFSET_BITS, code & ((1 << _OFFSET_BITS) - 1), lengths[at] - 1
                    )

    def discard(self, slots: range) -> None:
        """Remove ``slots``."""
        start, stop = slots.start, slots.stop
        for number in [n for n in self._order if start < (n + 1) << _PAGE_BITS and n << _PAGE_BITS < stop]:
            base = number << _PAGE_BITS
            codes, lengths = self._pages[number]
            for at in range(max(start - base, 0), min(stop - base, _PAGE)):
                if lengths[at]:
                    self.held[codes[at] >> _OFFSET_BITS] -= 1
                    lengths[at] = 0
            if not any(lengths):
                del self._pages[number]
                self._order.remove(number)
        if start <= self._last < stop:
            self._last = self._highest()

    @property
    def last(self) -> int:
        """The highest slot that holds an entry, 0 if none does."""
        return self._last

    def _highest(self) -> int:
        for number in reversed(self._order):
            lengths = self._pages[number][1]
            return next((number << _PAGE_BITS) + at for at in reversed(range(_PAGE)) if lengths[at])
        return 0

    def gaps(self, slots: range) -> Iterator[range]:
        """Yield the ranges of ``slots`` that hold no entry."""
        expected = slots.start
        for place in self.places(slots):
            if place.slot > expected:
                yield range(expected, place.slot)
            expected = place.slot + 1
        if expected < slots.stop:
            yield range(expected, slots.stop)
