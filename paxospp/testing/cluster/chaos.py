"""Chaos tests: clients that call, random faults, and a history of the calls.

``driven`` lets clients call what a workload draws while a block runs. ``Nemesis`` injects faults: one at a time, from
the families it is given, each held for a while and ended again. Faults are drawn from a seed, which repeats the faults,
but not how a real cluster reacts to them.

The structure (generator, nemesis, history, checker) and the name are from Jepsen.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from random import Random
from typing import Any

from paxospp.calls import Consistency
from paxospp.errors import CallError
from paxospp.state_machine import Query
from paxospp.testing.checkers import History
from paxospp.testing.cluster.cluster import Cluster
from paxospp.testing.cluster.disks import why_no_disk_faults
from paxospp.testing.cluster.recorded_calls import Recorded

Workload = Callable[[Random], tuple[Any, ...]]
"""Draws the next call: an operation and its arguments, such as ``(KeyValue.put, "a", 1)``."""


@contextlib.asynccontextmanager
async def driven(
    cluster: Cluster,
    history: History,
    workload: Workload,
    random: Random,
    *,
    clients: int = 5,
    timeout: float = 2.0,
    pause_s: float = 0.005,
    consistency: Consistency = "linearizable",
    follow_leader: bool = True,
) -> AsyncIterator[None]:
    """Let clients call what ``workload`` draws while the block runs, and record the calls in ``history``.

    Args:
        cluster: the cluster to call.
        history: where to record the calls.
        workload: draws the next call of a client.
        random: seeds the generator of each client.
        clients: the number of clients; each makes one call after another.
        timeout: the timeout of each call, in seconds.
        pause_s: the mean pause between two calls of a client, in seconds.
        consistency: the consistency of queries. Only ``linearizable`` and ``lease`` give a linearizable history.
        follow_leader: whether clients may call every node; otherwise each calls one node only, and the clients are
            spread over the nodes.
    """
    ends = asyncio.Event()
    tasks = [
        asyncio.create_task(
            _drive(
                Recorded(
                    cluster.client(*_asked(cluster, number, follow_leader), timeout=timeout),
                    history,
                    f"c{number}" if follow_leader else f"c{number} of one node",
                ),
                workload,
                Random(random.getrandbits(64)),
                ends,
                pause_s,
                consistency,
            ),
            name=f"client c{number}",
        )
        for number in range(clients)
    ]
    try:
        yield
    finally:
        ends.set()
        await asyncio.gather(*tasks)


def _asked(cluster: Cluster, number: int, follow_leader: bool) -> tuple[str, ...]:
    return () if follow_leader else (cluster.names[number % len(cluster.names)],)


async def _drive(
    calls: Recorded, workload: Workload, random: Random, ends: asyncio.Event, pause_s: float, consistency: Consistency
) -> None:
    while not ends.is_set():
        operation, *arguments = workload(random)
        with contextlib.suppress(CallError):  # the history has recorded it
            if isinstance(operation, Query):
                await calls.query(operation, *arguments, consistency=consistency)
            else:
                await calls.execute(operation, *arguments)
        await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))


class Nemesis:
    """Injects faults into a cluster, one at a time, and counts them.

    The families of faults are ``kill``, ``kill many``, ``isolate``, ``partition``, ``one way``, ``delay``, ``reset``,
    ``half open``, and with a process per node ``pause`` and ``disk`` (fsync fails, which must end the node). A fault
    of a single node hits the leader in half of the cases.

    Args:
        cluster: the cluster, which must be running.
        random: draws the families, the nodes and the durations.
        families: the families to draw from.
        hold_s: the mean time for which a fault is held, in seconds.
    """

    NETWORK = ("isolate", "partition", "one way", "delay", "reset", "half open")
    KILLS = ("kill", "kill many")
    PROCESSES = ("pause", "disk")

    def __init__(self, cluster: Cluster, random: Random, families: Sequence[str], *, hold_s: float = 0.8) -> None:
        harms = {
            "kill": self._kill,
            "kill many": self._kill_many,
            "isolate": self._isolate,
            "partition": self._partition,
            "one way": self._one_way,
            "delay": self._delay,
            "reset": self._reset,
            "half open": self._half_open,
            "pause": self._pause,
            "disk": self._disk,
        }
        self._cluster = cluster
        self._random = random
        self._hold_s = hold_s
        self._harms: dict[str, Callable[[], Awaitable[None]]] = {family: harms[family] for family in families}
        self.counts: Counter[str] = Counter()
        """How often each family was drawn; ``SIGKILL`` counts the killed nodes."""

    async def strike(self, family: str | None = None) -> None:
        """Inject one fault and end it: when this returns, all links work and all nodes were started."""
        drawn = family or self._random.choice(list(self._harms))
        self.counts[drawn] += 1
        await self._harms[drawn]()
        await self._cluster.heal()

    async def strike_for(self, seconds: float) -> None:
        """Inject one fault after another for ``seconds``, with pauses in between."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while loop.time() < until:
            await self.strike()
            await self._hold(0.5)

    async def _hold(self, factor: float = 1.0) -> None:
        await asyncio.sleep(self._hold_s * factor * self._random.uniform(0.0, 2.0))

    async def _someone(self) -> str:
        """Draw a node; in half of the cases the leader, if a node leads now."""
        if self._random.random() < 0.5:
            leading = [name for name, status in (await self._cluster.statuses()).items() if status["role"] == "leader"]
            if leading:
                return self._random.choice(leading)
        return self._random.choice(self._cluster.names)

    def _pair(self) -> tuple[str, str]:
        one, other = self._random.sample(self._cluster.names, 2)
        return one, other

    # Families.

    async def _kill(self) -> None:
        await self._kill_these([await self._someone()])

    async def _kill_many(self) -> None:
        count = self._random.randint(min(2, len(self._cluster.names)), len(self._cluster.names))
        await self._kill_these(self._random.sample(self._cluster.names, count))

    async def _kill_these(self, names: Sequence[str]) -> None:
        self.counts["SIGKILL"] += len(names)
        await asyncio.gather(*(self._cluster.kill(name) for name in names))
        await self._hold()
        await asyncio.gather(*(self._cluster.start(name) for name in names))

    async def _isolate(self) -> None:
        await self._cluster.isolate(await self._someone(), refuse=self._random.random() < 0.3)
        await self._hold()

    async def _partition(self) -> None:
        names = self._random.sample(self._cluster.names, len(self._cluster.names))
        at = self._random.randint(1, len(names) - 1)
        await self._cluster.partition(names[:at], names[at:])
        await self._hold()

    async def _one_way(self) -> None:
        await self._cluster.cut(*self._pair(), one_way=True)
        await self._hold()

    async def _delay(self) -> None:
        await self._cluster.delay(
            *self._pair(), self._random.uniform(0.001, 0.2), jitter_s=self._random.uniform(0, 0.1)
        )
        await self._hold()

    async def _reset(self) -> None:
        await self._cluster.reset(*self._pair())

    async def _half_open(self) -> None:
        await self._cluster.half_open(*self._pair(), one_way=self._random.random() < 0.5)
        await self._hold()

    async def _pause(self) -> None:
        name = await self._someone()
        await self._cluster.pause(name)
        await self._hold(1.5)
        await self._cluster.resume(name)

    async def _disk(self) -> None:
        if why_no_disk_faults() is not None:
            self.counts["disk: not available"] += 1
            return
        name = await self._someone()
        await self._cluster.fail_disk(name, error=self._random.choice(["EIO", "ENOSPC"]), when="1")
        await self._hold()
        await self._cluster.kill(name)  # it has ended by itself already, if it wrote at all
        await self._cluster.start(name)
