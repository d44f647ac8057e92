"""Linearizable reads without the log: after a read arrives, a quorum confirms that no newer leader exists (rule 6).

A read waits for a round of heartbeats that begins after it arrived. One round confirms all reads that waited for it.
Answers to older rounds do not count.

Reference: Ongaro's thesis, 6.4 (ReadIndex); the number of the round takes the place of a message count.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from paxospp.engine.rules.voters import Voters
from paxospp.model import NodeId, Slot


class ReadRequester(NamedTuple):
    """The receiver of the answer to a read: this node (``peer`` is None), or one boot of a peer.

    ``number`` is this node's ticket, or the peer's counter.
    """

    peer: NodeId | None
    nonce: int
    number: int


class Read(NamedTuple):
    """One read, and the slot that must be applied before it is served."""

    requester: ReadRequester
    slot: Slot


@dataclass(slots=True)
class _Batch:
    round: int
    reads: list[Read]
    answered_by: set[NodeId] = field(default_factory=set)


class PendingReads:
    """The reads of a leader that wait for a round of heartbeats, or for its answers."""

    def __init__(self) -> None:
        self._waiting: list[Read] = []
        self._batches: list[_Batch] = []

    def add(self, read: Read) -> None:
        """Add a read that just arrived; only a round that begins from now on confirms it."""
        self._waiting.append(read)

    @property
    def wants_round(self) -> bool:
        """Whether to begin a round: reads wait, and no round for earlier reads is under way."""
        return bool(self._waiting) and not self._batches

    def begin(self, round: int, me: NodeId) -> None:
        """Begin a round, for every read that waits."""
        if self._waiting:
            self._batches.append(_Batch(round, self._waiting, {me}))
            self._waiting = []

    def on_answer(self, peer: NodeId, round: int) -> None:
        """Count an answer of ``peer`` to ``round``, given under exactly our ballot."""
        for batch in self._batches:
            if batch.round <= round:
                batch.answered_by.add(peer)

    def confirmed(self, voters: Voters) -> Iterable[Read]:
        """Remove and return the reads that a quorum has confirmed."""
        done = [batch for batch in self._batches if voters.is_quorum(batch.answered_by)]
        if not done:
            return ()
        newest = max(batch.round for batch in done)
        reads = [read for batch in self._batches if batch.round <= newest for read in batch.reads]
        self._batches = [batch for batch in self._batches if batch.round > newest]
        return reads

    def abandon(self) -> list[ReadRequester]:
        """Remove all reads, because this replica no longer leads; return their requesters."""
        requesters = [read.requester for batch in self._batches for read in batch.reads]
        requesters.extend(read.requester for read in self._waiting)
        self._batches.clear()
        self._waiting.clear()
        return requesters


class ForwardedReads:
    """The reads that a follower has forwarded to the leader, by the counter in their request."""

    def __init__(self) -> None:
        self._last_counter = 0
        self._out: dict[int, tuple[int, float]] = {}

    def ask(self, ticket: int, until: float) -> int:
        """Add a read, which is given up at ``until``, and return the counter for its request."""
        self._last_counter += 1
        self._out[self._last_counter] = (ticket, until)
        return self._last_counter

    def take(self, counter: int) -> int | None:
        """Remove the read that an answer belongs to, and return its ticket; None if it was given up or answered."""
        ticket, _ = self._out.pop(counter, (None, 0.0))
        return ticket

    def give_up(self, now: float) -> list[int]:
        """Remove the reads that have waited too long, and return their tickets."""
        late = [counter for counter, (_, until) in self._out.items() if now >= until]
        return [self._out.pop(counter)[0] for counter in late]
