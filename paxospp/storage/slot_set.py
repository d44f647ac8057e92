"""A set of slots, kept as disjoint ranges in order: what a store says is faulty.

Ranges may end open, at ``sys.maxsize``, so the slots are never counted out one by one.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Iterable, Sequence


class SlotSet:
    """Slots to which ranges are added and from which they are taken; ranges that touch are joined."""

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
        """The range that holds ``slot``, or else the next one above it."""
        at = bisect_right(self.ranges, slot, key=_stop)
        return self.ranges[at] if at < len(self.ranges) else None

    def add(self, slots: range) -> None:
        """Put ``slots`` in."""
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
        """Take ``slots`` out, as far as they are in."""
        if not slots:
            return  # it may end before it begins, and would leave every range around it twice
        left = []
        for known in self.ranges:
            left += [range(known.start, min(known.stop, slots.start)), range(max(known.start, slots.stop), known.stop)]
        self.ranges = tuple(part for part in left if part)

    def cut(self, start: int) -> Sequence[range]:
        """Take out every slot from ``start`` on; returns those that were in."""
        taken = [range(max(known.start, start), known.stop) for known in self.ranges if known.stop > start]
        self.discard(range(start, sys.maxsize))
        return taken

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Start and stop of each range, as they are stored."""
        return tuple([(part.start, part.stop) for part in self.ranges]) if self.ranges else ()


def _start(slots: range) -> int:
    return slots.start


def _stop(slots: range) -> int:
    return slots.stop
