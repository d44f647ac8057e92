"""Whether this replica may promise or accept at all, before its acceptor is asked whether it can.

Only a life of the storage that stands in the membership votes; before there is one, only for what
may found the cluster; and while a lease binds it, for nobody but the leader it was granted to.
Whoever is refused here gets no answer: to the asker the question was lost.

References: rules 8 and 9; Gray and Cheriton, "Leases" (1989).
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
    """The doors to one replica's acceptor."""

    def __init__(
        self, identity: Identity, cluster: ClusterView, acceptor: Acceptor, lease: Lease, observer: Observer
    ) -> None:
        self._observer = observer
        self._identity = identity
        self._cluster = cluster
        self._acceptor = acceptor
        self._lease = lease

    def on_prepare(self, sender: Sender, prepare: Prepare, decided: Slot, out: OutputBuilder) -> bool:
        """Answer a candidate; True if this replica promised."""
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
        """Answer a leader; True if this replica accepted."""
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
        """Promise the leader whose heartbeat came, and perhaps grant it a lease: for how many microseconds."""
        if self._cluster.membership is None or not self._cluster.votes:
            return 0
        # A leader whose reads this replica is to confirm needs its promise.
        out.write(self._acceptor.promise(ballot))
        return self._lease.grant(ballot, out.boot_time) if wants_lease else 0

    def is_bound(self, out: OutputBuilder) -> bool:
        """Whether a lease that this replica granted forbids it to campaign."""
        return self._lease.forbids(Ballot(0, self._identity.name, self._identity.incarnation), out.boot_time)

    def store_lease(self, out: OutputBuilder) -> None:
        """Have the disk know how long grants may last, before one lasts so long."""
        if (batch := self._lease.wants_stored(out.boot_time)) is not None:
            out.write(batch, then=LeaseDurable(self._lease.asked_us))
