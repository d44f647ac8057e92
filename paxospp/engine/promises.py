"""Phase 1, seen by the candidate: promises in parts, and what they say about each slot.

For every slot a promise says *accepted*, *none*, *faulty* or *decided*. Only the first two are
clean; the leader proposes in a slot only after clean answers from a quorum. A promise counts
when all its parts are in, and for the life of the storage that gave it: whoever founds a cluster
asks everybody, and one whose disk was wiped since has forgotten what its name accepted.

References: Lamport, "Paxos Made Simple", 2.2, phase 2a; Alagappan et al., "Protocol-Aware
Recovery for Consensus-Based Storage" (2018): a faulty entry is not an absent one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from paxospp.engine.quorum import Voters
from paxospp.messages import Promise
from paxospp.model import Ballot, Entry, Kind, NodeId, Slot


@dataclass(slots=True, frozen=True, kw_only=True)
class Report:
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
        return slot > self.decided and slot >= self.first and not any(slot in slots for slots in self.faulty)

    @property
    def clean_from(self) -> Slot:
        """From this slot on it is clean for every slot; ``sys.maxsize`` where its damage has no end."""
        return Slot(max([self.decided + 1, self.first, *(slots.stop for slots in self.faulty)]))


class Promises:
    """The promises made to one ballot."""

    def __init__(self, ballot: Ballot) -> None:
        self.ballot = ballot
        self.reports: dict[NodeId, Report] = {}
        self._incarnations: dict[NodeId, int] = {}
        self._parts: dict[NodeId, dict[int, Promise]] = {}
        self._clean_from: tuple[Slot, Voters] | None = None
        """From which slot on a quorum is clean for every slot, as far as the reports of now say."""

    def add(self, node: NodeId, incarnation: int, promise: Promise) -> bool:
        """Take one part; True if it completed the report of ``node``. A later report replaces an earlier one."""
        if self._incarnations.setdefault(node, incarnation) != incarnation:
            self._forget(node)  # another life of that name promised before
            self._incarnations[node] = incarnation
        parts = self._parts.setdefault(node, {})
        other = next(iter(parts.values()), None)
        if other is not None and (
            other.start != promise.start or other.parts != promise.parts or other.decided != promise.decided
        ):
            parts.clear()
        parts[promise.part] = promise
        if len(parts) < promise.parts:
            return False
        del self._parts[node]
        self._clean_from = None
        self.reports[node] = Report(
            incarnation=incarnation,
            decided=promise.decided,
            first=promise.first,
            last=promise.last,
            entries={entry.slot: entry for part in parts.values() for entry in part.entries},
            faulty=promise.faulty,
        )
        return True

    def _forget(self, node: NodeId) -> None:
        self.reports.pop(node, None)
        self._parts.pop(node, None)
        self._clean_from = None

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
            ends = {node: self.reports[node].clean_from for node in self.promised(voters)}
            quorums = (
                end
                for end in sorted(set(ends.values()))
                if voters.is_quorum([node for node, theirs in ends.items() if theirs <= end])
            )
            self._clean_from = next(quorums, Slot(sys.maxsize)), voters
        return slot >= self._clean_from[0]

    def choose(self, slot: Slot, voters: Voters) -> Entry | None:
        """What must be proposed in ``slot`` under our ballot; None while it has to stay open.

        The value of the highest ballot accepted there, or a no-op where a quorum said none.
        """
        if not self.is_clean(slot, voters):
            return None
        accepted = [report.entries[slot] for report in self.reports.values() if slot in report.entries]
        if not accepted:
            return Entry(slot, self.ballot, Kind.NOOP, b"")
        highest = max(accepted, key=lambda entry: entry.ballot)
        return Entry(slot, self.ballot, highest.kind, highest.value)


def _ends(report: Report) -> Iterator[Slot]:
    yield report.decided
    yield max(report.entries, default=Slot(0))
    for slots in report.faulty:
        # An open end names no slot; is_clean keeps new values out of it all the same.
        if slots.stop <= max(report.last, report.decided) + 1:
            yield Slot(slots.stop - 1)
