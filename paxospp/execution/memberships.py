"""The memberships the log has decided, as far as it was applied: who governs which slots.

The founding membership is the value of slot 1 and governs from slot 2. A later one is decided at
some slot i and governs from i + alpha on; it takes effect only if it names the slot of the one
that is latest when it is applied, so that of two proposed at once one is a no-op, the same one
everywhere. What the founding membership fixed for ever (cluster id, group, alpha, expiry of
sessions) no later one may change.

Reference: Lamport, Malkhi, Zhou, "Reconfiguring a State Machine" (2010), the alpha approach.
"""

from __future__ import annotations

from collections.abc import Sequence

from paxospp.errors import CorruptedError, InvariantViolatedError
from paxospp.model import Membership, Slot


class Memberships:
    """Those that govern a slot not applied yet, the oldest first."""

    __slots__ = ("_decided",)

    def __init__(self) -> None:
        self._decided: tuple[tuple[Slot, Membership], ...] = ()

    @property
    def latest(self) -> Membership | None:
        """The one decided last; None before slot 1."""
        return self._decided[-1][1] if self._decided else None

    def apply(self, slot: Slot, membership: Membership) -> bool:
        """Take in a decided membership; whether it took effect.

        Raises:
            InvariantViolatedError: slot 1 holds one that replaces another.
            CorruptedError: it changes what the founding one fixed for ever.
        """
        latest = self.latest
        if latest is None:
            if slot != 1 or membership.replaces:
                raise InvariantViolatedError(f"slot {slot}: a membership that founds nothing where none is known")
            self._decided = ((slot, membership),)
            return True
        if membership.replaces != self._decided[-1][0]:
            return False
        if _fixed(membership) != _fixed(latest):
            raise CorruptedError(f"the membership of slot {slot} belongs to another cluster")
        self._decided = (*self.governing(slot), (slot, membership))
        return True

    def governing(self, applied: Slot) -> tuple[tuple[Slot, Membership], ...]:
        """Those that govern a slot above ``applied``."""
        decided = self._decided
        # Each governs until the next begins to.
        while len(decided) > 1 and decided[1][0] + decided[1][1].alpha <= applied + 1:
            decided = decided[1:]
        return decided

    def restore(self, decided: Sequence[tuple[Slot, Membership]]) -> None:
        """Become those of a snapshot."""
        self._decided = tuple(decided)


def _fixed(membership: Membership) -> tuple[bytes, int, int, int]:
    return membership.cluster_id, membership.group, membership.alpha, membership.session_expiry_s
