"""Rules 2, 3 and 7: what a leader may propose, and when a value is accepted and decided."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from paxospp.testing.specification.bootstrap import needs_bootstrap_value, needs_own_incarnation
from paxospp.testing.specification.messages import AcceptorReport, ModelAccept, ModelAccepted, Name, Value
from paxospp.testing.specification.state import FOUNDING_SLOT, ModelAcceptor, ModelLeading, ModelNode
from paxospp.testing.specification.step import ModelStep, NotAllowedError
from paxospp.testing.specification.values import ModelBallot, ModelMembership, Pvalue


def propose(step: ModelStep, slot: int, value: Value, *, accepts: bool = True) -> None:
    """Propose ``value`` in ``slot``, and accept it too; ``accepts`` may be False where the node knows it decided."""
    node, role = step.node, step.node.role
    if not isinstance(role, ModelLeading):
        raise NotAllowedError("propose: only a leader")
    step.needs("propose: no higher ballot was met", node.met is None or node.met <= role.ballot)
    step.needs("propose: one value per slot and ballot", role.proposed.get(slot, value) == value)
    if node.membership is None:
        needs_bootstrap_value(step, role.reports, slot, value)
    else:
        needs_open_window(step, role, slot)
        needs_value(step, role, slot, value, node.membership)
    step.become(role=role._replace(proposed=role.proposed.set(slot, value)))
    step.sends.append(ModelAccept(role.ballot, slot, value))
    if accepts:
        step.write(_accepting(step, role.ballot, slot, value), ModelAccepted(node.incarnation, role.ballot, slot))


def needs_open_window(step: ModelStep, role: ModelLeading, slot: int) -> None:
    """Rule 7: propose at most alpha slots above ``decided``; ``damage.vouch`` relies on that."""
    assert step.node.membership is not None
    step.needs("propose: at most alpha above decided", slot <= step.node.decided + step.node.membership.alpha)


def needs_value(step: ModelStep, role: ModelLeading, slot: int, value: Value, membership: ModelMembership) -> None:
    """Rule 2: a quorum gave clean answers about the slot, and ``value`` is the one of the highest ballot among them.

    A value that is chosen under a lower ballot was accepted by a member of every quorum, so the answers contain it. Any
    quorum will do: an answer outside it, such as a late one, does not constrain the value.
    """
    clean = [(name, report) for name, report in role.counted if is_clean(step, report, slot)]
    step.needs("propose: clean answers from a quorum", membership.is_quorum({name for name, _ in clean}))
    held = [report.entries[slot] for _, report in role.counted if slot in report.entries]
    highest = max((entry.ballot for entry in held if entry.value == value), default=None)
    agreeing = [
        name
        for name, report in clean
        if (it := report.entries.get(slot)) is None or (highest is not None and it.ballot <= highest)
    ]
    fits = len(agreeing) == len(clean) or membership.is_quorum(set(agreeing))
    step.needs("propose: the value of the highest ballot", fits)


def is_clean(step: ModelStep, report: AcceptorReport, slot: int) -> bool:
    """Whether the report says *accepted* or *none* for the slot, rather than *faulty* or *decided*.

    A report has no entries for slots that its acceptor lost, trimmed or knows decided, although it may have accepted
    values there.
    """
    if slot <= report.decided or slot < report.first:
        return step.lacks("propose: decided is not clean")
    if report.is_faulty(slot):
        return step.lacks("propose: faulty is not clean")
    return True


def accept(step: ModelStep, sender: Name, message: ModelAccept) -> None:
    """Accept the value, unless a higher ballot was promised; the answer waits for the disk."""
    node, ballot = step.node, message.ballot
    step.receive(sender, message)
    if node.membership is None:
        needs_own_incarnation(step, message.slot, message.value)
    step.needs("accept: only a voter", step.votes)
    step.needs("accept: nothing below the promise", node.memory.promised is None or node.memory.promised <= ballot)
    step.meet(ballot)
    accepted = ModelAccepted(node.incarnation, ballot, message.slot)
    step.write(_accepting(step, ballot, message.slot, message.value), accepted)


def _accepting(step: ModelStep, ballot: ModelBallot, slot: int, value: Value) -> ModelAcceptor:
    memory = step.node.memory
    promised = memory.promised if step.lacks("accept: accepting raises the promise") else ballot
    if slot < memory.first:
        return replace(memory, promised=promised)
    return storing(replace(memory, promised=promised), slot, Pvalue(ballot, value))


def storing(acceptor: ModelAcceptor, slot: int, entry: Pvalue) -> ModelAcceptor:
    """Return ``acceptor`` with ``entry`` in ``slot``; if the slot was damaged, it no longer is."""
    return replace(acceptor, entries=acceptor.entries.set(slot, entry), faulty=acceptor.faulty - {slot})


def decide(step: ModelStep, slot: int, acceptances: Collection[tuple[Name, ModelAccepted]]) -> None:
    """Decide the value of a slot that a quorum has accepted under exactly the leader's ballot.

    Acceptances under different ballots do not add up to a quorum, because their values may differ.
    """
    node, role = step.node, step.node.role
    if not isinstance(role, ModelLeading):
        raise NotAllowedError("decide: only a leader")
    if slot not in role.proposed or any(accepted.slot != slot for _, accepted in acceptances):
        raise NotAllowedError("decide: a proposed slot, by acceptances of that slot")
    for name, accepted in acceptances:
        step.receive(name, accepted)
        step.needs("decide: acceptances under exactly this ballot", accepted.ballot == role.ballot)
    if node.membership is None and slot != FOUNDING_SLOT:
        step.needs("bootstrap: only slot 1 until it is decided", False)
        return
    voters = governing(node, role, slot)
    for name, accepted in acceptances:
        step.needs("decide: acceptances from incarnations that vote", voters.has(name, accepted.incarnation))
    step.needs("decide: acceptances from a quorum", voters.is_quorum({name for name, _ in acceptances}))
    step.learn(slot)


def governing(node: ModelNode, role: ModelLeading, slot: int) -> ModelMembership:
    """Return the membership whose acceptances count; for slot 1, the one that is proposed there (rules 7 and 9)."""
    if node.membership is not None:
        return node.membership
    founding = role.proposed[slot]
    assert isinstance(founding, ModelMembership)
    return founding
