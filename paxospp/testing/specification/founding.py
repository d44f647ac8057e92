"""Rule 9: how a cluster comes into being, and what a wiped disk may say."""

from __future__ import annotations

from collections.abc import Mapping

from paxospp.testing.specification.messages import Name, Report, Value
from paxospp.testing.specification.state import FOUNDING_SLOT, Node
from paxospp.testing.specification.step import Step
from paxospp.testing.specification.values import Membership


def wipe(step: Step) -> None:
    """The disk is replaced by an empty one: another life, which remembers nothing and has no vote."""
    node = step.node
    life = node.life if step.lacks("wipe: another disk is another life") else node.life + 1
    membership = node.membership if life == node.life else None
    step.node = Node(life=life, clock=node.clock, membership=membership)


def founding_held(reports: Mapping[Name, Report]) -> Membership | None:
    """The founding value of the highest ballot that an answer holds."""
    held = [report.entries[FOUNDING_SLOT] for report in reports.values() if FOUNDING_SLOT in report.entries]
    value = max(held, key=lambda entry: entry.ballot).value if held else None
    assert value is None or isinstance(value, Membership)
    return value


def needs_founding_promises(step: Step, reports: Mapping[Name, Report]) -> None:
    """Everybody says *none* of slot 1; or a quorum of the lives in a founding value that was found."""
    held = founding_held(reports)
    clean = {
        name: report
        for name, report in reports.items()
        if report.decided < FOUNDING_SLOT and not report.is_faulty(FOUNDING_SLOT)
    }
    if held is None:
        everybody = clean.keys() >= set(step.system.names)
        step.needs("found: a promise of everybody", everybody)
    else:
        listed = [name for name, report in clean.items() if held.has(name, report.life)]
        step.needs("found: promises of a quorum of the lives in the value found", held.is_quorum(listed))


def needs_founding_value(step: Step, reports: Mapping[Name, Report], slot: int, value: Value) -> None:
    """Propose the founding value that was found, else a membership of those who promised; nothing else before."""
    if slot != FOUNDING_SLOT:
        step.needs("found: nothing before the founding", False)
        return
    held = founding_held(reports)
    if held is not None:
        step.needs("found: the value that was found", value == held)
    else:
        lives = frozenset((name, report.life) for name, report in reports.items())
        step.needs("found: a membership of the lives that promised", isinstance(value, Membership))
        assert isinstance(value, Membership)
        step.needs("found: a membership of the lives that promised", value.voters == lives)


def needs_to_stand_in(step: Step, slot: int, value: Value) -> None:
    """Accept a founding value only if this very life stands in it."""
    if slot != FOUNDING_SLOT:
        step.needs("found: nothing before the founding", False)
        return
    stands = isinstance(value, Membership) and value.has(step.name, step.node.life)
    step.needs("found: accept only a founding that this life stands in", stands)
