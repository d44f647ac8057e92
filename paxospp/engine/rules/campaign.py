"""A campaign: the state that exists only while this replica asks for promises under its own ballot (rule 2).

Before a cluster exists, a campaign bootstraps one, see ``bootstrap``; afterwards it needs promises from a quorum of the
members. ``Campaigning`` collects promises and decides when they are enough; the protocol sends and changes the role.

Reference: Lamport, "Paxos Made Simple" (2001), section 2.2, phase 1a.
"""

from __future__ import annotations

from collections.abc import Collection

from paxospp.engine.rules.bootstrap import FOUNDING_SLOT, founding_voters
from paxospp.engine.rules.observer import NO_OBSERVER, Observer
from paxospp.engine.rules.promises import Promises
from paxospp.engine.rules.voters import ClusterView
from paxospp.engine.settings import Identity
from paxospp.messages import Prepare
from paxospp.model import Ballot, NodeId, Slot


def next_ballot(identity: Identity, *known: Ballot | None) -> Ballot:
    """Return a ballot above every ballot in ``known``, which this incarnation has never used."""
    highest = max((ballot.round for ballot in known if ballot), default=0)
    return Ballot(highest + 1, identity.name, identity.incarnation)


class Campaigning:
    """The promises to one ballot, until they are a quorum."""

    def __init__(
        self,
        identity: Identity,
        ballot: Ballot,
        start: Slot,
        *,
        now: float,
        resend_s: float,
        observer: Observer = NO_OBSERVER,
    ) -> None:
        self._observer = observer
        self.promises = Promises(ballot, observer)
        self.began_at = now
        self._identity = identity
        self._start = start
        self._prepare_again_at = now + resend_s
        self._resend_s = resend_s

    @property
    def prepare(self) -> Prepare:
        """The Prepare that every peer is sent."""
        return Prepare(ballot=self.promises.ballot, start=self._start)

    def has_won(self, cluster: ClusterView) -> bool:
        """Return whether the promises are enough to lead."""
        promises = self.promises
        founds = cluster.membership is None
        voters = founding_voters(self._identity, promises) if founds else cluster.voters
        if founds and not promises.is_clean(FOUNDING_SLOT, voters):
            self._observer.reached("campaigning: what is damaged in slot 1 may have founded this cluster")
            return False
        return voters.is_quorum(promises.promised(voters))

    def to_ask_again(self, now: float, others: Collection[NodeId]) -> list[NodeId]:
        """Return the peers that have not answered, once it is time to ask them again."""
        if now < self._prepare_again_at:
            return []
        self._prepare_again_at = now + self._resend_s
        return [peer for peer in others if peer not in self.promises.reports]
