"""The messages between replicas: frozen values, one class per message.

``Sender`` names the sender of a whole frame and is checked before the messages of the frame are
decoded. ``wire`` encodes messages; ``engine.output`` decides which of them may be sent before a
write has returned.

Reference: van Renesse and Altinbuken, "Paxos Made Moderately Complex" (2015); its p1a, p1b, p2a and
p2b are Prepare, Promise, Accept and Accepted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from paxospp.model import Ballot, Entry, Kind, NodeId, Slot


class Sender(NamedTuple):
    """The cluster, node, incarnation and boot that a frame comes from.

    ``cluster_id`` is empty until the sender knows that the first membership was decided.
    ``boot`` counts the starts of a storage. ``nonce`` is random and drawn at each start, so that two
    copies of one disk with the same boot number can be told apart.
    """

    cluster_id: bytes
    group: int
    node: NodeId
    incarnation: int
    boot: int
    nonce: int


class Checkpoint(NamedTuple):
    """A replica's digest after it applied ``slot``; compared at multiples of 1,024 slots."""

    slot: Slot
    digest: bytes


@dataclass(slots=True, frozen=True, kw_only=True)
class Prepare:
    """Phase 1a: ask for a promise for every slot, and for what was accepted from ``start`` on."""

    ballot: Ballot
    start: Slot
    """The first slot that the candidate does not know to be decided."""


@dataclass(slots=True, frozen=True, kw_only=True)
class Promise:
    """Phase 1b, one of ``parts`` parts: the sender will accept no lower ballot from now on.

    It reports what the sender accepted above ``decided``. A slot up to ``decided``, or below
    ``first``, is *decided*: fetch it. Any other slot is *faulty* if it is in ``faulty``, *accepted*
    if an entry of any part holds it, and otherwise *none*.
    """

    ballot: Ballot
    start: Slot
    """Copied from the Prepare."""
    answer: int
    """Number of this answer in the sender's boot, from 1, so that parts of two answers are never mixed."""
    part: int
    parts: int
    decided: Slot
    first: Slot
    last: Slot
    """Highest slot for which this acceptor holds a value."""
    entries: tuple[Entry, ...]
    faulty: tuple[range, ...]


@dataclass(slots=True, frozen=True, kw_only=True)
class Accept:
    """Phase 2a: ask acceptors to accept a value in a slot."""

    ballot: Ballot
    slot: Slot
    kind: Kind
    value: bytes
    decided_up_to: Slot
    """Highest slot known to be decided, inclusive, so that followers need no separate message to apply it."""


@dataclass(slots=True, frozen=True, kw_only=True)
class Accepted:
    """Phase 2b: this acceptor has the value of ``ballot`` in ``slot`` on disk."""

    ballot: Ballot
    slot: Slot


@dataclass(slots=True, frozen=True, kw_only=True)
class Nack:
    """A refusal of ballot ``refused``, with the higher ballot that the sender has promised."""

    refused: Ballot
    promised: Ballot


@dataclass(slots=True, frozen=True, kw_only=True)
class Heartbeat:
    """Heartbeat number ``round`` of its sender; every replica sends heartbeats to every peer.

    ``leading`` is the ballot under which the sender leads, None if it does not. ``quorum_connected``
    says whether a quorum answers that leader, and ``decided_up_to`` is then announced under that
    ballot; a sender that does not lead announces nothing. ``promised`` and ``remembered`` never
    decrease from one boot to the next, so a peer can tell that a disk was rolled back.
    """

    round: int
    leading: Ballot | None
    quorum_connected: bool
    decided_up_to: Slot
    promised: Ballot | None
    """The promise in memory."""
    remembered: Slot
    """Highest slot that the storage held, or may have held, when this boot began."""
    booted_with: Ballot | None
    """The promise that was on disk when this boot began."""
    checkpoint: Checkpoint | None = None
    """The sender's latest checkpoint."""
    vouched_up_to: Slot = Slot(0)
    """From a leader: no node has accepted a value above this slot so far; 0: not known. See ``engine.rules.log``."""


@dataclass(slots=True, frozen=True, kw_only=True)
class HeartbeatAnswer:
    """The answer to round ``round`` of the boot whose nonce is ``nonce``."""

    nonce: int
    round: int
    promised: Ballot | None
    """The promise in memory after the heartbeat raised it to the leader's ballot."""
    decided: Slot
    disk_answers: bool
    quorum_connected: bool
    """Whether the sender leads with the answers of a quorum, or hears a leader that does."""
    leader: NodeId | None
    remembered: Slot
    booted_with: Ballot | None
    lease: int = 0
    """A lease, in microseconds from receipt: until it ends, the sender promises no ballot of another node."""
    vouched_up_to: Slot = Slot(0)
    """As in ``Heartbeat``, if the sender of this answer leads; then ``promised`` is the ballot it leads under."""


@dataclass(slots=True, frozen=True, kw_only=True)
class CatchUp:
    """A request for the decided entries ``start <= slot < stop``."""

    start: Slot
    stop: Slot


@dataclass(slots=True, frozen=True, kw_only=True)
class DecidedEntries:
    """The answer to CatchUp: decided entries, each with the ballot under which it was accepted.

    ``first`` is the sender's first slot; a receiver that needs an older one has to fetch a snapshot.
    """

    entries: tuple[Entry, ...]
    decided: Slot
    first: Slot


@dataclass(slots=True, frozen=True, kw_only=True)
class ForwardRuns:
    """Encoded runs of commands that a follower forwards to the leader; they are forwarded once."""

    runs: tuple[bytes, ...]


@dataclass(slots=True, frozen=True, kw_only=True)
class ReadRequest:
    """A question to the leader: for which slot must a linearizable read that begins now wait?"""

    counter: int
    lease: bool = False
    """True: the leader may confirm the read by its lease, if it holds one."""


@dataclass(slots=True, frozen=True, kw_only=True)
class ReadAnswer:
    """The answer to request ``counter`` of boot ``nonce``; ``slot`` is None if the read could not be confirmed."""

    nonce: int
    counter: int
    slot: Slot | None


@dataclass(slots=True, frozen=True, kw_only=True)
class SnapshotRequest:
    """A request for a chunk of a snapshot. An empty ``id`` asks for the current one, from its beginning."""

    id: str
    offset: int
    covers: Slot = Slot(0)
    """The slot that the snapshot has to cover to be useful."""


@dataclass(slots=True, frozen=True, kw_only=True)
class SnapshotChunk:
    """Bytes of snapshot ``id`` from ``offset`` on; ``last`` marks its end.

    With ``slot`` 0 and an empty id, the sender does not have the requested snapshot.
    """

    slot: Slot
    id: str
    offset: int
    data: bytes
    last: bool
    ballot: Ballot | None = None
    """An upper bound: no slot that the snapshot covers was decided under a higher ballot."""


ProtocolMessage = (
    Prepare
    | Promise
    | Accept
    | Accepted
    | Nack
    | Heartbeat
    | HeartbeatAnswer
    | CatchUp
    | DecidedEntries
    | ReadRequest
    | ReadAnswer
)
"""The messages that the engine sends and handles."""

Message = ProtocolMessage | ForwardRuns | SnapshotRequest | SnapshotChunk
"""Every message on a link between peers. ``node`` handles forwarded runs and snapshots."""
