"""Who belongs to the cluster, as this replica knows it, and whether it votes itself.

Until slot 1 is decided there is no membership: only the names this node was started with. The
static case of rule 7: the founding membership governs everything from slot 2 on.
"""

from __future__ import annotations

from paxospp.engine.quorum import Everyone, Majority, Voters
from paxospp.engine.settings import Identity
from paxospp.model import Membership, NodeId


class Cluster:
    """``voters`` is whose answers count now; ``others`` every peer there is to talk to."""

    def __init__(self, identity: Identity) -> None:
        self.membership: Membership | None = None
        self.id = b""
        """Empty until the founding membership is known to be decided."""
        self.founding_refused: str | None = None
        """Why the last founding value that arrived was not accepted here."""
        self.voters: Voters = Everyone(identity.cluster)
        self.others: tuple[NodeId, ...] = tuple(sorted(name for name in identity.cluster if name != identity.name))
        self._identity = identity

    @property
    def votes(self) -> bool:
        """Whether this life of the node stands in the membership; before founding, whether it might."""
        return self.voters.has(self._identity.name, self._identity.incarnation)

    @property
    def why_not_voting(self) -> str | None:
        """In one sentence, for `status`; None if it votes or is not founded yet."""
        if self.votes:
            return None
        return (
            f"this storage of {self._identity.name} is new or volatile: the cluster's membership lists another one, "
            "so it learns and does not vote until a membership change takes it in"
        )

    def adopt(self, membership: Membership) -> None:
        """Slot 1 is decided: its members vote and nobody else (rule 9)."""
        self.membership = membership
        self.id = membership.cluster_id
        self.founding_refused = None
        self.voters = Majority(membership)
        self.others = tuple(sorted({*self._identity.cluster, *membership.names} - {self._identity.name}))

    def try_founding(self, membership: Membership) -> None:
        """While slot 1 is in flight only the lives listed in it are counted."""
        self.voters = Majority(membership)

    def abandon_founding(self) -> None:
        """The founding in flight was given up: everyone is asked again."""
        if self.membership is None:
            self.voters = Everyone(self._identity.cluster)
