"""Phase 1, seen by the candidate: promises in parts, and what they say about each slot.

For every slot a promise says *accepted*, *none*, *faulty* or *decided*. Only the first two are
clean; the leader proposes in a slot only after clean answers from a quorum. A promise counts
when all parts of one answer are in. Answers are told apart by the sender's boot and a counter: a
Prepare that is sent again is answered again, and what was accepted in between moves the bounds of
the parts, so that parts of two answers may leave out a value. A promise counts for the incarnation
that gave it: a founder asks everybody, and a node whose disk was wiped has forgotten what its name
accepted. Of two incarnations of one node nobody can tell which one is gone, for the answer of the
earlier may be the later one to arrive; so neither counts, and the next ballot asks anew.

References: Lamport, "Paxos Made Simple", 2.2, phase 2a; Alagappan et al., "Protocol-Aware
Recovery for Consensus-Based Storage" (2018): a faulty entry is not an absent one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from paxospp.engine.rules.voters import Voters
from paxospp.markers import UNWATCHED, Markers
from paxospp.messages import Promise, Sender
from paxospp.model import Ballot, Entry, Kind, NodeId, Slot


@dataclass(slots=True, frozen=True, kw_only=True)
class PromiseReport:
    """All that one acceptor's promise said."""

    incarnation: int
    """Whose life promised."""
    decided: Slot
    first: Slot
    last: Slot
    entries: Mapping[Slot, Entry]
    faulty: tuple[range, ...]

    def is_clean(self, slot: Slot) -> bool:
        """Whether it says accepted or none: not decided, and not faulty."""
        return slot >= self.undecided_from and not any(slot in slots for slots in self.faulty)

    @property
    def undecided_from(self) -> Slot:
        """From this slot on it does not say *decided*."""
        return Slot(max(self.decided + 1, self.first))

    @property
    def clean_from(self) -> Slot:
        """From this slot on it is clean for every slot; ``sys.maxsize`` where its damage has no end."""
        return Slot(max([self.undecided_from, *(slots.stop for slots in self.faulty)]))


@dataclass(slots=True)
class _Answer:
    """The latest answer of one node: its identity, and the parts that have come; None once all have."""

    incarnation: int
    boot: int
    number: int
    parts: dict[int, Promise] | None

    def is_older_than(self, sender: Sender, promise: Promise) -> bool:
        """Whether ``promise`` begins a newer answer."""
        return (self.boot, self.number) < (sender.boot, promise.answer)

    def take(self, sender: Sender, promise: Promise) -> dict[int, Promise] | None:
        """Keep ``promise`` if it is a part of this very answer; all parts, once they are complete."""
        parts = self.parts
        same = (self.boot, self.number) == (sender.boot, promise.answer)
        if parts is None or not same or any(_head(part) != _head(promise) for part in parts.values()):
            return None
        if promise.parts > 1 and not promise.answer:
            return None  # a version that does not number its answers: its parts cannot be told apart
        parts[promise.part] = promise
        if len(parts) < promise.parts:
            return None
        self.parts = None
        return parts


class Promises:
    """The promises made to one ballot."""

    def __init__(self, ballot: Ballot, observer: Markers = UNWATCHED) -> None:
        self._observer = observer
        self.ballot = ballot
        self.reports: dict[NodeId, PromiseReport] = {}
        self._answers: dict[NodeId, _Answer] = {}
        self._disputed: set[NodeId] = set()
        """Nodes of which two incarnations have answered."""
        self._clean_from: tuple[Slot, Voters] | None = None
        """From which slot on a quorum is clean for every slot, as far as the reports of now say."""

    def add(self, sender: Sender, promise: Promise) -> bool:
        """Take one part; True if it completed the report of its sender. A later report replaces an earlier one."""
        node = sender.node
        answer = self._answers.get(node)
        if answer is not None and answer.incarnation != sender.incarnation:
            self._observer.reached("promises: two incarnations of a node have answered, and neither counts")
            self._dispute(node)
        if node in self._disputed:
            return False
        if answer is None or answer.is_older_than(sender, promise):
            if answer is not None and answer.parts:
                self._observer.reached("promises: a newer answer drops the parts of an older one")
            answer = self._answers[node] = _Answer(sender.incarnation, sender.boot, promise.answer, {})
        parts = answer.take(sender, promise)
        if parts is None:
            if promise.answer < answer.number:
                self._observer.reached("promises: a part of an older answer comes late")
            return False
        if promise.parts > 1:
            self._observer.reached("promises: an answer in several parts is complete")
        if node in self.reports:
            self._observer.reached("promises: a later answer replaces an earlier one")
        self._clean_from = None
        self.reports[node] = PromiseReport(
            incarnation=sender.incarnation,
            decided=promise.decided,
            first=promise.first,
            last=promise.last,
            entries={entry.slot: entry for part in parts.values() for entry in part.entries},
            faulty=promise.faulty,
        )
        return True

    def _dispute(self, node: NodeId) -> None:
        self._disputed.add(node)
        self._answers.pop(node)
        self.reports.pop(node, None)
        self._clean_from = None

    @property
    def is_assembling(self) -> bool:
        """Whether some parts of an answer have come, and not all."""
        return any(answer.parts for answer in self._answers.values())

    @property
    def recovered_up_to(self) -> Slot:
        """The highest slot any report holds, knows decided, or calls faulty with an end."""
        return max((slot for report in self.reports.values() for slot in _ends(report)), default=Slot(0))

    @property
    def decided_up_to(self) -> Slot:
        """The highest slot any report calls decided."""
        return max((report.decided for report in self.reports.values()), default=Slot(0))

    def promised(self, voters: Voters) -> list[NodeId]:
        """Who of ``voters`` has promised."""
        return [node for node, report in self.reports.items() if voters.has(node, report.incarnation)]

    def clean(self, slot: Slot, voters: Voters) -> list[NodeId]:
        """Who of ``voters`` answered accepted or none for ``slot``."""
        return [node for node in self.promised(voters) if self.reports[node].is_clean(slot)]

    def is_clean(self, slot: Slot, voters: Voters) -> bool:
        """Whether a quorum answered accepted or none for ``slot``."""
        return voters.is_quorum(self.clean(slot, voters))

    def is_clean_from(self, slot: Slot, voters: Voters) -> bool:
        """Whether a quorum answered accepted or none for ``slot`` and everything above; asked for every new value."""
        if self._clean_from is None or self._clean_from[1] is not voters:
            begins = {node: self.reports[node].clean_from for node in self.promised(voters)}
            self._clean_from = _first_of_quorum(begins, voters), voters
        return slot >= self._clean_from[0]

    def undecided_from(self, voters: Voters) -> Slot:
        """From which slot on there is a quorum that said *decided* of none; ``sys.maxsize``: there is no quorum."""
        return _first_of_quorum({node: self.reports[node].undecided_from for node in self.promised(voters)}, voters)

    def choose(self, slot: Slot, voters: Voters) -> Entry | None:
        """What must be proposed in ``slot`` under our ballot; None while it has to stay open.

        The value of the highest ballot accepted there, or a no-op where a quorum said none.
        """
        if not self.is_clean(slot, voters):
            self._observer.reached("promises: a slot stays open for lack of clean answers")
            return None
        accepted = [report.entries[slot] for report in self.reports.values() if slot in report.entries]
        if not accepted:
            self._observer.reached("promises: a gap is filled with a no-op")
            return Entry(slot, self.ballot, Kind.NOOP, b"")
        highest = max(accepted, key=lambda entry: entry.ballot)
        if any((entry.kind, entry.value) != (highest.kind, highest.value) for entry in accepted):
            self._observer.reached("promises: of two values the one of the higher ballot is proposed")
        return Entry(slot, self.ballot, highest.kind, highest.value)


def _first_of_quorum(begins: Mapping[NodeId, Slot], voters: Voters) -> Slot:
    """The first slot at or below which a quorum begins; ``sys.maxsize`` if they are too few."""
    for begin in sorted(set(begins.values())):
        if voters.is_quorum([node for node, theirs in begins.items() if theirs <= begin]):
            return begin
    return Slot(sys.maxsize)


def _head(part: Promise) -> tuple[object, ...]:
    """What all parts of one answer say alike."""
    return part.start, part.parts, part.decided, part.first, part.last, part.faulty


def _ends(report: PromiseReport) -> Iterator[Slot]:
    yield report.decided
    yield max(report.entries, default=Slot(0))
    for slots in report.faulty:
        # An open end names no slot; is_clean keeps new values out of it all the same.
        if slots.stop <= max(report.last, report.decided) + 1:
            yield Slot(slots.stop - 1)
