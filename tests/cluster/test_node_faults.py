"""Whole nodes with hung disks, unknown peers, clones and overload: bugs of ``tests/BUGS.md``, and faults."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from pathlib import Path

import grpc.aio
import pytest
from paxospp_file import FileStorage

import paxospp
from paxospp import NodeId, WriteBatch
from paxospp.config import NodeConfig
from paxospp.errors import OutcomeUnknownError, RejectedError, ReplicaStoppedError, UnavailableError
from paxospp.events import Diverged, FaultFound, LeaderChanged
from paxospp.messages import ForwardRuns, Sender
from paxospp.node import Node
from paxospp.rpc.channel import LINK
from paxospp.sessions.runs import Run, encode_run
from paxospp.state_machine import pack_call
from paxospp.wire.frames import encode_frame
from tests.cluster.embedding import Drifting, Embedded, Notes, addresses, embedded, run, threads_end


class HangingStorage(FileStorage):
    """A file storage whose disk can be made to hang."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.works = threading.Event()
        self.works.set()

    def persist(self, batch: WriteBatch) -> None:
        self.works.wait()
        super().persist(batch)


def test_a_leader_whose_disk_hangs_steps_down_and_writes_continue_at_another(tmp_path: Path) -> None:
    """Bug B47, fault D16."""

    async def main() -> None:
        storages: dict[str, HangingStorage] = {}

        def hanging(name: str) -> HangingStorage:
            storages[name] = HangingStorage(tmp_path / name)
            return storages[name]

        cluster = Embedded(tmp_path)
        for name in cluster.cluster:
            await cluster.start(name, storage=lambda name=name: hanging(name))
        await cluster.ready()
        leader = await cluster.leader()
        other = await cluster.follower()
        assert await other.execute(Notes.add, 1) == 1
        storages[leader.name].works.clear()
        began = time.monotonic()
        assert await other.execute(Notes.add, 1, timeout=10) == 2
        assert time.monotonic() - began < 5 * 2 * NodeConfig().election_timeout_s
        storages[leader.name].works.set()
        assert await leader.execute(Notes.add, 1, timeout=10) == 3
        await cluster.agree()
        for name in cluster.cluster:
            await cluster.stop(name)

    run(main)


def test_a_node_whose_disk_hangs_still_closes_within_two_seconds(tmp_path: Path) -> None:
    async def main() -> None:
        storage: list[HangingStorage] = []

        def hanging() -> HangingStorage:
            storage.append(HangingStorage(tmp_path / "n1"))
            return storage[-1]

        node = Embedded(tmp_path, count=1).make("n1", storage=hanging)
        await node.start()
        assert await node.execute(Notes.add, 1) == 1
        storage[0].works.clear()
        call = asyncio.create_task(node.execute(Notes.add, 1, timeout=None))
        await asyncio.sleep(0.05)
        began = time.monotonic()
        await node.close()
        assert time.monotonic() - began < 2.0
        with pytest.raises(OutcomeUnknownError):
            await call
        storage[0].works.set()
        await threads_end()

    run(main)


def test_messages_of_another_cluster_at_the_same_addresses_are_dropped_and_counted(tmp_path: Path) -> None:
    """Bug B19."""

    async def main() -> None:
        async with embedded(tmp_path / "theirs") as theirs:
            await theirs.nodes["n1"].execute(Notes.add, 5)
        async with embedded(tmp_path / "ours") as ours:
            await ours.nodes["n1"].execute(Notes.add, 1)
            await ours.stop("n3")
            # The other cluster's n3 starts at the address of this cluster's n3.
            heard: list[object] = []
            stranger = Node(
                "n3",
                cluster=ours.cluster,
                storage=f"file:{tmp_path / 'theirs' / 'n3'}",
                machine=Notes,
                on_event=heard.append,
            )
            async with stranger:
                await ours.until(lambda: any(isinstance(event, FaultFound) for event in ours.events))
                await ours.until(lambda: any(isinstance(event, FaultFound) for event in heard))
                assert any("cluster" in reason for reason in ours.nodes["n1"].status().dropped)
                assert await ours.nodes["n1"].execute(Notes.add, 1) == 2
                assert stranger.status().cluster_id != ours.nodes["n1"].status().cluster_id
                with pytest.raises(UnavailableError):
                    await stranger.query(Notes.sum, timeout=0.3)

    run(main)


def test_a_clone_of_a_running_node_is_noticed_and_does_no_harm(tmp_path: Path) -> None:
    """Bug B18: a lock protects the directory itself; peers that have met the original notice a copy."""

    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            follower = await cluster.follower()
            name = follower.name
            assert await follower.execute(Notes.add, 1) == 1
            shutil.copytree(tmp_path / name, tmp_path / "clone")
            leader = await cluster.leader()
            assert await leader.execute(Notes.add, 1) == 2
            clone = Node(
                name,
                cluster={**cluster.cluster, name: addresses(1)["n1"]},
                storage=f"file:{tmp_path / 'clone'}",
                machine=Notes,
            )
            async with clone:
                await cluster.until(lambda: any(isinstance(event, FaultFound) for event in cluster.events))
            assert await leader.execute(Notes.add, 1) == 3

    run(main)


@pytest.mark.long
def test_ten_times_the_load_that_it_can_take_does_not_change_the_leader(ram: Path) -> None:
    """Bug B55."""

    async def main() -> None:
        config = NodeConfig(inbox_calls_max=2000)
        async with embedded(ram, config=config) as cluster:
            ballot = (await cluster.leader()).status().ballot
            cluster.events.clear()
            refused = answered = 0

            async def caller(node: Node, until: float) -> None:
                nonlocal refused, answered
                called = False
                while not called or time.monotonic() < until:
                    called = True
                    try:
                        await node.execute(Notes.add, 1)
                        answered += 1
                    except paxospp.OverloadedError as error:
                        refused += 1
                        await asyncio.sleep(error.retry_after)

            until = time.monotonic() + 1.0
            await asyncio.gather(*(caller(node, until) for node in cluster.nodes.values() for _ in range(4000)))
            assert refused > 0
            assert answered > 1000
            # Twelve thousand callers share the event loop with the nodes. If one turn of the loop takes long enough,
            # a follower misses the leader's heartbeats. It probes before it campaigns, so no other node ever leads.
            led = {event.ballot for event in cluster.events if isinstance(event, LeaderChanged)} - {None}
            assert led <= {ballot}
            assert (await cluster.leader()).status().ballot == ballot
            assert await cluster.nodes["n1"].query(Notes.sum) == answered

    run(main)


def test_a_client_calls_embedded_nodes_by_name_and_by_type(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            for address in cluster.cluster.values():
                async with paxospp.Client([address]) as client:
                    await client.execute(Notes.put, "key", address)
                    assert await client.query(Notes.get, "key") == address
                    assert await client.execute("put", "key") == address  # completed where it is proposed
                    assert await client.query("get", "key", consistency="local") == "nothing"
                    with pytest.raises(RejectedError):
                        await client.execute("put")
                    with pytest.raises(paxospp.CommandError, match="not this one"):
                        await client.execute(Notes.raise_value_error)
                    await asyncio.gather(*(client.execute(Notes.add, 1) for _ in range(500)))
            node = cluster.nodes["n1"]
            assert await node.query(Notes.sum) == 3 * 501
            await cluster.agree()

    run(main)


def test_a_clients_calls_are_applied_once_while_leaders_stop_and_start(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            async with paxospp.Client(list(cluster.cluster.values()), timeout=30.0) as client:

                async def count(times: int) -> None:
                    for _ in range(times):
                        await client.execute(Notes.add, 1)

                counting = [asyncio.create_task(count(40)) for _ in range(50)]
                for _ in range(2):
                    leader = await cluster.leader()
                    await cluster.stop(leader.name)
                    await cluster.start(leader.name)
                    await cluster.ready()
                await asyncio.gather(*counting)
                assert await client.query(Notes.sum) == 2000
            await cluster.agree()

    run(main)


async def say(address: str, frame: bytes) -> None:
    """Send ``frame`` like a peer, on a link of its own."""
    async with grpc.aio.insecure_channel(address) as channel:
        call: grpc.aio.StreamUnaryCall[bytes, bytes] = channel.stream_unary(LINK)()
        await call.write(frame)
        await call.done_writing()
        await call


def test_damaged_frames_and_those_of_unknown_senders_are_counted_and_dropped(tmp_path: Path) -> None:
    """Fault N9, bug B19."""

    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            node = cluster.nodes["n1"]
            cluster_id = bytes.fromhex(node.status().cluster_id)
            runs = ForwardRuns(runs=(b"no run",))
            stranger = Sender(cluster_id, 0, NodeId("n9"), 1, 1, 1)
            good = encode_frame(stranger, NodeId("n1"), [runs])
            await say(node.address, good[:-3])
            await say(node.address, bytes([good[0], good[1] ^ 1]) + good[2:])
            await say(node.address, encode_frame(stranger, NodeId("n2"), [runs]))
            await say(node.address, good)
            await say(node.address, encode_frame(stranger._replace(cluster_id=bytes(16)), NodeId("n1"), [runs]))
            dropped = node.status().dropped
            assert sum(count for reason, count in dropped.items() if reason.startswith("frame:")) == 3
            assert dropped["runs of an unknown sender"] == 1
            assert dropped["runs of another cluster"] == 1
            assert await node.execute(Notes.add, 1) == 1

    run(main)


def test_a_run_is_forwarded_one_hop_at_most_and_only_if_it_is_valid(tmp_path: Path) -> None:
    """Bug B50. Also, an invalid run that a peer of another version forwards must not stop this node."""

    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            leader, follower = await cluster.leader(), await cluster.follower()
            cluster_id = bytes.fromhex(leader.status().cluster_id)
            sender = Sender(cluster_id, 0, NodeId(follower.name), 1, 1, 1)
            unknown = encode_run(Run(0, bytes(16), 1, 0, [pack_call("no_such_command", b"\x90")]))
            before = leader.status().decided
            await say(leader.address, encode_frame(sender, NodeId(leader.name), [ForwardRuns(runs=(b"junk", unknown))]))
            assert leader.status().dropped["forwarded but not understood"] == 2
            fits = encode_run(Run(0, bytes(16), 1, 0, [Notes.add.encode((1,))]))
            back = Sender(cluster_id, 0, NodeId(leader.name), 1, 1, 1)
            await say(follower.address, encode_frame(back, NodeId(follower.name), [ForwardRuns(runs=(fits,))]))
            assert follower.status().dropped["forwarded to a node that does not lead"] == 1
            assert leader.status().decided == before
            assert await leader.execute(Notes.add, 1) == 1

    run(main)


@pytest.fixture
def checkpoint(monkeypatch: pytest.MonkeyPatch) -> int:
    """Make replicas compare digests at an early slot, and return that slot."""
    monkeypatch.setattr("paxospp.node.driver.CHECKPOINT_SLOTS", 64)
    return 64


def test_a_replica_whose_digest_differs_from_a_majoritys_stops_and_names_the_slot(
    tmp_path: Path, checkpoint: int
) -> None:
    """Bug B44."""

    async def main() -> None:
        async with embedded(tmp_path, machines={"n2": Drifting}) as cluster:
            drifting = cluster.nodes.pop("n2")
            try:
                node = cluster.nodes["n1"]
                assert await node.execute(Notes.add, 1) == 1

                async def fill() -> None:
                    while node.status().applied <= checkpoint:
                        await node.execute(Notes.put, "key")

                await fill()
                with pytest.raises(ReplicaStoppedError, match=f"slot {checkpoint}") as stopped:
                    async with asyncio.timeout(10):
                        await drifting.wait_stopped()
                assert stopped.value.slot == checkpoint
                assert any(isinstance(event, Diverged) and event.slot == checkpoint for event in cluster.events)
                assert await node.execute(Notes.add, 1) == 2
                await cluster.agree()
            finally:
                await drifting.close()

    run(main)


class DriftingFurther(Notes):
    """A faulty machine whose sums differ from those of ``Notes`` and of ``Drifting``."""

    @paxospp.command
    def add(self, amount: int) -> int:
        self.total += amount
        return self.total + 2


def test_without_a_majority_for_a_digest_all_replicas_report_it_and_none_stops(tmp_path: Path, checkpoint: int) -> None:
    """With three replicas and three digests, nobody can say which one is right."""

    async def main() -> None:
        async with embedded(tmp_path, machines={"n2": Drifting, "n3": DriftingFurther}) as cluster:
            node = cluster.nodes["n1"]
            await node.execute(Notes.add, 1)
            while node.status().applied <= checkpoint:
                await node.execute(Notes.put, "key")

            def told() -> dict[str, set[str]]:
                found = [event for event in cluster.events if isinstance(event, Diverged) and event.slot == checkpoint]
                return {event.node: {name for name, _ in event.digests} for event in found}

            await cluster.until(lambda: set(told()) == {"n1", "n2", "n3"})
            assert all(len(names) >= 2 for names in told().values())
            for other in cluster.nodes.values():
                await other.execute(Notes.put, "key", "goes on")
                assert any(f"slot {checkpoint}" in note for note in other.status().notes)

    run(main)
