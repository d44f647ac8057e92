"""Majorities, counted by life of a storage and not by name.

Two answers from one node are one answer; an answer of another incarnation is none.

Reference: Lamport, "Paxos Made Simple", 2.2: any two majorities have an acceptor in common.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

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
