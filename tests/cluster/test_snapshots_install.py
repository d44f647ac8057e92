"""A node that was away for longer than its peers' logs go back fetches a snapshot and continues above it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from paxospp_file import FileStorage

from paxospp import Entry, NodeId, Slot
from paxospp.config import NodeConfig
from paxospp.errors import CorruptedError, ReplicaStoppedError, UnavailableError
from paxospp.events import FaultFound, LeaderChanged, SnapshotInstalled, SnapshotTaken
from paxospp.messages import Sender, SnapshotChunk, SnapshotRequest
from paxospp.node import Node
from paxospp.testing.fault_proxy import FaultProxy
from paxospp.wire.frames import encode_frame
from tests.cluster.embedding import Embedded, Notes, embedded, free_addresses, run
from tests.cluster.test_node_faults import say
from tests.cluster.test_snapshots import damage, snapshot_files, write

OFTEN = NodeConfig(snapshot_log_slots_max=20, kept_log_slots_max=4)
PIECEMEAL = NodeConfig(snapshot_log_slots_max=20, kept_log_slots_max=4, chunk_bytes_max=1 << 10)


def installed(cluster: Embedded, name: str) -> list[SnapshotInstalled]:
    return [event for event in cluster.events if isinstance(event, SnapshotInstalled) and event.node == name]


def snapshot_is_ahead(cluster: Embedded, slot: int) -> bool:
    """Return whether every running node has trimmed the slot after ``slot``."""
    return all(node.status().first > slot + 1 for node in cluster.nodes.values())


async def fill(cluster: Embedded, value: str) -> None:
    """Write a hundred values."""
    node = cluster.nodes["n1"]
    await asyncio.gather(*(node.execute(Notes.put, f"large{number}", value) for number in range(100)))


async def fall_behind(cluster: Embedded) -> str:
    """Stop a follower, write until the others have trimmed what it needs, and return its name."""
    name = (await cluster.follower()).name
    slot = cluster.nodes[name].status().applied
    await cluster.stop(name)
    node = await cluster.leader()
    while not snapshot_is_ahead(cluster, slot):
        await write(node, 20)
    await cluster.nothing_waits(name)
    return name


@asynccontextmanager
async def proxied(path: Path, config: NodeConfig, machines: Mapping[str, Any] | None = None) -> AsyncIterator[Any]:
    """Yield a cluster in which every node is reached through a proxy of its own."""
    cluster = Embedded(path, config=config)
    real = dict(zip(cluster.cluster, free_addresses(3), strict=True))
    proxies = {name: FaultProxy(address) for name, address in real.items()}
    async with AsyncExitStack() as stack:
        for name, proxy in proxies.items():
            cluster.cluster[name] = await proxy.start()
            stack.push_async_callback(proxy.close)
        for name in cluster.cluster:
            node = await cluster.start(name, listen=real[name], machine=(machines or {}).get(name, Notes))
            stack.push_async_callback(node.close)
        await cluster.ready()
        yield cluster, proxies


@pytest.mark.parametrize("restarts", [False, pytest.param(True, marks=pytest.mark.long)], ids=["running", "restarted"])
def test_a_node_that_was_away_for_longer_than_the_log_goes_back_catches_up_by_a_snapshot(
    tmp_path: Path, restarts: bool
) -> None:
    async def main() -> None:
        async with embedded(tmp_path, config=OFTEN) as cluster:
            await cluster.nodes["n1"].execute(Notes.add, 7)
            name = await fall_behind(cluster)
            node = await cluster.start(name)
            await cluster.ready()
            await cluster.agree()
            (event,) = installed(cluster, name)
            assert event.source in set(cluster.cluster) - {name}
            assert node.status().first == event.slot + 1
            assert await node.query(Notes.sum) == 7
            if restarts:
                await cluster.stop(name)
                node = await cluster.start(name)
                await cluster.ready()
            # It votes like any other member: without one of the others, every write needs it.
            await cluster.stop(event.source)
            assert await node.execute(Notes.add, 1, timeout=20.0) == 8

    run(main)


def test_a_node_accepts_writes_and_reads_while_it_installs_a_snapshot(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path, config=PIECEMEAL) as cluster:
            await fill(cluster, "x" * 2000)
            name = await fall_behind(cluster)
            node = await cluster.start(name)
            results = [await node.execute(Notes.add, 1, timeout=20.0) for _ in range(30)]
            assert results == list(range(1, 31))
            assert await node.query(Notes.sum) == 30
            assert installed(cluster, name)
            await cluster.agree()

    run(main)


def test_a_call_decided_while_its_node_was_cut_off_is_answered_from_the_session_table(
    tmp_path: Path,
) -> None:
    """Bug B28: when the node is connected again, the slot of the call has been trimmed everywhere."""

    async def main() -> None:
        async with proxied(tmp_path, OFTEN) as (cluster, proxies):
            node, leader = await cluster.follower(), await cluster.leader()
            assert await node.execute(Notes.add, 1) == 1
            proxies[node.name].cut(refuse=True)
            call = asyncio.create_task(node.execute(Notes.add, 1, timeout=60.0))
            while await leader.query(Notes.sum) != 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            slot = leader.status().decided
            others = [other for other in cluster.nodes.values() if other is not node]
            while not all(other.status().first > slot + 1 for other in others):
                await write(leader, 20)
            await cluster.nothing_waits(node.name)
            assert not call.done()
            assert node.status().applied < slot
            proxies[node.name].heal()
            assert await call == 2
            assert installed(cluster, node.name)
            assert await node.query(Notes.sum) == 2
            assert await node.execute(Notes.add, 1, timeout=20.0) == 3
            await cluster.agree()

    run(main)


def test_a_fetch_that_was_interrupted_continues_where_it_stopped(tmp_path: Path) -> None:
    async def main() -> None:
        async with proxied(tmp_path, NodeConfig(chunk_bytes_max=4096, kept_log_slots_max=1)) as (cluster, proxies):
            await fill(cluster, "x" * 10_000)
            node = await cluster.follower()
            proxies[node.name].cut(refuse=True)
            others = [other for other in cluster.nodes.values() if other is not node]
            leader = next(other for other in others if other.status().role == "leader")
            await write(leader, 10)
            taken = await asyncio.gather(*(other.take_snapshot() for other in others))
            fetcher = node._runtime.snapshots._fetcher
            await cluster.nothing_waits(node.name)
            proxies[node.name].heal()
            await cluster.until(lambda: fetcher.received_bytes > 200_000)
            source, slot = fetcher.source, fetcher.slot
            proxies[node.name].reset()
            proxies[node.name].cut(refuse=True)
            await asyncio.sleep(0.7)
            at = fetcher.received_bytes
            assert 200_000 < at < next(one.size_bytes for one in taken if one.slot == slot)
            least = [at]

            def watched() -> bool:
                least.append(fetcher.received_bytes or at)
                return bool(installed(cluster, node.name))

            proxies[node.name].heal()
            await cluster.until(watched)
            assert min(least) == at, "the fetch started over"
            assert installed(cluster, node.name)[0].source == source
            await cluster.agree()

    run(main)


@pytest.mark.long
def test_a_fetch_whose_snapshot_was_replaced_at_its_source_starts_over(tmp_path: Path) -> None:
    async def main() -> None:
        config = NodeConfig(chunk_bytes_max=1 << 10, kept_log_slots_max=1)
        async with embedded(tmp_path, config=config) as cluster:
            await fill(cluster, "x" * 10_000)
            name = (await cluster.follower()).name
            await cluster.stop(name)
            others = list(cluster.nodes)
            leader = await cluster.leader()
            await write(leader, 10)
            for other in others:
                await cluster.nodes[other].take_snapshot()
            await cluster.nothing_waits(name)
            node = await cluster.start(name)
            fetcher = node._runtime.snapshots._fetcher  # type: ignore[union-attr]
            await cluster.until(lambda: fetcher.received_bytes > 20_000 or bool(installed(cluster, name)))
            assert not installed(cluster, name), "the fetch was too fast for this test"
            first = fetcher.slot
            # Restart both others with newer snapshots, so that no stream continues to send the old one.
            await write(await cluster.leader(), 10)
            for other in others:
                await cluster.nodes[other].take_snapshot()
                await cluster.stop(other)
            for other in others:
                await cluster.start(other)
            await cluster.ready()
            await cluster.agree()
            assert installed(cluster, name)[-1].slot >= (first or 0)
            assert await node.query(Notes.get, "large99") == "x" * 10_000

    run(main)


@pytest.mark.long
def test_a_snapshot_that_is_damaged_at_its_source_is_noticed_there_and_taken_again(tmp_path: Path) -> None:
    """Fault D14, at the peer that sends the snapshot."""

    async def main() -> None:
        async with embedded(tmp_path, config=OFTEN) as cluster:
            name = await fall_behind(cluster)
            for other in cluster.nodes:
                await cluster.nodes[other].take_snapshot()
                damage(tmp_path / other)
            await cluster.start(name)
            await cluster.ready()
            await cluster.agree()
            assert installed(cluster, name)
            assert any(isinstance(event, FaultFound) and "cannot be read" in event.reason for event in cluster.events)

    run(main)


class Stubborn(Notes):
    """A machine that refuses to restore its own snapshots."""

    def snapshot(self) -> Iterable[bytes]:
        return [b"state"]

    def restore(self, chunks: Iterable[bytes]) -> None:
        raise RuntimeError("this version cannot read that")


@pytest.mark.long
def test_a_machine_that_cannot_restore_a_peers_snapshot_stops_its_node_with_the_reason(tmp_path: Path) -> None:
    async def main() -> None:
        machines = dict.fromkeys(("n1", "n2", "n3"), Stubborn)
        async with embedded(tmp_path, config=OFTEN, machines=machines) as cluster:
            name = await fall_behind(cluster)
            node = await cluster.start(name, machine=Stubborn)
            with pytest.raises(ReplicaStoppedError, match="this version cannot read that"):
                async with asyncio.timeout(10):
                    await node.wait_stopped()
            cluster.nodes.pop(name)
            # A start from the installed snapshot fails in the same way.
            again = cluster.make(name, machine=Stubborn)
            with pytest.raises(ReplicaStoppedError, match="this version cannot read that"):
                await again.start()

    run(main)


class Patient(Notes):
    """A machine that takes as long to restore as the test wants."""

    def snapshot(self) -> Iterable[bytes]:
        return [msgspec.msgpack.encode((self.total, self.data))]

    def restore(self, chunks: Iterable[bytes]) -> None:
        data = b"".join(chunks)
        BEGUN.set()
        LET_GO.wait(30)
        self.total, self.data = msgspec.msgpack.decode(data)


BEGUN, LET_GO = threading.Event(), threading.Event()


def test_a_node_answers_heartbeats_but_no_queries_while_its_machine_restores(tmp_path: Path) -> None:
    async def main() -> None:
        BEGUN.clear()
        LET_GO.set()
        async with proxied(tmp_path, OFTEN, dict.fromkeys(("n1", "n2", "n3"), Patient)) as (cluster, proxies):
            node = await cluster.follower()
            await node.execute(Notes.add, 5)
            proxies[node.name].cut(refuse=True)
            slot = node.status().decided
            others = [other for other in cluster.nodes.values() if other is not node]
            leader = next(other for other in others if other.status().role == "leader")
            while not all(other.status().first > slot + 1 for other in others):
                await write(leader, 20)
            LET_GO.clear()
            await cluster.nothing_waits(node.name)
            proxies[node.name].heal()
            await cluster.until(BEGUN.is_set)
            asked = asyncio.create_task(node.query(Notes.sum, timeout=30.0))
            with pytest.raises(UnavailableError, match="installing a snapshot"):
                await node.query(Notes.sum, consistency="local")
            await write(leader, 50)
            assert not asked.done()
            assert any("installing a snapshot" in note for note in node.status().notes)
            LET_GO.set()
            assert await asked == 5
            # It may have missed heartbeats while it was cut off, but nobody campaigned.
            ballots = {event.ballot for event in cluster.events if isinstance(event, LeaderChanged)} - {None}
            assert len(ballots) == 1
            await cluster.agree()

    run(main)


@pytest.mark.long
@pytest.mark.parametrize(
    "source_ends", [False, pytest.param(True, marks=pytest.mark.long)], ids=["forgotten", "source gone"]
)
def test_a_node_whose_peers_trimmed_their_logs_while_it_restored_fetches_another_snapshot(
    tmp_path: Path, source_ends: bool
) -> None:
    async def main() -> None:
        BEGUN.clear()
        LET_GO.set()
        async with proxied(tmp_path, OFTEN, dict.fromkeys(("n1", "n2", "n3"), Patient)) as (cluster, proxies):
            node = await cluster.follower()
            others = [other for other in cluster.nodes.values() if other is not node]
            leader = next(other for other in others if other.status().role == "leader")

            async def trim(*trimming: Node) -> None:
                slot = leader.status().decided
                while not all(other.status().first > slot + 1 for other in trimming):
                    await write(leader, 20)
                await cluster.nothing_waits(node.name)

            proxies[node.name].cut(refuse=True)
            await trim(*others)
            LET_GO.clear()
            proxies[node.name].heal()
            await cluster.until(BEGUN.is_set)
            source = cluster.nodes[node._runtime.snapshots._fetcher.source]
            for other in others:
                if not source_ends or other is not source:
                    # Let it forget the peers it was sending to, as after a restart.
                    other._runtime.snapshots._sender._transfers.clear()
            proxies[node.name].cut(refuse=True)
            await trim(*(other for other in others if not source_ends or other is not source))
            if source_ends:
                await cluster.stop(source.name)
            proxies[node.name].heal()
            decided = max(other.status().decided for other in cluster.nodes.values())
            await cluster.until(lambda: node._runtime.replica.wanted >= decided)
            LET_GO.set()
            await cluster.until(lambda: len(installed(cluster, node.name)) == 2)
            await cluster.agree()

    run(main)


@pytest.mark.long
def test_a_sender_keeps_the_log_above_a_snapshot_while_the_snapshot_is_fetched(tmp_path: Path) -> None:
    async def main() -> None:
        config = NodeConfig(snapshot_log_slots_max=40, kept_log_slots_max=1, chunk_bytes_max=1 << 10)
        async with proxied(tmp_path, config) as (cluster, proxies):
            await fill(cluster, "x" * 2000)
            node = await cluster.follower()
            proxies[node.name].cut(refuse=True)
            slot = node.status().decided
            others = [other for other in cluster.nodes.values() if other is not node]
            leader = next(other for other in others if other.status().role == "leader")
            while not all(other.status().first > slot + 1 for other in others):
                await write(leader, 20)
            fetcher = node._runtime.snapshots._fetcher
            await cluster.nothing_waits(node.name)
            proxies[node.name].throttle(100_000)
            proxies[node.name].heal()
            proxies[node.name].throttle(100_000)
            await cluster.until(lambda: fetcher.received_bytes > 0)
            source, fetched = cluster.nodes[fetcher.source], fetcher.slot
            taken = [event for event in cluster.events if isinstance(event, SnapshotTaken)]
            while len([event for event in cluster.events if isinstance(event, SnapshotTaken)]) < len(taken) + 4:
                await write(leader, 20)
            assert not installed(cluster, node.name), "the fetch was too fast for this test"
            assert source.status().first <= fetched + 1
            proxies[node.name].throttle(None)
            await cluster.until(lambda: bool(installed(cluster, node.name)))
            await cluster.agree()
            assert [event.slot for event in installed(cluster, node.name)] == [fetched]

    run(main)


def test_a_wiped_node_installs_a_snapshot_and_does_not_vote(tmp_path: Path) -> None:
    """Bug B16, after slot 1 has been trimmed."""

    async def main() -> None:
        async with embedded(tmp_path, config=OFTEN) as cluster:
            name = await fall_behind(cluster)
            (tmp_path / name).rename(tmp_path / "gone")
            node = await cluster.start(name)
            await cluster.until(lambda: bool(installed(cluster, name)))
            await cluster.until(lambda: node.status().applied == node.status().decided)
            status = node.status()
            assert status.cluster_id == next(iter(cluster.nodes.values())).status().cluster_id
            assert any("does not vote" in note for note in status.notes)
            await cluster.agree()
            await cluster.stop(name)
            again = await cluster.start(name)
            await cluster.ready()
            assert any("does not vote" in note for note in again.status().notes)

    run(main)


def test_after_a_fetch_one_snapshot_is_on_disk(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path, config=OFTEN) as cluster:
            name = await fall_behind(cluster)
            await cluster.start(name)
            await cluster.ready()
            await cluster.agree()
        for name in cluster.cluster:
            assert len(snapshot_files(tmp_path / name)) == 1

    run(main)


def test_no_snapshot_is_sent_to_or_taken_from_a_peer_of_another_cluster(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            node = cluster.nodes["n1"]
            stranger = Sender(bytes(16), 0, NodeId("n2"), 1, 1, 1)
            chunk = SnapshotChunk(slot=Slot(9), id="a", offset=0, data=b"junk", last=True)
            nameless = stranger._replace(cluster_id=b"")
            for sender, message in (
                (stranger, SnapshotRequest(id="", offset=0)),
                (stranger, chunk),
                (nameless, chunk),
                (stranger._replace(node=NodeId("n9"), cluster_id=bytes.fromhex(node.status().cluster_id)), chunk),
            ):
                await say(node.address, encode_frame(sender, NodeId("n1"), [message]))
            dropped = node.status().dropped
            assert dropped["snapshots of another cluster"] == 3
            assert dropped["snapshots of an unknown sender"] == 1
            assert await node.execute(Notes.add, 1) == 1

    run(main)


class Rotting(FileStorage):
    """A file storage that reports some slots as damaged when they are read."""

    rotten: ClassVar[set[int]] = set()

    def read(self, start: Slot, stop: Slot, max_bytes: int) -> Sequence[Entry]:
        entries = super().read(start, stop, max_bytes)
        for place, entry in enumerate(entries):
            if entry.slot in self.rotten:
                if not place:
                    raise CorruptedError(f"slot {entry.slot} is damaged", [range(entry.slot, entry.slot + 1)])
                return entries[:place]
        return entries


def test_a_slot_damaged_at_all_peers_is_replaced_by_a_snapshot_taken_on_demand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No snapshot is due for an hour; the peer that needs the slot gets one within seconds."""
    small = NodeConfig(tail_bytes_max=1 << 10)

    async def main() -> None:
        cluster = Embedded(tmp_path, config=small)
        storages = {name: partial(Rotting, str(tmp_path / name)) for name in cluster.cluster}
        async with AsyncExitStack() as stack:
            for name in cluster.cluster:
                stack.push_async_callback((await cluster.start(name, storage=storages[name])).close)
            await cluster.ready()
            name = (await cluster.follower()).name
            missed = cluster.nodes[name].status().applied + 1
            await cluster.stop(name)
            node = await cluster.leader()
            for number in range(10):  # so many that the first are evicted from memory
                await node.execute(Notes.put, f"large{number}", "x" * 1000)
            await cluster.nothing_waits(name)
            monkeypatch.setattr(Rotting, "rotten", {missed, missed + 1})

            late = await cluster.start(name, storage=storages[name])
            stack.push_async_callback(late.close)
            await cluster.agree()
            assert len(installed(cluster, name)) == 1
            assert await late.query(Notes.get, "large9") == "x" * 1000

    run(main)
