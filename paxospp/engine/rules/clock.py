"""Time as this replica lived it: time in which it did not run does not count.

A process that was stopped, a machine that slept or a loop that was held up must not take its
own silence for the silence of its leader. Every window is measured on this clock.
"""

from __future__ import annotations


class ActiveClock:
    """Counts seconds, but no more than ``step_max_s`` between two calls."""

    def __init__(self, step_max_s: float) -> None:
        self.time = 0.0
        self._step_max_s = step_max_s
        self._last: float | None = None

    def advance(self, now: float) -> float:
        """The active time at ``now``, which is monotonic seconds of whoever drives the replica."""
        if self._last is not None and (step := now - self._last) > 0.0:
            self.time += step if step < self._step_max_s else self._step_max_s
        self._last = now
        return self.time

    def when(self, time: float) -> float:
        """The caller's ``now`` at which active ``time`` is reached if nothing holds us up."""
        assert self._last is not None
        rest = time - self.time
        return self._last + rest if rest > 0.0 else self._last
