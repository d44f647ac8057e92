"""The log's time, as a leader stamps it: elapsed seconds, never the wall clock.

A stamp is the last one applied or made plus the monotonic time since. It stands still while
nobody leads and while the cluster is down, so that no session expires for want of a leader.

Of a long silence only a part counts: a session is opened at the time of the last value, and must
not be behind the horizon when its own first value comes. So no step is longer than a quarter of
the expiry, whatever the clock did meanwhile. Sessions only live the longer for it.
"""

from __future__ import annotations

from paxospp.markers import UNWATCHED, Markers

STEP_PARTS = 4
"""One step is at most this part of the expiry."""


class LogClock:
    """Microseconds of log time on this node."""

    def __init__(self, observer: Markers = UNWATCHED) -> None:
        self._observer = observer
        self._stamp = 0
        self._at: float | None = None

    def observe(self, applied: int, now: float) -> None:
        """The executor's log time as it stands after applying."""
        if self._at is None or applied > self._stamp:
            self._stamp = applied
            self._at = now

    def stamp(self, now: float, expiry_s: float) -> int:
        """The stamp of a value made now, where sessions expire after ``expiry_s``."""
        if self._at is not None:
            passed_s, most_s = now - self._at, expiry_s / STEP_PARTS
            if passed_s > most_s:
                self._observer.reached("log clock: of a long silence only a part counts")
            self._stamp += int(min(max(0.0, passed_s), most_s) * 1_000_000)
        self._at = now
        return self._stamp
