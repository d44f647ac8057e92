"""What replicas say to each other: frozen, slotted values, one class per message.

Who says it stands in ``Sender``, which travels with every frame and is checked before the
messages in it are decoded. Names follow "Paxos Made Moderately Complex" (p1a, p1b, p2a, p2b).
What may leave before a write returned is decided by ``engine.output``, not here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from paxospp.model import Ballot, Entry, Kind, NodeId, Slot


class Sender(NamedTuple):
    """Which life of which node speaks, and for which cluster.

    ``cluster_id`` is empty until the sender knows the founding membership decided.
    ``boot`` rises by one at each start of a storage; ``nonce`` is drawn at each start, so that
    two copies of one disk that start with the same boot can be told apart.
    """

    cluster_id: bytes
    group: int
    node: NodeId
    incarnation: int
    boot: int
    nonce: int


class Checkpoint(NamedTuple):
    """What a replica's digest was when it had applied ``slot``; compared at multiples of 1,024."""

    slot: Slot
    digest: bytes


@dataclass(slots=True, frozen=True, kw_only=True)
class Prepare:
    """Phase 1a: ask for a promise that covers every slot, and for what is known from ``start`` on."""

    ballot: Ballot
    start: Slot
    """The first slot the candidate does not know decided."""


@dataclass(slots=True, frozen=True, kw_only=True)
class Promise:
    """Phase 1b, one part of it: no lower ballot will be accepted from now on.

    Reports what was accepted above ``decided``. Up to ``decided``, and below ``first``, the
    answer for a slot is *decided*: fetch it. Else a slot in ``faulty`` is *faulty*, one in
    ``entries`` of any part *accepted*, and any other *none*.
    """

    ballot: Ballot
    start: Slot
    """Copied from the Prepare."""
    answer: int
    """Number of this answer among those of the sender's boot, from 1; parts of two answers are never mixed."""
    part: int
    parts: int
    decided: Slot
    first: Slot
    last: Slot
    """Highest slot this acceptor holds a value for."""
    entries: tuple[Entry, ...]
    faulty: tuple[range, ...]


@dataclass(slots=True, frozen=True, kw_only=True)
class Accept:
    """Phase 2a: the leader asks acceptors to accept one value in one slot."""

    ballot: Ballot
    slot: Slot
    kind: Kind
    value: bytes
    decided_up_to: Slot
    """Highest slot known to be decided, inclusive; lets followers apply without another message."""


@dataclass(slots=True, frozen=True, kw_only=True)
class Accepted:
    """Phase 2b: the value of ``ballot`` in ``slot`` is on this acceptor's disk."""

    ballot: Ballot
    slot: Slot


@dataclass(slots=True, frozen=True, kw_only=True)
class Nack:
    """A refusal of ``refused``, with the higher ballot that was promised."""

    refused: Ballot
    promised: Ballot


@dataclass(slots=True, frozen=True, kw_only=True)
class Heartbeat:
    """Round ``round`` of one replica's heartbeats; every replica sends them to every peer.

    ``leading`` is the sender's ballot while it leads, with ``served`` if a quorum answers it;
    then ``decided_up_to`` is an announcement made under that ballot. A sender that does not
    lead announces nothing. ``promised`` and ``remembered`` let a peer notice a disk that was
    rolled back: they never drop from one boot to the next.
    """

    round: int
    leading: Ballot | None
    quorum_connected: bool
    decided_up_to: Slot
    promised: Ballot | None
    """The promise in memory."""
    remembered: Slot
    """Highest slot this storage held or may have held when this boot began."""
    booted_with: Ballot | None
    """The promise that was on disk when this boot began."""
    checkpoint: Checkpoint | None = None
    """The latest digest that can be compared."""
    vouched_up_to: Slot = Slot(0)
    """While leading: nobody can have accepted anything above this slot, see ``damaged_end``; 0: it cannot tell."""


@dataclass(slots=True, frozen=True, kw_only=True)
class HeartbeatAnswer:
    """The answer to round ``round`` of the boot whose nonce is ``nonce``."""

    nonce: int
    round: int
    promised: Ballot | None
    """The promise in memory when the heartbeat arrived, raised to the leader's ballot by it."""
    decided: Slot
    disk_answers: bool
    quorum_connected: bool
    """It leads and a quorum answers it, or it hears such a leader directly."""
    leader: NodeId | None
    remembered: Slot
    booted_with: Ballot | None
    lease: int = 0
    """For so many microseconds from receipt nobody but the heartbeat's sender is promised anything."""
    vouched_up_to: Slot = Slot(0)
    """As in ``Heartbeat``, if the one who answers leads; ``promised`` is the ballot it leads under then."""


@dataclass(slots=True, frozen=True, kw_only=True)
class CatchUp:
    """Asks for decided entries ``start <= slot < stop``."""

    start: Slot
    stop: Slot


@dataclass(slots=True, frozen=True, kw_only=True)
class Decided:
    """Decided entries, each with the ballot it was accepted under; the answer to CatchUp.

    ``first`` is the sender's first slot: a receiver that needs an older one needs a snapshot.
    """

    entries: tuple[Entry, ...]
    decided: Slot
    first: Slot


@dataclass(slots=True, frozen=True, kw_only=True)
class ForwardRuns:
    """Runs that reached a follower, on their one hop to the leader; ``runs`` are encoded runs."""

    runs: tuple[bytes, ...]


@dataclass(slots=True, frozen=True, kw_only=True)
class ReadRequest:
    """Asks the leader which slot a linearizable read that begins now must wait for."""

    counter: int
    lease: bool = False
    """The leader's lease is enough, if it holds one."""


@dataclass(slots=True, frozen=True, kw_only=True)
class ReadAnswer:
    """The answer to request ``counter`` of the boot ``nonce``; ``slot`` is None if it could not be confirmed."""

    nonce: int
    counter: int
    slot: Slot | None


@dataclass(slots=True, frozen=True, kw_only=True)
class SnapshotRequest:
    """Asks for a chunk of a snapshot; ``id`` is empty for whichever is current, from its beginning."""

    id: str
    offset: int
    covers: Slot = Slot(0)
    """The slot that it has to cover, to be of use."""


@dataclass(slots=True, frozen=True, kw_only=True)
class SnapshotChunk:
    """Bytes of snapshot ``id`` from ``offset`` on; ``last`` with its end.

    ``slot`` 0 and no id: the sender does not have the snapshot asked for.
    """

    slot: Slot
    id: str
    offset: int
    data: bytes
    last: bool
    ballot: Ballot | None = None
    """No slot that the snapshot covers was decided under a higher ballot."""


ProtocolMessage = (
    Prepare
    | Promise
    | Accept
    | Accepted
    | Nack
    | Heartbeat
    | HeartbeatAnswer
    | CatchUp
    | Decided
    | ReadRequest
    | ReadAnswer
)
"""What the engine sends and handles."""

Message = ProtocolMessage | ForwardRuns | SnapshotRequest | SnapshotChunk
"""All that travels on a link between peers; runs on their way to the leader and snapshots are the node's business."""
