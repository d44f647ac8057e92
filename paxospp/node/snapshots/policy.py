"""When the next snapshot is due, and from which slot on the log stays.

A snapshot costs as much as the state is large, so the log may grow as long as the last snapshot
before the next one is taken: what is written for snapshots is never more than what is written
for the log. While that is little it may grow to four times as much: with 10 MB of state and values
of 100 kB, snapshots otherwise take a fifth of all processor time. Counts bytes and slots as they
are applied, reads no clock and no disk.

The rule for growth is the one that append-only files use when they are rewritten at 100 %.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from paxospp.config import NodeConfig
from paxospp.model import Slot

ENTRY_BYTES = 192
"""About what an entry costs on disk beside its value: a batch of one entry is a record of its own."""
GROWTH_EARLY = 4.0
"""How many times as long as the last snapshot the log may grow, up to so many times the setting for its bytes."""
HELD_BYTES_MAX = 1 << 30
"""The most of the log that is kept for a peer that is being sent a snapshot; then it needs a newer one."""
_MARKS = 64


class _Mark(NamedTuple):
    slot: Slot
    bytes: int
    """Of everything counted up to ``slot``, inclusive."""


class Policy:
    """Of a node that has restored ``applied`` from a snapshot and holds the log from ``first`` on."""

    def __init__(self, config: NodeConfig, *, first: Slot, applied: Slot, snapshot_bytes: int = 0) -> None:
        self._bytes_max = config.snapshot_log_bytes_max
        self._slots_max = config.snapshot_log_slots_max
        self._kept_bytes_max = config.kept_log_bytes_max
        self._kept_slots_max = config.kept_log_slots_max
        self._bytes = 0
        self._slot = applied
        # How large the entries between are nobody knows; they are kept once more, and then counted.
        self._marks: deque[_Mark] = deque([_Mark(Slot(min(first - 1, applied)), 0)])
        self.due = False
        """Whether enough was applied since the last snapshot."""
        self._begun_at = _Mark(applied, 0)
        self.snapshot_slot = applied
        """The slot of the last snapshot that became current."""
        self._expect(snapshot_bytes)

    @property
    def changed(self) -> bool:
        """Whether anything was applied since the last snapshot."""
        return self._slot > self.snapshot_slot

    def count(self, slot: Slot, value_bytes: int) -> None:
        """An entry was applied."""
        self._slot = slot
        self._bytes += value_bytes + ENTRY_BYTES
        last = self._marks[-1]
        if (self._bytes - last.bytes) * _MARKS >= self._kept_bytes_max or (
            slot - last.slot
        ) * _MARKS >= self._kept_slots_max:
            self._marks.append(_Mark(slot, self._bytes))
        if self._bytes >= self._bytes_due or slot >= self._slot_due:
            self.due = True

    def begin(self) -> None:
        """A snapshot of what was applied up to now is being taken."""
        self.due = False
        self._begun_at = _Mark(self._slot, self._bytes)

    def failed(self) -> None:
        """It came to nothing; whoever asks again decides when."""
        self.due = True

    def taken(self, size_bytes: int) -> None:
        """It is staged, and becomes current."""
        self.snapshot_slot = self._begun_at.slot
        self._expect(size_bytes)

    def installed(self, slot: Slot, size_bytes: int) -> None:
        """A peer's snapshot took the place of everything up to ``slot``."""
        self._slot = self.snapshot_slot = slot
        self._begun_at = _Mark(slot, self._bytes)
        self._marks = deque([self._begun_at])
        self.due = False
        self._expect(size_bytes)

    def _expect(self, snapshot_bytes: int) -> None:
        growth = max(1.0, snapshot_bytes / self._bytes_max)
        slot, counted = self._begun_at
        in_bytes = max(growth, min(GROWTH_EARLY * snapshot_bytes / self._bytes_max, GROWTH_EARLY))
        self._bytes_due = counted + self._bytes_max * in_bytes
        self._slot_due = slot + self._slots_max * growth
        self.due = self._bytes >= self._bytes_due or self._slot >= self._slot_due

    def keep_from(self, held: Slot | None) -> Slot:
        """The first slot to keep for slow peers, and from ``held`` on, if that is not too much."""
        above = Slot(self.snapshot_slot + 1)
        held = above if held is None else min(held, above)
        marks = self._marks
        first = Slot(self._slot + 1)
        for mark in reversed(marks):
            kept = self._bytes - mark.bytes
            enough = kept <= self._kept_bytes_max and self._slot - mark.slot <= self._kept_slots_max
            if not enough and (first <= held or (kept > HELD_BYTES_MAX and first <= above)):
                break
            first = Slot(mark.slot + 1)
        while len(marks) > 1 and marks[0].slot + 1 < first:
            marks.popleft()
        return first
