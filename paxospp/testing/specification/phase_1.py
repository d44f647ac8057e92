"""Rules 1 and 2: campaigns, promises, and who takes the lead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from paxospp.testing.specification.founding import needs_founding_promises
from paxospp.testing.specification.leases import needs_no_lease
from paxospp.testing.specification.messages import Name, Prepare, Promise, Report
from paxospp.testing.specification.state import Campaigning, Following, Leading
from paxospp.testing.specification.step import NotAllowedError, Step
from paxospp.testing.specification.values import Ballot, Map


def campaign(step: Step, ballot: Ballot) -> None:
    """Ask everybody for promises to a new ballot, above all that was met, once it is on disk."""
    node = step.node
    step.needs("campaign: only who has a vote", step.votes)
    step.needs("campaign: above every ballot met", node.met is None or ballot > node.met)
    waiting = (write.says for name in step.system.names for write in step.system.node(name).writes)
    said = (step.system.said_by(name) for name in step.system.names)
    used = any(isinstance(it, Prepare) and it.ballot == ballot for its in (*said, *waiting) for it in its)
    step.needs("campaign: a ballot is used once", not used)
    needs_no_lease(step, ballot, own=True)
    acceptor = replace(node.memory, promised=ballot)
    step.become(role=Campaigning(ballot), met=ballot)
    own = whole(ballot, acceptor.report(node.life, node.decided))
    step.write(acceptor, Prepare(ballot, node.membership is None), *own)


def ask_again(step: Step, ballot: Ballot) -> None:
    """Send a Prepare once more, while one campaigns or leads under its ballot; it waits for earlier writes."""
    if step.node.own_ballot != ballot:
        raise NotAllowedError("ask again: only who campaigns or leads under the ballot")
    step.write(step.node.memory, Prepare(ballot, step.node.membership is None))


def promise(step: Step, sender: Name, prepare: Prepare, cut: Callable[[Ballot, Report], Sequence[Promise]]) -> None:
    """Promise to accept nothing below, and report what is held, ``cut`` into parts; the answer waits for the disk."""
    node, ballot = step.node, prepare.ballot
    step.heard(sender, prepare)
    step.needs("promise: only who has a vote", step.votes)
    step.needs("promise: before there is a cluster, only to found one", node.membership is not None or prepare.founds)
    step.needs("promise: nothing below the promise", node.memory.promised is None or node.memory.promised <= ballot)
    needs_no_lease(step, ballot)
    step.meet(ballot)
    acceptor = replace(node.memory, promised=ballot)
    step.become(answers=node.answers + (cut is not whole))
    step.write(acceptor, *cut(ballot, acceptor.report(node.life, node.decided)))


def promise_itself(step: Step, cut: Callable[[Ballot, Report], Sequence[Promise]]) -> None:
    """Report to oneself, once one's own promise is on disk: it counts like anyone's."""
    node = step.node
    ballot = node.own_ballot
    if ballot is None:
        raise NotAllowedError("promise: to one's own ballot, while one campaigns or leads under it")
    step.needs("promise: one's own counts once it is on disk", node.disk.promised == ballot)
    step.says.extend(cut(ballot, node.memory.report(node.life, node.decided)))


def whole(ballot: Ballot, report: Report) -> Sequence[Promise]:
    """An answer in one part."""
    return [Promise(ballot, 0, 0, 1, report)]


def parts_of(ballot: Ballot, answer: int, report: Report) -> list[Promise]:
    """An answer of several entries, cut in two."""
    slots = sorted(report.entries)
    halves = (slots[: len(slots) // 2], slots[len(slots) // 2 :]) if len(slots) > 1 else (slots,)
    return [
        Promise(
            ballot,
            answer,
            part,
            len(halves),
            report._replace(entries=Map((slot, report.entries[slot]) for slot in half)),
        )
        for part, half in enumerate(halves)
    ]


def assemble(step: Step, sender: Name, parts: Sequence[Promise]) -> Report:
    """What an answer says, all of whose parts are in: what a leader or candidate counts."""
    role = step.node.role
    assert not isinstance(role, Following)
    for part in parts:
        step.heard(sender, part)
        step.needs("count: promises to this very ballot", part.ballot == role.ballot)
    step.needs("count: all parts of an answer", {part.part for part in parts} == set(range(parts[0].parts)))
    step.needs("count: parts of one answer", len({(part.report.life, part.answer, part.parts) for part in parts}) == 1)
    return joined(parts)


def joined(parts: Sequence[Promise]) -> Report:
    """What the parts of an answer say together."""
    entries = Map((slot, entry) for part in parts for slot, entry in part.report.entries.items())
    return parts[0].report._replace(entries=entries)


def lead(step: Step, answers: Mapping[Name, Sequence[Promise]]) -> None:
    """Take the lead on the promises of a quorum of voters (rule 2), or of all who may found (rule 9)."""
    node, role = step.node, step.node.role
    if not isinstance(role, Campaigning):
        raise NotAllowedError("lead: only who campaigns")
    reports = Map((sender, assemble(step, sender, parts)) for sender, parts in answers.items())
    if node.membership is None:
        needs_founding_promises(step, reports)
    else:
        for sender, report in reports.items():
            step.needs("count: only lives that vote", node.membership.has(sender, report.life))
        step.needs("lead: promises of a quorum", node.membership.is_quorum(reports))
    step.become(role=Leading(role.ballot, reports))


def count_late(step: Step, sender: Name, parts: Sequence[Promise]) -> None:
    """A promise that comes after the lead was taken counts the same way; a later answer replaces an earlier one.

    Where its sender's log was damaged in between, the earlier one goes on to count beside it: it said then what its
    sender had accepted under lower ballots, and since then the promise has kept out all others.
    """
    role = step.node.role
    if not isinstance(role, Leading):
        raise NotAllowedError("lead: only who campaigns")
    report = assemble(step, sender, parts)
    membership = step.node.membership
    step.needs("count: only lives that vote", membership is None or membership.has(sender, report.life))
    former = role.reports.get(sender)
    hidden = role.hidden | {(sender, former)} if former is not None and report.hides(former) else role.hidden
    step.become(role=role._replace(reports=role.reports.set(sender, report), hidden=hidden))


def step_down(step: Step) -> None:
    """Leading or campaigning may end at any time."""
    step.become(role=Following())


def raise_promise(step: Step, ballot: Ballot) -> None:
    """Promising more than was asked for is always safe: a leader's heartbeat does it."""
    promised = step.node.memory.promised
    step.needs("promise: nothing below the promise", promised is None or promised <= ballot)
    step.meet(ballot)
    step.write(replace(step.node.memory, promised=ballot))
