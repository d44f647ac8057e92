"""Markers that the simulator cannot reach, reached by hand: ``reach.beyond.BEYOND`` names each test here."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from random import Random

from paxospp_memory import MemoryStorage

from paxospp.config import NodeConfig
from paxospp.engine.replica import Replica
from paxospp.engine.rules.digests import Digests
from paxospp.engine.rules.observer import Observer
from paxospp.messages import CatchUp, Checkpoint, DecidedEntries, SnapshotChunk
from paxospp.model import NodeId, Slot, SnapshotMeta
from paxospp.node.pacing import PACING, Pacing
from paxospp.storage.contract import DurableState, WriteBatch
from paxospp.testing.engine_settings import engine_settings
from paxospp.testing.simulation.machines import Ledger, ledger_calls
from paxospp.testing.simulation.phases import SimulationRun
from paxospp.testing.simulation.plan import Overrides, RunPlan
from paxospp.testing.simulation.world.host import SimulatedHost
from paxospp.testing.simulation.world.world import SimulatedWorld
from tests.engine.words import N1, N2, ballot, identity, membership, promise, sender, sent
from tests.node.writing import open_writer


class Heard(Observer):
    """Remembers the markers that are reported to it."""

    def __init__(self) -> None:
        self.markers: list[str] = []

    def reached(self, marker: str) -> None:
        self.markers.append(marker)


def replica(heard: Heard, *, decided: int) -> Replica:
    """Return a replica that holds slots 2 to ``decided`` and has applied slot 1; the test does its reads."""
    last = Slot(decided)
    return Replica(
        identity(),
        DurableState(promised=ballot(1), decided=last, first=Slot(2), last=last),
        engine_settings(alpha=4),
        Random(1),
        memberships=[(Slot(1), membership())],
        applied=1,
        observer=heard,
    )


def test_two_digests_at_one_slot_are_told_apart() -> None:
    heard = Heard()
    digests = Digests(N1, heard)
    digests.add(N1, 1, Checkpoint(Slot(1024), b"x"))
    digests.add(N2, 2, Checkpoint(Slot(1024), b"y"))

    assert digests.difference(Slot(1024)) == {N1: b"x", N2: b"y"}
    assert heard.markers == ["digests: two replicas differ"]


def test_a_decided_slot_that_the_storage_forgot_counts_as_damaged_and_is_fetched() -> None:
    heard = Heard()
    it = replica(heard, decided=3)
    (wanted,) = it.start(0.0).log_reads

    it.on_log_read(wanted.token, [], 0.0)
    assert "learning: a decided slot is gone from the storage" in heard.markers
    assert it.protocol.log.is_faulty(Slot(2))

    it.on_message(sender(N2), DecidedEntries(entries=(), decided=Slot(3), first=Slot(1)), 0.1)
    (asked,) = sent(it.on_tick(1.0), CatchUp)
    assert asked.start == 2


def test_promises_of_others_may_be_enough_before_the_own_one_is_durable() -> None:
    """A node reports a write and sends what waited for it in one step; the replica does not rely on that."""
    heard = Heard()
    it = replica(heard, decided=1)
    it.start(0.0)
    campaign = it.campaign(0.0)
    assert campaign.persist is not None
    own = it.protocol.own_ballot
    assert own is not None

    for peer in (N2, NodeId("n3")):
        it.on_message(sender(peer), promise(own, decided=1, first=2), 0.0)

    assert it.leading
    assert "protocol: a replica leads before its own promise is durable" in heard.markers


class HeldStorage(MemoryStorage):
    """A storage whose first write waits until the test releases it."""

    def __init__(self) -> None:
        super().__init__("")
        self.begun, self.go = threading.Event(), threading.Event()
        self.snapshots: list[SnapshotMeta | None] = []

    def persist(self, batch: WriteBatch) -> None:
        self.begun.set()
        assert self.go.wait(10.0)
        self.snapshots.append(batch.snapshot)
        super().persist(batch)


def test_two_snapshots_are_two_writes() -> None:
    """A batch holds one snapshot at most; a node makes one current at a time, so two never queue there."""

    async def main() -> None:
        heard, storage, persisted = Heard(), HeldStorage(), asyncio.Queue[int]()
        failures: list[Exception] = []
        writer = await open_writer(
            lambda: storage, on_persisted=persisted.put_nowait, on_failed=failures.append, observer=heard
        )
        metas = [SnapshotMeta(Slot(0), "one"), SnapshotMeta(Slot(0), "two")]
        for meta in metas:
            staged = storage.create_snapshot(meta)
            staged.write(b"state")
            staged.commit()
        writer.submit(1, WriteBatch())
        await asyncio.to_thread(storage.begun.wait)
        for token, meta in enumerate(metas, 2):
            writer.submit(token, WriteBatch(snapshot=meta))
        storage.go.set()
        assert [await persisted.get() for _ in range(3)] == [1, 2, 3]
        assert not failures
        assert storage.snapshots == [None, *metas]
        assert "writer: a second snapshot waits for the next write" in heard.markers
        assert await writer.close(5.0)

    asyncio.run(main())


# A snapshot that comes at a bad time, on a simulated cluster in which nothing else goes wrong.


def founded(seed: int, slots: int, pacing: Pacing = PACING) -> SimulatedWorld:
    """Return a world of three nodes that have applied ``slots`` slots and have nothing more to do."""
    plan = RunPlan.draw(seed, machine=Ledger, workload=ledger_calls, overrides=Overrides(families=(), nodes=3))
    run = SimulationRun(replace(plan, config=NodeConfig(), differing={}, pacing=pacing, profile=""))
    world = run.world
    for host in world.hosts:
        host.start()
    run.clients.begin()
    passes(world, lambda: min(host.applied for host in world.hosts) >= slots)
    run.clients.end()
    return world


def cut_off(world: SimulatedWorld, slots: int) -> tuple[SimulatedHost, SimulatedHost]:
    """Cut off a follower; return it and the leader, once it has applied ``slots`` more slots than the follower."""
    follower = next(host for host in world.hosts if host not in world.leaders)
    source = next(host for host in world.hosts if host in world.leaders)
    names = [host.name for host in world.hosts]
    world.network.cut((name, follower.name) for name in names if name != follower.name)
    assert world.clients is not None
    world.clients.begin()
    passes(world, lambda: source.applied > follower.applied + slots)
    return follower, source


def passes(world: SimulatedWorld, until: Callable[[], bool]) -> None:
    """Let time pass until this is true."""
    for _ in range(10_000):
        if until():
            return
        world.clock.run_until(world.clock.now + 0.005)
    raise AssertionError("it never became true")


def snapshot_of(host: SimulatedHost) -> bytes:
    assert host.runtime is not None
    return b"".join(host.runtime.executor.encode_snapshot())


def offer(host: SimulatedHost, source: SimulatedHost, slot: Slot, data: bytes) -> None:
    """Let ``host`` need a snapshot, and let this one come from ``source`` in one chunk."""
    runtime = host.runtime
    assert runtime is not None
    runtime.snapshots.on_needed(source.name)
    chunk = SnapshotChunk(slot=slot, id="other", offset=0, data=data, last=True, ballot=source.record.promised)
    runtime.snapshots.on_message(source.sender, chunk)


def test_a_snapshot_of_another_cluster_is_not_installed() -> None:
    world, other = founded(1, slots=3), founded(2, slots=20)
    follower = next(host for host in world.hosts if host not in world.leaders)
    source = next(host for host in world.hosts if host is not follower)
    passes(other, lambda: bool(other.leaders))
    stranger = other.leaders[0]
    assert stranger.runtime is not None
    applied = stranger.runtime.executor.applied
    follower_runtime = follower.runtime
    assert follower_runtime is not None
    assert follower_runtime.replica.delivered < applied, "it would be useful if it were of this cluster"

    offer(follower, source, applied, snapshot_of(stranger))
    marker = "snapshots: one of another cluster is refused"
    passes(world, lambda: world.reach.hits[marker] > 0)
    assert follower_runtime.executor.applied < applied


def test_a_snapshot_that_is_whole_when_the_log_has_caught_up_is_dropped() -> None:
    """A log that catches up drops a snapshot at once, unless its last chunk is just being staged."""
    world = founded(1, slots=3)
    follower, source = cut_off(world, 2)
    assert follower.runtime is not None
    assert source.runtime is not None
    replica, executor = follower.runtime.replica, source.runtime.executor
    slot = executor.applied

    offer(follower, source, slot, snapshot_of(source))
    entries = tuple(source.runtime.replica.held(Slot(replica.delivered + 1), Slot(slot + 1), 1 << 20))
    # Delivered past the node, which would drop the snapshot at once.
    decided = DecidedEntries(entries=entries, decided=slot, first=Slot(1))
    replica.on_message(source.sender, decided, replica.protocol.tick_due_at)
    assert replica.delivered == slot
    marker = "snapshots: the log has caught up with one that is whole"
    passes(world, lambda: world.reach.hits[marker] > 0)
    assert not follower.runtime.snapshots.is_fetching


def test_what_waits_to_be_applied_when_a_snapshot_brings_it_is_not_applied_again() -> None:
    world = founded(1, slots=3, pacing=Pacing(apply_slice_s=0.0))
    follower, source = cut_off(world, 40)
    assert follower.runtime is not None
    assert source.runtime is not None
    slot, delivered = source.runtime.executor.applied, follower.runtime.replica.delivered
    entries = tuple(source.runtime.replica.held(Slot(delivered + 1), slot, 1 << 20))
    assert entries
    assert entries[-1].slot < slot, "the snapshot covers later slots"

    told = DecidedEntries(entries=entries, decided=slot, first=Slot(1))
    follower.take(follower.loop, follower.receive, (source.sender, told))
    offer(follower, source, slot, snapshot_of(source))
    marker = "driver: what waited to be applied came in a snapshot"
    passes(world, lambda: world.reach.hits[marker] > 0)
    assert follower.applied >= slot
