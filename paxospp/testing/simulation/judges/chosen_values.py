"""The chosen values, and the incarnations that may choose: counted from synced disks, before any replica knows.

A value is chosen in a slot once a quorum of the voting incarnations holds it under one ballot (invariant 1). The voters
are those of the founding membership, from the moment it is chosen.

A slot may be chosen under several ballots, and not in the order of the ballots: the write of a deposed leader may
return after its successor has had the same value accepted. Each of these ballots covers the slot in the sense of rule
4, so the lowest one counts.
"""

from __future__ import annotations

from collections.abc import Iterable

from paxospp.model import Ballot, Kind, Membership, NodeId, Slot
from paxospp.testing.simulation.judges.observed import ObservedHost
from paxospp.testing.simulation.rule_broken import RuleBroken

Value = tuple[Kind, bytes]
Incarnation = tuple[NodeId, int]
"""One incarnation of a node: its name, and the number of the incarnation."""


class ChosenValues:
    """The chosen value of each slot; to count an acceptance takes constant time."""

    def __init__(self) -> None:
        self.values: dict[Slot, Value] = {}
        self.under: dict[Slot, Ballot] = {}
        """The lowest ballot under which each slot is chosen."""
        self._highest: list[Ballot | None] = [None]
        """By slot, as far as computed: the highest ballot in ``under`` of this slot and all slots below."""
        self.up_to = Slot(0)
        """Every slot up to this one is chosen."""
        self.membership: Membership | None = None
        self._voters: dict[Incarnation, int] = {}
        """One bit per voting incarnation."""
        self._quorum = 0
        self._proposed: dict[tuple[Slot, Ballot], Value] = {}
        self._holders: dict[tuple[Slot, Ballot], int] = {}
        self._founding_holders: dict[Ballot, set[Incarnation]] = {}

    # Values.

    def proposed(self, slot: Slot, ballot: Ballot, value: Value) -> Value:
        """Return the value proposed under ``ballot`` in ``slot``: ``value``, if none was known before."""
        return self._proposed.setdefault((slot, ballot), value)

    def is_proposed(self, slot: Slot, ballot: Ballot, value: Value) -> bool:
        """Return whether ``value`` was proposed under ``ballot`` in ``slot``."""
        return self._proposed.get((slot, ballot)) == value

    def highest_under(self, slot: Slot) -> Ballot | None:
        """Return the highest ballot under which a slot up to ``slot`` is chosen, without slots above ``up_to``."""
        known = self._highest
        while len(known) <= self.up_to:
            here, before = self.under[Slot(len(known))], known[-1]
            known.append(here if before is None or here > before else before)
        return known[min(slot, len(known) - 1)]

    # Votes.

    def has_vote(self, incarnation: Incarnation) -> bool:
        """Return whether ``incarnation`` votes, as far as that is settled."""
        return self.membership is None or incarnation in self._voters

    def would_vote(self, incarnation: Incarnation, ballot: Ballot) -> bool:
        """Return whether the founding value that was proposed under ``ballot`` lists ``incarnation``."""
        return any(
            incarnation == (member.name, member.incarnation)
            for member in Membership.from_bytes(self._proposed[Slot(1), ballot][1]).members
        )

    def are_quorum(self, names: Iterable[NodeId]) -> bool:
        """Return whether the named nodes are a quorum of the voters."""
        bits = 0
        for name in names:
            bits |= self._bit_of(name)
        return bits.bit_count() >= self._quorum

    def has_accepted(self, name: NodeId, slot: Slot, ballot: Ballot) -> bool:
        """Return whether a voting incarnation of ``name`` has the value of ``ballot`` in ``slot`` on its disk."""
        if slot == 1:
            return any(holder == name for holder, _ in self._founding_holders.get(ballot, ()))
        return bool(self._holders.get((slot, ballot), 0) & self._bit_of(name))

    def _bit_of(self, name: NodeId) -> int:
        return next((bit for (voter, _), bit in self._voters.items() if voter == name), 0)

    # Counting.

    def count(self, host: ObservedHost, slot: Slot, ballot: Ballot) -> None:
        """Note that ``host`` holds the value of ``ballot`` in ``slot``; once a quorum holds it, it is chosen."""
        incarnation = (host.name, host.sender.incarnation)
        if slot == 1:
            self._count_founding(incarnation, ballot)
            return
        bit = self._voters.get(incarnation, 0)
        key = (slot, ballot)
        before = self._holders.get(key, 0)
        holders = before | bit
        if holders == before:
            return
        self._holders[key] = holders
        if holders.bit_count() >= self._quorum:
            self._choose(slot, ballot)

    def _count_founding(self, incarnation: Incarnation, ballot: Ballot) -> None:
        holders = self._founding_holders.setdefault(ballot, set())
        holders.add(incarnation)
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
