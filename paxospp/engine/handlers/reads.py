"""Reads, from the one who asks to the slot that must be applied before he is answered.

A leader confirms them, by its lease or by a round that begins after they came (``reading``); every
other replica puts its own to the leader it knows. Nobody's answer is made here: what comes of a
read is a slot, or that it could not be confirmed.

Reference: rule 6; Ongaro's thesis (2014), 6.4.
"""

from __future__ import annotations

import math

from paxospp.engine.handlers.heartbeats import HeartbeatHandler
from paxospp.engine.handlers.learning import LearningHandler
from paxospp.engine.output import OutputBuilder, ReadReady
from paxospp.engine.rules.leader import Leading
from paxospp.engine.rules.lease import Lease
from paxospp.engine.rules.observer import Observer
from paxospp.engine.rules.pending_reads import ForwardedReads, PendingReads, Read, ReadRequester
from paxospp.engine.rules.voters import ClusterView
from paxospp.engine.settings import Identity
from paxospp.messages import HeartbeatAnswer, ReadAnswer, ReadRequest, Sender
from paxospp.model import NodeId, Slot


class ReadHandler:
    """Reads of one replica's callers, and of peers that take it for their leader.

    ``leading`` is its role, if it leads; each call is told, for the role is not kept here.
    """

    def __init__(
        self,
        identity: Identity,
        cluster: ClusterView,
        pulse: HeartbeatHandler,
        learning: LearningHandler,
        lease: Lease,
        observer: Observer,
        *,
        window_s: float,
    ) -> None:
        self._observer = observer
        self._identity = identity
        self._cluster = cluster
        self._pulse = pulse
        self._learning = learning
        self._lease = lease
        self._window_s = window_s
        self._reading = PendingReads()
        self._remote = ForwardedReads()

    # Who asks.

    def read(
        self, ticket: int, leading: Leading | None, leader: NodeId | None, out: OutputBuilder, *, lease: bool
    ) -> None:
        """A caller of this replica asks: confirm it, or ask the leader."""
        if leading is not None and self._cluster.membership is not None:
            self._confirm(ReadRequester(None, 0, ticket), leading, out, lease=lease)
        elif leading is None and leader is not None:
            counter = self._remote.ask(ticket, until=out.now + self._window_s)
            out.send(leader, ReadRequest(counter=counter, lease=lease))
        else:
            out.output.readable.append(ReadReady(ticket=ticket, slot=None))

    def on_request(self, sender: Sender, request: ReadRequest, leading: Leading | None, out: OutputBuilder) -> None:
        """A peer asks, who takes this replica for its leader."""
        asker = ReadRequester(sender.node, sender.nonce, request.counter)
        if leading is not None and self._cluster.membership is not None:
            self._confirm(asker, leading, out, lease=request.lease)
        else:
            self._observer.reached("reads: one is put to a replica that does not lead")
            self._answer(asker, None, leading, out)

    def on_answer(self, answer: ReadAnswer, out: OutputBuilder) -> None:
        """The leader answers a read of this replica's callers."""
        if answer.nonce != self._identity.nonce:
            return
        ticket = self._remote.take(answer.counter)
        if ticket is None:
            self._observer.reached("reads: an answer comes after its read was given up, or twice")
        else:
            out.output.readable.append(ReadReady(ticket=ticket, slot=answer.slot))

    def give_up(self, out: OutputBuilder) -> None:
        """What the leader has not answered for a window is not confirmed."""
        for ticket in self._remote.give_up(out.now):
            self._observer.reached("reads: a leader that does not answer in time confirms none")
            out.output.readable.append(ReadReady(ticket=ticket, slot=None))

    # While leading.

    def _confirm(self, asker: ReadRequester, leading: Leading, out: OutputBuilder, *, lease: bool) -> None:
        """At once while a lease is held and that is enough; else by a round that begins after this."""
        self._observer.took_read(asker, leading.ballot, leading.next_slot)
        if not leading.sees_the_end(self._cluster.voters):
            # What was chosen next may be what the damage took.
            self._observer.reached("reads: none is confirmed while the next slot may hold what was chosen")
            self._answer(asker, None, leading, out)
            return
        read = Read(asker, Slot(max(self._learning.decided, leading.recovered_up_to)))
        if read.slot > self._learning.decided:
            self._observer.reached("reads: one waits for what was recovered and is not decided yet")
        if lease and self._lease.is_held(self._identity.name, self._cluster.voters, out.boot_time):
            self._observer.reached("reads: one is confirmed by a lease")
            self._answer(read.asker, read.slot, leading, out, by_lease=True)
        else:
            self._reading.add(read)

    def on_round(self, round: int, out: OutputBuilder) -> None:
        """Round ``round`` of heartbeats is about to be sent."""
        self._reading.begin(round, self._identity.name)
        self._lease.on_round(round, out.boot_time)

    def on_heartbeat_answer(self, peer: NodeId, answer: HeartbeatAnswer) -> None:
        """A voter answered a round under exactly this leader's ballot."""
        self._reading.on_answer(peer, answer.round)
        self._lease.on_answer(peer, answer.round, answer.lease)

    def settle(self, leading: Leading, out: OutputBuilder) -> bool:
        """Answer what a quorum has confirmed by now; True if others wait for a round that should begin."""
        for read in self._reading.confirmed(self._cluster.voters):
            self._answer(read.asker, read.slot, leading, out)
        return self._reading.wants_round

    def abandon(self, out: OutputBuilder) -> None:
        """This replica leads no more: whoever waits must try again."""
        for asker in self._reading.abandon():
            self._observer.reached("reads: one is abandoned because its leader steps down")
            self._answer(asker, None, None, out)

    def _answer(
        self,
        asker: ReadRequester,
        slot: Slot | None,
        leading: Leading | None,
        out: OutputBuilder,
        *,
        by_lease: bool = False,
    ) -> None:
        if slot is None:
            self._observer.gave_up_read(asker)
        else:
            ballot = None if leading is None else leading.ballot
            self._observer.confirmed_read(asker, ballot, slot, by_lease=by_lease)
        if asker.peer is None:
            out.output.readable.append(ReadReady(ticket=asker.number, slot=slot))
            return
        if leading is not None and leading.announcement.due_at < math.inf:
            self._pulse.announce(leading, out)  # whoever reads there has to see it applied
        out.send(asker.peer, ReadAnswer(nonce=asker.nonce, counter=asker.number, slot=slot))
