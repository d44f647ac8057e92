"""A load generator: it keeps a fixed number of calls in flight against a Client, a Node or another server.

It has as many workers as calls in flight. A worker starts its next call when its last one is answered (a closed loop):
one task per worker, none per call. Each worker owns a few keys and writes them one after another; the value is the
number of the call, padded with zeros to the requested size. So the highest number that was acknowledged and the highest
that was sent are known for every key, and the value that is read back at the end must lie between them (``readback``).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from paxospp.bench.histogram import Histogram
from paxospp.bench.kv_calls import GET, PUT
from paxospp.calls import Calls
from paxospp.errors import CallError, OverloadedError

KEYS_PER_WORKER_MAX = 16
KEYS_MAX = 16_384
STATE_BYTES_MAX = 4 << 20
"""Maximum size of all values together. The snapshots of a larger state would dominate the measurement."""
PREPARING_MAX = 256
RETRY_AFTER_S = 0.01
"""How long a worker waits after a failed call."""
CALL_TIMEOUT_S = 30.0

Put = Callable[[str, str], Awaitable[object]]
"""Write a value under a key; it is awaited until the write is acknowledged."""
Get = Callable[[str], Awaitable[object]]
"""Read the value of a key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSpec:
    """The calls that one process makes."""

    in_flight: int
    value_bytes: int
    reads: bool
    prefix: str
    """Prefix of this process's keys; no other process uses it."""
    keys_per_worker: int

    @property
    def keys(self) -> int:
        return self.in_flight * self.keys_per_worker

    def key(self, index: int) -> str:
        worker, own = divmod(index, self.keys_per_worker)
        return f"{self.prefix}{worker}.{own}"

    def value(self, number: int) -> str:
        return str(number).zfill(self.value_bytes)


def keys_per_worker(workers: int, value_bytes: int) -> int:
    """Return how many keys each worker writes, so that number and size of all values stay within the bounds above."""
    affordable = min(KEYS_MAX // workers, STATE_BYTES_MAX // (workers * value_bytes))
    return max(1, min(KEYS_PER_WORKER_MAX, affordable))


@dataclass(slots=True)
class LoadResult:
    """The outcome of the calls of one process."""

    latencies: Histogram = field(default_factory=Histogram)
    """Latencies of the calls answered during the measurement."""
    errors: Counter[str] = field(default_factory=Counter)
    """All calls that failed, also before and after the measurement, by the class name of the error."""
    sent: list[int] = field(default_factory=list)
    """For each key, the last number that was sent, whether or not it was acknowledged."""
    acknowledged: list[int] = field(default_factory=list)
    """For each key, the last number that was acknowledged."""
    wrong: list[str] = field(default_factory=list)
    """Keys for which a read returned another value than the one written."""
    cpu_s: float = 0.0
    """Processor time of this process during the measurement."""

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
    def from_json(cls, found: dict[str, Any]) -> LoadResult:
        result = cls(
            errors=Counter(found["errors"]),
            sent=found["sent"],
            acknowledged=found["acknowledged"],
            wrong=found["wrong"],
            cpu_s=found["cpu_s"],
        )
        result.latencies.merge(found["latencies"])
        return result


class LoadGenerator:
    """Calls ``put``, or ``get`` if the load is reads, in a closed loop."""

    @classmethod
    def for_calls(cls, calls: Calls, spec: LoadSpec) -> LoadGenerator:
        """Return a generator of load on a Client or a Node."""
        return cls(partial(calls.execute, PUT), spec, partial(calls.query, GET))

    def __init__(self, put: Put, spec: LoadSpec, get: Get | None = None) -> None:
        self._put = put
        self._get = get
        self._spec = spec
        self._measured_from = 0.0
        self._until = 0.0
        self.result = LoadResult(sent=[0] * spec.keys, acknowledged=[0] * spec.keys)

    async def prepare(self) -> None:
        """Write a value under every key that is going to be read."""
        if self._spec.reads:
            indices = iter(range(self._spec.keys))
            await gather_or_raise_first(self._fill(indices) for _ in range(min(self._spec.keys, PREPARING_MAX)))

    async def _fill(self, indices: Iterator[int]) -> None:
        for index in indices:
            self.result.sent[index] = 1
            await self._put(self._spec.key(index), self._spec.value(1))
            self.result.acknowledged[index] = 1

    async def run(self, measured_from: float, until: float) -> LoadResult:
        """Keep calls in flight from now until ``until``, and return when the last one is answered.

        Calls answered from ``measured_from`` until ``until`` (both in seconds of ``time.monotonic``) are counted.
        """
        self._measured_from = measured_from
        self._until = until
        work = self._read if self._spec.reads else self._write
        cpu = asyncio.ensure_future(self._measure_cpu())
        try:
            await gather_or_raise_first(work(worker) for worker in range(self._spec.in_flight))
            await cpu
        finally:
            cpu.cancel()
        return self.result

    async def _measure_cpu(self) -> None:
        await asyncio.sleep(self._measured_from - time.monotonic())
        begun = time.process_time()
        await asyncio.sleep(self._until - time.monotonic())
        self.result.cpu_s = time.process_time() - begun

    async def _write(self, worker: int) -> None:
        put, clock = self._put, time.monotonic
        add, sent, acknowledged = self.result.latencies.add, self.result.sent, self.result.acknowledged
        size = self._spec.value_bytes
        measured_from, until = self._measured_from, self._until
        first, count = worker * self._spec.keys_per_worker, self._spec.keys_per_worker
        keys = [self._spec.key(first + own) for own in range(count)]
        number = 0
        ended = clock()
        while ended < until:
            begun = ended
            number += 1
            own = number % count
            sent[first + own] = number
            try:
                await put(keys[own], str(number).zfill(size))
            except (CallError, ConnectionError) as error:
                await self._failed(error)
                ended = clock()
                continue
            acknowledged[first + own] = number
            ended = clock()
            if measured_from <= ended < until:
                add(ended - begun)

    async def _read(self, worker: int) -> None:
        get, clock, add = self._get, time.monotonic, self.result.latencies.add
        assert get is not None, "a load of reads needs a function that reads"
        measured_from, until = self._measured_from, self._until
        first, count = worker * self._spec.keys_per_worker, self._spec.keys_per_worker
        keys = [self._spec.key(first + own) for own in range(count)]
        value = self._spec.value(1)
        number = 0
        ended = clock()
        while ended < until:
            begun = ended
            number += 1
            key = keys[number % count]
            try:
                if await get(key) != value:
                    self.result.wrong.append(key)
            except (CallError, ConnectionError) as error:
                await self._failed(error)
                ended = clock()
                continue
            ended = clock()
            if measured_from <= ended < until:
                add(ended - begun)

    async def _failed(self, error: CallError | ConnectionError) -> None:
        self.result.errors[type(error).__name__] += 1
        await asyncio.sleep(error.retry_after if isinstance(error, OverloadedError) else RETRY_AFTER_S)


async def gather_or_raise_first(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all coroutines at the same time; the first failure cancels the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for part in work:
                group.create_task(part)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
