"""Linearizable reads: from a request to the slot that must be applied before it is answered (rule 6).

A leader confirms a read by its lease, or by a round of heartbeats that begins after the read arrived. Every other
replica forwards its reads to the leader it knows. The outcome of a read is a slot, or that the read was not confirmed;
the node answers the query itself.

Reference: Ongaro's thesis (2014), 6.4.
"""

from __future__ import annotations

import math

from paxospp.engine.handlers.heartbeats import HeartbeatHandler
from paxospp.engine.handlers.learning import LearningHandler
from paxospp.engine.output import OutputBuilder, SettledRead
from paxospp.engine.rules.leader import Leading
from paxospp.engine.rules.lease import Lease
from paxospp.engine.rules.observer import Observer
from paxospp.engine.rules.pending_reads import ForwardedReads, PendingReads, Read, ReadRequester
from paxospp.engine.rules.voters import ClusterView
from paxospp.engine.settings import Identity
from paxospp.messages import HeartbeatAnswer, ReadAnswer, ReadRequest, Sender
from paxospp.model import NodeId, Slot


class ReadHandler:
    """Reads of this replica's callers, and of peers that take it for the leader.

    The protocol owns the role, so every method takes ``leading``: the leader's state while this replica leads.
    """

    def __init__(
        self,
        identity: Identity,
        cluster: ClusterView,
        heartbeats: HeartbeatHandler,
        learning: LearningHandler,
        lease: Lease,
        observer: Observer,
        *,
        window_s: float,
    ) -> None:
        self._observer = observer
        self._identity = identity
        self._cluster = cluster
        self._heartbeats = heartbeats
        self._learning = learning
        self._lease = lease
        self._window_s = window_s
        self._reading = PendingReads()
        self._remote = ForwardedReads()

    # Requests.

    def read(
        self, ticket: int, leading: Leading | None, leader: NodeId | None, out: OutputBuilder, *, lease: bool
    ) -> None:
        """Handle a read of a caller of this replica: confirm it, or forward it to the leader."""
        if leading is not None and self._cluster.membership is not None:
            self._confirm(ReadRequester(None, 0, ticket), leading, out, lease=lease)
        elif leading is None and leader is not None:
            counter = self._remote.ask(ticket, until=out.now + self._window_s)
            out.send(leader, ReadRequest(counter=counter, lease=lease))
        else:
            out.output.settled_reads.append(SettledRead(ticket=ticket, slot=None))

    def on_request(self, sender: Sender, request: ReadRequest, leading: Leading | None, out: OutputBuilder) -> None:
        """Handle a read that a peer has forwarded because it takes this replica for the leader."""
        requester = ReadRequester(sender.node, sender.nonce, request.counter)
        if leading is not None and self._cluster.membership is not None:
            self._confirm(requester, leading, out, lease=request.lease)
        else:
            self._observer.reached("reads: one is put to a replica that does not lead")
            self._answer(requester, None, leading, out)

    def on_answer(self, answer: ReadAnswer, out: OutputBuilder) -> None:
        """Handle the leader's answer to a forwarded read."""
        if answer.nonce != self._identity.nonce:
            return
        ticket = self._remote.take(answer.counter)
        if ticket is None:
            self._observer.reached("reads: an answer comes after its read was given up, or twice")
        else:
            out.output.settled_reads.append(SettledRead(ticket=ticket, slot=answer.slot))

    def give_up(self, out: OutputBuilder) -> None:
        """Fail the forwarded reads that the leader has not answered within a window."""
        for ticket in self._remote.give_up(out.now):
            self._observer.reached("reads: a leader that does not answer in time confirms none")
            out.output.settled_reads.append(SettledRead(ticket=ticket, slot=None))

    # While leading.

    def _confirm(self, requester: ReadRequester, leading: Leading, out: OutputBuilder, *, lease: bool) -> None:
        """Confirm a read at once if ``lease`` allows it and the lease is held; else by the next round of heartbeats."""
        self._observer.took_read(requester, leading.ballot, leading.next_slot)
        if not leading.sees_the_end(self._cluster.voters):
            # The damage may hide a value that was chosen in the next slot.
            self._observer.reached("reads: none is confirmed while the next slot may hold what was chosen")
            self._answer(requester, None, leading, out)
            return
        read = Read(requester, Slot(max(self._learning.decided, leading.recovered_up_to)))
        if read.slot > self._learning.decided:
            self._observer.reached("reads: one waits for what was recovered and is not decided yet")
        if lease and self._lease.is_held(self._identity.name, self._cluster.voters, out.boot_time):
            self._observer.reached("reads: one is confirmed by a lease")
            self._answer(read.requester, read.slot, leading, out, by_lease=True)
        else:
            self._reading.add(read)

    def on_round(self, round: int, out: OutputBuilder) -> None:
        """Begin round ``round`` of heartbeats; call this before sending it."""
        self._reading.begin(round, self._identity.name)
        self._lease.on_round(round, out.boot_time)

    def on_heartbeat_answer(self, peer: NodeId, answer: HeartbeatAnswer) -> None:
        """Count an answer of a voter to a round, given under exactly this leader's ballot."""
        self._reading.on_answer(peer, answer.round)
        self._lease.on_answer(peer, answer.round, answer.lease)

    def settle(self, leading: Leading, out: OutputBuilder) -> bool:
        """Answer the reads that a quorum has confirmed; return whether to begin a round for the others."""
        for read in self._reading.confirmed(self._cluster.voters):
            self._answer(read.requester, read.slot, leading, out)
        return self._reading.wants_round

    def abandon(self, out: OutputBuilder) -> None:
        """Fail all waiting reads, because this replica no longer leads."""
        for requester in self._reading.abandon():
            self._observer.reached("reads: one is abandoned because its leader steps down")
            self._answer(requester, None, None, out)

    def _answer(
        self,
        requester: ReadRequester,
        slot: Slot | None,
        leading: Leading | None,
        out: OutputBuilder,
        *,
        by_lease: bool = False,
    ) -> None:
        if slot is None:
            self._observer.gave_up_read(requester)
        else:
            ballot = None if leading is None else leading.ballot
            self._observer.confirmed_read(requester, ballot, slot, by_lease=by_lease)
        if requester.peer is None:
            out.output.settled_reads.append(SettledRead(ticket=requester.number, slot=slot))
            return
        if leading is not None and leading.announcement.due_at < math.inf:
            self._heartbeats.announce(leading, out)  # the peer has to apply the slot before it can answer
        out.send(requester.peer, ReadAnswer(nonce=requester.nonce, counter=requester.number, slot=slot))
