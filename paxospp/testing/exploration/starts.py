"""First worlds taken from random runs: the moment at which a run of the simulator reports a marker.

The simulator reaches states that no scope of a few steps contains: logs of many leaders, damage that was repaired in
part, several boots. An exploration that begins there tries every order of what may come next. The nodes are those of
the simulated cluster. A replica without a write under way continues as it is; any other node starts from its disk, as
after a crash. Messages in flight are lost.
"""

from __future__ import annotations

from dataclasses import replace

from paxospp.engine.protocol import Following
from paxospp.engine.replica import Replica
from paxospp.engine.settings import Settings
from paxospp.model import Ballot, NodeId, Slot
from paxospp.testing.engine_settings import engine_settings
from paxospp.testing.exploration.claims import ChosenBefore, Fact, GivenAnswer, Held
from paxospp.testing.exploration.disk_state import DiskState, SnapshotState
from paxospp.testing.exploration.node_events import Participants
from paxospp.testing.exploration.scope import ExplorationScope
from paxospp.testing.exploration.worlds import Explorer, World
from paxospp.testing.simulation.machines import Ledger, ledger_calls
from paxospp.testing.simulation.phases import SimulationRun
from paxospp.testing.simulation.plan import RunPlan
from paxospp.testing.simulation.rule_broken import RuleBroken
from paxospp.testing.simulation.world.host import SimulatedHost

_LOOKS_EVERY_S = 0.0005
"""Virtual time between two checks whether a run has reported the marker."""
SEEDS_MAX = 200
SLOTS_MAX = 200
"""A run that has chosen more slots is not explored: its logs would make every state large."""
_RECENT_SLOTS = 8
"""How many decided slots of a disk become facts: a scope may damage these."""
_NOTHING = Ballot(0, NodeId(""), 0)


class _Reached(BaseException):
    """The run has reported the marker. It is not an Exception, which a node would handle as an error of its own."""


def first_start(marker: str, scope: ExplorationScope, seed: int) -> tuple[int, Explorer, World] | None:
    """Find the first seed from ``seed`` on whose run reaches ``marker`` in a cluster that can be explored.

    Return the seed and the result of ``begin_where``; None if none of ``SEEDS_MAX`` seeds does.
    """
    for number in range(seed, seed + SEEDS_MAX):
        try:
            found = begin_where(RunPlan.draw(number, machine=Ledger, workload=ledger_calls), marker, scope)
        except RuleBroken:
            continue  # the simulator's own tests report that
        if found is not None:
            return number, *found
    return None


def begin_where(plan: RunPlan, marker: str, scope: ExplorationScope) -> tuple[Explorer, World] | None:
    """Run ``plan`` until it reports ``marker``, and return the world at that moment, with the bounds of ``scope``.

    Return None if the run never reports it, if the cluster is not bootstrapped by then, or if its log is longer than
    ``SLOTS_MAX``.

    Raises:
        Broken: the run breaks a rule before that.
    """
    run = SimulationRun(replace(plan, validates=False))  # a replica that the validation watches cannot be copied
    clock, hits = run.world.clock, run.world.reach.hits

    def look(_: object) -> None:
        if hits[marker]:
            raise _Reached
        clock.after(_LOOKS_EVERY_S, look)

    look(None)
    try:
        run.go()
    except _Reached:
        return _world_of(run, scope)
    return None


def _world_of(run: SimulationRun, scope: ExplorationScope) -> tuple[Explorer, World] | None:
    hosts, chosen = run.world.hosts, run.world.invariants.chosen
    membership = chosen.membership
    if membership is None or chosen.up_to > SLOTS_MAX:
        return None
    settings: dict[NodeId, Settings] = {}
    for host in hosts:
        config = run.plan.config_of(host.index)
        settings[host.name] = engine_settings(alpha=membership.alpha, chunk_bytes_max=config.chunk_bytes_max)
    incarnations = {host.name: host.sender.incarnation for host in hosts}
    scope = replace(scope, nodes=len(hosts), alpha=membership.alpha, campaigners=(), crashers=(), begins_with=())
    explorer = Explorer(scope, Participants(settings, incarnations, membership))
    facts: list[Fact] = []
    states = []
    for host in sorted(hosts, key=lambda host: host.name):
        if host.disk.image.unreadable is not None:
            return None
        disk = _disk_of(host, run)
        facts.extend(_facts_of(host, run))
        replica = None
        if host.runtime is not None and not host.disk.pending and host.runtime.replica.membership is not None:
            candidate = host.runtime.replica
            if not candidate.protocol.writes.out and not candidate.protocol.learning.is_loading:
                replica = candidate
                facts.extend(_answers_to(candidate))
        states.append((disk, replica, _applied_under(run, Slot(max(host.applied, disk.decided)))))
    for slot, (kind, value) in chosen.values.items():
        if slot > 1:
            facts.append(ChosenBefore(slot, chosen.under[slot], kind, value))
    return explorer, explorer.begin_with(states, facts)


def _answers_to(replica: Replica) -> list[Fact]:
    """Return the answers that ``replica`` counts for the ballot that it leads or campaigns under."""
    role = replica.protocol.role
    if isinstance(role, Following):
        return []
    ballot, reports = role.promises.ballot, role.promises.reports
    return [
        GivenAnswer(
            node,
            boot=0,
            number=0,
            ballot=ballot,
            decided=report.decided,
            first=report.first,
            faulty=report.faulty,
            accepted=frozenset((slot, entry.ballot) for slot, entry in report.entries.items()),
        )
        for node, report in reports.items()
    ]


def _disk_of(host: SimulatedHost, run: SimulationRun) -> DiskState:
    image = host.disk.image
    snapshot = None
    if image.snapshot is not None and not image.snapshot_is_damaged:
        slot = image.snapshot[0].slot
        snapshot = SnapshotState(slot, _applied_under(run, slot))
    return DiskState(
        boot=host.sender.boot,
        promised=image.promised,
        decided=image.decided,
        first=image.first,
        entries=tuple(image.entries[slot] for slot in sorted(image.entries)),
        faulty=image.faulty_ranges(),
        snapshot=snapshot,
        meta=tuple(sorted(image.meta.items())),
    )


def _applied_under(run: SimulationRun, slot: Slot) -> Ballot:
    """Return the highest ballot under which a slot up to ``slot`` was first chosen."""
    chosen = run.world.invariants.chosen
    return max((under for known, under in chosen.under.items() if 1 < known <= slot), default=_NOTHING)


def _facts_of(host: SimulatedHost, run: SimulationRun) -> list[Fact]:
    """Return what this disk has held: what it holds, and what it lost, as far as that is known."""
    chosen = run.world.invariants.chosen
    facts: list[Fact] = []
    if not chosen.has_vote((host.name, host.sender.incarnation)):
        return facts
    for slot, ballot in host.disk.known.items():
        entry = host.disk.image.entries.get(slot)
        if slot <= max(1, host.disk.image.decided - _RECENT_SLOTS):
            continue
        if entry is not None:
            facts.append(Held(host.name, slot, entry.ballot, entry.kind, entry.value))
        elif slot in chosen.values and ballot >= chosen.under[slot]:
            facts.append(Held(host.name, slot, ballot, *chosen.values[slot]))
    return facts
