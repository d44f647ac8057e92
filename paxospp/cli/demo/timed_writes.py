"""The writes and reads of the demo: many in flight, each timed by the client that makes them.

The gap at fail-over is what a client notices: the longest time between two acknowledgements, of which the second came
after the kill.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from paxospp.cli.demo.input_pairs import Value, fingerprint
from paxospp.client import Client
from paxospp.errors import OutcomeUnknownError, OverloadedError, UnavailableError

IN_FLIGHT = 256
KILL_AFTER = 0.4
"""The share of all writes that is acknowledged before the leader is killed."""


class TimedWrites:
    """Writes every pair, ``repeats`` times over, and measures latencies and the gap at fail-over."""

    def __init__(
        self, client: Client, pairs: Mapping[str, Value], repeats: int, on_write: Callable[[int], None]
    ) -> None:
        self._client = client
        self._pairs = ((key, value) for _ in range(repeats) for key, value in pairs.items())
        self._on_write = on_write
        self._kill_at = int(len(pairs) * repeats * KILL_AFTER)
        self._in_flight = 0
        self._acknowledged_at = time.monotonic()
        self._killed_at = 0.0
        self.latencies_s: list[float] = []
        self.before_kill = 0
        """How many of the latencies are of writes acknowledged before the kill."""
        self.seconds = 0.0
        self.gap_s = 0.0
        self.may_kill = asyncio.Event()
        """Set when many writes are acknowledged and others are in flight."""
        self.resumed = asyncio.Event()
        """Set when a write that began after the kill is acknowledged, or all writes are."""

    async def run(self) -> None:
        """Write everything; return when every write is acknowledged."""
        begun = self._acknowledged_at = time.monotonic()
        await _many(self._write)
        self.seconds = time.monotonic() - begun
        self.resumed.set()

    def leader_is_killed(self) -> int:
        """Start measuring the gap between acknowledgements; return how many writes are in flight."""
        self._killed_at = time.monotonic()
        self.before_kill = len(self.latencies_s)
        return self._in_flight

    async def _write(self) -> None:
        for key, value in self._pairs:
            begun = time.monotonic()
            self._in_flight += 1
            while not await self._put(key, value):
                pass
            self._in_flight -= 1
            now = time.monotonic()
            self.latencies_s.append(now - begun)
            if self._killed_at:
                self.gap_s = max(self.gap_s, now - self._acknowledged_at)
                if begun > self._killed_at:
                    self.resumed.set()
            self._acknowledged_at = now
            done = len(self.latencies_s)
            self._on_write(done)
            if done == self._kill_at:
                self.may_kill.set()

    async def _put(self, key: str, value: Value) -> bool:
        """Return whether the write is known to be applied. If not, repeat it: writing a value twice does no harm."""
        try:
            await self._client.execute("put", key, value)
        except (OutcomeUnknownError, UnavailableError):
            return False
        except OverloadedError as error:
            await asyncio.sleep(error.retry_after)
            return False
        return True


async def read_differences(client: Client, pairs: Mapping[str, Value], on_read: Callable[[int], None]) -> list[str]:
    """Return the keys for which the node of ``client`` has another value than ``pairs``."""
    numbered = enumerate(pairs.items(), 1)
    different: list[str] = []

    async def read() -> None:
        for number, (key, value) in numbered:
            if fingerprint(await client.query("get", key)) != fingerprint(value):
                different.append(key)
            on_read(number)

    await _many(read)
    return different


async def _many(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run ``IN_FLIGHT`` of ``work`` at the same time; the first failure cancels the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(work())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


def percentile(sorted_values: Sequence[float], fraction: float) -> float:
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * fraction))]
