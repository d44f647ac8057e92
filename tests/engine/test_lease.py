"""Leases (rule 6): while a leader holds one, nobody else leads, as long as clock rates differ within the bound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from paxospp.engine.output import Output, Send
from paxospp.engine.replica import Replica
from paxospp.engine.rules.lease import DRIFT_BOUND, META_KEY, Lease
from paxospp.messages import HeartbeatAnswer, Nack, Prepare, Promise, ReadAnswer, ReadRequest
from paxospp.model import NodeId, Slot
from paxospp.storage.contract import WriteBatch

from .lease_world import LeaseWorld
from .words import N1, N2, N3, answer, ballot, founded, heartbeat, lead, majority, sender

D = 1_000_000
"""A lease of one second, in microseconds."""


def stored(duration_us: int) -> bytes:
    return duration_us.to_bytes(8, "big")


def follower_lease(now: float = 0.0) -> Lease:
    """Return the lease of a replica that has stored that leases last a second."""
    lease = Lease(stored(D))
    lease.start(now - 100.0)
    lease.duration_us = D
    return lease


def messages(sends: list[Send]) -> list[Any]:
    return [send.message for send in sends]


# One replica.


def test_a_follower_that_granted_a_lease_promises_nobody_else_until_it_is_over() -> None:
    lease = follower_lease()
    assert not lease.forbids(ballot(9, N3), 0.0)

    assert lease.grant(ballot(5, N1), 10.0) == D
    assert lease.forbids(ballot(9, N3), 10.999)
    assert lease.forbids(ballot(9, N2), 10.999), "nor does it campaign itself"
    assert not lease.forbids(ballot(9, N1), 10.1), "the leader itself may campaign again"
    assert not lease.forbids(ballot(9, N3), 11.0)


def test_no_lease_is_granted_before_its_duration_is_on_disk() -> None:
    lease = Lease(None)
    lease.start(0.0)
    lease.duration_us = D
    assert lease.grant(ballot(5), 1.0) == 0

    assert lease.wants_stored(1.0) == WriteBatch(meta={META_KEY: stored(D)})
    assert lease.wants_stored(1.0) is None, "one write is enough"
    assert lease.grant(ballot(5), 1.0) == 0, "the write is out, and has not returned"
    lease.stored(D)
    assert lease.grant(ballot(5), 1.0) == D


def test_no_lease_is_granted_while_the_duration_may_be_missing_from_the_disk() -> None:
    """Simulator, seed 504185: leases were switched off and on again, and the node was killed between the two writes."""
    lease = Lease(None)
    lease.start(0.0)
    for duration, now in ((D, 1.0), (0, 1.1), (D, 1.2)):
        lease.duration_us = duration
        assert lease.wants_stored(now) == WriteBatch(meta={META_KEY: stored(duration)})

    lease.stored(D)
    assert lease.grant(ballot(5), 1.3) == 0, "the second write may have reached the disk already"
    lease.stored(0)
    assert lease.grant(ballot(5), 1.4) == 0
    lease.stored(D)
    assert lease.grant(ballot(5), 1.5) == D

    lease.duration_us = 0
    assert lease.wants_stored(9.0) is not None
    lease.duration_us = D
    assert lease.grant(ballot(5), 9.1) == 0


def test_a_shorter_duration_is_stored_only_when_the_last_granted_lease_is_over() -> None:
    lease = follower_lease()
    lease.grant(ballot(5), 10.0)
    lease.duration_us = 0
    assert lease.grant(ballot(5), 10.5) == 0
    assert lease.wants_stored(10.9) is None
    assert lease.wants_stored(11.0) == WriteBatch(meta={META_KEY: stored(0)})


def test_a_replica_that_starts_promises_nothing_until_any_lease_it_granted_is_over() -> None:
    lease = Lease(stored(D))
    lease.start(50.0)
    assert lease.forbids(ballot(9, N1), 50.999)
    assert lease.forbids(ballot(9, N3), 50.999)
    assert not lease.forbids(ballot(9, N3), 51.0)


def test_the_leader_counts_a_lease_from_before_it_sent_the_heartbeat_less_the_drift_bound() -> None:
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


def test_answers_without_a_grant_or_to_rounds_before_this_leadership_do_not_count() -> None:
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
    assert not lease.is_held(N1, majority(), 10.1), "a new leadership starts without grants"


def test_an_answer_to_a_round_sent_while_leases_were_off_is_not_credited_to_another_round() -> None:
    """Leases were switched off and on within one leadership, so the rounds it recorded are not consecutive."""
    lease = Lease(stored(D))
    lease.start(0.0)
    lease.lead()
    for round, now, duration in ((1, 10.0, D), (2, 10.1, 0), (3, 10.2, 0), (4, 10.3, D), (5, 10.4, D)):
        lease.duration_us = duration
        lease.on_round(round, now)

    lease.on_answer(N2, 2, D)
    lease.on_answer(N2, 3, D)
    assert not lease.is_held(N1, majority(), 10.4), "it did not record when these rounds were sent"
    lease.on_answer(N2, 4, D)
    assert lease.is_held(N1, majority(), 10.3 + 1 - DRIFT_BOUND - 0.001)
    assert not lease.is_held(N1, majority(), 10.3 + 1 - DRIFT_BOUND)
    lease.on_answer(N2, 5, D)
    assert lease.is_held(N1, majority(), 10.4 + 1 - DRIFT_BOUND - 0.001), "a prompt answer counts"


# A lease inside a replica.


def lessee(name: NodeId = N1) -> Replica:
    """Return a replica that has switched leases on and stored their duration."""
    replica = founded(name)
    output = replica.set_lease(D, 0.1)
    assert output.persist is not None
    replica.on_persisted(output.token, 0.1)
    return replica


def beat(replica: Replica, leader: NodeId, now: float, *, of: int = 5, round: int = 1) -> Output:
    """Deliver a heartbeat of ``leader`` to ``replica``."""
    theirs = ballot(of, leader)
    message = heartbeat(round, leading=theirs, decided_up_to=1, promised=theirs, remembered=1, booted_with=ballot(1))
    return replica.on_message(sender(leader), message, now)


def test_an_answer_carries_the_grant_and_a_prepare_of_another_node_is_ignored() -> None:
    replica = lessee()
    (answered,) = (m for m in messages(beat(replica, N2, 1.0).send_now) if isinstance(m, HeartbeatAnswer))
    assert answered.lease == D

    def prepared(now: float) -> list[Any]:
        output = replica.on_message(sender(N3), Prepare(ballot=ballot(6, N3), start=Slot(2)), now)
        return [m for m in messages(output.send_after_persist) if isinstance(m, (Promise, Nack))]

    assert prepared(1.9) == []
    assert [type(m) for m in prepared(2.0)] == [Promise]


def test_a_replica_that_granted_a_lease_does_not_campaign_until_it_is_over() -> None:
    replica = lessee()
    beat(replica, N2, 1.0)
    assert replica.campaign(1.9).persist is None
    assert replica.campaign(2.0).persist is not None


def answer_round(replica: Replica, now: float, *, lease: int) -> None:
    round = replica.protocol.heartbeats.rounds.round
    said = answer(round, promised=replica.ballot)
    granted = HeartbeatAnswer(**{name: getattr(said, name) for name in said.__slots__} | {"lease": lease})
    replica.on_message(sender(N2), granted, now)


def test_a_leader_with_a_lease_confirms_lease_reads_at_once_and_linearizable_reads_by_a_round() -> None:
    replica = lessee()
    lead(replica, 1.2)
    assert replica.read(1, 1.3, lease=True).settled_reads == [], "nobody has granted a lease yet"
    answer_round(replica, 1.3, lease=D)

    (ready,) = replica.read(2, 1.4, lease=True).settled_reads
    assert ready.ticket == 2
    assert ready.slot is not None
    assert replica.read(3, 1.4).settled_reads == [], "linearizable reads trust no clock"
    asked = replica.on_message(sender(N3), ReadRequest(counter=4, lease=True), 1.4)
    assert ReadAnswer(nonce=7, counter=4, slot=ready.slot) in messages(asked.send_now)
    assert replica.read(5, 2.4, lease=True).settled_reads == [], "the lease is over"


def test_a_leader_that_was_paused_knows_that_its_lease_is_over() -> None:
    """The clock that counts active time hardly moves during a pause; the clock for leases does.

    Bug B33 of ``tests/BUGS.md``.
    """
    replica = lessee()
    lead(replica, 1.2)
    answer_round(replica, 1.3, lease=D)
    assert replica.read(2, 31.3, lease=True).settled_reads == []


# Random runs of several replicas.


@dataclass
class Seen:
    """The findings of one run."""

    held: int = 0
    """How many times a leader was seen holding a lease."""
    beside: list[str] = field(default_factory=list)
    """Leaders of a higher ballot that were seen while another leader held a lease."""


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
            if host.replica is not None and random.random() < 0.5:  # replicas apply the entry at different times
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
            if random.random() < 0.4:  # a restarted follower does not know what it granted
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


def test_nobody_else_leads_while_a_lease_is_held() -> None:
    """Under crashes, restarts, cut links, lost messages, and clocks that differ by as much as is allowed."""
    held = 0
    for seed, seen in enumerate(all_runs(range(7), drift=DRIFT_BOUND / 2 - 0.001)):
        assert seen.beside == [], f"seed {seed}"
        held += seen.held
    assert held > 1_000, "leases were hardly ever held"


def test_with_clocks_beyond_the_bound_leases_are_unsafe() -> None:
    """The documentation says so, and it shows that the test above would notice a violation."""
    assert any(seen.beside for seen in all_runs(range(30), drift=0.5))
