"""Rules that must hold whatever arrives; breaking one is a bug of ours and stops the node.

``assert`` would vanish under ``-O``; these do not.
"""

from __future__ import annotations

from paxospp.errors import InvariantViolatedError
from paxospp.model import Ballot, Entry, Slot


def check_same_value(slot: Slot, known: Entry, other: Entry, why: str) -> None:
    """Two entries of one slot that must carry one value (Paxos Made Simple, P2b)."""
    if known.kind != other.kind or known.value != other.value:
        raise InvariantViolatedError(
            f"slot {slot}: {why}, but ballot {known.ballot} and ballot {other.ballot} carry different values"
        )


def check_promise_rises(former: Ballot | None, promised: Ballot) -> None:
    """A promise never drops, in memory or on disk."""
    if former is not None and promised < former:
        raise InvariantViolatedError(f"the promise would drop from {former} to {promised}")


def check_next_delivery(delivered: Slot, entry: Entry) -> None:
    """Entries are handed to the state machine one slot after another."""
    if entry.slot != delivered + 1:
        raise InvariantViolatedError(f"slot {entry.slot} would be applied after slot {delivered}")


def check_next_snapshot(delivered: Slot, slot: Slot) -> None:
    """A snapshot leads on, never back."""
    if slot <= delivered:
        raise InvariantViolatedError(f"a snapshot up to slot {slot} would be installed after slot {delivered}")
