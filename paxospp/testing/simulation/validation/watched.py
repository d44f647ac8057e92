"""A replica that reports each call with its result, and what it counts and learns meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from paxospp.engine.output import Output
from paxospp.engine.replica import Replica
from paxospp.engine.rules.covered import Covered
from paxospp.engine.rules.observer import Observer
from paxospp.engine.rules.pending_reads import ReadRequester
from paxospp.engine.rules.promises import PromiseReport
from paxospp.messages import ProtocolMessage, Sender
from paxospp.model import Ballot, Entry, NodeId, Slot, SnapshotMeta


@dataclass(slots=True)
class ReplicaCall:
    """One call of a replica, until it is compared with the model."""

    what: str
    sender: Sender | None = None
    message: ProtocolMessage | None = None
    """The message that the replica receives; None if it drops the message."""
    covered: Covered | None = None
    """The snapshot that it installs."""
    meets: Ballot | None = None
    """The ballot of a snapshot that it begins to fetch."""
    publishes: tuple[SnapshotMeta, Slot] | None = None
    token: int = 0
    """The token of the write that has returned."""
    reports: list[tuple[Sender, int, Ballot, PromiseReport]] = field(default_factory=list)
    acceptances: list[tuple[Ballot, Slot, NodeId, int]] = field(default_factory=list)
    learned: list[tuple[Slot, Ballot]] = field(default_factory=list)
    closed: list[tuple[Slot, Ballot]] = field(default_factory=list)
    grants: list[tuple[NodeId, float]] = field(default_factory=list)
    reads_by_lease: int = 0
    """Number of reads that it confirms by its lease."""


class Judge(Protocol):
    """Receives every call once it is over."""

    def on_call(self, replica: Replica, call: ReplicaCall, output: Output) -> None: ...


class Listening(Observer):
    """Notes what happens within a call, and passes everything on to another observer."""

    def __init__(self, inner: Observer) -> None:
        self._inner = inner
        self.call = ReplicaCall("nothing")

    def reached(self, marker: str) -> None:
        self._inner.reached(marker)

    def reported(self, answer: int) -> None:
        self._inner.reported(answer)

    def counted_promise(self, sender: Sender, answer: int, ballot: Ballot, report: PromiseReport) -> None:
        self.call.reports.append((sender, answer, ballot, report))
        self._inner.counted_promise(sender, answer, ballot, report)

    def counted_acceptance(self, ballot: Ballot, slot: Slot, node: NodeId, incarnation: int) -> None:
        self.call.acceptances.append((ballot, slot, node, incarnation))
        self._inner.counted_acceptance(ballot, slot, node, incarnation)

    def counted_grant(self, peer: NodeId, until: float) -> None:
        self.call.grants.append((peer, until))
        self._inner.counted_grant(peer, until)

    def took_read(self, requester: ReadRequester, ballot: Ballot, next_slot: Slot) -> None:
        self._inner.took_read(requester, ballot, next_slot)

    def confirmed_read(self, requester: ReadRequester, ballot: Ballot | None, slot: Slot, *, by_lease: bool) -> None:
        self.call.reads_by_lease += by_lease
        self._inner.confirmed_read(requester, ballot, slot, by_lease=by_lease)

    def gave_up_read(self, requester: ReadRequester) -> None:
        self._inner.gave_up_read(requester)

    def learned(self, slot: Slot, ballot: Ballot) -> None:
        self.call.learned.append((slot, ballot))
        self._inner.learned(slot, ballot)

    def installed(self, slot: Slot, ballot: Ballot) -> None:
        self._inner.installed(slot, ballot)

    def campaigns(self, asked_in: int | None) -> None:
        self._inner.campaigns(asked_in)

    def leads_on(self, now: float) -> None:
        self._inner.leads_on(now)

    def closed_damage(self, bound: Slot, ballot: Ballot) -> None:
        self.call.closed.append((bound, ballot))
        self._inner.closed_damage(bound, ballot)


class WatchedReplica(Replica):
    """The replica of the engine, with a judge that receives every call."""

    def __init__(self, *arguments: Any, judge: Judge, observer: Observer, **named: Any) -> None:
        self._judge = judge
        self._listening = Listening(observer)
        super().__init__(*arguments, observer=self._listening, **named)

    def _watch(self, call: ReplicaCall, run: Callable[[], Output]) -> Output:
        self._listening.call = call
        output = run()
        self._judge.on_call(self, call, output)
        return output

    def start(self, now: float) -> Output:
        return self._watch(ReplicaCall("starts"), lambda: super(WatchedReplica, self).start(now))

    def on_message(self, sender: Sender, message: ProtocolMessage, now: float) -> Output:
        dropped = self.dropped.total()
        call = ReplicaCall("hears", sender)

        def run() -> Output:
            output = super(WatchedReplica, self).on_message(sender, message, now)
            if self.dropped.total() == dropped:
                call.message = message
            return output

        return self._watch(call, run)

    def on_tick(self, now: float) -> Output:
        return self._watch(ReplicaCall("ticks"), lambda: super(WatchedReplica, self).on_tick(now))

    def propose(self, value: bytes, now: float, *, awaited_elsewhere: bool = False) -> Output:
        return self._watch(
            ReplicaCall("proposes"),
            lambda: super(WatchedReplica, self).propose(value, now, awaited_elsewhere=awaited_elsewhere),
        )

    def campaign(self, now: float) -> Output:
        return self._watch(ReplicaCall("is told to campaign"), lambda: super(WatchedReplica, self).campaign(now))

    def read(self, ticket: int, now: float, *, lease: bool = False) -> Output:
        return self._watch(
            ReplicaCall("is asked to read"), lambda: super(WatchedReplica, self).read(ticket, now, lease=lease)
        )

    def set_lease(self, duration_us: int, now: float) -> Output:
        return self._watch(ReplicaCall("sets leases"), lambda: super(WatchedReplica, self).set_lease(duration_us, now))

    def on_persisted(self, token: int, now: float) -> Output:
        call = ReplicaCall("has written", token=token)
        return self._watch(call, lambda: super(WatchedReplica, self).on_persisted(token, now))

    def on_log_read(self, token: int, entries: Sequence[Entry], now: float, faulty: Sequence[range] = ()) -> Output:
        return self._watch(
            ReplicaCall("has read its log"),
            lambda: super(WatchedReplica, self).on_log_read(token, entries, now, faulty),
        )

    def on_damage(self, faulty: Sequence[range], now: float) -> Output:
        return self._watch(ReplicaCall("is told of damage"), lambda: super(WatchedReplica, self).on_damage(faulty, now))

    def hold_delivery(self, hold: bool, now: float) -> Output:
        return self._watch(ReplicaCall("holds back"), lambda: super(WatchedReplica, self).hold_delivery(hold, now))

    def on_checkpoint(self, slot: Slot, digest: bytes, now: float) -> Output:
        return self._watch(
            ReplicaCall("comes to a checkpoint"), lambda: super(WatchedReplica, self).on_checkpoint(slot, digest, now)
        )

    def publish_snapshot(self, meta: SnapshotMeta, first: Slot, now: float) -> Output:
        call = ReplicaCall("takes a snapshot", publishes=(meta, first))
        return self._watch(call, lambda: super(WatchedReplica, self).publish_snapshot(meta, first, now))

    def meet_snapshot(self, ballot: Ballot, now: float) -> Output:
        call = ReplicaCall("begins to fetch a snapshot", meets=ballot)
        return self._watch(call, lambda: super(WatchedReplica, self).meet_snapshot(ballot, now))

    def install_snapshot(self, covered: Covered, now: float) -> Output:
        call = ReplicaCall("installs a snapshot", covered=covered)
        return self._watch(call, lambda: super(WatchedReplica, self).install_snapshot(covered, now))
