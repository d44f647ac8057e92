"""``decide``, ``decided`` and ``forget`` as a caller uses them: embedded, from a client, and blocking."""

from __future__ import annotations

import asyncio
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import paxospp
from paxospp import Decided
from paxospp.errors import CommandError, RejectedError, UnavailableError
from tests.cluster.embedding import Notes, embedded, free_addresses, run


def test_none_is_a_value_and_no_value_is_none(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path, count=1) as cluster:
            node = cluster.nodes["n1"]
            assert await node.decided("a") is None
            assert await node.decide("a", None) is None
            assert await node.decided("a") == Decided(None)
            assert await node.decide("a", 1) is None

    run(main)


VALUES: list[tuple[Any, Any]] = [
    ("text", "text"),
    (b"\x00\xff", b"\x00\xff"),
    (-(2**63), -(2**63)),
    (1.5, 1.5),
    ({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
    ((1, (2, 3)), [1, [2, 3]]),
    ({3, 1, 2}, [1, 2, 3]),
    (date(2026, 11, 22), "2026-11-22"),
    ("x" * 500_000, "x" * 500_000),
]


def test_values_of_many_types_come_back_as_messagepack_alone_gives_them(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path, count=1) as cluster:
            node = cluster.nodes["n1"]
            for number, (value, back) in enumerate(VALUES):
                assert await node.decide(str(number), value) == back
                assert await node.decided(str(number)) == Decided(back)

    run(main)


def test_a_value_that_cannot_be_stored_is_rejected(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path, count=1) as cluster:
            node: Any = cluster.nodes["n1"]
            for value in (object(), 1 << 70, "\ud800", lambda: None):
                with pytest.raises(RejectedError, match="cannot be encoded"):
                    await node.decide("a", value)
            with pytest.raises(RejectedError, match="value_bytes_max"):
                await node.decide("a", "x" * (1 << 20))
            with pytest.raises(RejectedError, match="must be a str"):
                await node.decide(1, "x")
            assert await node.decided("a") is None

    run(main)


def test_a_forgotten_name_is_never_decided_again_also_after_all_nodes_were_started_anew(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            node = await cluster.follower()
            await node.decide("a", 1)
            await node.decide("b", 2)
            assert await node.forget("a") is True
            assert await node.forget("a") is False
            assert await node.forget("never decided") is False
            await asyncio.gather(*(cluster.stop(name) for name in list(cluster.nodes)))
            for name in cluster.cluster:
                await cluster.start(name)
            await cluster.ready()
            for node in cluster.nodes.values():
                with pytest.raises(CommandError) as raised:
                    await node.decide("a", 1)
                assert raised.value.type == "ForgottenError"
                assert await node.decided("a") is None
                assert await node.decided("b") == Decided(2)
                assert await node.decided("b", consistency=paxospp.bounded(60)) == Decided(2)
            assert await node.decide("never decided", 3) == 3

    run(main)


def test_it_stands_beside_the_users_machine_and_takes_part_in_no_ones_names(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            node = await cluster.follower()
            await asyncio.gather(node.decide("a", 1), node.execute(Notes.put, "a", "mine"), node.decide("b", 2))
            assert await node.query(Notes.get, "a") == "mine"
            for call in (
                node.execute("paxospp.decide", "a", b"x"),
                node.execute("paxospp.set_lease", 1),
                node.query("paxospp.decided", "a"),
            ):
                with pytest.raises(RejectedError, match="are reserved for paxospp"):
                    await call
            await cluster.agree()

    run(main)


def test_a_client_and_its_blocking_twin_decide_too(tmp_path: Path) -> None:
    (address,) = free_addresses(1)
    storage = f"file:{tmp_path / 'n1'}"
    node = paxospp.sync.Node("n1", cluster={"n1": address}, storage=storage, machine=Notes)
    with node, paxospp.sync.Client([address]) as client:
        assert client.decide("a", [1]) == [1]
        assert node.decide("a", [2]) == [1]
        assert client.decided("a", timeout=5.0) == Decided([1])
        assert client.forget("a") is True
        assert node.decided("a") is None
        with pytest.raises(CommandError, match="ForgottenError"):
            client.decide("a", [3])


def test_without_a_majority_it_says_whether_the_proposal_may_count(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            async with paxospp.Client(free_addresses(1), timeout=0.2) as client:
                with pytest.raises(UnavailableError, match="never sent"):
                    await client.decide("a", 1)
            assert await cluster.nodes["n1"].decided("a") is None

    run(main)
