"""What nodes say to each other in the model: plain values, which stay said for ever.

A message that was said may be heard at any later time, any number of times or never: so loss, delay,
duplication and reordering need no actions of their own. Who said it is known from where it is kept, in
``System.said``. A ``life`` is the incarnation that said it (rule 8).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from paxospp.testing.specification.values import Ballot, Entries, Membership

Name: TypeAlias = Hashable
"""A node: its place in an explored system, its name in a run."""
Value: TypeAlias = Hashable


@dataclass(frozen=True, slots=True)
class Prepare:
    """Phase 1a; ``founds`` if it asks for slot 1 by one who belongs to no cluster."""

    ballot: Ballot
    founds: bool


class Report(NamedTuple):
    """What an answer to a Prepare says (rule 2)."""

    life: int
    decided: int
    first: int
    entries: Entries
    faulty: frozenset[int]
    open_from: int
    """Every slot from here on that is not among ``entries`` is faulty too; 0: damage has an end."""

    def is_faulty(self, slot: int) -> bool:
        """Whether it calls the slot damaged."""
        return slot in self.faulty or (0 < self.open_from <= slot and slot not in self.entries)

    def hides(self, former: Report) -> bool:
        """Whether damage keeps it from saying *accepted* or *none* of a slot that ``former`` says that of."""
        if self.open_from and (not former.open_from or self.open_from < former.open_from):
            return True
        return not self.faulty <= former.faulty

    @property
    def reported(self) -> int:
        """The highest slot that it holds or knows decided."""
        return max(self.decided, max(self.entries, default=0))


@dataclass(frozen=True, slots=True)
class Promise:
    """Phase 1b, one part of an answer, with those entries that are in this part.

    Parts of one answer share its number; an answer in one part needs none.
    """

    ballot: Ballot
    answer: Hashable
    """Which answer of this life it is; 0 where nothing hangs on that."""
    part: int
    parts: int
    report: Report


@dataclass(frozen=True, slots=True)
class Accept:
    """Phase 2a."""

    ballot: Ballot
    slot: int
    value: Value


@dataclass(frozen=True, slots=True)
class Accepted:
    """Phase 2b."""

    life: int
    ballot: Ballot
    slot: int


@dataclass(frozen=True, slots=True)
class Announcement:
    """The leader of ``ballot`` knows every slot up to this one decided (rule 4)."""

    ballot: Ballot
    decided: int


@dataclass(frozen=True, slots=True)
class Decided:
    """A decided entry, with its ballot (rule 4)."""

    slot: int
    ballot: Ballot
    value: Value


@dataclass(frozen=True, slots=True)
class Offer:
    """A snapshot of every slot up to ``slot``, none of which was decided above ``ballot`` (rule 4)."""

    slot: int
    ballot: Ballot
    membership: Membership


@dataclass(frozen=True, slots=True)
class Vouch:
    """Nobody can have accepted anything above ``bound``, says the leader of ``ballot`` (rule 5)."""

    ballot: Ballot
    bound: int
    to: tuple[Name, int, int] | None
    """In an answer: name, life and boot of the one that asked. None: the listener's boot may be younger."""


@dataclass(frozen=True, slots=True)
class Round:
    """A round of heartbeats by the leader of ``ballot``, sent when its clock said ``sent`` (rule 6)."""

    ballot: Ballot
    number: int
    sent: float


@dataclass(frozen=True, slots=True)
class Grant:
    """An answer to a round: nobody else is promised anything for so long (rule 6)."""

    life: int
    round: Round
    length: float


Message = Prepare | Promise | Accept | Accepted | Announcement | Decided | Offer | Vouch | Round | Grant
