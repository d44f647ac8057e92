"""The choices of an exploration: every action to try in a state, with every argument worth trying.

More is tried than is allowed, and the guards refuse the rest. An exploration that removes a guard therefore finds the
steps that the guard refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations, product
from typing import NamedTuple

from paxospp.testing.specification import bootstrap, damage, durability, learning, leases, phase_1, phase_2, snapshots
from paxospp.testing.specification.explored_system import Explored
from paxospp.testing.specification.messages import (
    Announcement,
    Grant,
    ModelAccept,
    ModelAccepted,
    ModelDecided,
    ModelPrepare,
    ModelPromise,
    Round,
    SnapshotOffer,
    Value,
    Vouch,
)
from paxospp.testing.specification.scopes import ModelScope
from paxospp.testing.specification.state import (
    FOUNDING_SLOT,
    ModelAcceptor,
    ModelCampaigning,
    ModelFollowing,
    ModelLeading,
    ModelNode,
)
from paxospp.testing.specification.step import ModelStep
from paxospp.testing.specification.values import ModelBallot, ModelMembership


class Choice(NamedTuple):
    """One action of one node, to be tried."""

    name: int
    what: str
    """The action as traces show it."""
    act: Callable[[ModelStep], None]
    spends: str = ""
    """The budget that it takes one from; empty: none."""


def choices(state: Explored, scope: ModelScope) -> Iterator[Choice]:
    """Yield everything to try next in ``state``."""
    for name, node in enumerate(state.nodes):
        yield from _campaigns(state, scope, name, node)
        yield from _receives(state, scope, name, node)
        match node.role:
            case ModelCampaigning():
                yield from _takes_the_lead(state, scope, name, node, node.role)
            case ModelLeading():
                yield from _leads(state, scope, name, node, node.role)
            case ModelFollowing():
                pass
        yield from _learns(state, scope, name, node)
        yield from _faults(state, scope, name, node)
        if scope.leases and node.clock < scope.clock:
            yield Choice(name, "the clock ticks", leases.tick)


def _campaigns(state: Explored, scope: ModelScope, name: int, node: ModelNode) -> Iterator[Choice]:
    for round in range(1, scope.ballots + 1):
        ballot = ModelBallot(round)
        if node.own_ballot != ballot:
            yield Choice(name, f"campaigns under {round}", lambda step, b=ballot: phase_1.campaign(step, b))  # type: ignore[misc]


def _receives(state: Explored, scope: ModelScope, name: int, node: ModelNode) -> Iterator[Choice]:
    promised = node.memory.promised
    for sender in state.names:
        for message in state.sent[sender]:
            match message:
                case ModelPrepare(ballot):
                    if (sender != name and promised != ballot) or scope.answers_again:
                        yield Choice(
                            name,
                            f"promises {ballot.round}",
                            lambda step, s=sender, m=message: phase_1.promise(step, s, m, _splitter(scope, node)),  # type: ignore[misc]
                        )
                case ModelAccept(ballot, slot):
                    held = node.memory.entries.get(slot)
                    if sender != name and (held is None or held.ballot != ballot):
                        yield Choice(
                            name,
                            f"accepts {message.value} in {slot} under {ballot.round}",
                            lambda step, s=sender, m=message: phase_2.accept(step, s, m),  # type: ignore[misc]
                        )
                case Round():
                    if sender != name:
                        yield Choice(
                            name,
                            f"grants the round of n{sender + 1}",
                            lambda step, s=sender, m=message: leases.grant(step, s, m),  # type: ignore[misc]
                        )
                case Vouch():
                    if node.memory.open_from or node.memory.faulty:
                        yield Choice(
                            name,
                            f"takes its damage to end at {message.bound}",
                            lambda step, s=sender, m=message: damage.close(step, s, m),  # type: ignore[misc]
                        )
                case _:
                    pass


def _splitter(scope: ModelScope, node: ModelNode) -> phase_1.ReportSplitter:
    if not scope.in_parts:
        return phase_1.whole
    return lambda ballot, report: phase_1.parts_of(ballot, node.answers + 1, report)


def answers_to(state: Explored, sender: int) -> list[tuple[ModelPromise, ...]]:
    """Return what a receiver may take for an answer of ``sender`` to a Prepare.

    Besides the real answers these are single parts of an answer, and parts of different answers put together.
    """
    promises = sorted((it for it in state.sent[sender] if isinstance(it, ModelPromise)), key=repr)
    whole: list[tuple[ModelPromise, ...]] = [(it,) for it in promises]
    for count in {it.parts for it in promises if it.parts > 1}:
        by_part = [[it for it in promises if it.parts == count and it.part == part] for part in range(count)]
        whole.extend(product(*by_part))
    return whole


def _takes_the_lead(
    state: Explored, scope: ModelScope, name: int, node: ModelNode, role: ModelCampaigning
) -> Iterator[Choice]:
    sent = [answers_to(state, sender) for sender in state.names]
    everyone = len(sent)
    for size in {everyone // 2, everyone // 2 + 1, *((everyone,) if scope.founds else ())}:
        for senders in combinations(range(everyone), size):
            for answers in product(*(sent[sender] for sender in senders)):
                told = dict(zip(senders, answers, strict=True))
                yield Choice(name, f"leads on {list(told)}", lambda step, t=told: phase_1.lead(step, t))  # type: ignore[misc]


def _leads(state: Explored, scope: ModelScope, name: int, node: ModelNode, role: ModelLeading) -> Iterator[Choice]:
    if scope.late:
        for sender in state.names:
            for answer in answers_to(state, sender):
                if answer[0].report != role.reports.get(sender):
                    yield Choice(
                        name,
                        f"counts late what {sender} reported",
                        lambda step, s=sender, a=answer: phase_1.count_late(step, s, a),  # type: ignore[misc]
                    )
    settled = scope.settled
    for slot in range(settled + 1, FOUNDING_SLOT + scope.slots + 1):
        if not node.knows_decided(slot):
            for value in _values(role, slot):
                if role.proposed.get(slot) != value:
                    yield Choice(
                        name,
                        f"proposes {value} in {slot} under {role.ballot.round}",
                        lambda step, s=slot, v=value: phase_2.propose(step, s, v),  # type: ignore[misc]
                    )
            yield from _decides(state, name, role, slot)
    if scope.announces:
        for decided in {node.decided, node.decided + 1} - {settled}:
            yield Choice(name, f"announces {decided}", lambda step, d=decided: learning.announce(step, d))  # type: ignore[misc]
    if scope.vouches:
        yield Choice(name, "vouches", damage.vouch)
        for peer, other in enumerate(state.nodes):
            if peer != name and (other.memory.open_from or other.memory.faulty):
                to = (peer, other.incarnation, other.boot)
                yield Choice(name, f"vouches to {to}", lambda step, t=to: damage.vouch(step, t))  # type: ignore[misc]
    if scope.leases:
        if dict(state.left).get("rounds"):
            yield Choice(name, "begins a round", leases.begin_round, "rounds")
        for sender in state.names:
            for message in state.sent[sender]:
                if isinstance(message, Grant):
                    yield Choice(
                        name,
                        f"counts the grant of n{sender + 1}",
                        lambda step, s=sender, m=message: leases.count_grant(step, s, m),  # type: ignore[misc]
                    )


def _values(role: ModelLeading, slot: int) -> set[Value]:
    held = {report.entries[slot].value for report in role.reports.values() if slot in report.entries}
    if slot == FOUNDING_SLOT:
        incarnations = frozenset((name, report.incarnation) for name, report in role.reports.items())
        return {*held, ModelMembership(incarnations, 1, role.ballot.round)}
    return {*held, f"v{role.ballot.round}"} | ({f"w{role.ballot.round}"} if slot in role.proposed else set())


def _decides(state: Explored, name: int, role: ModelLeading, slot: int) -> Iterator[Choice]:
    if slot not in role.proposed:
        return
    of_slot = [
        (sender, it)
        for sender in state.names
        for it in state.sent[sender]
        if isinstance(it, ModelAccepted) and it.slot == slot
    ]
    of_ballot = [(sender, it) for sender, it in of_slot if it.ballot == role.ballot]
    voters = state.nodes[name].membership or role.proposed[slot]
    of_voters = [
        (n, it) for n, it in of_ballot if isinstance(voters, ModelMembership) and voters.has(n, it.incarnation)
    ]
    for acceptances in {tuple(of_voters), tuple(of_ballot), tuple(of_slot)}:
        yield Choice(name, f"decides {slot}", lambda step, a=acceptances: phase_2.decide(step, slot, a))  # type: ignore[misc]


def _learns(state: Explored, scope: ModelScope, name: int, node: ModelNode) -> Iterator[Choice]:
    settled = scope.settled
    for sender in state.names:
        for message in state.sent[sender]:
            match message:
                case Announcement(_, decided):
                    for slot in range(node.decided + 1, decided + 1):
                        yield Choice(
                            name,
                            f"takes {slot} for decided, as announced under {message.ballot.round}",
                            lambda step, n=slot, s=sender, m=message: learning.learn_announced(step, n, s, m),  # type: ignore[misc]
                        )
                case ModelDecided(slot):
                    if not node.knows_decided(slot) or node.memory.is_faulty(slot):
                        yield Choice(
                            name,
                            f"learns {slot} under {message.ballot.round}",
                            lambda step, s=sender, m=message: learning.learn(step, s, m),  # type: ignore[misc]
                        )
                case SnapshotOffer(slot):
                    if slot > node.decided:
                        yield Choice(
                            name,
                            f"installs a snapshot of {slot}",
                            lambda step, s=sender, m=message: snapshots.install(step, s, m),  # type: ignore[misc]
                        )
                case _:
                    pass
    if scope.teaches:
        for slot in node.memory.entries:
            if slot > settled:
                yield Choice(name, f"teaches {slot}", lambda step, s=slot: learning.teach(step, s))  # type: ignore[misc]
    if scope.snapshots:
        covered = 0 if node.memory.snapshot is None else node.memory.snapshot.slot
        top = node.decided
        tried = ((top, top + 1), (top, top + 2), (top + 1, top + 1))
        for slot, first in tried if top > max(covered, FOUNDING_SLOT) else tried[2:]:
            if first > node.memory.first or slot > top:
                yield Choice(
                    name,
                    f"takes a snapshot of {slot}, and keeps its log from {first}",
                    lambda step, s=slot, f=first: snapshots.take(step, s, f),  # type: ignore[misc]
                )
        yield Choice(name, "offers its snapshot", snapshots.offer)


def _faults(state: Explored, scope: ModelScope, name: int, node: ModelNode) -> Iterator[Choice]:
    if node.writes:
        yield Choice(name, "a write returns", durability.write_returns)
    left = dict(state.left)
    if left.get("crashes"):
        for found in {node.disk, *(write.acceptor for write in node.writes), ModelAcceptor(first=node.disk.first)}:
            yield Choice(
                name,
                "crashes and starts again",
                lambda step, f=found: durability.restart(step, f, min(step.node.decided, scope.settled)),  # type: ignore[misc]
                "crashes",
            )
    if left.get("damages"):
        for slot in node.memory.entries:
            for noticed in (True, False):
                yield Choice(
                    name,
                    f"has slot {slot} damaged",
                    lambda step, s=slot, n=noticed: _damaged(step, s, noticed=n),  # type: ignore[misc]
                    "damages",
                )
    if left.get("ends"):
        for slot in node.memory.entries:
            yield Choice(name, f"loses its end from {slot}", lambda step, s=slot: _end_lost(step, s), "ends")  # type: ignore[misc]
    if left.get("wipes"):
        yield Choice(name, "gets an empty disk", bootstrap.wipe, "wipes")


def _damaged(step: ModelStep, slot: int, *, noticed: bool) -> None:
    damage.damage(step, [slot], noticed=noticed)
    durability.restart(step, step.node.disk, step.node.decided)


def _end_lost(step: ModelStep, slot: int) -> None:
    damage.lose_end(step, slot)
    durability.restart(step, step.node.disk, step.node.decided)
