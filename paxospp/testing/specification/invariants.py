"""What must hold in every state, said over all nodes and all that was ever said.

Most are stronger than agreement and fail sooner: they say of each step of the proof what it has to establish.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from paxospp.testing.specification import leases
from paxospp.testing.specification.messages import (
    Accept,
    Accepted,
    Announcement,
    Decided,
    Name,
    Offer,
    Promise,
    Value,
    Vouch,
)
from paxospp.testing.specification.state import FOUNDING_SLOT, Leading, Node, System
from paxospp.testing.specification.values import Ballot, Membership

Chosen = Mapping[int, Mapping[Ballot, Value]]
"""Per slot the ballots under which a quorum accepted, with the values."""


def chosen(system: System, membership: Membership | None) -> Chosen:
    """What is chosen, by the acceptances that were said; ``membership`` votes, if it is not decided in slot 1."""
    proposed: dict[tuple[int, Ballot], Value] = {}
    holders: defaultdict[tuple[int, Ballot], set[tuple[Name, int]]] = defaultdict(set)
    for name in system.names:
        for message in system.said_by(name):
            if isinstance(message, Accept):
                proposed[message.slot, message.ballot] = message.value
            elif isinstance(message, Accepted):
                holders[message.slot, message.ballot].add((name, message.life))
    result: defaultdict[int, dict[Ballot, Value]] = defaultdict(dict)
    for (slot, ballot), lives in sorted(holders.items()):
        value = proposed.get((slot, ballot))
        voters = value if slot == FOUNDING_SLOT and isinstance(value, Membership) else membership
        if voters is not None and 2 * len(voters.voters & lives) > len(voters.voters):
            result[slot][ballot] = value
            if slot == FOUNDING_SLOT and membership is None:
                membership = voters
    return result


def violations(system: System, membership: Membership | None) -> Iterator[str]:
    """Every invariant that this state breaks; ``membership`` was decided before the exploration began, if any was."""
    settled = FOUNDING_SLOT if membership is not None else 0
    known = chosen(system, membership)
    yield from _agreement(system, known)
    for name in system.names:
        yield from _of_node(name, system.node(name), known, settled)
        yield from _of_what_is_said(system, name, known, settled)
    yield from _leaders(system)


def _agreement(system: System, known: Chosen) -> Iterator[str]:
    for slot, values in known.items():
        if len(set(values.values())) > 1:
            yield f"agreement: slot {slot} is chosen as {values}"
    proposed: dict[tuple[int, Ballot], Value] = {}
    for name in system.names:
        for message in system.said_by(name):
            if not isinstance(message, Accept):
                continue
            if proposed.setdefault((message.slot, message.ballot), message.value) != message.value:
                yield f"one value per ballot: {message} and another value"
            for ballot, value in known.get(message.slot, {}).items():
                if ballot < message.ballot and value != message.value:
                    yield f"chosen stays chosen: {message}, and {value} was chosen under {ballot}"


def _of_node(name: Name, node: Node, known: Chosen, settled: int) -> Iterator[str]:
    for slot in (*range(settled + 1, node.decided + 1), *node.learned):
        held = node.memory.entries.get(slot)
        if slot not in known:
            yield f"decided is chosen: {name} knows slot {slot} decided"
        elif held is not None and held.value not in known[slot].values():
            yield f"agreement: {name} takes {held.value} for decided in slot {slot}; chosen is {known[slot]}"
    for acceptor in (node.memory, node.disk):
        promised = acceptor.promised
        if any(promised is None or entry.ballot > promised for entry in acceptor.entries.values()):
            yield f"accepted is promised: {name} holds {acceptor.entries} and promised {promised}"
        snapshot = acceptor.snapshot
        if snapshot is not None and (promised is None or promised < snapshot.ballot):
            yield f"covered is promised: {name} has a snapshot of {snapshot.ballot} and promised {promised}"
        if acceptor.first > max(settled, 0 if snapshot is None else snapshot.slot) + 1:
            yield f"forgotten is covered: the log of {name} begins at {acceptor.first}, and its snapshot is {snapshot}"


def _of_what_is_said(system: System, name: Name, known: Chosen, settled: int) -> Iterator[str]:
    said = system.said_by(name)
    for message in said:
        match message:
            case Announcement(ballot, decided):
                for slot in range(settled + 1, decided + 1):
                    if not any(under <= ballot for under in known.get(slot, ())):
                        yield f"an announcement covers: {message}; slot {slot} is chosen under {known.get(slot)}"
            case Decided(slot, ballot, value):
                if not any(under <= ballot and it == value for under, it in known.get(slot, {}).items()):
                    yield f"a decided entry is chosen under its ballot: {message}"
            case Offer(slot, ballot, _):
                for covered in range(settled + 1, slot + 1):
                    if not any(under <= ballot for under in known.get(covered, ())):
                        yield f"a snapshot names the highest ballot: {message}; slot {covered}: {known.get(covered)}"
            case Vouch(ballot, bound, _):
                for other in system.names:
                    for it in system.said_by(other):
                        if isinstance(it, Accepted) and it.slot > bound and it.ballot < ballot:
                            yield f"nothing is accepted above what is vouched for: {message}, and {it}"
            case Promise():
                yield from _none_of_what_was_accepted(name, message, said)
            case _:
                pass


def _none_of_what_was_accepted(name: Name, promise: Promise, said: object) -> Iterator[str]:
    if promise.part:
        return
    assert isinstance(said, (set, frozenset))
    report = promise.report
    key = (report.life, promise.ballot, promise.answer)
    entries: set[int] = set()
    for other in said:
        if (
            isinstance(other, Promise)
            and (other.report.life, other.ballot, other.answer) == key
            and (promise.answer or other.report == report)
        ):
            entries |= other.report.entries.keys()
    for it in said:
        if not isinstance(it, Accepted) or it.life != report.life or it.ballot >= promise.ballot:
            continue
        slot = it.slot
        is_told = slot <= report.decided or slot < report.first or slot in entries or report.is_faulty(slot)
        if not is_told:
            yield f"none is never said of what was accepted: {name} says {promise} after {it}"


def _leaders(system: System) -> Iterator[str]:
    own = [ballot for name in system.names if (ballot := system.node(name).own_ballot) is not None]
    if len(own) > len(set(own)):
        yield f"a ballot is one node's: {own}"
    leading = [
        (name, node, node.role) for name in system.names if isinstance((node := system.node(name)).role, Leading)
    ]
    for name, node, role in leading:
        if any(other.ballot > role.ballot for _, _, other in leading) and leases.is_held(name, node):
            yield f"leases are exclusive: {name} holds one under {role.ballot}, and another leads above it"
