"""Judges: for each a step that it forbids, and a similar one that it allows."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from paxospp.messages import Accept, CatchUp, DecidedEntries, HeartbeatAnswer, SnapshotChunk
from paxospp.model import Ballot, Entry, Kind, Member, Membership, NodeId, Slot, SnapshotMeta
from paxospp.testing.simulation.judges.invariants import Invariants
from paxospp.testing.simulation.judges.log_rules import LogRules
from paxospp.testing.simulation.judges.snapshot_rules import SnapshotRules
from paxospp.testing.simulation.judges.vouch_rules import VouchRules
from paxospp.testing.simulation.rule_broken import RuleBroken
from paxospp.testing.simulation.world.disk import SimulatedDisk

N1, N2 = NodeId("n1"), NodeId("n2")
LOW, HIGH = Ballot(2, N1, 1), Ballot(3, N2, 1)


def a_host(name: NodeId = N1, **runtime: Any) -> Any:
    sender = SimpleNamespace(incarnation=1)
    return SimpleNamespace(name=name, sender=sender, runtime=SimpleNamespace(**runtime), disk=SimulatedDisk())


def a_voucher(name: NodeId = N1, *faulty: range) -> Any:
    log = SimpleNamespace(faulty=list(faulty))
    return a_host(name, replica=SimpleNamespace(protocol=SimpleNamespace(log=log)))


def test_a_leader_that_vouches_below_what_was_accepted_is_found() -> None:
    rules = VouchRules()
    rules.on_synced(a_host(), Slot(7), LOW)

    rules.on_vouched(a_voucher(N2), HIGH, Slot(7))
    rules.on_vouched(a_voucher(N2), HIGH, Slot(0))
    with pytest.raises(RuleBroken, match="accepted 7"):
        rules.on_vouched(a_voucher(N2), HIGH, Slot(6))


def test_a_deposed_leader_need_not_know_what_was_accepted_under_a_higher_ballot() -> None:
    rules = VouchRules()
    rules.on_synced(a_host(N2), Slot(7), HIGH)
    rules.on_vouched(a_voucher(), LOW, Slot(6))

    with pytest.raises(RuleBroken):
        rules.on_vouched(a_voucher(N2), HIGH, Slot(6))


def test_a_leader_that_vouches_and_leaves_its_own_damage_open_is_found() -> None:
    rules = VouchRules()
    rules.on_vouched(a_voucher(N2, range(3, 8)), HIGH, Slot(7))

    with pytest.raises(RuleBroken, match="its own log damaged"):
        rules.on_vouched(a_voucher(N2, range(3, 1 << 62)), HIGH, Slot(7))


def test_an_empty_answer_about_a_slot_that_was_applied_has_to_name_the_snapshot() -> None:
    rules = LogRules()
    rules.on_catch_up(a_host(N2), N1, CatchUp(start=Slot(3), stop=Slot(5)))
    host = a_host(replica=SimpleNamespace(delivered=Slot(4)))

    rules.on_decided(host, N2, DecidedEntries(entries=(), decided=Slot(4), first=Slot(4)))
    with pytest.raises(RuleBroken, match="rule 4"):
        rules.on_decided(host, N2, DecidedEntries(entries=(), decided=Slot(4), first=Slot(3)))


def test_a_promise_of_its_own_that_is_not_on_disk_may_not_be_counted() -> None:
    host = a_host()
    host.disk.image.promised = LOW

    LogRules().on_own_promise(host, LOW)
    with pytest.raises(RuleBroken, match="rule 1"):
        LogRules().on_own_promise(host, HIGH)


def test_a_slot_is_chosen_under_the_lowest_ballot_that_a_quorum_accepted_it_under_in_whatever_order() -> None:
    invariants = Invariants(Counter())
    rules, chosen = invariants.step_rules, invariants.chosen
    hosts = [a_host(NodeId(name)) for name in ("n1", "n2", "n3")]
    members = tuple(Member(name=host.name, address="", incarnation=1) for host in hosts)
    founding = Membership(cluster_id=b"", group=0, alpha=2, session_expiry_s=60, replaces=Slot(0), members=members)
    chosen.proposed(Slot(1), LOW, (Kind.MEMBERSHIP, founding.to_bytes()))
    for ballot in (LOW, HIGH):
        chosen.proposed(Slot(2), ballot, (Kind.NOOP, b""))

    for host, slot, ballot in ((0, 1, LOW), (1, 1, LOW), (1, 2, LOW), (1, 2, HIGH), (2, 2, HIGH)):
        chosen.count(hosts[host], Slot(slot), ballot)
    assert chosen.highest_under(Slot(2)) == HIGH
    with pytest.raises(RuleBroken, match="it was chosen under"):
        rules.on_learned(hosts[0], Slot(2), LOW)

    chosen.count(hosts[0], Slot(2), LOW)
    rules.on_learned(hosts[0], Slot(2), LOW)
    assert (chosen.under[Slot(2)], chosen.highest_under(Slot(2))) == (LOW, LOW)


def test_a_fetched_snapshot_has_to_equal_the_one_that_its_source_took() -> None:
    rules, meta, renamed = SnapshotRules(), SnapshotMeta(Slot(4), "abc"), SnapshotMeta(Slot(4), "abc-2")
    rules.on_staged(meta, 0, b"whole")
    rules.on_committed(meta, b"whole state")

    rules.on_staged(renamed, 0, b"whole")
    rules.on_staged(renamed, 5, b" state")
    rules.on_staged(SnapshotMeta(Slot(4), "not-known-yet"), 0, b"other")
    for offset, data in ((5, b"whole"), (6, b"state of another"), (11, b"!")):
        with pytest.raises(RuleBroken, match="not what its maker wrote"):
            rules.on_staged(renamed, offset, data)
    with pytest.raises(RuleBroken, match="something else"):
        rules.on_committed(meta, b"whole")


def test_a_chunk_is_called_the_last_one_only_where_the_snapshot_ends() -> None:
    rules = SnapshotRules()
    rules.on_committed(SnapshotMeta(Slot(4), "abc"), b"whole state")
    first = SnapshotChunk(slot=Slot(4), id="abc", offset=0, data=b"whole", last=False, ballot=LOW)

    for chunk in (first, replace(first, offset=5, data=b" state", last=True), replace(first, offset=11, last=False)):
        rules.on_chunk(a_host(), chunk)
    with pytest.raises(RuleBroken, match="ends at 5 of 11"):
        rules.on_chunk(a_host(), replace(first, last=True))


def test_a_snapshot_of_what_was_applied_already_must_not_be_installed() -> None:
    host = a_host(replica=SimpleNamespace(delivered=Slot(4)))

    SnapshotRules().on_installed(host, Slot(5))
    with pytest.raises(RuleBroken, match="has applied 4"):
        SnapshotRules().on_installed(host, Slot(4))


def test_a_founding_value_that_was_reported_has_to_be_proposed_again() -> None:
    def report(*found: Entry) -> SimpleNamespace:
        return SimpleNamespace(entries={entry.slot: entry for entry in found})

    def founding(cluster_id: bytes, alpha: int = 8) -> bytes:
        members = tuple(Member(name, f"{name}:1", 1) for name in (N1, N2, NodeId("n3")))
        membership = Membership(
            cluster_id=cluster_id, group=0, alpha=alpha, session_expiry_s=60, replaces=Slot(0), members=members
        )
        return membership.to_bytes()

    lower, higher, afresh = founding(b"lower"), founding(b"higher"), founding(b"drawn afresh")
    of_n1 = Entry(Slot(1), Ballot(1, N1, 1), Kind.MEMBERSHIP, lower)
    of_n2 = Entry(Slot(1), Ballot(1, N2, 1), Kind.MEMBERSHIP, higher)
    promises = SimpleNamespace(reports={N1: report(of_n1), N2: report(of_n2), "n3": report()})
    leading = SimpleNamespace(ballot=HIGH, promises=promises, alpha=8)
    host = a_host(N2, replica=SimpleNamespace(protocol=SimpleNamespace(leading=leading)))
    rules = Invariants(Counter()).leader_rules

    def accept(value: bytes) -> Accept:
        return Accept(ballot=HIGH, slot=Slot(1), kind=Kind.MEMBERSHIP, value=value, decided_up_to=Slot(0))

    rules.on_founding(host, accept(higher))
    for value in (lower, afresh):
        with pytest.raises(RuleBroken, match="proposes a new founding"):
            rules.on_founding(host, accept(value))
    promises.reports.clear()
    rules.on_founding(host, accept(afresh))
    with pytest.raises(RuleBroken, match="founds with alpha 64"):
        rules.on_founding(host, accept(founding(b"wide", alpha=64)))


def test_a_grant_is_counted_from_the_round_that_it_answers() -> None:
    now = 0.0
    answer = HeartbeatAnswer(
        nonce=1,
        round=1,
        promised=LOW,
        decided=Slot(0),
        disk_answers=True,
        quorum_connected=True,
        leader=N1,
        remembered=Slot(0),
        booted_with=None,
        lease=1_000_000,
    )
    heartbeats = SimpleNamespace(answers={N2: SimpleNamespace(answer=answer)})
    protocol = SimpleNamespace(heartbeats=SimpleNamespace(rounds=heartbeats))
    host = a_host(N1, replica=SimpleNamespace(protocol=protocol))
    host.boot_time = lambda: now
    host.world_time_of = lambda time: time
    peer = a_host(N2)
    peer.world_time_of = lambda time: time
    rules = Invariants(Counter()).step_rules
    rules.on_load(host, Slot(0))
    rules.on_round(host, 1)
    now = 0.5
    rules.on_round(host, 2)

    granted = (LOW, 9.0)
    rules.on_counted_grant(host, peer, 0.98, granted)
    with pytest.raises(RuleBroken, match="after round 1 began"):
        rules.on_counted_grant(host, peer, 1.48, granted)
