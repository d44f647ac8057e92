"""The verb ``show``: print the state of hosts, their disks, proposals, reads and leases, or the waiting messages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from paxospp.testing.describe import describe_entry, describe_write
from paxospp.testing.scenario.host import ScenarioHost, describe_applied
from paxospp.testing.scenario.selecting import parse_clauses
from paxospp.testing.scenario.world import ScenarioWorld


def show(world: ScenarioWorld, *words: str) -> None:
    """Describe the nodes that ``words`` name, or all nodes; the first word may name an aspect, such as ``log``."""
    if words[:1] == ("waiting",):
        _show_waiting(world, *words[1:])
        return
    describe = _ASPECTS.get(words[0]) if words else None
    names = words if describe is None else words[1:]
    for name in world.names(names):
        for line in (describe or _state)(world.hosts[name], world):
            world.tell(line)


def _show_waiting(world: ScenarioWorld, *words: str) -> None:
    clauses = parse_clauses(words or ("*->*",), world.nodes)
    waiting = [envelope for envelope in world.network.waiting if any(clause.fits(envelope) for clause in clauses)]
    shown = [envelope for envelope in waiting if world.is_shown(envelope)]
    for envelope in shown:
        world.tell(f"waiting {envelope}")
    if not shown:
        world.tell("nothing waits" if not waiting else "nothing waits but heartbeats")


def _state(host: ScenarioHost, world: ScenarioWorld) -> Iterator[str]:
    replica = host.replica
    if replica is None:
        yield f"{host.name} is down"
        return
    restored = describe_applied(host.machine.restored)
    applied = " ".join(filter(None, [restored and f"({restored})", describe_applied(host.machine.applied)]))
    votes = "" if replica.why_not_voting is None else " does not vote"
    yield (
        f"{host.name} {replica.role_name} ballot={replica.ballot} leader={replica.leader} "
        f"decided={replica.decided} applied=[{applied}]{votes}"
    )


def _log(host: ScenarioHost, world: ScenarioWorld) -> Iterator[str]:
    disk, image = host.disk, host.disk.image
    parts: dict[int, str] = {
        slot: describe_entry(entry) for slot, entry in image.entries.items() if not disk.is_faulty(slot)
    }
    for slots in disk.faulty:
        end = ".." if slots.stop >= sys.maxsize else "" if len(slots) == 1 else f"..{slots.stop - 1}"
        parts[slots.start] = f"{slots.start}{end}:faulty"
    log = " ".join(parts[slot] for slot in sorted(parts))
    snapshot = "" if image.snapshot is None else f" snapshot={image.snapshot.meta.slot}"
    if disk.snapshot_is_lost:
        snapshot += "(lost)"
    first = "" if image.first == 1 else f" first={image.first}"
    yield f"{host.name} disk promised={image.promised} decided={image.decided}{snapshot}{first} log=[{log}]"
    for batch in host.writes_out:
        yield f"{host.name} has not written {describe_write(batch)}"


def _proposals(host: ScenarioHost, world: ScenarioWorld) -> Iterator[str]:
    replica = host.replica
    if replica is None or not replica.leading:
        yield f"{host.name} does not lead"
        return
    open_slots = [
        (entry, nodes)
        for slot, (entry, nodes) in sorted(host.accepted_by.items())
        if slot > replica.decided and entry.ballot == replica.ballot
    ]
    for entry, nodes in open_slots:
        yield f"{host.name} proposes {describe_entry(entry)} accepted by {' '.join(sorted(nodes)) or 'nobody'}"
    yield f"{host.name} may propose {replica.proposable} more"


def _reads(host: ScenarioHost, world: ScenarioWorld) -> Iterator[str]:
    waiting = " ".join(str(ticket) for ticket in host.reads)
    yield f"{host.name} reads that wait: {waiting or 'none'}"


def _leases(host: ScenarioHost, world: ScenarioWorld) -> Iterator[str]:
    grants = [f"{name} until {end:.2f}" for name, end in sorted(host.grants.items()) if end > world.now]
    yield f"{host.name} granted leases to {', '.join(grants) or 'nobody'} (now {world.now:.2f})"


_ASPECTS: dict[str, Callable[[ScenarioHost, ScenarioWorld], Iterator[str]]] = {
    "leases": _leases,
    "log": _log,
    "proposals": _proposals,
    "reads": _reads,
}
