"""Accepting: checks whether this replica may promise or accept, before its acceptor decides whether it does.

A replica votes only if its incarnation is in the membership. Before it knows a membership, it votes only in slot 1.
While a lease binds it, it promises only to the leader that it granted the lease to. A request that is refused for one
of these reasons is not answered, as if it had been lost.

References: rules 6, 8 and 9; Gray and Cheriton, "Leases" (1989).
"""

from __future__ import annotations

from paxospp.engine.output import OutputBuilder
from paxospp.engine.rules.acceptor import Acceptor
from paxospp.engine.rules.bootstrap import FOUNDING_SLOT, why_not_founded_by
from paxospp.engine.rules.lease import Lease
from paxospp.engine.rules.observer import Observer
from paxospp.engine.rules.voters import ClusterView
from paxospp.engine.rules.writes import LeaseDurable
from paxospp.engine.settings import Identity
from paxospp.messages import Accept, Accepted, Nack, Prepare, Sender
from paxospp.model import Ballot, Entry, Slot


class AcceptorHandler:
    """Checks requests to the acceptor of one replica, and sends its answers."""

    def __init__(
        self, identity: Identity, cluster: ClusterView, acceptor: Acceptor, lease: Lease, observer: Observer
    ) -> None:
        self._observer = observer
        self._identity = identity
        self._cluster = cluster
        self._acceptor = acceptor
        self._lease = lease

    def on_prepare(self, sender: Sender, prepare: Prepare, decided: Slot, out: OutputBuilder) -> bool:
        """Answer a candidate, and return whether this replica promised."""
        if not self._cluster.votes:
            self._observer.reached("voting: a prepare is not answered without a vote")
            return False
        if self._cluster.membership is None and (sender.cluster_id or prepare.start != FOUNDING_SLOT):
            self._observer.reached("voting: a prepare for later slots is not answered before the founding is known")
            return False
        if self._lease.forbids(prepare.ballot, out.boot_time):
            self._observer.reached("voting: a lease keeps back a promise")
            return False  # as if it had been lost: the candidate asks again
        reply, batch = self._acceptor.on_prepare(prepare, decided)
        out.write(batch)
        if isinstance(reply, Nack):
            out.send(sender.node, reply)
            return False
        for part in reply:
            out.send(sender.node, part)
        return True

    def on_accept(self, sender: Sender, accept: Accept, out: OutputBuilder) -> bool:
        """Answer a leader, and return whether this replica accepted."""
        if self._cluster.membership is None:
            if accept.slot != FOUNDING_SLOT:
                self._observer.reached("voting: an accept is not answered before the founding is known")
                return False
            entry = Entry(accept.slot, accept.ballot, accept.kind, accept.value)
            self._cluster.founding_refused = why_not_founded_by(entry, self._identity)
            if self._cluster.founding_refused is not None:
                self._observer.reached("voting: a founding without this incarnation is not accepted")
                return False
        elif not self._cluster.votes:
            self._observer.reached("voting: an accept is not answered without a vote")
            return False
        reply, batch = self._acceptor.on_accept(accept)
        out.write(batch)
        if reply is not None:
            out.send(sender.node, reply)
        return isinstance(reply, Accepted)

    def on_leader(self, ballot: Ballot, out: OutputBuilder, *, wants_lease: bool) -> int:
        """Promise the ballot of a leader that sent a heartbeat; return the granted lease in microseconds, or 0."""
        if self._cluster.membership is None or not self._cluster.votes:
            return 0
        # The answer may confirm the leader's reads, and for that this replica must have promised its ballot.
        out.write(self._acceptor.promise(ballot))
        return self._lease.grant(ballot, out.boot_time) if wants_lease else 0

    def is_bound(self, out: OutputBuilder) -> bool:
        """Return whether a lease that this replica granted keeps it from campaigning."""
        return self._lease.forbids(Ballot(0, self._identity.name, self._identity.incarnation), out.boot_time)

    def store_lease(self, out: OutputBuilder) -> None:
        """Write the length of leases to disk, if it changed; only then may leases of that length be granted."""
        if (batch := self._lease.wants_stored(out.boot_time)) is not None:
            out.write(batch, then=LeaseDurable(self._lease.asked_us))
