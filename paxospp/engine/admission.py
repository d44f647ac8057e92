"""Whether a message may be heard at all, before any role looks at it.

Reference: rules 8 and 9.
"""

from __future__ import annotations

from collections import Counter

from paxospp.engine.cluster import Cluster
from paxospp.engine.observer import NOBODY, Observer
from paxospp.engine.peer_book import PeerBook
from paxospp.engine.quorum import Voters
from paxospp.events import FaultFound
from paxospp.messages import (
    Accept,
    Accepted,
    CatchUp,
    Decided,
    Heartbeat,
    HeartbeatAnswer,
    Nack,
    Prepare,
    Promise,
    ProtocolMessage,
    ReadAnswer,
    ReadRequest,
    Sender,
)
from paxospp.model import Ballot, NodeId

_SAID_ALOUD = ("another cluster", "another group", "a clone", "rolled back")
"""Reasons that an operator should hear of begin with one of these."""


_MARKERS = {
    "a ballot of somebody else": "admission: a ballot of somebody else",
    "a clone": "admission: a clone",
    "another cluster": "admission: another cluster",
    "another group": "admission: another group",
    "not a voter": "admission: not a voter",
    "not introduced yet": "admission: not introduced yet",
    "older boot": "admission: older boot",
    "rolled back": "admission: rolled back",
    "still loading": "admission: still loading",
    "unknown sender": "admission: unknown sender",
}
"""The marker of each kind of reason."""


class Admission:
    """The door of one replica: who is let in, and a count of who was not, by reason."""

    def __init__(self, cluster: Cluster, observer: Observer = NOBODY) -> None:
        self._observer = observer
        self.dropped: Counter[str] = Counter()
        self._cluster = cluster
        self._peers = PeerBook()
        self._said: set[tuple[NodeId, str]] = set()

    def admit(self, sender: Sender, message: ProtocolMessage, me: Sender) -> str | None:
        """Why ``message`` is dropped by the replica that presents itself as ``me``; None if it is heard."""
        if sender.node not in self._cluster.others:
            return "unknown sender"
        return why_refused(sender, message, me, self._cluster.voters) or self._peers.admit(sender, message)

    def drop(self, sender: Sender, reason: str, me: NodeId) -> FaultFound | None:
        """Count a drop; the event to tell observers when it is the first of its kind."""
        self.dropped[reason] += 1
        self._observer.reached(_MARKERS[reason.partition(":")[0]])
        if not reason.startswith(_SAID_ALOUD) or (sender.node, reason) in self._said:
            return None
        self._said.add((sender.node, reason))
        return FaultFound(node=me, peer=sender.node, reason=reason)


def why_refused(sender: Sender, message: ProtocolMessage, me: Sender, voters: Voters) -> str | None:
    """Why a message of ``sender`` is dropped by the replica that presents itself as ``me``; None if it is heard."""
    if sender.group != me.group:
        return f"another group: {sender.node} speaks for group {sender.group}"
    if sender.cluster_id and me.cluster_id and sender.cluster_id != me.cluster_id:
        return (
            f"another cluster: {sender.node} belongs to {sender.cluster_id.hex()}, this node to {me.cluster_id.hex()}"
        )
    claimed = _claimed_ballot(message)
    if claimed is not None and (claimed.node != sender.node or claimed.incarnation != sender.incarnation):
        return "a ballot of somebody else"
    if me.cluster_id and not voters.has(sender.node, sender.incarnation) and not _is_learners(message):
        return "not a voter"
    return None


def highest_ballot(message: ProtocolMessage) -> Ballot | None:
    """The highest ballot that ``message`` tells of."""
    match message:  # most frequent first
        case Accept() | Accepted() | Prepare() | Promise():
            return message.ballot
        case HeartbeatAnswer() | Nack():
            return message.promised
        case Heartbeat():
            return max((ballot for ballot in (message.leading, message.promised) if ballot is not None), default=None)
        case Decided():
            return max((entry.ballot for entry in message.entries), default=None)
        case CatchUp() | ReadRequest() | ReadAnswer():
            return None


def _claimed_ballot(message: ProtocolMessage) -> Ballot | None:
    """The ballot that the sender says is its own."""
    match message:
        case Accept() | Prepare():
            return message.ballot
        case Heartbeat():
            return message.leading
        case _:
            return None


def _is_learners(message: ProtocolMessage) -> bool:
    """What one may say who does not vote: ask, and tell what is decided."""
    if isinstance(message, Heartbeat):
        return message.leading is None
    return isinstance(message, (HeartbeatAnswer, CatchUp, Decided, ReadRequest))
