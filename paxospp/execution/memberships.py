"""The memberships that the log has decided and this replica has applied, and which slots they govern.

The first membership is the value of slot 1 and governs from slot 2 on. A later one, decided in slot i, governs from
slot i + alpha on. It takes effect only if it names the slot of the membership that is the latest when it is applied, so
of two proposed at the same time one has no effect, the same one on every replica. No later membership may change what
the first one fixed: cluster id, group, alpha and the expiry of sessions.

Reference: Lamport, Malkhi, Zhou, "Reconfiguring a State Machine" (2010), the alpha approach.
"""

from __future__ import annotations

from collections.abc import Sequence

from paxospp.errors import CorruptedError, InvariantViolatedError
from paxospp.model import Membership, Slot


class Memberships:
    """The memberships that govern slots not applied yet, oldest first."""

    __slots__ = ("_decided",)

    def __init__(self) -> None:
        self._decided: tuple[tuple[Slot, Membership], ...] = ()

    @property
    def latest(self) -> Membership | None:
        """The membership decided last; None before slot 1."""
        return self._decided[-1][1] if self._decided else None

    def apply(self, slot: Slot, membership: Membership) -> bool:
        """Apply a decided membership, and return whether it took effect.

        Raises:
            InvariantViolatedError: the first membership is not in slot 1, or claims to replace another.
            CorruptedError: it changes what the first membership fixed.
        """
        latest = self.latest
        if latest is None:
            if slot != 1 or membership.replaces:
                raise InvariantViolatedError(
                    f"slot {slot}: a membership that replaces an earlier one, which is unknown"
                )
            self._decided = ((slot, membership),)
            return True
        if membership.replaces != self._decided[-1][0]:
            return False
        if _fixed(membership) != _fixed(latest):
            raise CorruptedError(f"the membership of slot {slot} belongs to another cluster")
        self._decided = (*self.governing(slot), (slot, membership))
        return True

    def governing(self, applied: Slot) -> tuple[tuple[Slot, Membership], ...]:
        """Return the memberships that govern slots above ``applied``, each with the slot that decided it."""
        decided = self._decided
        # A membership governs until the next one begins to.
        while len(decided) > 1 and decided[1][0] + decided[1][1].alpha <= applied + 1:
            decided = decided[1:]
        return decided

    def restore(self, decided: Sequence[tuple[Slot, Membership]]) -> None:
        """Replace the content with that of a snapshot."""
        self._decided = tuple(decided)


def _fixed(membership: Membership) -> tuple[bytes, int, int, int]:
    return membership.cluster_id, membership.group, membership.alpha, membership.session_expiry_s
