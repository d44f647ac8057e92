"""Admission: decides which messages are handled at all, before any role sees them.

``PeerBook`` knows every incarnation of a peer that this replica has met since it started, and what each of them has to
remember. A wiped or swapped disk has another incarnation, which has no vote. Boot numbers rise within an incarnation;
two copies of one disk are told apart by their nonces; a boot that remembers less than an earlier one declared was
rolled back. Messages of such senders are dropped, and the first drop of each kind is reported. ``Admission`` also
checks the group, the cluster id, and who votes.

Reference: rules 8 and 9; Chandra et al., "Paxos Made Live", 5.1 (disk corruption).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from paxospp.engine.rules.observer import NO_OBSERVER, Observer
from paxospp.engine.rules.voters import ClusterView, Voters
from paxospp.events import FaultFound
from paxospp.messages import (
    Accept,
    Accepted,
    CatchUp,
    DecidedEntries,
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
from paxospp.model import Ballot, NodeId, Slot


@dataclass(slots=True)
class _PeerIncarnation:
    """The declarations of one incarnation of a peer so far."""

    boot: int
    nonce: int
    promised: Ballot | None = None
    accepted_up_to: Slot = Slot(0)
    introduced: bool = True
    """Whether this boot has shown that it remembers what earlier boots declared."""
    refused: str | None = None


class PeerBook:
    """The incarnations of peers that this replica has met since it started."""

    def __init__(self) -> None:
        self._known: dict[tuple[NodeId, int], _PeerIncarnation] = {}

    def admit(self, sender: Sender, message: ProtocolMessage) -> str | None:
        """Return why to drop ``message``, or None, and remember what it declares."""
        key = (sender.node, sender.incarnation)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = _PeerIncarnation(sender.boot, sender.nonce)
        if known.refused is not None:
            return known.refused
        if sender.boot < known.boot:
            return "older boot"
        if sender.boot == known.boot and sender.nonce != known.nonce:
            return "a clone: the same boot of the same storage with another nonce"
        if sender.boot > known.boot:
            known.boot, known.nonce, known.introduced = sender.boot, sender.nonce, False
        if not known.introduced:
            if not isinstance(message, (Heartbeat, HeartbeatAnswer)):
                return "not introduced yet"
            known.refused = _what_it_forgot(known, message)
            if known.refused is not None:
                return known.refused
            known.introduced = True
        _remember(known, message)
        return None


def _what_it_forgot(known: _PeerIncarnation, message: Heartbeat | HeartbeatAnswer) -> str | None:
    if known.promised is not None and (message.booted_with is None or message.booted_with < known.promised):
        return f"rolled back: it once promised {known.promised} and came back with {message.booted_with}"
    if message.remembered < known.accepted_up_to:
        return f"rolled back: it once accepted slot {known.accepted_up_to} and came back with {message.remembered}"
    return None


def _remember(known: _PeerIncarnation, message: ProtocolMessage) -> None:
    if isinstance(message, (Accepted, Accept, Promise, Prepare)):
        if known.promised is None or message.ballot > known.promised:
            known.promised = message.ballot
        if isinstance(message, Accepted) and message.slot > known.accepted_up_to:
            known.accepted_up_to = message.slot


_SAID_ALOUD = ("another cluster", "another group", "a clone", "rolled back")
"""The beginnings of the reasons that are reported to the operator."""


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
"""The marker for each kind of reason."""


class Admission:
    """Decides which messages one replica handles, and counts those it drops, by reason."""

    def __init__(self, cluster: ClusterView, observer: Observer = NO_OBSERVER) -> None:
        self._observer = observer
        self.dropped: Counter[str] = Counter()
        self._cluster = cluster
        self._peers = PeerBook()
        self._said: set[tuple[NodeId, str]] = set()

    def admit(self, sender: Sender, message: ProtocolMessage, me: Sender) -> str | None:
        """Return why the replica that presents itself as ``me`` drops ``message``; None if it handles it."""
        if sender.node not in self._cluster.others:
            return "unknown sender"
        return why_refused(sender, message, me, self._cluster.voters) or self._peers.admit(sender, message)

    def drop(self, sender: Sender, reason: str, me: NodeId) -> FaultFound | None:
        """Count a dropped message, and return the event to publish if it is the first of its kind."""
        self.dropped[reason] += 1
        self._observer.reached(_MARKERS[reason.partition(":")[0]])
        if not reason.startswith(_SAID_ALOUD) or (sender.node, reason) in self._said:
            return None
        self._said.add((sender.node, reason))
        return FaultFound(node=me, peer=sender.node, reason=reason)


def why_refused(sender: Sender, message: ProtocolMessage, me: Sender, voters: Voters) -> str | None:
    """Return why ``message`` is dropped because of its group, cluster, ballot or membership; None if it is not."""
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
    """Return the highest ballot in ``message``; None if it names none."""
    match message:  # most frequent first
        case Accept() | Accepted() | Prepare() | Promise():
            return message.ballot
        case HeartbeatAnswer() | Nack():
            return message.promised
        case Heartbeat():
            return max((ballot for ballot in (message.leading, message.promised) if ballot is not None), default=None)
        case DecidedEntries():
            return max((entry.ballot for entry in message.entries), default=None)
        case CatchUp() | ReadRequest() | ReadAnswer():
            return None


def _claimed_ballot(message: ProtocolMessage) -> Ballot | None:
    """Return the ballot that the sender claims as its own."""
    match message:
        case Accept() | Prepare():
            return message.ballot
        case Heartbeat():
            return message.leading
        case _:
            return None


def _is_learners(message: ProtocolMessage) -> bool:
    """Return whether a node without a vote may send ``message``."""
    if isinstance(message, Heartbeat):
        return message.leading is None
    return isinstance(message, (HeartbeatAnswer, CatchUp, DecidedEntries, ReadRequest))
