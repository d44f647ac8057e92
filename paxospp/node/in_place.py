"""Whether a write may be made in the event loop itself instead of in the storage's thread.

Two thread switches cost more than a small ``fdatasync`` on a good disk, and with one call in flight
they are part of what the caller waits for. A loop that waits for its disk does nothing else
meanwhile, so it may only be one's own (``serve``; never embedded), for writes that are small, and
for as long as the disk is swift.
"""

from __future__ import annotations

from collections import deque

from paxospp.engine.output import value_bytes
from paxospp.storage.contract import WriteBatch

SWIFT_S = 0.001
RECENT = 100
SLOW_MAX = 10
SMALL_BYTES = 16 << 10


class InPlace:
    """Knows how long the last writes took."""

    def __init__(self) -> None:
        self._recent: deque[bool] = deque(maxlen=RECENT)
        self._slow = 0

    def took_beside(self, seconds: float) -> None:
        """A write in the thread returned; a few may be slow, for they waited for the interpreter too."""
        recent = self._recent
        if len(recent) == RECENT:
            self._slow -= recent[0]
        slow = seconds >= SWIFT_S
        recent.append(slow)
        self._slow += slow

    def took_here(self, seconds: float) -> None:
        """A write in the loop returned; if it was slow, the disk has to prove itself again."""
        if seconds >= SWIFT_S:
            self._recent.clear()
            self._slow = 0

    def allows(self, batch: WriteBatch) -> bool:
        """Whether ``batch`` may be written here and now, with no other write under way."""
        return (
            len(self._recent) == RECENT
            and self._slow <= SLOW_MAX
            and batch.snapshot is None
            and batch.trim is None
            and value_bytes(batch) <= SMALL_BYTES
        )
