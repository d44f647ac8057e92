"""Invariants that hold whatever arrives; a violation is a bug in paxospp and stops the node.

They raise instead of asserting, because ``python -O`` removes assertions.
"""

from __future__ import annotations

from paxospp.errors import InvariantViolatedError
from paxospp.model import Ballot, Entry, Slot


def check_same_value(slot: Slot, known: Entry, other: Entry, why: str) -> None:
    """Check that two entries of one slot carry the same value (Lamport, "Paxos Made Simple", P2b)."""
    if known.kind != other.kind or known.value != other.value:
        raise InvariantViolatedError(
            f"slot {slot}: {why}, but ballot {known.ballot} and ballot {other.ballot} carry different values"
        )


def check_promise_rises(former: Ballot | None, promised: Ballot) -> None:
    """Check that the promise does not drop."""
    if former is not None and promised < former:
        raise InvariantViolatedError(f"the promise would drop from {former} to {promised}")


def check_next_delivery(delivered: Slot, entry: Entry) -> None:
    """Check that ``entry`` is the next one for the state machine."""
    if entry.slot != delivered + 1:
        raise InvariantViolatedError(f"slot {entry.slot} would be applied after slot {delivered}")


def check_next_snapshot(delivered: Slot, slot: Slot) -> None:
    """Check that a snapshot lies above everything that was delivered."""
    if slot <= delivered:
        raise InvariantViolatedError(f"a snapshot up to slot {slot} would be installed after slot {delivered}")
