"""Who votes, and what a quorum is, as far as this replica knows.

Votes are counted by incarnation and not by name: two answers of one node are one answer, and an answer of an
incarnation that is not in the membership counts for nothing. Until slot 1 is decided there is no membership, only the
names this node was started with; then the membership of slot 1 governs every slot from 2 on (rule 7).

Reference: Lamport, "Paxos Made Simple", 2.2: any two majorities have an acceptor in common.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from paxospp.engine.settings import Identity
from paxospp.model import Membership, NodeId


class Voters(Protocol):
    """Whose answers count, and when they are enough."""

    @property
    def names(self) -> frozenset[NodeId]: ...

    def has(self, name: NodeId, incarnation: int) -> bool: ...

    def is_quorum(self, names: Collection[NodeId]) -> bool: ...


class Majority:
    """More than half of a decided membership."""

    def __init__(self, membership: Membership) -> None:
        self.names = membership.names
        self._enough = len(self.names) // 2 + 1
        self._incarnations = {member.name: member.incarnation for member in membership.members}

    def has(self, name: NodeId, incarnation: int) -> bool:
        return self._incarnations.get(name) == incarnation

    def is_quorum(self, names: Collection[NodeId]) -> bool:
        return len(self.names.intersection(names)) >= self._enough


class Everyone:
    """All named nodes, whatever their incarnation: what founding asks for (rule 9)."""

    def __init__(self, names: Collection[NodeId]) -> None:
        self.names = frozenset(names)

    def has(self, name: NodeId, incarnation: int) -> bool:
        return name in self.names

    def is_quorum(self, names: Collection[NodeId]) -> bool:
        return self.names.issubset(names)


class ClusterView:
    """The cluster as one replica knows it: ``voters`` are those whose answers count now, ``others`` all its peers."""

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
