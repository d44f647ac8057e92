"""Exactly once on real nodes: expiry, clocks that jump, full session tables, nodes that lag."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import paxospp
from paxospp.config import NodeConfig
from paxospp.errors import OutcomeUnknownError, OverloadedError, UnavailableError
from paxospp.messages import Heartbeat, HeartbeatAnswer
from paxospp.node import Node
from paxospp.rpc.call_stream import CallStream
from paxospp.wire.v1 import client_pb2 as wire
from tests.cluster.embedding import Notes, embedded, run
from tests.cluster.weather import Weather

HOUR_US = 3_600_000_000


class Tally(Notes):
    """A machine that records every number it was given, so that a repetition shows."""

    seen: list[int]

    def __init__(self) -> None:
        super().__init__()
        self.seen = []

    @paxospp.command
    def take(self, number: int) -> int:
        self.seen.append(number)
        return len(self.seen)

    @paxospp.query
    def taken(self) -> list[int]:
        return self.seen


def runtime(node: Node) -> Any:
    assert node._runtime is not None
    return node._runtime


async def greeting_of(address: str) -> wire.Greeting:
    async with CallStream(address) as stream:
        stream.send(wire.CallRequest(open_session=wire.OpenSession()))
        async for response in stream:
            if response.HasField("greeting"):
                return response.greeting
    raise AssertionError("no greeting")


def test_a_leader_whose_clock_jumps_an_hour_ahead_loses_nothing_acknowledged_and_applies_nothing_twice(
    tmp_path: Path,
) -> None:
    """Faults C1 and C2, bug B35: the jump expires every session that is silent, at the same slot everywhere."""

    async def main() -> None:
        async with embedded(tmp_path, machines=dict.fromkeys(("n1", "n2", "n3"), Tally)) as cluster:
            leader = await cluster.leader()
            acknowledged: list[int] = []
            unknown: list[int] = []
            count = 0
            stop = asyncio.Event()

            async def call(caller: Any) -> None:
                nonlocal count
                while not stop.is_set():
                    count += 1
                    number = count
                    try:
                        await caller.execute(Tally.take, number)
                        acknowledged.append(number)
                    except OutcomeUnknownError:
                        unknown.append(number)

            async with paxospp.Client(list(cluster.cluster.values()), timeout=20.0) as client:
                callers = [*cluster.nodes.values(), client]
                calls = [asyncio.create_task(call(caller)) for caller in callers for _ in range(5)]
                for jump in range(4):
                    for node in cluster.nodes.values():
                        runtime(node).local.on_leader_changed()  # everything in flight is sent once more
                    await asyncio.sleep(0.1)
                    clock = runtime(leader).inbox._clock
                    clock._stamp += 2 * HOUR_US
                    assert runtime(leader).executor.log_time < (jump + 2) * 2 * HOUR_US
                    await asyncio.sleep(0.1)
                stop.set()
                await asyncio.gather(*calls)
                assert runtime(leader).executor.log_time > 8 * HOUR_US
                for caller in callers:
                    count += 1
                    await caller.execute(Tally.take, count)
                    acknowledged.append(count)
            seen = await leader.query(Tally.taken)
            assert len(seen) == len(set(seen)), "something was applied twice"
            assert set(acknowledged) <= set(seen), "something acknowledged is lost"
            assert set(seen) <= set(acknowledged) | set(unknown)
            await cluster.agree()

    run(main)


def test_what_an_expired_session_had_unanswered_is_unknown_and_a_new_one_follows(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path, config=NodeConfig(session_expiry_s=1)) as cluster:
            leader, follower = await cluster.leader(), await cluster.follower()
            await leader.execute(Notes.add, 50)
            await follower.execute(Notes.add, 1)
            weather = Weather(cluster)
            weather.isolate(follower.name, others=set(cluster.nodes) - {follower.name})
            lost = asyncio.ensure_future(follower.execute(Notes.add, 10, timeout=30.0))
            for _ in range(5):
                runtime(leader).inbox._clock._stamp += 500_000
                await leader.execute(Notes.add, 10)
            assert not lost.done()
            weather.clear()
            with pytest.raises(OutcomeUnknownError, match="expired"):
                await lost
            assert await follower.execute(Notes.add, 1000) == 1101
            await cluster.agree()

    run(main)


def test_the_first_call_after_a_long_silence_is_answered(tmp_path: Path) -> None:
    """The log's time stood still in the meantime; a session opened at that time must not expire at once."""

    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            leader, follower = await cluster.leader(), await cluster.follower()
            await leader.execute(Notes.add, 1)
            await cluster.agree()
            for node in cluster.nodes.values():
                runtime(node).inbox._clock._at -= 7 * 3600.0
            assert await follower.execute(Notes.add, 1) == 2
            async with paxospp.Client(list(cluster.cluster.values())) as client:
                runtime(leader).inbox._clock._at -= 7 * 3600.0
                assert await client.execute(Notes.add, 1) == 3
            assert await leader.execute(Notes.add, 1) == 4

    run(main)


def test_a_greeting_says_which_cluster_and_when_sessions_expire(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path, config=NodeConfig(session_expiry_s=77)) as cluster:
            await cluster.nodes["n1"].execute(Notes.add, 1)
            await cluster.agree()
            ids = set()
            for address in cluster.cluster.values():
                greeting = await greeting_of(address)
                assert greeting.session_expiry_s == 77
                assert greeting.leader.node == cluster.nodes["n1"].status().leader
                assert greeting.log_time > 0 or runtime(cluster.nodes["n1"]).executor.log_time == 0
                ids.add(greeting.cluster_id)
            assert ids == {runtime(cluster.nodes["n1"]).replica.cluster_id}

    run(main)


class OnlyHeartbeats:
    """Lets only heartbeats through the link from ``node`` to ``deaf``."""

    def __init__(self, node: Node, deaf: str) -> None:
        self.on = True
        self._deaf = deaf
        self._send: Callable[..., None] = runtime(node).links.send
        runtime(node).links.send = self._sent

    def _sent(self, to: Any, message: Any) -> None:
        if not self.on or to != self._deaf or isinstance(message, (Heartbeat, HeartbeatAnswer)):
            self._send(to, message)


def test_a_node_that_is_behind_tells_nobody_the_log_time_until_it_is_current(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            leader, follower = await cluster.leader(), await cluster.follower()
            address = cluster.cluster[follower.name]
            filters = [OnlyHeartbeats(node, follower.name) for node in cluster.nodes.values()]
            for number in range(300):
                await leader.execute(Notes.add, number)
            await cluster.until(lambda: runtime(follower).replica.wanted >= 300)
            assert follower.status().leader == leader.name
            assert not (await greeting_of(address)).leader.node
            async with paxospp.Client([address], timeout=20.0, follow_leader=False) as client:
                call = asyncio.ensure_future(client.execute(Notes.add, 1))
                await asyncio.sleep(0.1)
                assert not call.done()
                for each in filters:
                    each.on = False
                assert await call == sum(range(300)) + 1
            assert (await greeting_of(address)).leader.node

    run(main)


def test_where_no_session_finds_room_calls_are_refused_at_once_and_none_is_lost(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            for node in cluster.nodes.values():
                runtime(node).executor._sessions._sessions_max = 2
            await cluster.nodes["n1"].execute(Notes.add, 1)
            addresses = list(cluster.cluster.values())
            async with contextlib.AsyncExitStack() as stack:
                first = await stack.enter_async_context(paxospp.Client(addresses))
                await first.execute(Notes.add, 1)
                await cluster.agree()
                second = await stack.enter_async_context(paxospp.Client(addresses))
                for late in (second, cluster.nodes["n2"], cluster.nodes["n3"], second):
                    async with asyncio.timeout(5):
                        with pytest.raises(OverloadedError, match="no room") as refused:
                            await late.execute(Notes.add, 100)
                    assert refused.value.retry_after > 0
                assert await first.execute(Notes.add, 1) == 3
                assert await cluster.nodes["n1"].execute(Notes.add, 1) == 4
                for node in cluster.nodes.values():
                    runtime(node).executor._sessions._sessions_max = 10
                assert await second.execute(Notes.add, 1) == 5
                assert await cluster.nodes["n2"].execute(Notes.add, 1) == 6

    run(main)


def test_a_client_leaves_nodes_of_another_cluster_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path / "one", count=1) as one, embedded(tmp_path / "other", count=1) as other:
            addresses = [one.cluster["n1"], other.cluster["n1"]]
            async with paxospp.Client(addresses) as client:
                await client.execute(Notes.add, 1)
                mine, its = (one, other) if await one.nodes["n1"].query(Notes.sum) else (other, one)
                await mine.stop("n1")
                with pytest.raises((UnavailableError, OutcomeUnknownError)):
                    await client.execute(Notes.add, 1, timeout=0.5)
                assert await its.nodes["n1"].query(Notes.sum) == 0

    run(main)


def test_a_run_that_reaches_a_node_which_does_not_lead_goes_no_further(tmp_path: Path) -> None:
    """B50: two nodes that name each other do not send it back and forth."""

    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            leader = await cluster.leader()
            one, other = (node for node in cluster.nodes.values() if node is not leader)
            await one.execute(Notes.add, 1)
            await cluster.agree()
            run_of_one = runtime(one).local._caller
            call = asyncio.get_running_loop().create_future()
            run_of_one.add(b"\x03sum\x90", call)
            runtime(other).inbox.on_forwarded(runtime(one).replica.sender, run_of_one.next_runs())
            assert other.status().dropped["forwarded to a node that does not lead"] == 1
            assert len(runtime(other).inbox._forwarded) == 0
            await cluster.agree()

    run(main)
