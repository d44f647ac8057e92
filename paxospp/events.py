"""The events that a node reports to observers. They are rare: never one per command.

``paxospp_event`` hooks and ``Node(on_event=...)`` receive them on the node's event loop, and must
return at once. An exception of an observer is logged and otherwise ignored.
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
    """The node stopped; ``cause`` is None if it was closed on purpose."""

    node: NodeId
    cause: BaseException | None


@dataclass(slots=True, frozen=True, kw_only=True)
class LeaderChanged:
    """This node now considers ``leader`` to be the leader; None if it knows of none."""

    node: NodeId
    leader: NodeId | None
    ballot: Ballot | None


@dataclass(slots=True, frozen=True, kw_only=True)
class MembershipChanged:
    """A membership was decided in ``slot``; the first one founds the cluster."""

    node: NodeId
    slot: Slot
    members: tuple[NodeId, ...]
    cluster_id: bytes


@dataclass(slots=True, frozen=True, kw_only=True)
class SnapshotTaken:
    """This node took a snapshot of the state up to ``slot``, and it is the current one now."""

    node: NodeId
    slot: Slot
    size_bytes: int


@dataclass(slots=True, frozen=True, kw_only=True)
class SnapshotInstalled:
    """A snapshot up to ``slot`` was fetched from the peer ``source`` and replaced the state."""

    node: NodeId
    slot: Slot
    source: NodeId


@dataclass(slots=True, frozen=True, kw_only=True)
class FaultFound:
    """A fault was found here or at ``peer``: damaged data, a second copy of a node, a disk that was rolled back."""

    node: NodeId
    peer: NodeId | None
    reason: str


@dataclass(slots=True, frozen=True, kw_only=True)
class Diverged:
    """Replicas have different states at ``slot``; ``digests`` holds each node's name and digest."""

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
