"""The load: a closed loop of workers, each with one call under way, whoever takes the calls.

There are as many workers as calls in flight, and each begins its next call when its last one is
answered: one task per worker, none per call. A worker owns a few keys and goes round them; the
value it puts is the call's number, padded with zeros to the size asked for. So of every key it is
known which number was acknowledged last and which was sent last, and what is read back at the end
has to lie between them (``checking``).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from paxospp.calls import Calls
from paxospp.cli.bench.histogram import Histogram
from paxospp.cli.bench.machine import GET, PUT
from paxospp.errors import CallError, OverloadedError

KEYS_PER_WORKER_MAX = 16
KEYS_MAX = 16_384
STATE_BYTES_MAX = 4 << 20
"""What all keys' values may weigh together: a large state would be measured by its snapshots."""
PREPARING_MAX = 256
REST_S = 0.01
"""Before the next call of a worker whose last one failed."""
CALL_TIMEOUT_S = 30.0

Put = Callable[[str, str], Awaitable[object]]
Get = Callable[[str], Awaitable[object]]
"""What is awaited is that the call was answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one process calls."""

    in_flight: int
    value_bytes: int
    reads: bool
    prefix: str
    """What this process's keys begin with, and nobody else's."""
    keys_per_worker: int

    @property
    def keys(self) -> int:
        return self.in_flight * self.keys_per_worker

    def key(self, place: int) -> str:
        worker, turn = divmod(place, self.keys_per_worker)
        return f"{self.prefix}{worker}.{turn}"

    def value(self, number: int) -> str:
        return str(number).zfill(self.value_bytes)


def keys_per_worker(workers: int, value_bytes: int) -> int:
    """How many keys each of ``workers`` goes round, so that their values stay within bounds."""
    room = min(KEYS_MAX // workers, STATE_BYTES_MAX // (workers * value_bytes))
    return max(1, min(KEYS_PER_WORKER_MAX, room))


@dataclass(slots=True)
class Tally:
    """What came of the calls of one process."""

    latencies: Histogram = field(default_factory=Histogram)
    """Of the calls answered while it was measured."""
    errors: Counter[str] = field(default_factory=Counter)
    """All that failed, also before and after, by the name of the error."""
    sent: list[int] = field(default_factory=list)
    """Per key: the last number that was put there, answered or not."""
    acknowledged: list[int] = field(default_factory=list)
    """Per key: the last number whose put was answered."""
    wrong: list[str] = field(default_factory=list)
    """Keys for which a read, while it was measured, gave something else than what had been put."""
    cpu_s: float = 0.0
    """What this process spent while it was measured."""

    def to_json(self) -> dict[str, Any]:
        return {
            "latencies": self.latencies.pairs(),
            "errors": dict(self.errors),
            "sent": self.sent,
            "acknowledged": self.acknowledged,
            "wrong": self.wrong,
            "cpu_s": self.cpu_s,
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Tally:
        tally = cls(
            errors=Counter(found["errors"]),
            sent=found["sent"],
            acknowledged=found["acknowledged"],
            wrong=found["wrong"],
            cpu_s=found["cpu_s"],
        )
        tally.latencies.merge(found["latencies"])
        return tally


class Load:
    """Calls ``put``, or ``get`` if the work is to read, in a closed loop."""

    @classmethod
    def of(cls, calls: Calls, work: Work) -> Load:
        """The load on a Client or a Node."""
        return cls(partial(calls.execute, PUT), work, partial(calls.query, GET))

    def __init__(self, put: Put, work: Work, get: Get | None = None) -> None:
        self._put = put
        self._get = get
        self._work = work
        self._measured_from = 0.0
        self._until = 0.0
        self.tally = Tally(sent=[0] * work.keys, acknowledged=[0] * work.keys)

    async def prepare(self) -> None:
        """Put something under every key that is going to be read."""
        if self._work.reads:
            places = iter(range(self._work.keys))
            await together(self._fill(places) for _ in range(min(self._work.keys, PREPARING_MAX)))

    async def _fill(self, places: Iterator[int]) -> None:
        for place in places:
            self.tally.sent[place] = 1
            await self._put(self._work.key(place), self._work.value(1))
            self.tally.acknowledged[place] = 1

    async def run(self, measured_from: float, until: float) -> Tally:
        """Keep the calls in flight from now on; count those that are answered between two times of ``monotonic``.

        Returns when the last call is answered.
        """
        self._measured_from = measured_from
        self._until = until
        work = self._read if self._work.reads else self._write
        watch = asyncio.ensure_future(self._watch_cpu())
        try:
            await together(work(worker) for worker in range(self._work.in_flight))
            await watch
        finally:
            watch.cancel()
        return self.tally

    async def run_alone(self, measured_from: float, until: float) -> list[Tally]:
        """``run`` where there is no other process."""
        return [await self.run(measured_from, until)]

    async def _watch_cpu(self) -> None:
        await asyncio.sleep(self._measured_from - time.monotonic())
        begun = time.process_time()
        await asyncio.sleep(self._until - time.monotonic())
        self.tally.cpu_s = time.process_time() - begun

    async def _write(self, worker: int) -> None:
        put, clock = self._put, time.monotonic
        add, sent, acknowledged = self.tally.latencies.add, self.tally.sent, self.tally.acknowledged
        size = self._work.value_bytes
        measured_from, until = self._measured_from, self._until
        first, turns = worker * self._work.keys_per_worker, self._work.keys_per_worker
        keys = [self._work.key(first + turn) for turn in range(turns)]
        number = 0
        ended = clock()
        while ended < until:
            begun = ended
            number += 1
            turn = number % turns
            sent[first + turn] = number
            try:
                await put(keys[turn], str(number).zfill(size))
            except (CallError, ConnectionError) as error:
                await self._failed(error)
                ended = clock()
                continue
            acknowledged[first + turn] = number
            ended = clock()
            if measured_from <= ended < until:
                add(ended - begun)

    async def _read(self, worker: int) -> None:
        get, clock, add = self._get, time.monotonic, self.tally.latencies.add
        assert get is not None, "a load that reads needs something to read with"
        measured_from, until = self._measured_from, self._until
        first, turns = worker * self._work.keys_per_worker, self._work.keys_per_worker
        keys = [self._work.key(first + turn) for turn in range(turns)]
        value = self._work.value(1)
        number = 0
        ended = clock()
        while ended < until:
            begun = ended
            number += 1
            key = keys[number % turns]
            try:
                if await get(key) != value:
                    self.tally.wrong.append(key)
            except (CallError, ConnectionError) as error:
                await self._failed(error)
                ended = clock()
                continue
            ended = clock()
            if measured_from <= ended < until:
                add(ended - begun)

    async def _failed(self, error: CallError | ConnectionError) -> None:
        self.tally.errors[type(error).__name__] += 1
        await asyncio.sleep(error.retry_after if isinstance(error, OverloadedError) else REST_S)


async def together(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all; the first failure ends all and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for part in work:
                group.create_task(part)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
