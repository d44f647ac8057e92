"""Active time: time in which this replica did not run does not count.

A process that was stopped, a machine that slept or an event loop that was blocked must not mistake its own pause for
the silence of its leader. So every timeout is measured on this clock.
"""

from __future__ import annotations


class ActiveClock:
    """A clock that advances with each call, by ``step_max_s`` seconds at most."""

    def __init__(self, step_max_s: float) -> None:
        self.time = 0.0
        self._step_max_s = step_max_s
        self._last: float | None = None

    def advance(self, now: float) -> float:
        """Advance to ``now``, the node's monotonic clock in seconds, and return the active time."""
        if self._last is not None and (step := now - self._last) > 0.0:
            self.time += step if step < self._step_max_s else self._step_max_s
        self._last = now
        return self.time

    def when(self, time: float) -> float:
        """Return the node's ``now`` at which active time reaches ``time`` if the replica does not pause."""
        assert self._last is not None
        rest = time - self.time
        return self._last + rest if rest > 0.0 else self._last
