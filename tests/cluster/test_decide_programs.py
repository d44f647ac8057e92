"""The five test programs of the C++ library Paxospp, rewritten: bare Paxos instances on real nodes.

There an instance was ``Start``ed with a value at some node and its ``Status`` asked at all of them;
here it is ``decide`` and ``decided``. What they check is what Paxos promises: one value per instance,
proposed by somebody, the same on every node, whatever the network does; and progress while a
majority can talk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

import pytest

import paxospp
from paxospp.errors import CallError, OutcomeUnknownError, UnavailableError
from tests.cluster.embedding import Embedded, embedded, run
from tests.cluster.weather import Weather


async def agreed(cluster: Embedded, name: str) -> Any:
    """Return the decided value, which every node has to agree on."""
    answers = await asyncio.gather(*(node.decided(name) for node in cluster.nodes.values()))
    assert answers[0] is not None, name
    assert all(answer == answers[0] for answer in answers), (name, answers)
    return answers[0].value


async def all_agreed(cluster: Embedded, names: Iterable[str]) -> list[Any]:
    return list(await asyncio.gather(*(agreed(cluster, name) for name in names)))


def test_basic_put(tmp_path: Path) -> None:
    """One proposer; many with the same value; many with different values; instances in any order."""

    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            nodes = list(cluster.nodes.values())
            assert await nodes[0].decide("single", "hello") == "hello"
            assert await agreed(cluster, "single") == "hello"

            await asyncio.gather(*(node.decide("same", 77) for node in nodes))
            assert await agreed(cluster, "same") == 77

            values = await asyncio.gather(*(node.decide("different", node.name) for node in nodes))
            assert len(set(values)) == 1
            assert await agreed(cluster, "different") == values[0]
            assert values[0] in cluster.nodes

            await nodes[0].decide("7", 700)
            await nodes[1].decide("6", 600)
            assert await nodes[2].decided("5") is None
            await nodes[2].decide("5", 500)
            assert await all_agreed(cluster, "567") == [500, 600, 700]

    run(main)


@pytest.mark.parametrize("count", [1_500, pytest.param(30_000, marks=pytest.mark.long)])
def test_heavy_put(tmp_path: Path, count: int) -> None:
    """Many instances in progress at once, proposed from every node, some of them large."""

    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            nodes = list(cluster.nodes.values())
            limit = asyncio.Semaphore(1_000)

            async def put(number: int) -> None:
                value = [number, "x" * (20_000 if number % 500 == 0 else number % 50)]
                async with limit:
                    assert await nodes[number % 3].decide(f"i{number}", value, timeout=60.0) == value

            await asyncio.gather(*map(put, range(count)))
            await cluster.agree()
            for number in Random(1).sample(range(count), 100):
                assert (await agreed(cluster, f"i{number}"))[0] == number
            before = await nodes[0].snapshot_stream()
            await asyncio.gather(
                *(nodes[number % 3].forget(f"i{number}", timeout=60.0) for number in range(0, count, 2))
            )
            assert await nodes[1].decided("i0") is None
            assert (await agreed(cluster, "i1"))[0] == 1
            await before[1].aclose()
            await cluster.agree()

    run(main)


@pytest.mark.parametrize("count", [60, pytest.param(1_000, marks=pytest.mark.long)])
def test_unreliable(tmp_path: Path, count: int) -> None:
    """A fifth of all messages between nodes is lost, answers included."""

    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            weather = Weather(cluster)
            weather.loss = 0.2
            nodes = list(cluster.nodes.values())
            names = [f"i{number}" for number in range(count)]
            for start in range(0, count, 20):
                proposals = [
                    node.decide(name, [node.name, name], timeout=60.0)
                    for name in names[start : start + 20]
                    for node in nodes
                ]
                values = await asyncio.gather(*proposals)
                assert all(name == names[start + place // 3] for place, (_, name) in enumerate(values))
            assert weather.lost > 0
            weather.clear()
            values = await all_agreed(cluster, names)
            assert [name for _, name in values] == names
            await cluster.agree()

    run(main)


def test_minority(tmp_path: Path) -> None:
    """A minority decides nothing, a majority does, and a node that was away learns the decisions."""

    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            weather = Weather(cluster)
            leader = await cluster.leader()
            others = {name for name in cluster.nodes if name != leader.name}
            weather.isolate(leader.name, others=others)
            alone = asyncio.ensure_future(leader.decide("a", "of the minority", timeout=0.5))
            majority = cluster.nodes[sorted(others)[0]]
            assert await majority.decide("b", "of the majority", timeout=30.0) == "of the majority"
            with pytest.raises((UnavailableError, OutcomeUnknownError)):
                await alone
            with pytest.raises(CallError):
                await leader.decided("b", timeout=0.2)
            assert await leader.decided("b", consistency="local") is None

            weather.clear()
            assert await leader.decide("b", "too late", timeout=30.0) == "of the majority"
            assert await agreed(cluster, "b") == "of the majority"
            # Sent and unknown: it may have been chosen after all, but then by all alike, and once.
            chosen = await majority.decide("a", "of everybody", timeout=30.0)
            assert chosen in ("of the minority", "of everybody")
            assert await agreed(cluster, "a") == chosen
            await cluster.agree()

    run(main)


@pytest.mark.parametrize("count", [100, pytest.param(5_000, marks=pytest.mark.long)])
def test_concurrent(tmp_path: Path, count: int) -> None:
    """Every node and a client propose for every instance at once; each instance gets one value that was proposed."""

    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            async with paxospp.Client(list(cluster.cluster.values()), timeout=60.0) as client:
                proposers: list[Any] = [*cluster.nodes.values(), client]
                names = [f"i{number}" for number in range(count)]
                proposals = [
                    proposer.decide(name, number) for name in names for number, proposer in enumerate(proposers)
                ]
                Random(2).shuffle(proposals)
                learned = await asyncio.gather(*proposals)
                assert set(learned) <= set(range(len(proposers)))
                values = await all_agreed(cluster, names)
                again = await asyncio.gather(*(client.decide(name, "late") for name in names))
                assert again == values
            await cluster.agree()

    run(main)
