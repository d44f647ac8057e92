"""Leases: while one is held nobody else leads, as long as clocks run evenly (rule 6, bug B33)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from paxospp.engine.output import Output, Send
from paxospp.engine.replica import Replica
from paxospp.engine.rules.lease import DRIFT_BOUND, META_KEY, Lease
from paxospp.messages import Heartbeat, HeartbeatAnswer, Nack, Prepare, Promise, ReadAnswer, ReadRequest
from paxospp.model import NodeId, Slot
from paxospp.storage.contract import WriteBatch

from .lease_world import LeaseWorld
from .words import N1, N2, N3, answer, ballot, founded, majority, sender

D = 1_000_000
"""A lease of one second, in microseconds."""


def stored(duration_us: int) -> bytes:
    return duration_us.to_bytes(8, "big")


def follower_s_lease(now: float = 0.0) -> Lease:
    """Of a replica whose disk knows of leases of a second."""
    lease = Lease(stored(D))
    lease.start(now - 100.0)
    lease.duration_us = D
    return lease


def messages(sends: list[Send]) -> list[Any]:
    return [send.message for send in sends]


# One replica.


def test_who_answered_promises_nobody_else_for_d_from_receipt() -> None:
    lease = follower_s_lease()
    assert not lease.forbids(ballot(9, N3), 0.0)

    assert lease.grant(ballot(5, N1), 10.0) == D
    assert lease.forbids(ballot(9, N3), 10.999)
    assert lease.forbids(ballot(9, N2), 10.999), "nor does it campaign itself"
    assert not lease.forbids(ballot(9, N1), 10.1), "the leader itself may ask anew"
    assert not lease.forbids(ballot(9, N3), 11.0)


def test_nothing_is_granted_before_the_disk_knows_for_how_long() -> None:
    lease = Lease(None)
    lease.start(0.0)
    lease.duration_us = D
    assert lease.grant(ballot(5), 1.0) == 0

    assert lease.wants_stored(1.0) == WriteBatch(meta={META_KEY: stored(D)})
    assert lease.wants_stored(1.0) is None, "one write is enough"
    assert lease.grant(ballot(5), 1.0) == 0, "the write is out, and has not returned"
    lease.stored(D)
    assert lease.grant(ballot(5), 1.0) == D


def test_nothing_is_granted_while_the_disk_may_have_forgotten_for_how_long() -> None:
    """Simulator, seed 504185: switched off and on again, and killed between those two writes."""
    lease = Lease(None)
    lease.start(0.0)
    for duration, now in ((D, 1.0), (0, 1.1), (D, 1.2)):
        lease.duration_us = duration
        assert lease.wants_stored(now) == WriteBatch(meta={META_KEY: stored(duration)})

    lease.stored(D)
    assert lease.grant(ballot(5), 1.3) == 0, "the second write may be there already"
    lease.stored(0)
    assert lease.grant(ballot(5), 1.4) == 0
    lease.stored(D)
    assert lease.grant(ballot(5), 1.5) == D

    lease.duration_us = 0
    assert lease.wants_stored(9.0) is not None
    lease.duration_us = D
    assert lease.grant(ballot(5), 9.1) == 0


def test_the_disk_forgets_a_longer_lease_only_when_the_last_one_is_over() -> None:
    lease = follower_s_lease()
    lease.grant(ballot(5), 10.0)
    lease.duration_us = 0
    assert lease.grant(ballot(5), 10.5) == 0
    assert lease.wants_stored(10.9) is None
    assert lease.wants_stored(11.0) == WriteBatch(meta={META_KEY: stored(0)})


def test_a_replica_that_starts_waits_before_it_promises_anybody_anything() -> None:
    lease = Lease(stored(D))
    lease.start(50.0)
    assert lease.forbids(ballot(9, N1), 50.999)
    assert lease.forbids(ballot(9, N3), 50.999)
    assert not lease.forbids(ballot(9, N3), 51.0)


def test_the_leader_counts_from_before_it_sent_and_less_the_drift_bound() -> None:
    lease = Lease(stored(D))
    lease.start(0.0)
    lease.duration_us = D
    lease.lead()
    lease.on_round(7, 10.0)
    lease.on_round(8, 10.5)
    assert not lease.is_held(N1, majority(), 10.5)

    lease.on_answer(N2, 7, D)
    assert lease.is_held(N1, majority(), 10.0 + 1 - DRIFT_BOUND - 0.001)
    assert not lease.is_held(N1, majority(), 10.0 + 1 - DRIFT_BOUND)
    lease.on_answer(N3, 8, D)
    assert lease.is_held(N1, majority(), 11.4)


def test_answers_without_a_grant_or_to_rounds_of_another_reign_count_for_nothing() -> None:
    lease = Lease(stored(D))
    lease.start(0.0)
    lease.duration_us = D
    lease.lead()
    lease.on_round(7, 10.0)
    lease.on_answer(N2, 7, 0)
    lease.on_answer(N3, 6, D)
    lease.on_answer(N3, 8, D)
    assert not lease.is_held(N1, majority(), 10.0)

    lease.on_answer(N2, 7, D)
    lease.lead()
    assert not lease.is_held(N1, majority(), 10.1), "who leads anew begins anew"


def test_rounds_sent_while_leases_were_off_leave_a_gap_and_no_answer_is_credited_to_another_round() -> None:
    """Switched off and on within one leadership: the rounds that are known are not consecutive."""
    lease = Lease(stored(D))
    lease.start(0.0)
    lease.lead()
    for round, now, duration in ((1, 10.0, D), (2, 10.1, 0), (3, 10.2, 0), (4, 10.3, D), (5, 10.4, D)):
        lease.duration_us = duration
        lease.on_round(round, now)

    lease.on_answer(N2, 2, D)
    lease.on_answer(N2, 3, D)
    assert not lease.is_held(N1, majority(), 10.4), "for these rounds nothing is known of when they were sent"
    lease.on_answer(N2, 4, D)
    assert lease.is_held(N1, majority(), 10.3 + 1 - DRIFT_BOUND - 0.001)
    assert not lease.is_held(N1, majority(), 10.3 + 1 - DRIFT_BOUND)
    lease.on_answer(N2, 5, D)
    assert lease.is_held(N1, majority(), 10.4 + 1 - DRIFT_BOUND - 0.001), "a prompt answer counts"


# In its replica.


def lessee(name: NodeId = N1) -> Replica:
    """A replica that has applied the entry that switches leases on, and stored it."""
    replica = founded(name)
    output = replica.set_lease(D, 0.1)
    assert output.persist is not None
    replica.on_persisted(output.token, 0.1)
    return replica


def beat(replica: Replica, leader: NodeId, now: float, *, of: int = 5, round: int = 1) -> Output:
    heartbeat = Heartbeat(
        round=round,
        leading=ballot(of, leader),
        quorum_connected=True,
        decided_up_to=Slot(1),
        promised=ballot(of, leader),
        remembered=Slot(1),
        booted_with=ballot(1),
    )
    return replica.on_message(sender(leader), heartbeat, now)


def test_an_answer_carries_the_grant_and_a_prepare_of_somebody_else_is_as_if_lost() -> None:
    replica = lessee()
    (answered,) = (m for m in messages(beat(replica, N2, 1.0).send_now) if isinstance(m, HeartbeatAnswer))
    assert answered.lease == D

    def prepared(now: float) -> list[Any]:
        output = replica.on_message(sender(N3), Prepare(ballot=ballot(6, N3), start=Slot(2)), now)
        return [m for m in messages(output.send_after_persist) if isinstance(m, (Promise, Nack))]

    assert prepared(1.9) == []
    assert [type(m) for m in prepared(2.0)] == [Promise]


def test_a_replica_that_is_bound_does_not_campaign() -> None:
    replica = lessee()
    beat(replica, N2, 1.0)
    assert replica.campaign(1.9).persist is None
    assert replica.campaign(2.0).persist is not None


def lead(replica: Replica) -> None:
    output = replica.campaign(1.2)
    replica.on_persisted(output.token, 1.2)
    ours = replica.ballot
    assert ours is not None
    promise = Promise(
        ballot=ours,
        start=Slot(2),
        answer=1,
        part=0,
        parts=1,
        decided=Slot(1),
        first=Slot(1),
        last=Slot(1),
        entries=(),
        faulty=(),
    )
    replica.on_message(sender(N2), promise, 1.2)
    assert replica.leading


def answer_round(replica: Replica, now: float, *, lease: int) -> None:
    round = replica.protocol.heartbeats.rounds.round
    said = answer(round, promised=replica.ballot)
    granted = HeartbeatAnswer(**{name: getattr(said, name) for name in said.__slots__} | {"lease": lease})
    replica.on_message(sender(N2), granted, now)


def test_a_leader_that_holds_a_lease_confirms_such_reads_at_once_and_others_by_a_round() -> None:
    replica = lessee()
    lead(replica)
    assert replica.read(1, 1.3, lease=True).readable == [], "nobody granted anything yet"
    answer_round(replica, 1.3, lease=D)

    (ready,) = replica.read(2, 1.4, lease=True).readable
    assert ready.ticket == 2
    assert ready.slot is not None
    assert replica.read(3, 1.4).readable == [], "linearizable reads trust no clock"
    asked = replica.on_message(sender(N3), ReadRequest(counter=4, lease=True), 1.4)
    assert ReadAnswer(nonce=7, counter=4, slot=ready.slot) in messages(asked.send_now)
    assert replica.read(5, 2.4, lease=True).readable == [], "it is over"


def test_a_leader_that_was_paused_knows_that_its_lease_is_over() -> None:
    """B33: the active clock hardly moves in a pause; the one for leases does."""
    replica = lessee()
    lead(replica)
    answer_round(replica, 1.3, lease=D)
    assert replica.read(2, 31.3, lease=True).readable == []


# Many of them: nobody leads beside who holds a lease.


@dataclass
class Seen:
    """What a run saw."""

    held: int = 0
    beside: list[str] = field(default_factory=list)
    """Leaders that stood beside the holder of a lease."""


def look(world: LeaseWorld, seen: Seen) -> None:
    leaders = world.leaders()
    for replica in leaders:
        name, mine = replica.identity.name, replica.ballot
        now = world.hosts[name].clock(world.now)
        if not replica.protocol.lease.is_held(name, replica.protocol.cluster.voters, now):
            continue
        seen.held += 1
        for other in leaders:
            if other.ballot is not None and mine is not None and other.ballot > mine:
                seen.beside.append(f"{world.now:.3f}: {other.ballot} leads beside the lease of {mine}")


def run(seed: int, *, drift: float) -> Seen:
    random = Random(f"{seed} leases")
    duration_us = random.choice([300_000, 1_000_000, 3_000_000])
    world = LeaseWorld(seed, random.choice([1, 3, 3, 5]), drift=drift)
    hosts = list(world.hosts.values())
    names = list(world.hosts)
    seen = Seen()
    for host in hosts:
        world.start(host)
    world.run(5.0)
    assert all(host.replica is not None and host.replica.membership for host in hosts)
    world.loss, world.slow_s = random.choice([0.0, 0.1]), random.choice([0.0, 0.5])
    for _ in range(25):
        for host in hosts:
            if host.replica is not None and random.random() < 0.5:  # it applies the entry sooner or later
                world.honour(host, host.replica.set_lease(duration_us, world.now))
        for _ in range(40):
            world.run(random.expovariate(1 / 0.02))
            look(world, seen)
        dice, victim = random.random(), random.choice(hosts)
        if dice < 0.25:
            world.crash(victim)
            if random.random() < 0.5:
                world.start(victim)
        elif dice < 0.45:
            for host in hosts:
                if host.replica is None:
                    world.start(host)
        elif dice < 0.7:
            leader = next((replica.identity.name for replica in world.leaders()), victim.name)
            cut = leader if random.random() < 0.7 else victim.name
            world.cut = {(a, b) for a in names for b in names if a != b and cut in (a, b)}
            if random.random() < 0.4:  # who granted it something does not remember
                for host in hosts:
                    if host.name != cut:
                        world.crash(host)
                        world.start(host)
        elif dice < 0.9:
            world.cut = set()
    return seen


def all_runs(seeds: range, *, drift: float) -> Iterator[Seen]:
    for seed in seeds:
        yield run(seed, drift=drift)


def test_nobody_leads_beside_who_holds_a_lease() -> None:
    """Crashes, restarts, cuts, loss, and clocks that differ by as much as is allowed."""
    held = 0
    for seed, seen in enumerate(all_runs(range(14), drift=DRIFT_BOUND / 2 - 0.001)):
        assert seen.beside == [], f"seed {seed}"
        held += seen.held
    assert held > 2_000, "leases were hardly ever held"


def test_beyond_the_bound_leases_are_unsafe_as_they_say() -> None:
    """C3: and so the test above would see it."""
    assert any(seen.beside for seen in all_runs(range(30), drift=0.5))
