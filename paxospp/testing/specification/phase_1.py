"""Rules 1 and 2: campaigning, promising, and taking the lead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from paxospp.testing.specification.bootstrap import needs_bootstrap_promises
from paxospp.testing.specification.leases import needs_no_lease
from paxospp.testing.specification.messages import AcceptorReport, ModelPrepare, ModelPromise, Name
from paxospp.testing.specification.state import ModelCampaigning, ModelFollowing, ModelLeading
from paxospp.testing.specification.step import ModelStep, NotAllowedError
from paxospp.testing.specification.values import Map, ModelBallot

ReportSplitter = Callable[[ModelBallot, AcceptorReport], Sequence[ModelPromise]]
"""Turns the report of a promise into the messages that carry it, in one part or several."""


def campaign(step: ModelStep, ballot: ModelBallot) -> None:
    """Begin a campaign under a new ballot; the Prepare waits until the node's own promise to it is on disk.

    Two candidates with the same ballot could choose two values, so a ballot is used once.
    """
    node = step.node
    step.needs("campaign: only a voter", step.votes)
    step.needs("campaign: above every ballot met", node.met is None or ballot > node.met)
    waiting = (write.sends for name in step.system.names for write in step.system.node(name).writes)
    sent = (step.system.sent_by(name) for name in step.system.names)
    used = any(isinstance(it, ModelPrepare) and it.ballot == ballot for its in (*sent, *waiting) for it in its)
    step.needs("campaign: a ballot is used once", not used)
    needs_no_lease(step, ballot, own=True)
    acceptor = replace(node.memory, promised=ballot)
    step.become(role=ModelCampaigning(ballot), met=ballot)
    own = whole(ballot, acceptor.report(node.incarnation, node.decided))
    step.write(acceptor, ModelPrepare(ballot, node.membership is None), *own)


def ask_again(step: ModelStep, ballot: ModelBallot) -> None:
    """Send the Prepare of the node's own ballot again; it waits for earlier writes."""
    if step.node.own_ballot != ballot:
        raise NotAllowedError("ask again: only a candidate or leader, under its own ballot")
    step.write(step.node.memory, ModelPrepare(ballot, step.node.membership is None))


def promise(step: ModelStep, sender: Name, prepare: ModelPrepare, split: ReportSplitter) -> None:
    """Promise to accept nothing below the ballot, and report what is held; the answer waits for the disk.

    An equal ballot is answered again, because the first answer may have been lost.
    """
    node, ballot = step.node, prepare.ballot
    step.receive(sender, prepare)
    step.needs("promise: only a voter", step.votes)
    # A node that knows no membership may have lost its disk: what it reports as none, it may have accepted before.
    step.needs("promise: before bootstrap, only to a bootstrap Prepare", node.membership is not None or prepare.founds)
    step.needs("promise: nothing below the promise", node.memory.promised is None or node.memory.promised <= ballot)
    needs_no_lease(step, ballot)
    step.meet(ballot)
    acceptor = replace(node.memory, promised=ballot)
    step.become(answers=node.answers + (split is not whole))
    step.write(acceptor, *split(ballot, acceptor.report(node.incarnation, node.decided)))


def promise_itself(step: ModelStep, split: ReportSplitter) -> None:
    """Report to the node itself once the promise to its own ballot is on disk; the report counts like any other."""
    node = step.node
    ballot = node.own_ballot
    if ballot is None:
        raise NotAllowedError("promise: to its own ballot, while it campaigns or leads under it")
    step.needs("promise: its own counts once it is on disk", node.disk.promised == ballot)
    step.sends.extend(split(ballot, node.memory.report(node.incarnation, node.decided)))


def whole(ballot: ModelBallot, report: AcceptorReport) -> Sequence[ModelPromise]:
    """Return the report as an answer in one part."""
    return [ModelPromise(ballot, 0, 0, 1, report)]


def parts_of(ballot: ModelBallot, answer: int, report: AcceptorReport) -> list[ModelPromise]:
    """Return the report as an answer in two parts, or in one if it has fewer than two entries."""
    slots = sorted(report.entries)
    halves = (slots[: len(slots) // 2], slots[len(slots) // 2 :]) if len(slots) > 1 else (slots,)
    return [
        ModelPromise(
            ballot,
            answer,
            part,
            len(halves),
            report._replace(entries=Map((slot, report.entries[slot]) for slot in half)),
        )
        for part, half in enumerate(halves)
    ]


def assemble(step: ModelStep, sender: Name, parts: Sequence[ModelPromise]) -> AcceptorReport:
    """Return the report that a leader or candidate counts, once it has all parts of the answer.

    Parts of different answers must not be mixed: each may leave out what was accepted after the other was given.
    """
    role = step.node.role
    assert not isinstance(role, ModelFollowing)
    for part in parts:
        step.receive(sender, part)
        step.needs("count: promises to exactly this ballot", part.ballot == role.ballot)
    step.needs("count: all parts of an answer", {part.part for part in parts} == set(range(parts[0].parts)))
    answers = {(part.report.incarnation, part.answer, part.parts) for part in parts}
    step.needs("count: parts of one answer", len(answers) == 1)
    return joined(parts)


def joined(parts: Sequence[ModelPromise]) -> AcceptorReport:
    """Return the report that these parts make up together."""
    entries = Map((slot, entry) for part in parts for slot, entry in part.report.entries.items())
    return parts[0].report._replace(entries=entries)


def lead(step: ModelStep, answers: Mapping[Name, Sequence[ModelPromise]]) -> None:
    """Take the lead with the promises of a quorum of voters (rule 2), or to bootstrap, of every node (rule 9)."""
    node, role = step.node, step.node.role
    if not isinstance(role, ModelCampaigning):
        raise NotAllowedError("lead: only a candidate")
    reports = Map((sender, assemble(step, sender, parts)) for sender, parts in answers.items())
    if node.membership is None:
        needs_bootstrap_promises(step, reports)
    else:
        for sender, report in reports.items():
            step.needs("count: only incarnations that vote", node.membership.has(sender, report.incarnation))
        step.needs("lead: promises from a quorum", node.membership.is_quorum(reports))
    step.become(role=ModelLeading(role.ballot, reports))


def count_late(step: ModelStep, sender: Name, parts: Sequence[ModelPromise]) -> None:
    """Count a promise that arrives after the node took the lead; it replaces an earlier answer of its sender.

    If the sender's log was damaged in between, the earlier answer still counts too: it reported everything that its
    sender had accepted under lower ballots, and since then the promise has kept it from accepting more of that.
    """
    role = step.node.role
    if not isinstance(role, ModelLeading):
        raise NotAllowedError("count: only a leader counts a late promise")
    report = assemble(step, sender, parts)
    membership = step.node.membership
    step.needs("count: only incarnations that vote", membership is None or membership.has(sender, report.incarnation))
    former = role.reports.get(sender)
    hidden = role.hidden | {(sender, former)} if former is not None and report.hides(former) else role.hidden
    step.become(role=role._replace(reports=role.reports.set(sender, report), hidden=hidden))


def step_down(step: ModelStep) -> None:
    """Stop leading or campaigning, which is allowed at any time."""
    step.become(role=ModelFollowing())


def raise_promise(step: ModelStep, ballot: ModelBallot) -> None:
    """Promise without being asked, as for a leader's heartbeat: a higher promise is always safe."""
    promised = step.node.memory.promised
    step.needs("promise: nothing below the promise", promised is None or promised <= ballot)
    step.meet(ballot)
    step.write(replace(step.node.memory, promised=ballot))
