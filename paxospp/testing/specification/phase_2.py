"""Rules 2, 3 and 7: what may be proposed, accepted and counted."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from paxospp.testing.specification.founding import needs_founding_value, needs_to_stand_in
from paxospp.testing.specification.messages import Accept, Accepted, Name, Report, Value
from paxospp.testing.specification.state import FOUNDING_SLOT, Acceptor, Leading, Node
from paxospp.testing.specification.step import NotAllowedError, Step
from paxospp.testing.specification.values import Ballot, Membership, Pvalue


def propose(step: Step, slot: int, value: Value, *, accepts: bool = True) -> None:
    """Propose ``value`` in ``slot``, and accept it; one that has it decided need not accept it again."""
    node, role = step.node, step.node.role
    if not isinstance(role, Leading):
        raise NotAllowedError("propose: only who leads")
    step.needs("propose: under no ballot below one that was met", node.met is None or node.met <= role.ballot)
    step.needs("propose: one value per slot and ballot", role.proposed.get(slot, value) == value)
    if node.membership is None:
        needs_founding_value(step, role.reports, slot, value)
    else:
        needs_room(step, role, slot)
        needs_value(step, role, slot, value, node.membership)
    step.become(role=role._replace(proposed=role.proposed.set(slot, value)))
    step.says.append(Accept(role.ballot, slot, value))
    if accepts:
        step.write(_accepting(step, role.ballot, slot, value), Accepted(node.life, role.ballot, slot))


def needs_room(step: Step, role: Leading, slot: int) -> None:
    """Rule 7: nothing more than alpha slots above what is known decided."""
    assert step.node.membership is not None
    step.needs("propose: at most alpha above decided", slot <= step.node.decided + step.node.membership.alpha)


def needs_value(step: Step, role: Leading, slot: int, value: Value, membership: Membership) -> None:
    """Rule 2: clean answers of a quorum, none of which holds a value of a higher ballot than this one has there.

    Answers that are no part of that quorum call for nothing, such as one that comes late.
    """
    clean = [(name, report) for name, report in role.counted if is_clean(step, report, slot)]
    step.needs("propose: clean answers of a quorum", membership.is_quorum({name for name, _ in clean}))
    held = [report.entries[slot] for _, report in role.counted if slot in report.entries]
    alike = max((entry.ballot for entry in held if entry.value == value), default=None)
    agreeing = [
        name
        for name, report in clean
        if (it := report.entries.get(slot)) is None or (alike is not None and it.ballot <= alike)
    ]
    fits = len(agreeing) == len(clean) or membership.is_quorum(set(agreeing))
    step.needs("propose: the value of the highest ballot", fits)


def is_clean(step: Step, report: Report, slot: int) -> bool:
    """Whether an answer says *accepted* or *none*, rather than *faulty* or *decided*."""
    if slot <= report.decided or slot < report.first:
        return step.lacks("propose: decided is not clean")
    if report.is_faulty(slot):
        return step.lacks("propose: faulty is not clean")
    return True


def accept(step: Step, sender: Name, message: Accept) -> None:
    """Accept, unless a higher ballot was promised; the answer waits for the disk."""
    node, ballot = step.node, message.ballot
    step.heard(sender, message)
    if node.membership is None:
        needs_to_stand_in(step, message.slot, message.value)
    step.needs("accept: only who has a vote", step.votes)
    step.needs("accept: nothing below the promise", node.memory.promised is None or node.memory.promised <= ballot)
    step.meet(ballot)
    step.write(_accepting(step, ballot, message.slot, message.value), Accepted(node.life, ballot, message.slot))


def _accepting(step: Step, ballot: Ballot, slot: int, value: Value) -> Acceptor:
    memory = step.node.memory
    promised = memory.promised if step.lacks("accept: an acceptance raises the promise") else ballot
    if slot < memory.first:
        return replace(memory, promised=promised)
    return storing(replace(memory, promised=promised), slot, Pvalue(ballot, value))


def storing(acceptor: Acceptor, slot: int, entry: Pvalue) -> Acceptor:
    """``acceptor`` with ``entry``, which heals a damaged slot."""
    return replace(acceptor, entries=acceptor.entries.set(slot, entry), faulty=acceptor.faulty - {slot})


def decide(step: Step, slot: int, acceptances: Collection[tuple[Name, Accepted]]) -> None:
    """A quorum has accepted the slot under this very ballot: its value is decided."""
    node, role = step.node, step.node.role
    if not isinstance(role, Leading):
        raise NotAllowedError("decide: only who leads")
    if slot not in role.proposed or any(accepted.slot != slot for _, accepted in acceptances):
        raise NotAllowedError("decide: a slot that was proposed, by what was accepted there")
    for name, accepted in acceptances:
        step.heard(name, accepted)
        step.needs("decide: acceptances under this very ballot", accepted.ballot == role.ballot)
    if node.membership is None and slot != FOUNDING_SLOT:
        step.needs("found: nothing before the founding", False)
        return
    voters = governing(node, role, slot)
    for name, accepted in acceptances:
        step.needs("decide: acceptances of lives that vote", voters.has(name, accepted.life))
    step.needs("decide: acceptances of a quorum", voters.is_quorum({name for name, _ in acceptances}))
    step.learn(slot)


def governing(node: Node, role: Leading, slot: int) -> Membership:
    """Whose acceptances count: the founding's own members found it, and vote from then on (rules 7 and 9)."""
    if node.membership is not None:
        return node.membership
    founding = role.proposed[slot]
    assert isinstance(founding, Membership)
    return founding
