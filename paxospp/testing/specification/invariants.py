"""The invariants, which must hold in every state: statements about all nodes and all messages ever sent.

Most invariants are stronger than agreement and fail sooner: each states what one step of the proof establishes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from paxospp.testing.specification import leases
from paxospp.testing.specification.messages import (
    Announcement,
    ModelAccept,
    ModelAccepted,
    ModelDecided,
    ModelPromise,
    Name,
    SnapshotOffer,
    Value,
    Vouch,
)
from paxospp.testing.specification.state import FOUNDING_SLOT, ModelLeading, ModelNode, System
from paxospp.testing.specification.values import ModelBallot, ModelMembership

Chosen = Mapping[int, Mapping[ModelBallot, Value]]
"""By slot and ballot, the value that a quorum accepted."""


def chosen(system: System, membership: ModelMembership | None) -> Chosen:
    """Return what is chosen according to the acceptances that were sent.

    ``membership`` names the voters; None: the membership that is chosen in slot 1 does.
    """
    proposed: dict[tuple[int, ModelBallot], Value] = {}
    holders: defaultdict[tuple[int, ModelBallot], set[tuple[Name, int]]] = defaultdict(set)
    for name in system.names:
        for message in system.sent_by(name):
            if isinstance(message, ModelAccept):
                proposed[message.slot, message.ballot] = message.value
            elif isinstance(message, ModelAccepted):
                holders[message.slot, message.ballot].add((name, message.incarnation))
    result: defaultdict[int, dict[ModelBallot, Value]] = defaultdict(dict)
    for (slot, ballot), incarnations in sorted(holders.items()):
        value = proposed.get((slot, ballot))
        voters = value if slot == FOUNDING_SLOT and isinstance(value, ModelMembership) else membership
        if voters is not None and 2 * len(voters.voters & incarnations) > len(voters.voters):
            result[slot][ballot] = value
            if slot == FOUNDING_SLOT and membership is None:
                membership = voters
    return result


def violations(system: System, membership: ModelMembership | None) -> Iterator[str]:
    """Yield every invariant that this state breaks, with the details.

    ``membership`` was decided before the exploration began; None: no cluster existed then.
    """
    settled = FOUNDING_SLOT if membership is not None else 0
    known = chosen(system, membership)
    yield from _agreement(system, known)
    for name in system.names:
        yield from _of_node(name, system.node(name), known, settled)
        yield from _of_messages(system, name, known, settled)
    yield from _leaders(system)


def _agreement(system: System, known: Chosen) -> Iterator[str]:
    for slot, values in known.items():
        if len(set(values.values())) > 1:
            yield f"agreement: slot {slot} is chosen as {values}"
    proposed: dict[tuple[int, ModelBallot], Value] = {}
    for name in system.names:
        for message in system.sent_by(name):
            if not isinstance(message, ModelAccept):
                continue
            if proposed.setdefault((message.slot, message.ballot), message.value) != message.value:
                yield f"one value per ballot: {message}, and another value was proposed under the same ballot"
            for ballot, value in known.get(message.slot, {}).items():
                if ballot < message.ballot and value != message.value:
                    yield f"chosen stays chosen: {message}, and {value} was chosen under {ballot}"


def _of_node(name: Name, node: ModelNode, known: Chosen, settled: int) -> Iterator[str]:
    for slot in (*range(settled + 1, node.decided + 1), *node.learned):
        held = node.memory.entries.get(slot)
        if slot not in known:
            yield f"decided is chosen: {name} considers slot {slot} decided, and no quorum has accepted a value there"
        elif held is not None and held.value not in known[slot].values():
            yield f"agreement: {name} considers {held.value} decided in slot {slot}; chosen is {known[slot]}"
    for acceptor in (node.memory, node.disk):
        promised = acceptor.promised
        if any(promised is None or entry.ballot > promised for entry in acceptor.entries.values()):
            yield f"accepted is promised: {name} holds {acceptor.entries}, and has promised {promised}"
        snapshot = acceptor.snapshot
        if snapshot is not None and (promised is None or promised < snapshot.ballot):
            yield f"covered is promised: {name} has a snapshot of {snapshot.ballot}, and has promised {promised}"
        if acceptor.first > max(settled, 0 if snapshot is None else snapshot.slot) + 1:
            yield f"trimmed is covered: the log of {name} begins at {acceptor.first}, and its snapshot is {snapshot}"


def _of_messages(system: System, name: Name, known: Chosen, settled: int) -> Iterator[str]:
    sent = system.sent_by(name)
    for message in sent:
        match message:
            case Announcement(ballot, decided):
                for slot in range(settled + 1, decided + 1):
                    if not any(under <= ballot for under in known.get(slot, ())):
                        yield f"an announcement covers: {message}; slot {slot} is chosen under {known.get(slot)}"
            case ModelDecided(slot, ballot, value):
                if not any(under <= ballot and it == value for under, it in known.get(slot, {}).items()):
                    yield f"a decided entry is chosen under its ballot: {message}"
            case SnapshotOffer(slot, ballot, _):
                for covered in range(settled + 1, slot + 1):
                    if not any(under <= ballot for under in known.get(covered, ())):
                        yield f"a snapshot names the highest ballot: {message}; slot {covered}: {known.get(covered)}"
            case Vouch(ballot, bound, _):
                for other in system.names:
                    for it in system.sent_by(other):
                        if isinstance(it, ModelAccepted) and it.slot > bound and it.ballot < ballot:
                            yield f"nothing is accepted above what is vouched for: {message}, and {it}"
            case ModelPromise():
                yield from _reported_none(name, message, sent)
            case _:
                pass


def _reported_none(name: Name, promise: ModelPromise, sent: object) -> Iterator[str]:
    if promise.part:
        return
    assert isinstance(sent, (set, frozenset))
    report = promise.report
    key = (report.incarnation, promise.ballot, promise.answer)
    entries: set[int] = set()
    for other in sent:
        if (
            isinstance(other, ModelPromise)
            and (other.report.incarnation, other.ballot, other.answer) == key
            and (promise.answer or other.report == report)
        ):
            entries |= other.report.entries.keys()
    for it in sent:
        if not isinstance(it, ModelAccepted) or it.incarnation != report.incarnation or it.ballot >= promise.ballot:
            continue
        slot = it.slot
        is_told = slot <= report.decided or slot < report.first or slot in entries or report.is_faulty(slot)
        if not is_told:
            yield f"an accepted slot is never reported as none: {name} sends {promise} after {it}"


def _leaders(system: System) -> Iterator[str]:
    own = [ballot for name in system.names if (ballot := system.node(name).own_ballot) is not None]
    if len(own) > len(set(own)):
        yield f"a ballot is one node's: {own}"
    leading = [
        (name, node, node.role) for name in system.names if isinstance((node := system.node(name)).role, ModelLeading)
    ]
    for name, node, role in leading:
        if any(other.ballot > role.ballot for _, _, other in leading) and leases.is_held(name, node):
            yield f"leases are exclusive: {name} holds one under {role.ballot}, and another leads above it"
