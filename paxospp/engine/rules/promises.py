"""The candidate's side of phase 1: promises that come in parts, and what they say about each slot (rule 2).

For every slot, a promise says *accepted*, *none*, *faulty* or *decided*. Only the first two are clean. A leader
proposes in a slot only after clean answers from a quorum.

An answer counts once all of its parts have arrived. A Prepare that is sent again is answered again, and entries
accepted in between shift the boundaries of the parts, so a mixture of two answers could miss a value. Answers are
therefore told apart by the boot of their sender and a counter.

A promise counts for the incarnation that gave it. While a cluster is being bootstrapped, every node is asked, and a
node whose disk was wiped has forgotten what it accepted before. If two incarnations of a node answer, one of them is
gone, but the candidate cannot tell which, because the older answer may arrive last. Neither counts, and the next
ballot asks again.

References: Lamport, "Paxos Made Simple", 2.2, phase 2a; Alagappan et al., "Protocol-Aware
Recovery for Consensus-Based Storage" (2018): a faulty entry is not an absent one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from paxospp.engine.rules.voters import Voters
from paxospp.markers import NO_MARKERS, Markers
from paxospp.messages import Promise, Sender
from paxospp.model import Ballot, Entry, Kind, NodeId, Slot


@dataclass(slots=True, frozen=True, kw_only=True)
class PromiseReport:
    """Everything that one acceptor's promise said, from all of its parts."""

    incarnation: int
    """The incarnation that promised."""
    decided: Slot
    first: Slot
    last: Slot
    entries: Mapping[Slot, Entry]
    faulty: tuple[range, ...]

    def is_clean(self, slot: Slot) -> bool:
        """Return whether this report says *accepted* or *none* of ``slot``, and not *decided* or *faulty*."""
        return slot >= self.undecided_from and not any(slot in slots for slots in self.faulty)

    @property
    def undecided_from(self) -> Slot:
        """The first slot that this report does not call *decided*."""
        return Slot(max(self.decided + 1, self.first))

    @property
    def clean_from(self) -> Slot:
        """The first slot from which on this report is clean in every slot; ``sys.maxsize`` if its damage has no end."""
        return Slot(max([self.undecided_from, *(slots.stop for slots in self.faulty)]))


@dataclass(slots=True)
class _Answer:
    """The latest answer of one node, and the parts of it that have arrived; ``parts`` is None once all have."""

    incarnation: int
    boot: int
    number: int
    parts: dict[int, Promise] | None

    def is_older_than(self, sender: Sender, promise: Promise) -> bool:
        """Return whether ``promise`` belongs to a newer answer."""
        return (self.boot, self.number) < (sender.boot, promise.answer)

    def take(self, sender: Sender, promise: Promise) -> dict[int, Promise] | None:
        """Add ``promise`` if it is a part of this answer; return all parts once they are complete, else None."""
        parts = self.parts
        same = (self.boot, self.number) == (sender.boot, promise.answer)
        if parts is None or not same or any(_head(part) != _head(promise) for part in parts.values()):
            return None
        if promise.parts > 1 and not promise.answer:
            return None  # an old version does not number its answers, so their parts cannot be told apart
        parts[promise.part] = promise
        if len(parts) < promise.parts:
            return None
        self.parts = None
        return parts


class Promises:
    """The promises that one ballot has received."""

    def __init__(self, ballot: Ballot, observer: Markers = NO_MARKERS) -> None:
        self._observer = observer
        self.ballot = ballot
        self.reports: dict[NodeId, PromiseReport] = {}
        self._answers: dict[NodeId, _Answer] = {}
        self._disputed: set[NodeId] = set()
        """Nodes of which two incarnations have answered; neither counts."""
        self._clean_from: tuple[Slot, Voters] | None = None
        """Cache of the first slot from which on a quorum is clean in every slot, and of the voters it holds for."""

    def add(self, sender: Sender, promise: Promise) -> bool:
        """Add one part of an answer, and return whether it completed a report.

        A later report of a node replaces an earlier one.
        """
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
        """Whether an answer has arrived in part."""
        return any(answer.parts for answer in self._answers.values())

    @property
    def recovered_up_to(self) -> Slot:
        """The highest slot that any report holds, calls decided, or names as damaged, except damage without an end."""
        return max((slot for report in self.reports.values() for slot in _ends(report)), default=Slot(0))

    @property
    def decided_up_to(self) -> Slot:
        """The highest slot that any report calls decided."""
        return max((report.decided for report in self.reports.values()), default=Slot(0))

    def promised(self, voters: Voters) -> list[NodeId]:
        """Return which of the voters have promised."""
        return [node for node, report in self.reports.items() if voters.has(node, report.incarnation)]

    def clean(self, slot: Slot, voters: Voters) -> list[NodeId]:
        """Return which of the voters are clean in ``slot``."""
        return [node for node in self.promised(voters) if self.reports[node].is_clean(slot)]

    def is_clean(self, slot: Slot, voters: Voters) -> bool:
        """Return whether a quorum is clean in ``slot``."""
        return voters.is_quorum(self.clean(slot, voters))

    def is_clean_from(self, slot: Slot, voters: Voters) -> bool:
        """Return whether one quorum is clean in ``slot`` and everything above; cached, as every new value asks."""
        if self._clean_from is None or self._clean_from[1] is not voters:
            begins = {node: self.reports[node].clean_from for node in self.promised(voters)}
            self._clean_from = _first_of_quorum(begins, voters), voters
        return slot >= self._clean_from[0]

    def undecided_from(self, voters: Voters) -> Slot:
        """Return the first slot from which on a quorum calls no slot *decided*; ``sys.maxsize`` without a quorum."""
        return _first_of_quorum({node: self.reports[node].undecided_from for node in self.promised(voters)}, voters)

    def choose(self, slot: Slot, voters: Voters) -> Entry | None:
        """Return the entry to propose in ``slot`` under this ballot, or None if the slot has to stay open.

        It is the accepted value of the highest ballot, or a no-op if a quorum said *none*.
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
    """Return the lowest slot that the ``begins`` of a quorum do not exceed; ``sys.maxsize`` without a quorum."""
    for begin in sorted(set(begins.values())):
        if voters.is_quorum([node for node, theirs in begins.items() if theirs <= begin]):
            return begin
    return Slot(sys.maxsize)


def _head(part: Promise) -> tuple[object, ...]:
    """Return the fields that are equal in all parts of one answer."""
    return part.start, part.parts, part.decided, part.first, part.last, part.faulty


def _ends(report: PromiseReport) -> Iterator[Slot]:
    yield report.decided
    yield max(report.entries, default=Slot(0))
    for slots in report.faulty:
        # Damage without an end names no highest slot; ``is_clean`` keeps new values out of it.
        if slots.stop <= max(report.last, report.decided) + 1:
            yield Slot(slots.stop - 1)
