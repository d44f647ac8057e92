"""When the next snapshot is due, and which slots stay in the log.

The cost of a snapshot grows with the state. So the log may grow to the size of the last snapshot before the next one is
taken: then snapshots write no more bytes than the log does. As long as the log is small, it may grow to four times that
size: with 10 MB of state and values of 100 kB, snapshots would otherwise take a fifth of all processor time. The
policy counts bytes and slots as they are applied, and reads no clock and no disk.

The rule for growth is that of append-only files that are rewritten when they have doubled.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from paxospp.config import NodeConfig
from paxospp.model import Slot

ENTRY_BYTES = 192
"""About what an entry takes on disk in addition to its value: a batch of one entry is a record of its own."""
GROWTH_EARLY = 4.0
"""The log may grow to this many times the last snapshot, and at most this many times ``snapshot_log_bytes_max``."""
HELD_BYTES_MAX = 1 << 30
"""The most of the log that is kept for a peer that is being sent a snapshot; beyond this it needs a newer one."""
_MARKS = 64
"""How many positions in the log are remembered per ``kept_log_bytes_max`` or ``kept_log_slots_max``."""


class _Mark(NamedTuple):
    slot: Slot
    bytes: int
    """The bytes and slots counted up to ``slot``, inclusive."""


class Policy:
    """Counts what is applied, and says when a snapshot is due and what may be trimmed."""

    def __init__(self, config: NodeConfig, *, first: Slot, applied: Slot, snapshot_bytes: int = 0) -> None:
        """Begin after a start.

        Args:
            first: the first slot in the log.
            applied: the slot of the snapshot that was restored; 0 without one.
            snapshot_bytes: the size of that snapshot.
        """
        self._bytes_max = config.snapshot_log_bytes_max
        self._slots_max = config.snapshot_log_slots_max
        self._kept_bytes_max = config.kept_log_bytes_max
        self._kept_slots_max = config.kept_log_slots_max
        self._bytes = 0
        self._slot = applied
        # The size of the entries from ``first`` to ``applied`` is unknown; the next snapshot keeps them once more.
        self._marks: deque[_Mark] = deque([_Mark(Slot(min(first - 1, applied)), 0)])
        self.due = False
        """Whether enough was applied since the last snapshot."""
        self._begun_at = _Mark(applied, 0)
        self.snapshot_slot = applied
        """The slot of the last snapshot that is staged or current."""
        self._expect(snapshot_bytes)

    @property
    def changed(self) -> bool:
        """Whether anything was applied since the last snapshot."""
        return self._slot > self.snapshot_slot

    def count(self, slot: Slot, value_bytes: int) -> None:
        """Count an applied entry."""
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
        """Note that a snapshot of the state applied so far is being taken."""
        self.due = False
        self._begun_at = _Mark(self._slot, self._bytes)

    def failed(self) -> None:
        """Note that the snapshot failed: another one is due, and the caller decides when."""
        self.due = True

    def taken(self, size_bytes: int) -> None:
        """Note that the snapshot is staged and will become current."""
        self.snapshot_slot = self._begun_at.slot
        self._expect(size_bytes)

    def installed(self, slot: Slot, size_bytes: int) -> None:
        """Note that a peer's snapshot replaced everything up to ``slot``."""
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
        """Return the first slot to keep in the log.

        Kept are the configured bytes and slots, for peers that were away for a while, and everything from ``held`` on,
        unless that is more than ``HELD_BYTES_MAX``.
        """
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
