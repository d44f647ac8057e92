"""Rule 9: how a cluster is bootstrapped, and what a node with a wiped disk may do."""

from __future__ import annotations

from collections.abc import Mapping

from paxospp.testing.specification.messages import AcceptorReport, Name, Value
from paxospp.testing.specification.state import FOUNDING_SLOT, ModelNode
from paxospp.testing.specification.step import ModelStep
from paxospp.testing.specification.values import ModelMembership


def wipe(step: ModelStep) -> None:
    """Replace the disk by an empty one: the node is a new incarnation, which remembers nothing and has no vote."""
    node = step.node
    incarnation = node.incarnation if step.lacks("wipe: a new disk is a new incarnation") else node.incarnation + 1
    membership = node.membership if incarnation == node.incarnation else None
    step.node = ModelNode(incarnation=incarnation, clock=node.clock, membership=membership)


def recovered_membership(reports: Mapping[Name, AcceptorReport]) -> ModelMembership | None:
    """Return the membership in slot 1 of the highest ballot among these answers; None if none holds one."""
    held = [report.entries[FOUNDING_SLOT] for report in reports.values() if FOUNDING_SLOT in report.entries]
    value = max(held, key=lambda entry: entry.ballot).value if held else None
    assert value is None or isinstance(value, ModelMembership)
    return value


def needs_bootstrap_promises(step: ModelStep, reports: Mapping[Name, AcceptorReport]) -> None:
    """Require *none* for slot 1 from every node; or, if an answer holds a membership, a quorum of that membership.

    Without a membership it is not known how many nodes make a quorum: the nodes that were not asked may have
    bootstrapped a cluster already.
    """
    held = recovered_membership(reports)
    clean = {
        name: report
        for name, report in reports.items()
        if report.decided < FOUNDING_SLOT and not report.is_faulty(FOUNDING_SLOT)
    }
    if held is None:
        everyone = clean.keys() >= set(step.system.names)
        step.needs("bootstrap: a promise from every node", everyone)
    else:
        listed = [name for name, report in clean.items() if held.has(name, report.incarnation)]
        step.needs("bootstrap: promises from a quorum of the recovered membership", held.is_quorum(listed))


def needs_bootstrap_value(step: ModelStep, reports: Mapping[Name, AcceptorReport], slot: int, value: Value) -> None:
    """Allow a leader without a membership to propose only slot 1.

    The value is the membership that an answer holds, or else one of the incarnations that promised.
    """
    if slot != FOUNDING_SLOT:
        step.needs("bootstrap: only slot 1 until it is decided", False)
        return
    held = recovered_membership(reports)
    if held is not None:
        step.needs("bootstrap: the recovered membership", value == held)
    else:
        incarnations = frozenset((name, report.incarnation) for name, report in reports.items())
        step.needs("bootstrap: a membership of the incarnations that promised", isinstance(value, ModelMembership))
        assert isinstance(value, ModelMembership)
        step.needs("bootstrap: a membership of the incarnations that promised", value.voters == incarnations)


def needs_own_incarnation(step: ModelStep, slot: int, value: Value) -> None:
    """Allow a node without a membership to accept only slot 1, with a membership that lists its incarnation."""
    if slot != FOUNDING_SLOT:
        step.needs("bootstrap: only slot 1 until it is decided", False)
        return
    stands = isinstance(value, ModelMembership) and value.has(step.name, step.node.incarnation)
    step.needs("bootstrap: accept only a membership that lists this incarnation", stands)
