"""A set of slots, kept as sorted disjoint ranges; stores keep their faulty slots in one.

A range may be open-ended (it stops at ``sys.maxsize``), so no method iterates over single slots.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Iterable, Sequence


class SlotSet:
    """A mutable set of slots. Adjacent ranges are joined."""

    def __init__(self, ranges: Iterable[range] = ()) -> None:
        self.ranges: tuple[range, ...] = ()
        for slots in ranges:
            self.add(slots)

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __contains__(self, slot: int) -> bool:
        at = self.next_from(slot)
        return at is not None and slot in at

    def next_from(self, slot: int) -> range | None:
        """Return the range that contains ``slot``, or else the next one above it, or None."""
        at = bisect_right(self.ranges, slot, key=_stop)
        return self.ranges[at] if at < len(self.ranges) else None

    def add(self, slots: range) -> None:
        """Add ``slots``."""
        if not slots:
            return
        start, stop, apart = slots.start, slots.stop, []
        for known in self.ranges:
            if known.stop < start or known.start > stop:
                apart.append(known)
            else:
                start, stop = min(start, known.start), max(stop, known.stop)
        self.ranges = tuple(sorted([*apart, range(start, stop)], key=_start))

    def discard(self, slots: range) -> None:
        """Remove those of ``slots`` that are in the set."""
        if not slots:
            return  # an empty range may stop before it starts, and would duplicate the ranges around it
        left = []
        for known in self.ranges:
            left += [range(known.start, min(known.stop, slots.start)), range(max(known.start, slots.stop), known.stop)]
        self.ranges = tuple(part for part in left if part)

    def cut(self, start: int) -> Sequence[range]:
        """Remove every slot from ``start`` on, and return the removed ranges."""
        taken = [range(max(known.start, start), known.stop) for known in self.ranges if known.stop > start]
        self.discard(range(start, sys.maxsize))
        return taken

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """The start and stop of each range, for encoding."""
        return tuple([(part.start, part.stop) for part in self.ranges]) if self.ranges else ()


def _start(slots: range) -> int:
    return slots.start


def _stop(slots: range) -> int:
    return slots.stop
