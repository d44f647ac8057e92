"""Ends a case that hangs, and never one that is merely slow.

A store that hangs must not hang the kit, and how long a case takes says more about the machine than about the store. So
the limit is on standing still: each call of the store, each answer of a worker and each traced process that ends is
progress, and the limit counts from the last one.
"""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType

STANDSTILL_S = 300.0
"""Longer than any single call of a store takes on a machine that is slow and busy."""


class ProgressCounter:
    """Counts the steps of the case that runs in this process."""

    def __init__(self) -> None:
        self.count = 0

    def note(self) -> None:
        """Note that something came to an end. Threads may call it: one lost count among others does no harm."""
        self.count += 1


PROGRESS = ProgressCounter()


class ends_if_it_hangs:
    """Raise TimeoutError in the main thread if nothing is noted for ``seconds``; after twice that at the latest."""

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
            if left:  # somebody else's limit, around all of this
                signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - self._begun), 0.001), interval)

    def _look(self, number: int, frame: FrameType | None) -> None:
        if self._progress.count == self._seen:
            raise TimeoutError(f"nothing has come to an end for {self._seconds:g} s: the store hangs")
        self._seen = self._progress.count
