"""The change feed: every command that took effect, once and in order, from any slot that the log holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

import paxospp
from paxospp import Change
from paxospp.config import NodeConfig
from paxospp.errors import CommandError, CorruptedError, TrimmedError, UnavailableError
from paxospp.state_machine import decode_untyped
from tests.cluster.embedding import Notes, embedded, free_addresses, run

SMALL = NodeConfig(tail_bytes_max=4096, kept_log_slots_max=20)
"""Keep almost none of the log in memory, so that a feed reads the storage."""


def runtime(node: Any) -> Any:
    return node._runtime


async def take(feed: AsyncGenerator[Change, None], count: int, timeout: float = 15.0) -> list[Change]:
    """Return the next ``count`` changes of a feed, and leave the feed open."""
    async with asyncio.timeout(timeout):
        return [await anext(feed) for _ in range(count)]


def amounts(changes: list[Change]) -> list[int]:
    return [decode_untyped(change.arguments)[0] for change in changes if change.name == "add"]


def check_order(changes: list[Change]) -> None:
    places = [(change.slot, change.position) for change in changes]
    assert places == sorted(set(places))
    assert [change.time for change in changes] == sorted(change.time for change in changes)


def damage_log(path: Path) -> None:
    """Overwrite some records of the largest file below ``path`` while its node runs."""
    log = max((file for file in path.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    with log.open("r+b") as file:
        file.seek(log.stat().st_size // 8)
        file.write(bytes(2_000))


@pytest.mark.parametrize("config", [None, SMALL])
def test_a_feed_continues_from_past_changes_to_new_ones(tmp_path: Path, config: NodeConfig | None) -> None:
    async def main() -> None:
        async with embedded(tmp_path, config=config) as cluster:
            nodes = list(cluster.nodes.values())
            for number in range(120):
                await nodes[number % 3].execute(Notes.add, number)
            with pytest.raises(CommandError):
                await nodes[0].execute(Notes.raise_value_error)
            await nodes[0].decide("not", "told")
            await cluster.agree()
            async with paxospp.Client(list(cluster.cluster.values())) as client:
                feeds = [node.watch(1) for node in nodes] + [client.watch(1)]
                for feed in feeds:
                    told = await take(feed, 121)
                    check_order(told)
                    assert amounts(told) == list(range(120))
                    assert told[-1].name == "raise_value_error"
                    assert told[-1].arguments == b"\x90"
                await asyncio.gather(*(nodes[number % 3].execute(Notes.add, number) for number in range(200)))
                later = [await take(feed, 200) for feed in feeds]
                assert sorted(amounts(later[0])) == list(range(200))
                for told in later:
                    check_order(told)
                    assert told == later[0]
                for feed in feeds:
                    await feed.aclose()

    run(main)


def test_a_feed_may_start_at_any_slot_even_one_in_the_future(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path, count=1) as cluster:
            node = cluster.nodes["n1"]
            for number in range(10):
                await node.execute(Notes.add, number)
            everything = await take(node.watch(0), 10)
            assert await take(node.watch(everything[4].slot), 6) == everything[4:]
            now, ahead = node.watch(), node.watch(everything[-1].slot + 2)
            waiting = [asyncio.create_task(take(feed, 1)) for feed in (now, ahead)]
            await asyncio.sleep(0)
            for number in (10, 11):
                await node.execute(Notes.add, number)
            assert [amounts(await task) for task in waiting] == [[10], [11]]
            with pytest.raises(ValueError, match="the first slot is 1"):
                node.watch(-1)

    run(main)


def test_a_command_that_was_sent_twice_appears_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path, config=SMALL) as cluster:
            follower = await cluster.follower()
            for number in range(30):
                call = asyncio.ensure_future(follower.execute(Notes.add, number))
                await asyncio.sleep(0)
                for _ in range(3):
                    runtime(follower).local.on_leader_changed()
                    await asyncio.sleep(0)
                await call
            await cluster.agree()
            copies = sum(map(len, runtime(follower).executor._effects._passed_over.values()))
            assert copies > 0, "the log holds no command twice, so this test shows nothing"
            for node in cluster.nodes.values():
                assert amounts(await take(node.watch(1), 30)) == list(range(30))

    run(main)


def test_a_feed_below_the_first_slot_fails_with_the_slot_to_start_from_after_a_snapshot(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with embedded(tmp_path, config=SMALL) as cluster:
            leader = await cluster.leader()
            for number in range(100):
                await leader.execute(Notes.add, number)
            await cluster.agree()
            for node in cluster.nodes.values():
                await node.take_snapshot()
            first = leader.status().first
            assert first > 1
            async with paxospp.Client(list(cluster.cluster.values())) as client:
                for source in (leader, client):
                    with pytest.raises(TrimmedError) as trimmed:
                        await take(source.watch(1), 1)
                    assert trimmed.value.first == first
                    async with aclosing(source.watch(first)) as feed:
                        told = await take(feed, 102 - first)
                    assert amounts(told)[-1] == 99

                for source in (leader, client):
                    copy = Notes()
                    slot, chunks = await source.snapshot_stream()
                    copy.restore([chunk async for chunk in chunks])
                    assert copy.total == sum(range(100))
                    async with aclosing(source.watch(slot + 1)) as feed:
                        await leader.execute(Notes.add, 5)
                        copy.total += sum(amounts(await take(feed, 1)))
                        await leader.execute(Notes.add, -5)
                        copy.total += sum(amounts(await take(feed, 1)))
                    assert copy.total == await leader.query(Notes.sum)

    run(main)


def test_after_a_restart_the_feed_still_shows_changes_from_before_the_snapshot(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path, config=NodeConfig(tail_bytes_max=4096)) as cluster:
            leader = await cluster.leader()
            for number in range(50):
                call = asyncio.ensure_future(leader.execute(Notes.add, number))
                await asyncio.sleep(0)
                runtime(leader).local.on_leader_changed()
                await call
            await cluster.agree()
            told = await take(leader.watch(1), 50)
            for node in list(cluster.nodes.values()):
                await node.take_snapshot()
            for name in list(cluster.nodes):
                await cluster.stop(name)
            for name in cluster.cluster:
                await cluster.start(name)
            await cluster.ready()
            for node in cluster.nodes.values():
                assert await take(node.watch(1), 50) == told

    run(main)


def test_a_feed_that_meets_damage_below_the_snapshot_fails_with_the_first_slot_of_the_log(tmp_path: Path) -> None:
    """The first reader gets the damage as an error; later readers do not get stuck at it."""

    async def main() -> None:
        async with embedded(tmp_path, count=1, config=NodeConfig(tail_bytes_max=4096)) as cluster:
            node = cluster.nodes["n1"]
            for number in range(400):
                await node.execute(Notes.add, number)
            await node.take_snapshot()
            damage_log(tmp_path)
            with pytest.raises(CorruptedError):
                await take(node.watch(1), 400)
            with pytest.raises(TrimmedError) as trimmed:
                await take(node.watch(1), 400)
            assert trimmed.value.first > 1
            slot, _ = await node.snapshot_stream()
            assert slot >= trimmed.value.first

    run(main)


def test_a_clients_feed_continues_at_another_node_without_gaps_or_repetitions(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            told: list[Change] = []
            async with paxospp.Client(list(cluster.cluster.values())) as client:

                async def follow() -> None:
                    async for change in client.watch(1):
                        told.append(change)  # noqa: PERF401 - one by one

                following = asyncio.create_task(follow())
                number = 0
                for name in ("n1", "n2", "n3", "n1"):
                    for _ in range(20):
                        await client.execute(Notes.add, number, timeout=20.0)
                        number += 1
                    await cluster.stop(name)
                    await client.execute(Notes.add, number, timeout=20.0)
                    number += 1
                    await cluster.start(name)
                await cluster.until(lambda: len(told) == number)
                assert amounts(told) == list(range(number))
                check_order(told)
            with pytest.raises(UnavailableError, match="closed"):
                await following

    run(main)


@pytest.mark.long
def test_a_watcher_that_does_not_read_takes_no_memory_and_delays_nobody(tmp_path: Path) -> None:
    async def main() -> None:
        config = NodeConfig(snapshot_log_bytes_max=1 << 30)
        async with embedded(tmp_path, count=1, config=config) as cluster:
            node = cluster.nodes["n1"]
            async with paxospp.Client([cluster.cluster["n1"]]) as client:
                feeds = [node.watch(1), client.watch(1)]
                await node.execute(Notes.add, 0)
                for feed in feeds:
                    assert amounts(await take(feed, 1)) == [0]
                large = "x" * 900_000
                for _ in range(60):
                    await node.execute(Notes.put, "a", large)
                waiting = [c._outbox.bytes for c in runtime(node).server._connections]
                assert sum(waiting) == 0
                for feed in feeds:
                    told = await take(feed, 60)
                    assert {len(change.arguments) for change in told} == {900_000 + 8}
                    await feed.aclose()

    run(main)


def test_closing_a_node_ends_its_feeds(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path, count=1) as cluster:
            node = cluster.nodes["n1"]
            waiting = asyncio.create_task(take(node.watch(), 1))
            await asyncio.sleep(0.01)
            await cluster.stop("n1")
            with pytest.raises(UnavailableError, match="closed"):
                await waiting
            with pytest.raises(UnavailableError):
                node.watch(1)

    run(main)


def test_the_feeds_of_blocking_nodes_and_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paxospp.sync.END_TIMEOUT_S", 60.0)
    (address,) = free_addresses(1)
    storage = f"file:{tmp_path / 'n1'}"
    node = paxospp.sync.Node("n1", cluster={"n1": address}, storage=storage, machine=Notes)
    with node, paxospp.sync.Client([address]) as client:
        for number in range(10):
            client.execute(Notes.add, number)
        for source in (node, client):
            feed = source.watch(1)
            assert amounts([next(feed) for _ in range(10)]) == list(range(10))
            copy = Notes()
            slot, chunks = source.snapshot_stream()
            copy.restore(chunks)
            assert copy.total == 45
            assert slot >= 2
        feeds = [source.watch(1) for source in (node, client)]
        assert [next(feed).slot for feed in feeds] == [2, 2]
        began = time.monotonic()
    assert time.monotonic() - began < 30.0, "closing waited for a feed that nobody reads"
