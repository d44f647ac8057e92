"""Ten times the load that a cluster can take: calls are refused at once, and leader and memory stay (K3, B55)."""

from __future__ import annotations

import asyncio
import gc
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import paxospp_file
import pytest

import paxospp
from paxospp.config import NodeConfig
from paxospp.errors import CallError, OverloadedError, UnavailableError
from paxospp.events import LeaderChanged
from paxospp.node.pacing import Pacing
from tests.cluster.embedding import Embedded, Notes, embedded, free_addresses, run
from tests.cluster.serving import Serving

CONFIG = NodeConfig(inbox_calls_max=32, inbox_bytes_max=1 << 20, snapshot_log_bytes_max=4 << 20, tail_bytes_max=4 << 20)
WRITE_S = 0.03


class SlowFile(paxospp_file.FileStorage):
    """A slow disk, so that one process can offer ten times the load that the disk can take."""

    slowest_s: ClassVar[float] = 0.0
    """The longest write, in seconds; a leader whose write takes two election time-outs rightly steps down."""

    def persist(self, batch: paxospp.WriteBatch) -> None:
        began = time.monotonic()
        time.sleep(WRITE_S)
        super().persist(batch)
        SlowFile.slowest_s = max(SlowFile.slowest_s, time.monotonic() - began)


@asynccontextmanager
async def slow_cluster(path: Path) -> AsyncIterator[Embedded]:
    cluster = Embedded(path, config=CONFIG)
    try:
        for name in cluster.cluster:
            await cluster.start(name, storage=partial(SlowFile, str(path / name)))
        await cluster.ready()
        yield cluster
    finally:
        await asyncio.gather(*(node.close() for node in cluster.nodes.values()))


def runtime(node: Any) -> Any:
    return node._runtime


def resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def held(cluster: Embedded) -> int:
    """Return the bytes of calls, values and messages in flight that the nodes hold."""
    found = 0
    for node in cluster.nodes.values():
        its = runtime(node)
        found += its.local._queued_bytes + its.local._sent_bytes + its.inbox._own.bytes + its.inbox._forwarded.bytes
        found += sum(link._outbox.bytes for link in its.links._links.values())
        found += sum(len(entry.value) for entry in its.driver._decided) + its.replica.protocol.log.bytes
    return found


class Load:
    """Callers that make calls at a given rate without waiting for the answers."""

    def __init__(self, callers: list[Any], payload: str) -> None:
        self.callers = callers
        self.payload = payload
        self.answered = self.refused = 0
        self.hints: set[float] = set()
        self.slowest_refusal_s = 0.0
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self, seconds: float, calls_per_s: float) -> float:
        """Make ``calls_per_s`` calls per second for ``seconds``; return how many were made per second."""
        began = time.monotonic()
        made = 0
        while (elapsed := time.monotonic() - began) < seconds:
            while made < elapsed * calls_per_s and time.monotonic() - began < elapsed + 0.01:
                task = asyncio.create_task(self._call(self.callers[made % len(self.callers)]))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
                made += 1
            await asyncio.sleep(0.002)
        while self._under_way:
            await asyncio.wait(self._under_way)
        return made / (time.monotonic() - began)

    async def _call(self, caller: Any) -> None:
        began = time.monotonic()
        try:
            await caller.execute(Notes.put, "key", self.payload)
            self.answered += 1
        except OverloadedError as error:
            self.refused += 1
            self.hints.add(error.retry_after)
            self.slowest_refusal_s = max(self.slowest_refusal_s, time.monotonic() - began)
        except CallError:
            pass


async def capacity(callers: list[Any], payload: str, seconds: float) -> float:
    """Return the calls per second of callers that wait for each answer."""
    end = time.monotonic() + seconds
    done = 0

    async def call(caller: Any) -> None:
        nonlocal done
        while time.monotonic() < end:
            await caller.execute(Notes.put, "key", payload)
            done += 1

    await asyncio.gather(*(call(callers[number % len(callers)]) for number in range(3 * CONFIG.inbox_calls_max - 9)))
    return done / seconds


@pytest.mark.parametrize(
    "seconds",
    [pytest.param(1.5, marks=pytest.mark.long), pytest.param(20.0, marks=[pytest.mark.long, pytest.mark.timeout(240)])],
)
def test_ten_times_the_load_changes_neither_leader_nor_memory(ram: Path, seconds: float) -> None:
    async def main() -> None:
        async with slow_cluster(ram) as cluster:
            ballot = (await cluster.leader()).status().ballot
            callers: list[Any] = list(cluster.nodes.values())
            payload = "x" * 1_000
            per_second = await capacity(callers, payload, min(seconds / 3, 1.0))
            load = Load(callers, payload)
            await load.run(min(seconds / 3, 10.0), 10 * per_second)
            gc.collect()
            before, events, most, slowest_turn_s = resident_bytes(), len(cluster.events), 0, 0.0
            SlowFile.slowest_s = 0.0

            async def watch() -> None:
                nonlocal most, slowest_turn_s
                while True:
                    most = max(most, held(cluster))
                    began = time.monotonic()
                    await asyncio.sleep(0.05)
                    slowest_turn_s = max(slowest_turn_s, time.monotonic() - began - 0.05)

            watching = asyncio.create_task(watch())
            offered = await load.run(seconds, 10 * per_second)
            watching.cancel()
            gc.collect()
            print(
                f"{per_second:.0f} calls/s are taken, {offered:.0f} were offered, {load.answered} answered, "
                f"{load.refused} refused, the slowest after {load.slowest_refusal_s * 1e3:.1f} ms; "
                f"{most / 1e6:.0f} MB held at most; {(resident_bytes() - before) / 1e6:.0f} MB grown"
            )
            # The callers share the event loop: between two long turns, a follower may miss the leader's heartbeats.
            led = {event.ballot for event in cluster.events[events:] if isinstance(event, LeaderChanged)} - {None}
            slowest = f"a write took up to {SlowFile.slowest_s:.3f} s, a turn of the loop {slowest_turn_s:.3f} s"
            assert led <= {ballot}, slowest
            assert load.refused > load.answered > 0
            assert min(load.hints) > 0
            # The limits of three nodes, and the tails of their logs in memory.
            assert most < 3 * (2 * CONFIG.inbox_bytes_max + CONFIG.tail_bytes_max)
            assert resident_bytes() - before < 48 << 20
            for caller in callers:
                await caller.execute(Notes.put, "after", "all", timeout=30.0)
            await cluster.agree()
            assert (await cluster.leader()).status().ballot == ballot, slowest

    run(main)


def test_a_node_at_its_limits_refuses_calls_at_once_and_accepts_them_again_later(tmp_path: Path) -> None:
    async def main() -> None:
        config = NodeConfig(inbox_calls_max=100)
        async with embedded(tmp_path, config=config) as cluster:
            node = await cluster.follower()
            calls = [asyncio.ensure_future(node.execute(Notes.add, 1)) for _ in range(250)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            refused = [result for result in results if isinstance(result, OverloadedError)]
            assert len(refused) == 150
            assert refused[0].retry_after > 0
            assert await node.execute(Notes.add, 1) == 101

    run(main)


def test_a_client_without_a_node_refuses_calls_at_once_beyond_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paxospp.client.started.CALLS_MAX", 50)
    monkeypatch.setattr("paxospp.client.started.BYTES_MAX", 100_000)

    async def main() -> None:
        async with paxospp.Client(free_addresses(1), timeout=0.3) as client:
            calls = [asyncio.ensure_future(client.execute(Notes.add, 1)) for _ in range(60)]
            large = asyncio.ensure_future(client.execute(Notes.put, "key", "x" * 100_000))
            results = await asyncio.gather(*calls, large, return_exceptions=True)
            assert [type(result) for result in results] == [UnavailableError] * 50 + [OverloadedError] * 11

    run(main)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_cluster_of_processes_withstands_clients_with_ten_times_its_load(ram: Path) -> None:
    """Calls that a node does not read stay queued in its client, which refuses calls when its queue is full."""

    def sizes(serving: Serving) -> list[int]:
        return [
            int(Path(f"/proc/{process.pid}/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
            for process in serving.processes.values()
        ]

    async def main(serving: Serving) -> None:
        async with paxospp.Client(serving.addresses) as client:
            await client.execute("put", "a", "b", timeout=30.0)
            leader = (await client_status(serving))["leader"]

            async def call() -> None:
                with_retry = client.execute("put", "key", "x" * 1_000, timeout=60.0)
                try:
                    await with_retry
                except OverloadedError as error:
                    await asyncio.sleep(error.retry_after)

            async def caller(end: float) -> None:
                while time.monotonic() < end:
                    await call()

            warm = time.monotonic() + 10.0
            await asyncio.gather(*(caller(warm) for _ in range(20_000)))
            before = sizes(serving)
            end = time.monotonic() + 60.0
            await asyncio.gather(*(caller(end) for _ in range(20_000)))
            after = sizes(serving)
            print(before, after)
            assert (await client_status(serving))["leader"] == leader
            assert all(now - then < 64 << 20 for then, now in zip(before, after, strict=True))

    with Serving(ram) as serving:
        serving.start()
        serving.wait_founded()
        asyncio.run(main(serving))


async def client_status(serving: Serving) -> dict[str, Any]:
    from paxospp.rpc.unary_calls import fetch_status

    status = await fetch_status(serving.addresses[0], timeout_s=5.0)
    assert status is not None
    return status


class Slow(Notes):
    """A machine that is slow at every command."""

    @paxospp.command
    def put(self, key: str, value: str = "nothing") -> str | None:
        time.sleep(0.01)
        return super().put(key, value[:1])


@pytest.mark.long
def test_a_replica_whose_machine_is_slow_does_not_hold_the_log_of_the_others_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paxospp.node.environment.PACING", Pacing(backlog_bytes_max=1 << 20))

    async def main() -> None:
        config = NodeConfig(tail_bytes_max=1 << 20, batch_bytes_max=100_000, snapshot_log_bytes_max=1 << 30)
        async with embedded(tmp_path, config=config) as cluster:
            fast, slow = await cluster.leader(), await cluster.follower()
            for _ in range(120):
                await fast.execute(Notes.put, "key", "x" * 100_000, timeout=60.0)
            await cluster.agree()
            await cluster.stop(slow.name)
            slow = await cluster.start(slow.name, machine=Slow)
            most = 0
            while slow.status().applied < fast.status().decided:
                most = max(most, runtime(slow).driver._backlog_bytes)
                await asyncio.sleep(0.001)
            assert 1 << 19 < most < 4 << 20, "the limit and one delivery, out of twelve megabytes"
            await fast.execute(Notes.put, "after", "all")
            await cluster.until(lambda: slow.status().applied == fast.status().applied)

    run(main)
