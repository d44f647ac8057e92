"""Timeouts of calls: one timer for all open calls, set for the earliest deadline.

A call costs one dict entry while it is open and nothing afterwards. The deadlines are searched only when the
earliest one has passed; with timeouts of seconds and answers within milliseconds that is once per timeout, not once
per call. Node and Client use this, and decide what happens to a call whose deadline has passed.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")

SWEEP_INTERVAL_S = 0.005
"""The deadlines are searched at most once per interval, so a call may end this much too late."""


class Deadlines(Generic[K]):
    """Open calls and their deadlines; ``on_due`` is called with each call that is still open at its deadline."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_due: Callable[[K], None]) -> None:
        self._loop = loop
        self._on_due = on_due
        self._timer: asyncio.TimerHandle | None = None
        self.armed_for = math.inf
        """The time of the event loop at which the timer fires; infinity if it is not set."""
        self.open: dict[K, float] = {}
        """The deadline of each open call. To close a call: ``open.pop(call, None)``."""

    def add(self, call: K, timeout_s: float | None) -> None:
        """Add an open call that ends in ``timeout_s`` seconds; None: never."""
        self.add_until(call, math.inf if timeout_s is None else self._loop.time() + timeout_s)

    def add_until(self, call: K, deadline: float) -> None:
        """Add an open call that ends at ``deadline``, a time of the event loop; infinity: never."""
        self.open[call] = deadline
        if deadline < self.armed_for:
            self.arm(deadline)

    def close(self) -> None:
        """Cancel the timer for good."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.armed_for = -math.inf

    def arm(self, deadline: float) -> None:
        """Set the timer for ``deadline``.

        Callers that add to ``open`` themselves call this if ``deadline`` is before ``armed_for``.
        """
        if self._timer is not None:
            self._timer.cancel()
        self.armed_for = deadline
        self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.armed_for = math.inf
        now = self._loop.time()
        due = [call for call, deadline in self.open.items() if deadline <= now]
        for call in due:
            self.open.pop(call, None)
            self._on_due(call)
        earliest = min(self.open.values(), default=math.inf)
        if earliest < math.inf and self.armed_for == math.inf:
            self.arm(max(earliest, now + SWEEP_INTERVAL_S))
