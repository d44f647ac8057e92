"""What observers hear: rare events of a node, never one per command.

They reach ``paxospp_event`` hooks and ``Node(on_event=...)`` on the node's own loop, which
must return at once; what an observer raises is logged and goes no further.
"""

from __future__ import annotations

from dataclasses import dataclass

from paxospp.model import Ballot, NodeId, Slot


@dataclass(slots=True, frozen=True, kw_only=True)
class NodeStarted:
    """The storage is loaded and the port is open."""

    node: NodeId
    address: str


@dataclass(slots=True, frozen=True, kw_only=True)
class NodeStopped:
    """The node ended; ``cause`` is None when it was closed on purpose."""

    node: NodeId
    cause: BaseException | None


@dataclass(slots=True, frozen=True, kw_only=True)
class LeaderChanged:
    """This node now takes ``leader`` for the leader; None when it knows of none."""

    node: NodeId
    leader: NodeId | None
    ballot: Ballot | None


@dataclass(slots=True, frozen=True, kw_only=True)
class MembershipChanged:
    """A membership was decided at ``slot``; the first one founds the cluster."""

    node: NodeId
    slot: Slot
    members: tuple[NodeId, ...]
    cluster_id: bytes


@dataclass(slots=True, frozen=True, kw_only=True)
class SnapshotTaken:
    """A snapshot up to ``slot`` became current."""

    node: NodeId
    slot: Slot
    size_bytes: int


@dataclass(slots=True, frozen=True, kw_only=True)
class SnapshotInstalled:
    """A snapshot up to ``slot`` came from a peer and replaced the machine's state."""

    node: NodeId
    slot: Slot
    source: NodeId


@dataclass(slots=True, frozen=True, kw_only=True)
class FaultFound:
    """Something that should not be, seen here or at ``peer``: damage, a clone, an older disk."""

    node: NodeId
    peer: NodeId | None
    reason: str


@dataclass(slots=True, frozen=True, kw_only=True)
class Diverged:
    """Replicas computed different digests at ``slot``."""

    node: NodeId
    slot: Slot
    digests: tuple[tuple[NodeId, str], ...]


Event = (
    NodeStarted
    | NodeStopped
    | LeaderChanged
    | MembershipChanged
    | SnapshotTaken
    | SnapshotInstalled
    | FaultFound
    | Diverged
)
