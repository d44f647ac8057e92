"""End a case that hangs, but never one that is merely slow.

A store that hangs must not hang the kit, but the time of a case depends more on the machine than on the store. So the
limit is on the time without progress: it counts from the last call of the store that ended, the last answer of a worker
or the last traced process that ended.
"""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType

STANDSTILL_S = 300.0
"""The limit, in seconds: longer than any single call of a store takes on a slow and busy machine."""


class ProgressCounter:
    """Counts the progress of the case that runs in this process."""

    def __init__(self) -> None:
        self.count = 0

    def note(self) -> None:
        """Count one call, answer or process that ended. Threads may call it: a lost count does no harm."""
        self.count += 1


PROGRESS = ProgressCounter()


class ends_if_it_hangs:
    """Raise TimeoutError in the main thread if there is no progress for ``seconds``; within twice that time."""

    def __init__(self, progress: ProgressCounter = PROGRESS, seconds: float = STANDSTILL_S) -> None:
        self._progress = progress
        self._seconds = seconds
        self._usable = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> None:
        if self._usable:
            self._seen = self._progress.count
            self._former = signal.signal(signal.SIGALRM, self._look)
            self._former_timer = signal.setitimer(signal.ITIMER_REAL, self._seconds, self._seconds)
            self._begun = time.monotonic()

    def __exit__(self, *_: object) -> None:
        if self._usable:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._former)
            left, interval = self._former_timer
            if left:  # an outer limit was running: restart it
                signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - self._begun), 0.001), interval)

    def _look(self, number: int, frame: FrameType | None) -> None:
        if self._progress.count == self._seen:
            raise TimeoutError(f"no call of the store has ended for {self._seconds:g} s: the store hangs")
        self._seen = self._progress.count
