"""Short constructors of ballots, entries, memberships and replicas for tests of the engine."""

from __future__ import annotations

from random import Random
from typing import TypeVar

from paxospp.engine.output import Output
from paxospp.engine.replica import Replica
from paxospp.engine.rules.covered import Covered
from paxospp.engine.rules.log import Log
from paxospp.engine.rules.voters import Majority
from paxospp.engine.settings import Identity, Settings
from paxospp.messages import Accept, Heartbeat, HeartbeatAnswer, Promise, Sender
from paxospp.model import Ballot, Entry, Kind, Member, Membership, NodeId, Slot, SnapshotMeta
from paxospp.storage.contract import DurableState
from paxospp.testing.engine_settings import engine_settings

N1, N2, N3, N4, N5 = (NodeId(f"n{number}") for number in range(1, 6))
CLUSTER_ID = bytes(range(16))
M = TypeVar("M")


def incarnation_of(node: NodeId) -> int:
    """Return the incarnation that the tests give a node: its number."""
    return int(node[1:])


def ballot(round: int, node: NodeId = N1) -> Ballot:
    """Return a ballot of ``node`` in its usual incarnation."""
    return Ballot(round, node, incarnation_of(node))


def entry(slot: int, of: Ballot, value: bytes = b"x", kind: Kind = Kind.COMMANDS) -> Entry:
    return Entry(Slot(slot), of, kind, value)


def accept(slot: int, of: Ballot, value: bytes = b"x", decided_up_to: int = 0) -> Accept:
    return Accept(ballot=of, slot=Slot(slot), kind=Kind.COMMANDS, value=value, decided_up_to=Slot(decided_up_to))


def promise(of: Ballot, *entries: Entry, decided: int = 0, first: int = 1, faulty: tuple[range, ...] = ()) -> Promise:
    return Promise(
        ballot=of,
        start=Slot(1),
        answer=1,
        part=0,
        parts=1,
        decided=Slot(decided),
        first=Slot(first),
        last=max((held.slot for held in entries), default=Slot(decided)),
        entries=entries,
        faulty=faulty,
    )


def membership(size: int = 3) -> Membership:
    members = tuple(Member(NodeId(f"n{number}"), f"n{number}:1", number) for number in range(1, size + 1))
    return Membership(cluster_id=CLUSTER_ID, group=0, alpha=4, session_expiry_s=3600, replaces=Slot(0), members=members)


def majority(size: int = 3) -> Majority:
    return Majority(membership(size))


def empty_log(*, first: int = 1, last: int = 0, memory_from: int = 1, faulty: tuple[range, ...] = ()) -> Log:
    return Log(first=Slot(first), last=Slot(last), memory_from=Slot(memory_from), faulty=faulty, bytes_max=1 << 20)


def identity(name: NodeId = N1, size: int = 3, *, boot: int = 1, nonce: int = 11) -> Identity:
    names = [NodeId(f"n{number}") for number in range(1, size + 1)]
    return Identity(
        name=name,
        group=0,
        incarnation=incarnation_of(name),
        boot=boot,
        nonce=nonce,
        cluster={other: f"{other}:1" for other in names},
    )


def sender(node: NodeId, *, boot: int = 1, nonce: int = 7, incarnation: int | None = None) -> Sender:
    return Sender(CLUSTER_ID, 0, node, incarnation_of(node) if incarnation is None else incarnation, boot, nonce)


def founded(
    name: NodeId = N1,
    size: int = 3,
    *,
    promised: Ballot | None = None,
    state: DurableState | None = None,
    settings: Settings | None = None,
) -> Replica:
    """Start a replica at time 0 that knows the first membership and nothing else.

    With ``state`` it starts from that durable state; reading its log then finds no entries.
    """
    replica = Replica(
        identity(name, size),
        state or DurableState(promised=promised or ballot(1), decided=Slot(1), first=Slot(2), last=Slot(1)),
        settings or engine_settings(alpha=4),
        Random(1),
        memberships=[(Slot(1), membership(size))],
        applied=1,
    )
    for wanted in replica.start(0.0).log_reads:
        replica.on_log_read(wanted.token, [], 0.0)
    return replica


def covered(slot: int, under: Ballot, size: int = 3) -> Covered:
    """Describe a snapshot up to ``slot`` whose slots were decided under ballots up to ``under``."""
    return Covered(meta=SnapshotMeta(Slot(slot), "s"), ballot=under, memberships=[(Slot(1), membership(size))])


def sent(output: Output, kind: type[M]) -> list[M]:
    """Return the messages of one kind in ``output``, whether they leave at once or after its write."""
    return [send.message for send in (*output.send_now, *output.send_after_persist) if isinstance(send.message, kind)]


def lead(replica: Replica, now: float = 0.0, *, decided: int = 1) -> Ballot:
    """Let a replica of three campaign and win with n2's promise, which reports slots up to ``decided`` decided.

    Returns:
        the ballot under which ``replica`` now leads.
    """
    output = replica.campaign(now)
    mine = replica.ballot
    assert mine is not None
    replica.on_persisted(output.token, now)
    replica.on_message(sender(N2), promise(mine, decided=decided), now)
    assert replica.leading
    return mine


def heartbeat(
    round: int = 1,
    *,
    leading: Ballot | None = None,
    decided_up_to: int = 0,
    promised: Ballot | None = None,
    remembered: int = 0,
    booted_with: Ballot | None = None,
) -> Heartbeat:
    """Return a heartbeat; one with ``leading`` comes from a leader that a quorum answers."""
    return Heartbeat(
        round=round,
        leading=leading,
        quorum_connected=leading is not None,
        decided_up_to=Slot(decided_up_to),
        promised=promised,
        remembered=Slot(remembered),
        booted_with=booted_with,
    )


def answer(
    round: int,
    *,
    promised: Ballot | None = None,
    quorum_connected: bool = False,
    disk_answers: bool = True,
    decided: int = 1,
) -> HeartbeatAnswer:
    return HeartbeatAnswer(
        nonce=11,
        round=round,
        promised=promised,
        decided=Slot(decided),
        disk_answers=disk_answers,
        quorum_connected=quorum_connected,
        leader=None,
        remembered=Slot(1),
        booted_with=ballot(1),
    )
