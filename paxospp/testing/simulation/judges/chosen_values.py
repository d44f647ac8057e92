"""What is chosen, and who may choose it: counted from synced disks alone, before any replica knows.

A value is chosen in a slot once a quorum of the lives that vote holds it under one ballot (FAULTS,
invariant 1). The lives that vote are those of the founding membership, from the moment it is chosen.

A slot may be chosen under several ballots, and not in their order: the write of a deposed leader may return after its
successor has had the same value accepted. Each of them covers the slot in the sense of rule 4, so the lowest counts.
"""

from __future__ import annotations

from collections.abc import Iterable

from paxospp.model import Ballot, Kind, Membership, NodeId, Slot
from paxospp.testing.simulation.judges.observed import ObservedHost
from paxospp.testing.simulation.rule_broken import RuleBroken

Value = tuple[Kind, bytes]
Life = tuple[NodeId, int]
"""A name and an incarnation."""


class ChosenValues:
    """Slots and their values; an acceptance costs as much as it changes."""

    def __init__(self) -> None:
        self.values: dict[Slot, Value] = {}
        self.under: dict[Slot, Ballot] = {}
        """The lowest ballot under which a slot is chosen."""
        self._highest: list[Ballot | None] = [None]
        """Per slot, as far as it is known: the highest ballot in ``under`` of this slot or one below."""
        self.up_to = Slot(0)
        """Every slot up to this one is chosen."""
        self.membership: Membership | None = None
        self._voters: dict[Life, int] = {}
        """A bit per life that votes."""
        self._quorum = 0
        self._proposed: dict[tuple[Slot, Ballot], Value] = {}
        self._holders: dict[tuple[Slot, Ballot], int] = {}
        self._founding_holders: dict[Ballot, set[Life]] = {}

    # Values.

    def proposed(self, slot: Slot, ballot: Ballot, value: Value) -> Value:
        """The value of that ballot there: ``value`` if none was known before."""
        return self._proposed.setdefault((slot, ballot), value)

    def is_proposed(self, slot: Slot, ballot: Ballot, value: Value) -> bool:
        """Whether that is the value of that ballot there."""
        return self._proposed.get((slot, ballot)) == value

    def highest_under(self, slot: Slot) -> Ballot | None:
        """The highest of the ballots under which the slots up to ``slot`` are chosen, as far as they all are."""
        known = self._highest
        while len(known) <= self.up_to:
            here, before = self.under[Slot(len(known))], known[-1]
            known.append(here if before is None or here > before else before)
        return known[min(slot, len(known) - 1)]

    # Votes.

    def has_vote(self, life: Life) -> bool:
        """Whether that life of a storage votes, as far as that is settled."""
        return self.membership is None or life in self._voters

    def would_vote(self, life: Life, ballot: Ballot) -> bool:
        """Whether that life stands in the founding that was proposed under ``ballot``."""
        return any(
            life == (member.name, member.incarnation)
            for member in Membership.from_bytes(self._proposed[Slot(1), ballot][1]).members
        )

    def are_quorum(self, names: Iterable[NodeId]) -> bool:
        """Whether so named nodes are enough."""
        bits = 0
        for name in names:
            bits |= self._bit_of(name)
        return bits.bit_count() >= self._quorum

    def has_accepted(self, name: NodeId, slot: Slot, ballot: Ballot) -> bool:
        """Whether a life of ``name`` that votes has accepted there, on its disk."""
        if slot == 1:
            return any(holder == name for holder, _ in self._founding_holders.get(ballot, ()))
        return bool(self._holders.get((slot, ballot), 0) & self._bit_of(name))

    def _bit_of(self, name: NodeId) -> int:
        return next((bit for (voter, _), bit in self._voters.items() if voter == name), 0)

    # Counting.

    def count(self, host: ObservedHost, slot: Slot, ballot: Ballot) -> None:
        """``host`` holds the value of ``ballot`` in ``slot``; once a quorum does, it is chosen (1)."""
        life = (host.name, host.sender.incarnation)
        if slot == 1:
            self._count_founding(life, ballot)
            return
        bit = self._voters.get(life, 0)
        key = (slot, ballot)
        before = self._holders.get(key, 0)
        holders = before | bit
        if holders == before:
            return
        self._holders[key] = holders
        if holders.bit_count() >= self._quorum:
            self._choose(slot, ballot)

    def _count_founding(self, life: Life, ballot: Ballot) -> None:
        holders = self._founding_holders.setdefault(ballot, set())
        holders.add(life)
        kind, value = self._proposed[Slot(1), ballot]
        if kind is not Kind.MEMBERSHIP:
            raise RuleBroken("3", f"slot 1 holds no membership under {ballot}")
        membership = Membership.from_bytes(value)
        members = {(member.name, member.incarnation) for member in membership.members}
        if 2 * len(holders & members) <= len(members):
            return
        if self.membership is None:
            self.membership = membership
            self._voters = {
                (member.name, member.incarnation): 1 << place for place, member in enumerate(membership.members)
            }
            self._quorum = len(members) // 2 + 1
        self._choose(Slot(1), ballot)

    def _choose(self, slot: Slot, ballot: Ballot) -> None:
        value = self._proposed[slot, ballot]
        chosen = self.values.get(slot)
        if chosen is None:
            self.values[slot] = value
            self.under[slot] = ballot
            while Slot(self.up_to + 1) in self.values:
                self.up_to = Slot(self.up_to + 1)
        elif chosen != value:
            raise RuleBroken(
                "1", f"slot {slot} was chosen under {self.under[slot]} and now as something else under {ballot}"
            )
        elif ballot < self.under[slot]:
            self.under[slot] = ballot
            del self._highest[slot:]
