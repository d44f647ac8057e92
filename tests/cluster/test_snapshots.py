"""Snapshots of real nodes: taking one while commands are applied, trimming the log, starting from one."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import grpc.aio
import msgspec
import pytest
from paxospp_file import FileStorage

import paxospp
import paxospp.sync
from paxospp import Slot, SnapshotMeta, SnapshotWriter
from paxospp.config import NodeConfig
from paxospp.errors import CorruptedError, ReplicaStoppedError, StorageError, UnavailableError
from paxospp.events import FaultFound, SnapshotInstalled, SnapshotTaken
from paxospp.node import Node
from paxospp.rpc.channel import CALL
from paxospp.rpc.unary_calls import fetch_status
from paxospp.sessions.runs import Run, encode_run
from paxospp.wire.v1 import client_pb2 as wire
from tests.cluster.embedding import Drifting, Embedded, Notes, embedded, run
from tests.cluster.serving import Serving
from tests.cluster.serving import paxospp as command_line

NEEDS_ROCKSDICT = pytest.mark.skipif(find_spec("rocksdict") is None, reason="the driver is an extra: rocksdb")

OFTEN = NodeConfig(snapshot_log_slots_max=40, kept_log_slots_max=8)


async def write(node: Node, count: int, *, value: str = "value") -> None:
    """Write ``count`` commands, each in a slot of its own."""
    for number in range(count):
        await node.execute(Notes.put, f"key{number % 50}", f"{value}{number}", timeout=20.0)


def snapshot_files(path: Path) -> list[Path]:
    return sorted((path / "snapshots").iterdir())


# Taking and trimming.


@pytest.mark.parametrize("scheme", ["file", pytest.param("rocksdb", marks=NEEDS_ROCKSDICT)])
def test_the_log_is_trimmed_below_snapshots_except_for_a_tail(tmp_path: Path, scheme: str) -> None:
    async def main() -> None:
        cluster = Embedded(tmp_path, count=1, config=OFTEN)
        node = await cluster.start("n1", storage=f"{scheme}:{tmp_path / 'n1'}")
        try:
            await write(node, 300)
            await cluster.until(lambda: node.status().first > 250)
            taken = [event for event in cluster.events if isinstance(event, SnapshotTaken)]
            assert len(taken) >= 3
            last = taken[-1]
            assert last.slot - 16 <= node.status().first <= last.slot + 1
            assert last.size_bytes == node_snapshot_size(node)
            assert len(snapshot_files(tmp_path / "n1")) == 1
        finally:
            await cluster.stop("n1")

    run(main)


def node_snapshot_size(node: Node) -> int:
    runtime: Any = node._runtime
    with runtime._writer.storage.open_snapshot() as reader:
        return sum(map(len, iter(lambda: reader.read(1 << 16), b"")))


def test_a_snapshot_is_taken_after_the_interval_only_if_something_changed(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with embedded(tmp_path, count=1, config=NodeConfig(snapshot_interval_s=0.1)) as cluster:
            node = cluster.nodes["n1"]
            await node.execute(Notes.add, 1)

            def taken() -> list[Slot]:
                return [event.slot for event in cluster.events if isinstance(event, SnapshotTaken)]

            await cluster.until(lambda: node.status().applied in taken())
            before = taken()
            await asyncio.sleep(0.3)
            assert taken() == before
            await node.execute(Notes.add, 1)
            await cluster.until(lambda: taken()[-1] == node.status().applied)

    run(main)


class Viewed(Notes):
    """A machine whose snapshot takes as long to read as the test wants."""

    def snapshot(self) -> Iterable[bytes]:
        total = self.total

        def chunks() -> Iterable[bytes]:
            LET_GO.wait(30)
            yield msgspec.msgpack.encode(total)

        return chunks()

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.total = msgspec.msgpack.decode(b"".join(chunks))


LET_GO = threading.Event()


def test_commands_applied_while_a_snapshot_is_written_are_not_in_it(tmp_path: Path) -> None:
    async def main() -> None:
        LET_GO.clear()
        async with embedded(tmp_path, count=1, machines={"n1": Viewed}) as cluster:
            node = cluster.nodes["n1"]
            await node.execute(Notes.add, 1)
            slot = node.status().applied
            taking = asyncio.create_task(node.take_snapshot())
            await asyncio.sleep(0.05)
            assert await node.execute(Notes.add, 1) == 2
            assert await node.query(Notes.sum) == 2
            assert not taking.done()
            LET_GO.set()
            taken = await taking
            assert taken.slot == slot
            assert node.status().applied > slot
            await cluster.stop("n1")
            node = await cluster.start("n1", machine=Viewed)
            await cluster.ready()
            assert await node.query(Notes.sum) == 2

    run(main)


class SlowToView(Notes):
    def snapshot(self) -> Iterable[bytes]:
        threading.Event().wait(0.25)
        return [b""]

    def restore(self, chunks: Iterable[bytes]) -> None:
        list(chunks)


def test_a_machine_whose_snapshot_takes_longer_than_a_heartbeat_is_reported_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with embedded(tmp_path, count=1, machines={"n1": SlowToView}) as cluster:
            await cluster.nodes["n1"].execute(Notes.add, 1)
            await cluster.nodes["n1"].take_snapshot()

    with caplog.at_level(logging.WARNING, "paxospp"):
        run(main)
    assert "longer than the heartbeat interval" in caplog.text


def test_a_snapshot_on_demand_holds_the_current_state_and_is_reused_if_nothing_changed(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            node = await cluster.follower()
            await write(node, 20)
            first, second = await asyncio.gather(node.take_snapshot(), node.take_snapshot())
            assert first == second
            assert first.slot == node.status().applied
            assert await node.take_snapshot() == first
            await node.execute(Notes.add, 1)
            assert (await node.take_snapshot()).slot == node.status().applied
            await cluster.agree()

    run(main)


def test_a_blocking_node_takes_a_snapshot_on_demand(tmp_path: Path) -> None:
    with paxospp.sync.Node(
        "n1", cluster={"n1": "127.0.0.1:0"}, storage=f"file:{tmp_path / 'n1'}", machine=Notes
    ) as node:
        node.execute(Notes.add, 1)
        assert node.take_snapshot().slot == node.status().applied
        assert len(snapshot_files(tmp_path / "n1")) == 1


# Starting from one.


@pytest.mark.parametrize("scheme", ["file", pytest.param("rocksdb", marks=(NEEDS_ROCKSDICT, pytest.mark.long))])
def test_a_cluster_starts_from_its_snapshots_and_the_tails_of_its_logs(tmp_path: Path, scheme: str) -> None:
    async def main() -> None:
        cluster = Embedded(tmp_path, config=OFTEN)
        for name in cluster.cluster:
            await cluster.start(name, storage=f"{scheme}:{tmp_path / name}")
        await cluster.ready()
        await write(cluster.nodes["n1"], 150)
        await cluster.nodes["n2"].execute(Notes.add, 7)
        await cluster.agree()
        before = cluster.nodes["n1"].status()
        assert before.first > 1
        for name in list(cluster.nodes):
            await cluster.stop(name)
        for name in cluster.cluster:
            await cluster.start(name, storage=f"{scheme}:{tmp_path / name}")
        await cluster.ready()
        await cluster.agree()
        assert await cluster.nodes["n3"].query(Notes.sum) == 7
        after = cluster.nodes["n3"].status()
        assert after.applied >= before.applied
        assert after.cluster_id == before.cluster_id
        assert all(not node.status().notes for node in cluster.nodes.values())
        assert await cluster.nodes["n2"].execute(Notes.put, "key1", "x") == "value101"
        await cluster.agree()
        for name in list(cluster.nodes):
            await cluster.stop(name)

    run(main)


def test_a_slow_start_reports_its_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Progress is reported after a second; this test shortens that to nothing."""
    monkeypatch.setattr("paxospp.node.progress.FIRST_S", 0.0)

    async def main() -> None:
        cluster = Embedded(tmp_path, count=1)
        node = await cluster.start("n1")
        await write(node, 30)
        taken = await node.take_snapshot()
        await write(node, 30)
        slot = node.status().applied
        await cluster.stop("n1")
        caplog.clear()
        node = await cluster.start("n1")
        await cluster.until(lambda: node.status().applied >= slot)
        await cluster.stop("n1")
        said = " / ".join(record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
        assert "node n1: loading the storage: still running" in said
        assert f"node n1: restoring the snapshot of slot {taken.slot}: 0 MB read" in said
        assert f"node n1: applying the log: slot {taken.slot}" in said

    run(main)


def test_a_storage_with_a_snapshot_of_another_cluster_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path, count=1, config=OFTEN) as cluster:
            await write(cluster.nodes["n1"], 60)
            await cluster.nodes["n1"].take_snapshot()
        other = Node(
            "n1",
            cluster={"n1": "127.0.0.1:1", "n2": "127.0.0.1:2"},
            storage=f"file:{tmp_path / 'n1'}",
            machine=Notes,
            listen="127.0.0.1:0",
        )
        with pytest.raises(paxospp.ConfigError, match="belongs to the cluster n1"):
            await other.start()

    run(main)


def damage(path: Path) -> None:
    (file,) = snapshot_files(path)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def test_a_lone_node_whose_snapshot_is_damaged_refuses_to_start_with_one_line(tmp_path: Path) -> None:
    """Fault D14, where no peer has another snapshot."""

    async def main() -> None:
        async with embedded(tmp_path, count=1, config=OFTEN) as cluster:
            await write(cluster.nodes["n1"], 60)
            await cluster.nodes["n1"].take_snapshot()
            await cluster.stop("n1")
            damage(tmp_path / "n1")
            with pytest.raises(CorruptedError, match=r"snapshot of slot \d+ is damaged") as refused:
                await cluster.start("n1")
            assert "\n" not in str(refused.value)
            assert "restore the data directory from a copy" in str(refused.value)

    run(main)


def test_a_lone_node_whose_snapshot_is_damaged_starts_from_a_complete_log(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path, count=1) as cluster:
            await write(cluster.nodes["n1"], 60)
            await cluster.nodes["n1"].take_snapshot()
            assert cluster.nodes["n1"].status().first == 1
            before = cluster.nodes["n1"].status().digest
            await cluster.stop("n1")
            damage(tmp_path / "n1")
            node = await cluster.start("n1")
            await cluster.until(lambda: node.status().digest == before)

    run(main)


@pytest.mark.parametrize("scheme", ["file", pytest.param("rocksdb", marks=NEEDS_ROCKSDICT)])
def test_a_node_that_starts_from_its_log_takes_no_snapshot_older_than_its_damaged_one(
    tmp_path: Path, scheme: str
) -> None:
    """A storage refuses an older snapshot, so the node would stop at every start."""
    config = NodeConfig(snapshot_log_slots_max=20, chunk_bytes_max=4096)

    async def main() -> None:
        cluster = Embedded(tmp_path, count=1, config=config)
        node = await cluster.start("n1", storage=f"{scheme}:{tmp_path / 'n1'}")
        try:
            await write(node, 60, value="v" * 1000)
            taken = await node.take_snapshot()
            assert node.status().first == 1
            await cluster.stop("n1")
            damage(tmp_path / "n1")
            cluster.events.clear()

            node = await cluster.start("n1", storage=f"{scheme}:{tmp_path / 'n1'}")
            await cluster.until(lambda: any(isinstance(event, SnapshotTaken) for event in cluster.events))
            assert [event.slot >= taken.slot for event in cluster.events if isinstance(event, SnapshotTaken)] == [True]
        finally:
            await cluster.stop("n1")

    run(main)


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(damage, id="flipped"),
        pytest.param(lambda path: snapshot_files(path)[0].unlink(), id="missing", marks=pytest.mark.long),
    ],
)
def test_a_node_whose_snapshot_is_damaged_votes_while_it_fetches_one_from_a_peer(tmp_path: Path, harm: Any) -> None:
    """Fault D14."""

    async def main() -> None:
        async with embedded(tmp_path, config=OFTEN) as cluster:
            await write(cluster.nodes["n1"], 120)
            await cluster.agree()
            follower = await cluster.follower()
            name = follower.name
            await cluster.stop(name)
            harm(tmp_path / name)
            node = await cluster.start(name)
            assert any(isinstance(event, FaultFound) and "snapshot" in event.reason for event in cluster.events)
            other = next(other for other in cluster.nodes.values() if other is not node)
            assert await other.execute(Notes.add, 3, timeout=20.0) == 3
            await cluster.ready()
            await cluster.agree()
            assert any(isinstance(event, SnapshotInstalled) and event.node == name for event in cluster.events)
            # Stop the two undamaged nodes one after the other: the repaired one has a vote and the state.
            for gone in [other for other in cluster.nodes if other != name][:1]:
                await cluster.stop(gone)
            assert await node.execute(Notes.add, 1, timeout=20.0) == 4

    run(main)


def test_a_fetched_snapshot_that_is_damaged_later_is_fetched_again(tmp_path: Path) -> None:
    async def main() -> None:
        config = NodeConfig(kept_log_slots_max=1)
        async with embedded(tmp_path, config=config) as cluster:
            name = (await cluster.follower()).name
            await cluster.stop(name)
            node = await cluster.leader()
            await write(node, 20)
            await cluster.agree()  # it may ask either peer, so both must have the same slots
            for other in cluster.nodes.values():
                await other.take_snapshot()
            await cluster.nothing_waits(name)
            for _ in range(3):
                before = len([event for event in cluster.events if isinstance(event, SnapshotInstalled)])
                await cluster.start(name)
                await cluster.ready()
                await cluster.agree()
                after = [event.slot for event in cluster.events if isinstance(event, SnapshotInstalled)]
                assert len(after) == before + 1
                assert len(set(after)) == 1
                await cluster.stop(name)
                damage(tmp_path / name)

    run(main)


def test_if_a_damaged_snapshot_is_newer_than_the_peers_one_of_them_takes_a_new_one(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path, config=NodeConfig(kept_log_slots_max=1)) as cluster:
            node = await cluster.follower()
            name = node.name
            await write(node, 20)
            for other in cluster.nodes.values():
                await other.take_snapshot()
            await write(node, 20)
            taken = await node.take_snapshot()
            await cluster.stop(name)
            damage(tmp_path / name)
            await cluster.start(name)
            await cluster.ready()
            await cluster.agree()
            (event,) = [event for event in cluster.events if isinstance(event, SnapshotInstalled)]
            assert event.slot >= taken.slot

    run(main)


@pytest.mark.long
def test_three_nodes_start_together_although_one_of_them_has_a_damaged_snapshot(tmp_path: Path) -> None:
    """The damaged node may be elected; it answers no query before it has a snapshot."""

    async def main() -> None:
        async with embedded(tmp_path, config=OFTEN) as cluster:
            await write(cluster.nodes["n1"], 120)
            await cluster.nodes["n1"].execute(Notes.add, 5)
            await cluster.agree()
            for name in list(cluster.nodes):
                await cluster.stop(name)
            damage(tmp_path / "n2")
            for name in cluster.cluster:
                await cluster.start(name)
            assert await cluster.nodes["n2"].query(Notes.sum, timeout=20.0) == 5
            assert await cluster.nodes["n2"].execute(Notes.add, 1, timeout=20.0) == 6
            await cluster.agree()

    run(main)


# Snapshots that cannot be taken.


class FullStorage(FileStorage):
    """A file storage whose disk is full for snapshots while the test says so."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.full = True

    def create_snapshot(self, meta: SnapshotMeta) -> SnapshotWriter:
        if self.full:
            raise OSError(28, "No space left on device")
        return super().create_snapshot(meta)


def test_a_node_continues_without_a_snapshot_and_reports_the_failure_until_one_is_written(tmp_path: Path) -> None:
    async def main() -> None:
        storages: list[FullStorage] = []

        def open_storage() -> FullStorage:
            storages.append(FullStorage(tmp_path / "n1"))
            return storages[-1]

        cluster = Embedded(tmp_path, count=1, config=OFTEN)
        node = await cluster.start("n1", storage=open_storage)
        try:
            await write(node, 60)
            await cluster.until(lambda: any(isinstance(event, FaultFound) for event in cluster.events))
            assert any("No space left" in note for note in node.status().notes)
            with pytest.raises(StorageError, match="No space left"):
                await node.take_snapshot()
            storages[0].full = False
            await node.take_snapshot()
            assert node.status().notes == ()
        finally:
            await cluster.stop("n1")

    run(main)


class Unready(Notes):
    """A machine whose command sets an attribute that a snapshot cannot hold."""

    @paxospp.command
    def add(self, amount: int) -> int:
        self.unannotated = amount  # type: ignore[attr-defined, unused-ignore]
        return super().add(amount)


def test_a_node_whose_machine_cannot_be_encoded_continues_and_reports_the_reason(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path, count=1, machines={"n1": Unready}) as cluster:
            node = cluster.nodes["n1"]
            assert await node.execute(Unready.add, 1) == 1
            with pytest.raises(StorageError, match="unannotated"):
                await node.take_snapshot()
            assert await node.execute(Unready.add, 1) == 2
            assert any("unannotated" in note for note in node.status().notes)

    run(main)


def test_a_node_closes_in_time_while_a_snapshot_is_taken(tmp_path: Path) -> None:
    async def main() -> None:
        LET_GO.clear()
        async with embedded(tmp_path, count=1, machines={"n1": Viewed}) as cluster:
            node = cluster.nodes["n1"]
            await node.execute(Notes.add, 1)
            taking = asyncio.create_task(node.take_snapshot())
            await asyncio.sleep(0.05)
            async with asyncio.timeout(2.0):
                await cluster.stop("n1")
            with pytest.raises(UnavailableError):
                await taking
            LET_GO.set()

    run_and_wait_for_threads(main)


def run_and_wait_for_threads(main: Any) -> None:
    async def waited() -> None:
        await main()
        async with asyncio.timeout(5):
            while any(thread.name.startswith("paxospp") for thread in threading.enumerate()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    run(waited)


# Sessions and digests in snapshots.


async def answers(address: str, *runs: bytes) -> list[wire.RunAnswer]:
    """Send runs on a stream of their own, as a client does, and return the node's answers."""
    async with grpc.aio.insecure_channel(address) as channel:
        call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(CALL)()
        requests = [wire.CallRequest(run=run) for run in runs]
        await call.write(wire.ClientServiceCallRequest(requests=requests).SerializeToString())
        found: list[wire.RunAnswer] = []
        async with asyncio.timeout(20):
            while len(found) < len(runs):
                frame = await call.read()
                assert isinstance(frame, bytes), "the stream ended"
                responses = wire.ClientServiceCallResponse.FromString(frame).responses
                found += [one.run_answer for one in responses if one.HasField("run_answer")]
        call.cancel()
        return found


@pytest.mark.parametrize("way", ["restart", "install"])
def test_a_command_resent_after_a_snapshot_gets_its_first_outcome(tmp_path: Path, way: str) -> None:
    """Bug B28: sessions, their outcomes and how far they were acknowledged are in the snapshot."""

    async def main() -> None:
        async with embedded(tmp_path, config=OFTEN) as cluster:
            follower = await cluster.follower()
            name = follower.name
            opened = 1
            await write(follower, 3)

            def run_of(first: int, acknowledged: int, *amounts: int) -> bytes:
                payloads = [Notes.add.encode((amount,)) for amount in amounts]
                return encode_run(Run(opened, b"r" * 16, first, acknowledged, payloads))

            seven = run_of(1, 0, 1, 2, 3, 4)
            (before,) = await answers(follower.address, seven)
            totals = [msgspec.msgpack.decode(outcome[1:]) for outcome in before.outcomes]
            assert totals == [1, 3, 6, 10]
            await answers(follower.address, run_of(5, 2, 5))
            if way == "install":
                await cluster.stop(name)
            node = await cluster.leader()
            while node.status().first <= 60:
                await write(node, 20)
            if way == "restart":
                await cluster.agree()
                for other in list(cluster.nodes):
                    await cluster.stop(other)
                for other in cluster.cluster:
                    await cluster.start(other)
            else:
                await cluster.start(name)
            await cluster.ready()
            await cluster.agree()
            node = cluster.nodes[name]
            assert await node.query(Notes.sum) == 15  # a linearizable read: the leader has recovered all open slots
            await cluster.agree()
            decided = node.status().decided
            (again,) = await answers(node.address, seven)
            # The outcomes of 1 and 2 were acknowledged and are left out; the others are the first outcomes.
            assert (again.first, list(again.outcomes)) == (3, list(before.outcomes)[2:])
            assert node.status().decided == decided, "the answer came from the session table, without a new slot"
            gap, on = await answers(node.address, run_of(7, 5, 1), run_of(6, 5, 100))
            assert (gap.status, gap.expected) == (wire.RUN_STATUS_GAP, 6)
            assert msgspec.msgpack.decode(on.outcomes[0][1:]) == 115
            assert await node.query(Notes.sum) == 115
            await cluster.agree()

    run(main)


@pytest.mark.long
def test_after_an_installed_snapshot_a_diverging_replica_is_still_found_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bug B44, invariant 14: a node that diverges after its return is outvoted; status names the node and the slot."""
    monkeypatch.setattr("paxospp.node.driver.CHECKPOINT_SLOTS", 256)

    async def main() -> None:
        async with embedded(tmp_path, config=OFTEN) as cluster:
            name = (await cluster.follower()).name
            slot = cluster.nodes[name].status().applied
            await cluster.stop(name)
            node = await cluster.leader()
            while not all(other.status().first > slot + 1 for other in cluster.nodes.values()):
                await write(node, 20)
            await cluster.nothing_waits(name)
            drifting = await cluster.start(name, machine=Drifting)
            await cluster.ready()
            await cluster.agree()
            assert any(isinstance(event, SnapshotInstalled) and event.node == name for event in cluster.events)
            await node.execute(Notes.add, 1)
            while node.status().applied < 256:
                await asyncio.gather(*(write(node, 10) for _ in range(20)))
            with pytest.raises(ReplicaStoppedError, match="slot 256"):
                async with asyncio.timeout(20):
                    await drifting.wait_stopped()
            cluster.nodes.pop(name)
            await cluster.until(lambda: any("differ at slot 256" in note for note in node.status().notes))
            (note,) = [note for note in node.status().notes if "differ" in note]
            assert f"{name} has " in note
            fetched = await fetch_status(node.address)
            assert fetched is not None
            assert note in fetched["notes"]
            assert await node.execute(Notes.add, 1) == 2

    run(main)


# The command line.


@pytest.mark.long
def test_the_snapshot_command_makes_every_given_node_take_a_snapshot(tmp_path: Path) -> None:
    with Serving(tmp_path) as serving:
        serving.start()
        serving.wait_founded()
        assert command_line("execute", "--cluster", ",".join(serving.addresses), "put", "a", "b").returncode == 0
        done = command_line("snapshot", "--cluster", serving.cluster)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        lines = done.stdout.splitlines()
        assert [line.split()[0] for line in lines] == ["n1", "n2", "n3"]
        assert all("has a snapshot up to slot" in line for line in lines)
        assert len(snapshot_files(tmp_path / "n2")) == 1
        serving.stop("n2")
        done = command_line("snapshot", "--cluster", serving.cluster)
        assert done.returncode == 3
        assert len(done.stdout.splitlines()) == 2
        assert done.stderr.startswith(f"paxospp snapshot: {serving.nodes['n2']}")
