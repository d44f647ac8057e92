"""Virtual time: one queue of events for the whole world, and for each node an event loop on top of it.

``Clock`` defines the order of events: by time, then by the order in which they were scheduled. It keeps the hash
of everything that happened, with which two runs are compared. ``VirtualLoop`` replaces the event loop of the real parts
of a node and has only what they use: time, ``call_soon``, ``call_later``, ``call_at``, futures. Its clock may run fast
or slow.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import struct
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

Handler = Callable[[Any], None]

START_S = 1000.0
_TRACE_MAX = 4096


class Clock:
    """Virtual seconds, and the events to come."""

    def __init__(self) -> None:
        self.now = START_S
        self.events = 0
        """Number of events so far: messages that arrived, timers, writes, calls."""
        self._heap: list[tuple[float, int, Handler, Any]] = []
        self._count = 0
        self._trace: list[float] = []
        self._hash = hashlib.blake2b(digest_size=16)

    def at(self, time: float, handler: Handler, argument: Any) -> None:
        """Call ``handler(argument)`` at ``time``."""
        self._count += 1
        heapq.heappush(self._heap, (time, self._count, handler, argument))

    def after(self, delay_s: float, handler: Handler, argument: Any = None) -> None:
        self.at(self.now + delay_s, handler, argument)

    def run_until(self, time: float) -> None:
        """Handle every event that is due up to ``time``, and set the clock to it."""
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= time:
            self.now, _, handler, argument = pop(heap)
            handler(argument)
        self.now = time

    # What happened.

    def trace(self, what: float) -> None:
        """Add the time and ``what`` to the hash; whole numbers below 2**53 are exact."""
        self.events += 1
        trace = self._trace
        trace.append(self.now)
        trace.append(what)
        if len(trace) >= _TRACE_MAX:
            self._flush()

    def trace_bytes(self, data: bytes) -> None:
        """Add bytes to the hash."""
        self._flush()
        self._hash.update(data)

    def _flush(self) -> None:
        trace = self._trace
        self._hash.update(struct.pack(f"{len(trace)}d", *trace))
        trace.clear()

    @property
    def event_hash(self) -> str:
        """Return the hash of everything that happened so far; equal for equal seeds."""
        self._flush()
        return self._hash.hexdigest()


class _Timer(asyncio.TimerHandle):
    """A timer of a VirtualLoop; small, because a run makes many."""

    __slots__ = ("arguments", "call", "loop", "off")

    def __init__(self, loop: VirtualLoop, call: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        # The base class is not initialised: it would ask the loop for what a virtual one does not have.
        self.loop = loop
        self.call = call
        self.arguments = arguments
        self.off = False

    def cancel(self) -> None:
        self.off = True

    def cancelled(self) -> bool:
        return self.off

    def __repr__(self) -> str:
        return f"<timer {self.call}>"

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


class VirtualLoop(asyncio.AbstractEventLoop):
    """The event loop of one boot of a node; ``take(call, arguments)`` runs what is due, if the node can."""

    def __init__(
        self,
        clock: Clock,
        take: Callable[[VirtualLoop, Callable[..., object], tuple[Any, ...]], None],
        *,
        rate: float,
        offset_s: float,
        code: int,
    ) -> None:
        self.ready: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._clock = clock
        self._take = take
        self._code = code
        self._rate = rate
        self._began = clock.now
        self._base = clock.now + offset_s

    def time(self) -> float:
        return self._base + (self._clock.now - self._began) * self._rate

    def world_time(self, time: float) -> float:
        """Return the time of the world at which the clock of this loop says ``time``."""
        return self._began + (time - self._base) / self._rate

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> None:
        self.ready.append((callback, args))

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = _Timer(self, callback, args)
        self._clock.at(self._clock.now + max(delay, 0.0) / self._rate, self._fire, timer)
        return timer

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = _Timer(self, callback, args)
        # A little late, as any real timer is: a callback that asks for the time must not find it too early.
        at = self.world_time(when) + 1e-6
        self._clock.at(max(at, self._clock.now), self._fire, timer)
        return timer

    def _fire(self, timer: _Timer) -> None:
        if not timer.off:
            self._clock.trace(self._code)
            self._take(self, self._strike, (timer,))

    @staticmethod
    def _strike(timer: _Timer) -> None:
        if not timer.off:
            timer.call(*timer.arguments)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Ignore the error of a future that nobody fetched: its caller died with its node."""
