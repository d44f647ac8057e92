"""The messages of the model: plain values, which are never removed once they are sent.

A node may receive a sent message at any later time, any number of times, or never. Loss, delay, duplication and
reordering therefore need no actions of their own. Messages are stored by sender (``System.sent_by``), so a message
does not name its sender. ``incarnation`` is the sender's (rule 8).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from paxospp.testing.specification.values import Entries, ModelBallot, ModelMembership

Name: TypeAlias = Hashable
"""Identifies a node: its index in an explored system, its name in a run of the engine."""
Value: TypeAlias = Hashable


@dataclass(frozen=True, slots=True)
class ModelPrepare:
    """Phase 1a; ``founds`` if the candidate belongs to no cluster and wants to decide slot 1."""

    ballot: ModelBallot
    founds: bool


class AcceptorReport(NamedTuple):
    """The content of an answer to a Prepare (rule 2)."""

    incarnation: int
    decided: int
    first: int
    entries: Entries
    faulty: frozenset[int]
    open_from: int
    """From this slot on, every slot that is not among ``entries`` is faulty too; 0: no damage without an end."""

    def is_faulty(self, slot: int) -> bool:
        """Whether the report calls the slot faulty."""
        return slot in self.faulty or (0 < self.open_from <= slot and slot not in self.entries)

    def hides(self, former: AcceptorReport) -> bool:
        """Whether a slot is faulty here for which ``former`` said *accepted* or *none*."""
        if self.open_from and (not former.open_from or self.open_from < former.open_from):
            return True
        return not self.faulty <= former.faulty

    @property
    def reported(self) -> int:
        """The highest slot that the acceptor holds a value in, or knows decided."""
        return max(self.decided, max(self.entries, default=0))


@dataclass(frozen=True, slots=True)
class ModelPromise:
    """Phase 1b: one part of an answer, with the entries of this part.

    The parts of one answer share its number. An answer in one part needs no number.
    """

    ballot: ModelBallot
    answer: Hashable
    """Identifies the answer among those of its incarnation; 0 for an answer in one part."""
    part: int
    parts: int
    report: AcceptorReport


@dataclass(frozen=True, slots=True)
class ModelAccept:
    """Phase 2a: the leader asks acceptors to accept a value in a slot."""

    ballot: ModelBallot
    slot: int
    value: Value


@dataclass(frozen=True, slots=True)
class ModelAccepted:
    """Phase 2b: an acceptor has accepted the slot under this ballot."""

    incarnation: int
    ballot: ModelBallot
    slot: int


@dataclass(frozen=True, slots=True)
class Announcement:
    """The leader of ``ballot`` knows every slot up to this one decided (rule 4)."""

    ballot: ModelBallot
    decided: int


@dataclass(frozen=True, slots=True)
class ModelDecided:
    """A decided entry, with its ballot (rule 4)."""

    slot: int
    ballot: ModelBallot
    value: Value


@dataclass(frozen=True, slots=True)
class SnapshotOffer:
    """A snapshot of the slots up to ``slot``, which were all decided under ballots up to ``ballot`` (rule 4)."""

    slot: int
    ballot: ModelBallot
    membership: ModelMembership


@dataclass(frozen=True, slots=True)
class Vouch:
    """The leader of ``ballot`` vouches that no acceptor can have accepted anything above ``bound`` (rule 5)."""

    ballot: ModelBallot
    bound: int
    to: tuple[Name, int, int] | None
    """The name, incarnation and boot of the node whose heartbeat this answers.

    None: it is addressed to every node, so the receiver may have started again since.
    """


@dataclass(frozen=True, slots=True)
class Round:
    """A round of heartbeats from the leader of ``ballot``, sent when the leader's clock showed ``sent`` (rule 6)."""

    ballot: ModelBallot
    number: int
    sent: float


@dataclass(frozen=True, slots=True)
class Grant:
    """An answer to a round: its sender promises no other node anything for ``length`` (rule 6)."""

    incarnation: int
    round: Round
    length: float


Message = (
    ModelPrepare
    | ModelPromise
    | ModelAccept
    | ModelAccepted
    | Announcement
    | ModelDecided
    | SnapshotOffer
    | Vouch
    | Round
    | Grant
)
