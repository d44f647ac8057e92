"""The voters and the quorums of the cluster, as far as this replica knows them.

Votes are counted by incarnation and not by name: two answers of one node are one answer, and an answer of an
incarnation that is not in the membership counts for nothing. Until slot 1 is decided, this replica knows only the
names that its node was started with; then the membership of slot 1 governs every slot from 2 on (rule 7).

Reference: Lamport, "Paxos Made Simple", 2.2: any two majorities have an acceptor in common.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from paxospp.engine.settings import Identity
from paxospp.model import Membership, NodeId


class Voters(Protocol):
    """The nodes whose answers count, and when they are a quorum."""

    @property
    def names(self) -> frozenset[NodeId]: ...

    def has(self, name: NodeId, incarnation: int) -> bool: ...

    def is_quorum(self, names: Collection[NodeId]) -> bool: ...


class Majority:
    """A quorum is more than half of a membership."""

    def __init__(self, membership: Membership) -> None:
        self.names = membership.names
        self._enough = len(self.names) // 2 + 1
        self._incarnations = {member.name: member.incarnation for member in membership.members}

    def has(self, name: NodeId, incarnation: int) -> bool:
        return self._incarnations.get(name) == incarnation

    def is_quorum(self, names: Collection[NodeId]) -> bool:
        return len(self.names.intersection(names)) >= self._enough


class Everyone:
    """A quorum is every named node, in any incarnation: required to bootstrap a cluster (rule 9)."""

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
        """The cluster id; empty until slot 1 is known to be decided."""
        self.founding_refused: str | None = None
        """Why this replica refused the last membership that was proposed for slot 1."""
        self.voters: Voters = Everyone(identity.cluster)
        self.others: tuple[NodeId, ...] = tuple(sorted(name for name in identity.cluster if name != identity.name))
        self._identity = identity

    @property
    def votes(self) -> bool:
        """Whether this incarnation is in the membership; True while there is none yet."""
        return self.voters.has(self._identity.name, self._identity.incarnation)

    @property
    def why_not_voting(self) -> str | None:
        """One sentence for ``paxospp status``; None if this replica votes or the cluster is not bootstrapped yet."""
        if self.votes:
            return None
        count = len(self.voters.names)
        return (
            f"this storage of {self._identity.name} is new or volatile, and the cluster's membership lists another "
            "one, so it only follows; members cannot be changed in this version, so the cluster now needs "
            f"{count // 2 + 1} of its other {count - 1} nodes"
        )

    def adopt(self, membership: Membership) -> None:
        """Adopt the membership that slot 1 decided: from now on only its members vote (rule 9)."""
        self.membership = membership
        self.id = membership.cluster_id
        self.founding_refused = None
        self.voters = Majority(membership)
        self.others = tuple(sorted({*self._identity.cluster, *membership.names} - {self._identity.name}))

    def try_founding(self, membership: Membership) -> None:
        """Count only the incarnations listed in ``membership`` while it is proposed in slot 1."""
        self.voters = Majority(membership)

    def abandon_founding(self) -> None:
        """Give up the proposal in slot 1: from now on every named node has to answer again."""
        if self.membership is None:
            self.voters = Everyone(self._identity.cluster)
