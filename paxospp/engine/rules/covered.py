"""What a snapshot covers, as far as the protocol is concerned.

A snapshot tells a replica that slots are decided, like a decided entry does, so it has to name a
ballot as an entry does: a replica that leads or campaigns under a lower one must give that up before
it makes use of the snapshot (rules 1 and 4). A snapshot is installed as ``Met``, which only
``Protocol.install`` makes, of a ``Covered`` whose ballot it has met; and a ``Covered`` is not made
without a ballot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NewType

from paxospp.model import Ballot, Membership, Slot, SnapshotMeta


@dataclass(slots=True, frozen=True, kw_only=True)
class Covered:
    """Every slot up to ``meta.slot`` is decided, and is part of the snapshot ``meta``."""

    meta: SnapshotMeta
    ballot: Ballot
    """No slot up to ``meta.slot`` was decided under a higher ballot."""
    memberships: Sequence[tuple[Slot, Membership]]
    """Every membership that governs a slot above ``meta.slot``, with the slot it was decided in; not empty."""

    @property
    def governing(self) -> Membership:
        """The latest of the memberships."""
        return self.memberships[-1][1]


Met = NewType("Met", Covered)
"""What a snapshot covers, once this replica has met its ballot: it leads and campaigns under no lower one."""
