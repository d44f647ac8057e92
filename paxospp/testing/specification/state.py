"""The state of a node and of a system of nodes: immutable values.

A node consists of its acceptor as memory has it, its acceptor as the disk has it, the writes in between, its role, and
what it has learned. A write holds the whole acceptor as the disk will have it, and the messages that wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from paxospp.testing.specification.messages import AcceptorReport, Message, Name, Value
from paxospp.testing.specification.values import Entries, Map, ModelBallot, ModelMembership, Pvalue

FOUNDING_SLOT = 1


class ModelSnapshot(NamedTuple):
    """A snapshot of the slots up to ``slot``, with the highest ballot that one of them was decided under (rule 4)."""

    slot: int
    ballot: ModelBallot


@dataclass(frozen=True, slots=True)
class ModelAcceptor:
    """The durable state of an acceptor: its promise, what it accepted, and which slots are known to be damaged."""

    promised: ModelBallot | None = None
    entries: Entries = field(default_factory=Map)
    first: int = 1
    faulty: frozenset[int] = frozenset()
    open_from: int = 0
    """From this slot on, every slot without a value may have lost one; 0: the end of the log is intact."""
    snapshot: ModelSnapshot | None = None
    _hash: int | None = field(default=None, init=False, compare=False, repr=False)

    def __hash__(self) -> int:
        """Compute the hash once; an exploration needs it many times."""
        if self._hash is None:
            parts = (self.promised, self.entries, self.first, self.faulty, self.open_from, self.snapshot)
            object.__setattr__(self, "_hash", hash(parts))
        assert self._hash is not None
        return self._hash

    def is_faulty(self, slot: int) -> bool:
        """Whether the slot is damaged: its acceptor can say neither *accepted* nor *none*."""
        return slot in self.faulty or (0 < self.open_from <= slot and slot not in self.entries)

    @property
    def knows_members(self) -> bool:
        """Whether the membership can be read, from slot 1 or from beside a snapshot."""
        return self.snapshot is not None or not self.is_faulty(FOUNDING_SLOT)

    def report(self, incarnation: int, decided: int) -> AcceptorReport:
        """Return the answer to a Prepare: everything that the acceptor holds above ``decided``."""
        return AcceptorReport(
            incarnation,
            decided,
            self.first,
            Map((slot, entry) for slot, entry in self.entries.items() if slot > decided),
            frozenset(slot for slot in self.faulty if slot > decided),
            self.open_from and max(self.open_from, decided + 1),
        )


class Bound(NamedTuple):
    """A lease that this node granted."""

    ballot: ModelBallot | None
    """The leader it was granted to; None: an earlier boot granted it, to a leader that is forgotten."""
    until: float
    """When it ends, by the clock of the node that granted it."""


class ModelFollowing(NamedTuple):
    """Neither campaigns nor leads."""


class ModelCampaigning(NamedTuple):
    """Asks for promises to ``ballot``."""

    ballot: ModelBallot


class ModelLeading(NamedTuple):
    """Proposes under ``ballot``, as the reports of its promises allow."""

    ballot: ModelBallot
    reports: Map[Name, AcceptorReport]
    """The latest answer that was counted from each node that promised."""
    proposed: Map[int, Value] = Map()
    granted: Map[Name, float] = Map()
    """When each granted lease ends, by the leader's own clock."""
    hidden: frozenset[tuple[Name, AcceptorReport]] = frozenset()
    """Earlier answers of nodes whose later answer says less, because of damage; they hold as long as the promise."""

    @property
    def counted(self) -> Sequence[tuple[Name, AcceptorReport]]:
        """All answers that count: the latest of each node, and those that nodes gave before they were damaged."""
        return [*self.reports.items(), *self.hidden]


Role = ModelFollowing | ModelCampaigning | ModelLeading


class PendingWrite(NamedTuple):
    """A write that has not returned."""

    acceptor: ModelAcceptor
    sends: tuple[Message, ...]
    """Messages that leave when it returns."""


@dataclass(frozen=True, slots=True)
class ModelNode:
    """The state of one replica."""

    memory: ModelAcceptor = ModelAcceptor()
    disk: ModelAcceptor = ModelAcceptor()
    writes: tuple[PendingWrite, ...] = ()
    role: Role = ModelFollowing()
    met: ModelBallot | None = None
    """The highest ballot that the node has met (rule 1)."""
    decided: int = 0
    """Every slot up to this one is known to be decided."""
    learned: frozenset[int] = frozenset()
    """Slots above ``decided`` that are known to be decided too."""
    membership: ModelMembership | None = None
    incarnation: int = 1
    boot: int = 1
    booted_with: ModelBallot | None = None
    """The promise that was on disk when this boot began."""
    answers: int = 0
    """How many answers in several parts this boot has sent."""
    clock: float = 0
    bound: Bound | None = None
    unread: Map[int, Pvalue | None] = Map()
    """Slots that this boot could not read, with the value that the disk still holds there; None: it holds none."""
    _hash: int | None = field(default=None, init=False, compare=False, repr=False)

    def __hash__(self) -> int:
        """Compute the hash once, from the fields that differ most."""
        if self._hash is None:
            acceptor = (self.memory, self.disk, self.writes, self.role, self.met, self.decided, self.learned)
            rest = (self.incarnation, self.boot, self.membership, self.clock, self.bound)
            object.__setattr__(self, "_hash", hash((*acceptor, *rest)))
        assert self._hash is not None
        return self._hash

    def on_disk(self, memory: ModelAcceptor) -> ModelAcceptor:
        """Return what the disk holds once ``memory`` is written; slots that could not be read stay as they were."""
        entries, faulty = memory.entries, memory.faulty
        for slot, entry in self.unread.items():
            if slot in memory.faulty:
                faulty -= {slot}
                entries = entries if entry is None else entries.set(slot, entry)
        return replace(memory, entries=entries, faulty=faulty) if faulty != memory.faulty else memory

    @property
    def own_ballot(self) -> ModelBallot | None:
        """The ballot that the node campaigns or leads under; None for a follower."""
        return None if isinstance(self.role, ModelFollowing) else self.role.ballot

    def knows_decided(self, slot: int) -> bool:
        """Whether the node knows that the slot is decided."""
        return slot <= self.decided or slot in self.learned


class System(Protocol):
    """All nodes and all messages ever sent, by the name of a node."""

    @property
    def names(self) -> Sequence[Name]: ...

    def node(self, name: Name) -> ModelNode: ...

    def sent_by(self, name: Name) -> AbstractSet[Message]: ...

    @property
    def writes_at_once(self) -> bool:
        """Whether a write returns in the step that begins it."""
        ...
