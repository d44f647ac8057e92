"""When calls end: one timer for all of them, armed for the earliest.

A call costs one entry in a dict while it is open and nothing afterwards; deadlines are looked
through only when the earliest of them came. With time-outs of seconds and answers within
milliseconds that happens once per time-out, not once per call. Node and Client both count their
calls here; what a deadline that came means is for them to say.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")

SWEEP_INTERVAL_S = 0.005
"""Two sweeps are at least this far apart, and a deadline may strike so much late."""


class Deadlines(Generic[K]):
    """Open calls and when they end; ``on_due`` is called with each that is still here then."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_due: Callable[[K], None]) -> None:
        self._loop = loop
        self._on_due = on_due
        self._timer: asyncio.TimerHandle | None = None
        self.armed_for = math.inf
        """When the next strike is due."""
        self.open: dict[K, float] = {}
        """Callers may take a call out themselves: ``open.pop(call, None)``."""

    def add(self, call: K, timeout_s: float | None) -> None:
        """Open a call that ends in ``timeout_s`` seconds; None for never."""
        self.add_until(call, math.inf if timeout_s is None else self._loop.time() + timeout_s)

    def add_until(self, call: K, deadline: float) -> None:
        """Open a call that ends at ``deadline``, a time of the loop; infinity for never."""
        self.open[call] = deadline
        if deadline < self.armed_for:
            self.arm(deadline)

    def close(self) -> None:
        """Strike no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.armed_for = -math.inf

    def arm(self, deadline: float) -> None:
        """Strike at ``deadline``; for callers that add to ``open`` themselves, if it is before ``armed_for``."""
        if self._timer is not None:
            self._timer.cancel()
        self.armed_for = deadline
        self._timer = self._loop.call_at(deadline, self._strike)

    def _strike(self) -> None:
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
