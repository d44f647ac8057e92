"""The state of one node, and of a system of nodes: values that are replaced and never changed.

A node is its memory, its disk with the writes under way, its role, and what it has learned. A write
is the whole acceptor as it is to stand on disk, with the messages that wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from paxospp.testing.specification.messages import Message, Name, Report, Value
from paxospp.testing.specification.values import Ballot, Entries, Map, Membership, Pvalue

FOUNDING_SLOT = 1


class Snapshot(NamedTuple):
    """The state up to a slot, and the highest ballot that any of these slots was decided under (rule 4)."""

    slot: int
    ballot: Ballot


@dataclass(frozen=True, slots=True)
class Acceptor:
    """What stands on a disk: the promise, what is accepted, and what is known to be damaged."""

    promised: Ballot | None = None
    entries: Entries = field(default_factory=Map)
    first: int = 1
    faulty: frozenset[int] = frozenset()
    open_from: int = 0
    """From this slot on all that is not held may have been lost; 0: nothing."""
    snapshot: Snapshot | None = None
    _hash: int | None = field(default=None, init=False, compare=False, repr=False)

    def __hash__(self) -> int:
        """Reckoned once: an exploration asks for it again and again."""
        if self._hash is None:
            parts = (self.promised, self.entries, self.first, self.faulty, self.open_from, self.snapshot)
            object.__setattr__(self, "_hash", hash(parts))
        assert self._hash is not None
        return self._hash

    def is_faulty(self, slot: int) -> bool:
        """Whether the slot is damaged, and so neither accepted nor empty."""
        return slot in self.faulty or (0 < self.open_from <= slot and slot not in self.entries)

    @property
    def knows_members(self) -> bool:
        """Whether the founding can be read: in slot 1, or beside a snapshot."""
        return self.snapshot is not None or not self.is_faulty(FOUNDING_SLOT)

    def report(self, life: int, decided: int) -> Report:
        """What it answers to a Prepare: all that it holds above ``decided``."""
        return Report(
            life,
            decided,
            self.first,
            Map((slot, entry) for slot, entry in self.entries.items() if slot > decided),
            frozenset(slot for slot in self.faulty if slot > decided),
            self.open_from and max(self.open_from, decided + 1),
        )


class Bound(NamedTuple):
    """Whom a lease was granted to, and until when by the clock of the one that gave it; None: in an earlier boot."""

    ballot: Ballot | None
    until: float


class Following(NamedTuple):
    """Listens, or waits."""


class Campaigning(NamedTuple):
    """Asks for promises to its ballot."""

    ballot: Ballot


class Leading(NamedTuple):
    """Proposes under its ballot, by what these reports say."""

    ballot: Ballot
    reports: Map[Name, Report]
    """The latest counted answer of each node that promised."""
    proposed: Map[int, Value] = Map()
    granted: Map[Name, float] = Map()
    """Until when, by the leader's own clock, it counts on each grant of a lease."""
    hidden: frozenset[tuple[Name, Report]] = frozenset()
    """Earlier answers of nodes whose later one says less, because of damage. They hold for as long as the promise."""

    @property
    def counted(self) -> Sequence[tuple[Name, Report]]:
        """All answers that still say something: the latest ones, and earlier ones from before damage."""
        return [*self.reports.items(), *self.hidden]


Role = Following | Campaigning | Leading


class Write(NamedTuple):
    """A write under way."""

    acceptor: Acceptor
    says: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """One replica."""

    memory: Acceptor = Acceptor()
    disk: Acceptor = Acceptor()
    writes: tuple[Write, ...] = ()
    role: Role = Following()
    met: Ballot | None = None
    """The highest ballot that it has met (rule 1)."""
    decided: int = 0
    """Every slot up to this one is known to be decided."""
    learned: frozenset[int] = frozenset()
    """Slots above that are known to be decided too."""
    membership: Membership | None = None
    life: int = 1
    boot: int = 1
    booted_with: Ballot | None = None
    """The promise that was on disk when this boot began."""
    answers: int = 0
    """How many answers in parts this boot has given."""
    clock: float = 0
    bound: Bound | None = None
    unread: Map[int, Pvalue | None] = Map()
    """Slots that this boot could not read, with what the disk holds there all the same; None: it holds nothing."""
    _hash: int | None = field(default=None, init=False, compare=False, repr=False)

    def __hash__(self) -> int:
        """Reckoned once, of what differs most."""
        if self._hash is None:
            parts = (self.memory, self.disk, self.writes, self.role, self.met, self.decided, self.learned, self.life)
            object.__setattr__(self, "_hash", hash((*parts, self.boot, self.membership, self.clock, self.bound)))
        assert self._hash is not None
        return self._hash

    def on_disk(self, memory: Acceptor) -> Acceptor:
        """What the disk holds once ``memory`` is written: a slot that could not be read is there as it was."""
        entries, faulty = memory.entries, memory.faulty
        for slot, entry in self.unread.items():
            if slot in memory.faulty:
                faulty -= {slot}
                entries = entries if entry is None else entries.set(slot, entry)
        return replace(memory, entries=entries, faulty=faulty) if faulty != memory.faulty else memory

    @property
    def own_ballot(self) -> Ballot | None:
        """The ballot that it campaigns or leads under."""
        return None if isinstance(self.role, Following) else self.role.ballot

    def knows_decided(self, slot: int) -> bool:
        """Whether it knows that a value is decided there."""
        return slot <= self.decided or slot in self.learned


class System(Protocol):
    """All nodes, and all that was ever said, by name."""

    @property
    def names(self) -> Sequence[Name]: ...

    def node(self, name: Name) -> Node: ...

    def said_by(self, name: Name) -> AbstractSet[Message]: ...

    @property
    def writes_at_once(self) -> bool:
        """Whether every write returns in the step that began it."""
        ...
