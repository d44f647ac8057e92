"""Linearizable reads without the log: a quorum confirms, after the read came, that nobody newer leads.

A read waits for a round of heartbeats begun after it arrived. One round confirms every read
that waited for it. Acknowledgements of older rounds count for nothing.

Reference: Ongaro's thesis, 6.4 (ReadIndex), with the round's number in place of a message count.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from paxospp.engine.rules.voters import Voters
from paxospp.model import NodeId, Slot


class ReadRequester(NamedTuple):
    """Who waits for a read: this node (``peer`` None) with its ticket, or a peer's boot with its counter."""

    peer: NodeId | None
    nonce: int
    number: int


class Read(NamedTuple):
    """One read, and the slot that must be applied before it is served."""

    asker: ReadRequester
    slot: Slot


@dataclass(slots=True)
class _Batch:
    round: int
    reads: list[Read]
    answered_by: set[NodeId] = field(default_factory=set)


class PendingReads:
    """Reads of a leader that wait for their round, or for its answers."""

    def __init__(self) -> None:
        self._waiting: list[Read] = []
        self._batches: list[_Batch] = []

    def add(self, read: Read) -> None:
        """``read`` just arrived: only a round begun from now on confirms it."""
        self._waiting.append(read)

    @property
    def wants_round(self) -> bool:
        """Whether a round should begin: reads wait, and no round for earlier ones is out."""
        return bool(self._waiting) and not self._batches

    def begin(self, round: int, me: NodeId) -> None:
        """A round begins now; it is for every read that waited."""
        if self._waiting:
            self._batches.append(_Batch(round, self._waiting, {me}))
            self._waiting = []

    def on_answer(self, peer: NodeId, round: int) -> None:
        """``peer`` answered ``round`` under exactly our ballot."""
        for batch in self._batches:
            if batch.round <= round:
                batch.answered_by.add(peer)

    def confirmed(self, voters: Voters) -> Iterable[Read]:
        """Take out the reads that a quorum has confirmed."""
        done = [batch for batch in self._batches if voters.is_quorum(batch.answered_by)]
        if not done:
            return ()
        newest = max(batch.round for batch in done)
        reads = [read for batch in self._batches if batch.round <= newest for read in batch.reads]
        self._batches = [batch for batch in self._batches if batch.round > newest]
        return reads

    def abandon(self) -> list[ReadRequester]:
        """Nobody confirms anything any more: these askers must try again."""
        askers = [read.asker for batch in self._batches for read in batch.reads]
        askers.extend(read.asker for read in self._waiting)
        self._batches.clear()
        self._waiting.clear()
        return askers


class ForwardedReads:
    """Reads of a follower that were put to the leader, by the counter they were asked under."""

    def __init__(self) -> None:
        self._last_counter = 0
        self._out: dict[int, tuple[int, float]] = {}

    def ask(self, ticket: int, until: float) -> int:
        """The counter under which to ask for ``ticket``; given up at ``until``."""
        self._last_counter += 1
        self._out[self._last_counter] = (ticket, until)
        return self._last_counter

    def take(self, counter: int) -> int | None:
        """The ticket of an answer; None for one that was given up or answered before."""
        ticket, _ = self._out.pop(counter, (None, 0.0))
        return ticket

    def give_up(self, now: float) -> list[int]:
        """Take out the tickets that waited too long."""
        late = [counter for counter, (_, until) in self._out.items() if now >= until]
        return [self._out.pop(counter)[0] for counter in late]
