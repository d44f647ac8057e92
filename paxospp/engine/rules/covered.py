"""The part of a snapshot that matters to the protocol: the slots it covers, and under which ballots they were decided.

A snapshot tells a replica that slots are decided, as a decided entry does. So it names a ballot, as an entry does, and
a replica that leads or campaigns under a lower ballot gives that up before it uses the snapshot (rules 1 and 4). The
types enforce it: a ``Covered`` cannot be made without a ballot, and only ``Protocol.install`` turns it into a ``Met``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NewType

from paxospp.model import Ballot, Membership, Slot, SnapshotMeta


@dataclass(slots=True, frozen=True, kw_only=True)
class Covered:
    """A snapshot whose slots, all up to ``meta.slot``, are decided."""

    meta: SnapshotMeta
    ballot: Ballot
    """The highest ballot under which a slot up to ``meta.slot`` may have been decided."""
    memberships: Sequence[tuple[Slot, Membership]]
    """The memberships that govern slots above ``meta.slot``, each with the slot that decided it; never empty."""

    @property
    def governing(self) -> Membership:
        """The latest membership."""
        return self.memberships[-1][1]


Met = NewType("Met", Covered)
"""A ``Covered`` whose ballot this replica has met, so that it leads or campaigns under no lower ballot."""
