"""Checks of the simulator, each shown by a change that breaks it; those of the engine are in tests/mutants."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import cast

import pytest

from paxospp.config import NodeConfig
from paxospp.engine.rules.leader import Leading
from paxospp.engine.rules.lease import Lease
from paxospp.execution.effects import Effects
from paxospp.model import Ballot, Entry, Kind, Member, Membership, NodeId, Slot, SnapshotMeta
from paxospp.node.pacing import PACING
from paxospp.node.snapshots.policy import Policy
from paxospp.sessions.table import SessionTable
from paxospp.storage.contract import WriteBatch
from paxospp.testing import simulation
from paxospp.testing.simulation.faults.families import Faults
from paxospp.testing.simulation.judges.applied_log import AppliedLog
from paxospp.testing.simulation.judges.call_history import CallHistory
from paxospp.testing.simulation.judges.stuck import founding_is_stuck, stuck_slot
from paxospp.testing.simulation.machines import Ledger, ledger_calls
from paxospp.testing.simulation.phases import SimulationRun
from paxospp.testing.simulation.plan import RunPlan
from paxospp.testing.simulation.rule_broken import RuleBroken
from paxospp.testing.simulation.world.disk import SimulatedDisk
from paxospp.testing.simulation.world.host import SimulatedHost

ORDINARY = NodeConfig(value_bytes_max=1 << 10, inbox_bytes_max=1 << 20)
CHURN = Faults(partition_rate=1.0, one_way_rate=0.5)


def plans(**settings: object) -> Iterator[RunPlan]:
    """Yield one plan per seed, in which the situation of the test is likely."""
    for seed in range(40):
        drawn = RunPlan.draw(seed, machine=Ledger, workload=ledger_calls)
        plan = replace(
            drawn,
            nodes=3,
            config=ORDINARY,
            differing={},
            pacing=PACING,
            profile="",
            older=frozenset(),
            clients=6,
            pace_s=0.02,
            safety_s=4.0,
            founds_first=True,
            rolls_back=False,
            validates=False,  # the test asks which rule finds it, and the model may find it first
            faults=CHURN,
        )
        yield replace(plan, **settings)  # type: ignore[arg-type]  # each is a field of its type


def first_broken(plans: Iterator[RunPlan]) -> RuleBroken:
    for plan in plans:
        run = SimulationRun(plan)
        try:
            run._found()
            run._safety()
        except RuleBroken as broken:
            return broken
    raise AssertionError("no seed broke a rule")


def test_a_session_that_comes_back_after_it_expired_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Invariant 11: its runs take effect again."""
    admit = SessionTable.admit

    def forgiving(table: SessionTable, run: object) -> object:
        horizon, table.horizon = table.horizon, -1
        try:
            return admit(table, run)  # type: ignore[arg-type]
        finally:
            table.horizon = horizon

    monkeypatch.setattr(SessionTable, "admit", forgiving)
    drawn = next(plans())
    config = replace(drawn.config, session_expiry_s=1)
    faults = Faults(client_crash_rate=4.0, impatience=0.3, delay_s=0.1, tail=0.05)

    assert first_broken(plans(config=config, faults=faults)).rule == "11"


def test_a_lease_that_binds_no_follower_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lease, "forbids", lambda *_: False)

    faults = Faults(partition_rate=1.5, one_way_rate=1.0)

    assert first_broken(plans(lease_us=1_500_000, weak_reads=0.6, pace_s=0.1, faults=faults)).rule in ("B33", "13")


@pytest.mark.long
def test_a_change_feed_that_tells_of_what_took_no_effect_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Effects, "pass_over", lambda *_: None)

    assert first_broken(plans(watchers=2)).rule == "watch"


def test_a_window_wider_than_alpha_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Leading, "proposable", lambda leading, decided, voters: 4 * leading.alpha)
    drawn = next(plans())

    assert first_broken(plans(config=replace(drawn.config, alpha=1))).rule in ("rule 7", "15", "18")


def test_a_log_that_is_never_trimmed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Invariant 18: a snapshot is useless if the whole log below it stays."""
    monkeypatch.setattr(Policy, "keep_from", lambda *_: 2)
    drawn = next(plans())
    config = replace(drawn.config, snapshot_log_slots_max=16, kept_log_slots_max=1)

    assert first_broken(plans(config=config)).rule == "18"


@pytest.mark.parametrize("leak", ["off the count and in its lane", "out of its lane and on the count"])
def test_queries_that_are_held_and_not_counted_or_counted_and_not_held_are_found(
    leak: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant 18: either fault would fill the memory of a node, or its count, for good."""
    from paxospp.node.queries import Queries, QueryBatch

    leave = Queries.leave

    def leak_if_timed_out(queries: Queries, batch: QueryBatch) -> None:
        group = batch.group
        if group is None or batch in queries._deadlines.open:
            leave(queries, batch)
        elif leak.startswith("off"):
            queries._open -= len(batch.requests)
        else:
            group.remove(batch)

    monkeypatch.setattr(Queries, "leave", leak_if_timed_out)
    broken = first_broken(plans(faults=replace(CHURN, impatience=0.5)))
    assert broken.rule == "18"
    assert "open queries and holds" in str(broken)


def test_a_read_of_an_older_state_is_held_against_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    from paxospp.node.queries import Queries

    monkeypatch.setattr(Queries, "_is_fresh", lambda *_: True)

    assert first_broken(plans(weak_reads=0.9, pace_s=0.1, clients=12)).rule == "13"


def test_a_ticket_need_not_cover_a_call_that_ends_in_the_same_moment() -> None:
    """Seed 403: a probe drew a ticket in the moment in which a call was answered, but before it."""
    history = CallHistory(AppliedLog(Ledger(), Counter(), None), Counter(), lambda: 7.0)
    history._floors.append((5.0, 3))

    history.check_fresh(NodeId("n1"), Slot(2), 5.0)
    history.check_fresh(NodeId("n1"), Slot(3), 6.0)
    with pytest.raises(RuleBroken, match="3 had"):
        history.check_fresh(NodeId("n1"), Slot(2), 6.0)


def test_each_copy_of_a_read_is_confirmed_by_answers_since_it_came() -> None:
    """Seed 13: the second copy waits for the next round, and is not judged by the first."""
    assert simulation.Simulation(Ledger).run([13]).seeds == 1


def test_a_founding_value_that_rots_alone_is_waited_for() -> None:
    """Invariant 16: no node knows what was in slot 1, so none may found a cluster; the others are right to wait."""
    seen: Counter[str] = Counter()
    for plan in plans(founds_first=False, faults=Faults(tail_damage=1.0), safety_s=1.0):
        run = SimulationRun(plan)
        run.go()
        seen += run.world.coverage
        if seen["excused: the cluster cannot go on"]:
            break
    assert seen["the only founding value was damaged"] > 0
    assert seen["excused: the cluster cannot go on"] > 0


def test_a_follower_that_is_cut_off_with_its_leader_may_lose_what_only_they_hold() -> None:
    seen: Counter[str] = Counter()
    for plan in plans(nodes=5, faults=Faults(depose_s=0.1, forced_campaign=0.3, lost_end=1.0)):
        run = SimulationRun(plan)
        run.go()
        seen += run.world.coverage
        if seen["the end of a log was lost beside its leader"]:
            return
    raise AssertionError("never seen")


def test_a_decided_value_that_only_one_node_held_is_missed_where_its_disk_lost_its_end() -> None:
    """Seed 40000626: after a trim only the open end was left on the disk, and it was overlooked."""
    disk = SimulatedDisk()
    disk.staged["s"] = b""
    ballot = Ballot(1, NodeId("n1"), 1)
    entries = [Entry(Slot(slot), ballot, Kind.NOOP, b"") for slot in (1, 2)]
    for batch in (
        WriteBatch(promised=ballot, accepted=entries, decided=Slot(2)),
        WriteBatch(snapshot=SnapshotMeta(Slot(1), "s"), trim=Slot(2)),
    ):
        disk.begin(batch)
        disk.returned(Random(0))
    host = cast("SimulatedHost", SimpleNamespace(disk=disk, finds_faulty=lambda _: False))

    assert stuck_slot([host], 1) is None
    disk.image.damage([Slot(2)])
    disk.image.open_from = Slot(2)
    disk.image.faulty.clear()
    assert stuck_slot([host], 1) == 2


def test_a_founding_that_only_former_incarnations_could_confirm_is_waited_for() -> None:
    names = [NodeId(name) for name in ("n1", "n2", "n3")]
    hosts = [
        cast(
            "SimulatedHost",
            SimpleNamespace(
                name=name, disk=SimulatedDisk(), sender=SimpleNamespace(incarnation=1), finds_faulty=lambda slot: False
            ),
        )
        for name in names
    ]
    wiped, lost, holder = hosts
    assert not founding_is_stuck(hosts)

    members = tuple(Member(name, "", 1) for name in names)
    founding = Membership(cluster_id=b"", group=0, alpha=1, session_expiry_s=60, replaces=Slot(0), members=members)
    entry = Entry(Slot(1), Ballot(1, names[0], 1), Kind.MEMBERSHIP, founding.to_bytes())
    holder.disk.image.entries[Slot(1)] = entry
    lost.disk.image.faulty = {Slot(1)}
    assert not founding_is_stuck(hosts), "the first node and the holder are a quorum of the incarnations in it"
    wiped.sender.incarnation = 2  # type: ignore[misc]
    assert founding_is_stuck(hosts)
    lost.disk.image.faulty.clear()
    assert not founding_is_stuck(hosts)


def test_a_lost_slot_that_a_snapshot_covers_is_not_missed() -> None:
    disk = SimulatedDisk()
    disk.image.snapshot = SnapshotMeta(Slot(3), "s"), b""
    disk.image.decided = Slot(3)
    disk.image.faulty = {Slot(3)}
    host = cast("SimulatedHost", SimpleNamespace(disk=disk, finds_faulty=lambda _: False))

    assert stuck_slot([host], 1) is None
    disk.image.snapshot_is_damaged = True
    assert stuck_slot([host], 1) == 3


CHECKED_IN = {
    1: ("invariants", "1"),
    2: ("invariants", "2"),
    3: ("applied_log", "3"),
    4: ("invariants", "4"),
    5: ("invariants", "5"),
    6: ("invariants", "6"),
    7: ("answer_memory", "7"),
    8: ("leader_rules", "8"),
    9: ("invariants", "9"),
    10: ("applied_log", "10"),
    11: ("applied_log", "11"),
    12: ("call_history", "12"),
    13: ("call_history", "13"),
    14: ("applied_log", "divergence"),
    15: ("invariants", "15"),
    16: ("leader_rules", "16"),
    17: ("role_rules", "17"),
    18: ("bounds", "18"),
}
"""By invariant of the simulator's README: the module that checks it, and its name; ``test_determinism`` checks 19."""


@pytest.mark.parametrize("number", CHECKED_IN)
def test_every_invariant_of_the_fault_model_is_raised_somewhere(number: int) -> None:
    module, rule = CHECKED_IN[number]
    source = Path(simulation.__file__).with_name("judges").joinpath(f"{module}.py").read_text()

    assert re.search(rf'RuleBroken\(\s*"{rule}"', source) or f'"{rule}" if' in source


def test_a_slot_that_is_repaired_within_one_sync_may_come_under_an_older_ballot() -> None:
    """Rule 5: a slot that was damaged is learned again under the ballot it was chosen under (seed 2383)."""
    run = SimulationRun(next(plans(faults=Faults())))
    run._found()
    host = run.world.hosts[0]
    assert host.disk.image.promised is not None
    newer = host.disk.image.promised
    older = newer._replace(round=newer.round - 1)

    def write(*batches: WriteBatch) -> None:
        for batch in batches:
            host.disk.begin(batch)
            host.on_written()

    write(WriteBatch(accepted=[Entry(Slot(9), newer, Kind.COMMANDS, b"new")]))
    with pytest.raises(RuleBroken, match="held slot 9"):
        write(WriteBatch(accepted=[Entry(Slot(9), older, Kind.COMMANDS, b"old")]))
    host.disk.image.damage([Slot(9)])
    hint = WriteBatch(decided=Slot(1), sync=False)
    write(hint, WriteBatch(accepted=[Entry(Slot(9), older, Kind.COMMANDS, b"old")]))
    assert not host.disk.image.is_faulty(Slot(9))
    assert not host.disk.healed
