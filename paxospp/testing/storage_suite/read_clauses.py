"""Name the clause that a wrong result of ``read`` or ``load`` breaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from paxospp.errors import PaxosppError
from paxospp.model import Entry, Slot
from paxospp.storage.contract import DurableState, Storage, WriteBatch
from paxospp.testing.storage_suite.kinds import named


def attempt(storage: Storage, start: int, stop: int, max_bytes: int) -> object:
    """Return what ``read`` returns as a list, or the name of the exception that it raises."""
    try:
        return list(storage.read(Slot(start), Slot(stop), max_bytes))
    except PaxosppError as error:
        return named(type(error))


def clause_of_read(
    found: object, wanted: object, batch: WriteBatch | None = None, trims_too_far: Callable[[], bool] = bool
) -> str:
    """Return the clause that ``found``, the result of a read, breaks, given that it differs from ``wanted``.

    C2: a slot holds an older entry. C7: the bytes of a value differ, or empty values are missing. C10: slots are
    missing above the snapshot that ``batch``, the last batch, published. C6: all else. It is also C6 if only the first
    slot that the trim of ``batch`` keeps is missing, and ``trims_too_far()`` says that a trim without a snapshot loses
    that slot too.
    """
    if batch is not None and isinstance(wanted, list):
        gone = _by_slot(wanted).keys() - (_by_slot(found).keys() if isinstance(found, list) else ())
        if gone == {batch.trim} and trims_too_far():
            return "C6"
        if gone and batch.snapshot is not None and min(gone) > batch.snapshot.slot:
            return "C10"
    if not isinstance(found, list) or not isinstance(wanted, list):
        return "C6"
    is_, due = _by_slot(found), _by_slot(wanted)
    if is_.keys() != due.keys():
        missing = [due[slot] for slot in due.keys() - is_.keys()]
        return "C7" if missing and not is_.keys() - due.keys() and not any(entry.value for entry in missing) else "C6"
    if found != wanted and list(is_.values()) == found and list(due.values()) == wanted:
        same_ballots = all(is_[slot].ballot == due[slot].ballot for slot in due)
        return "C7" if same_ballots else "C2"
    return "C6"


def clause_of_state(
    found: DurableState,
    wanted: DurableState,
    batch: WriteBatch | None = None,
    trims_too_far: Callable[[], bool] = bool,
) -> str:
    """Return the clause that ``found`` breaks, the wrong state of a store that was closed cleanly after ``batch``."""
    if tuple(found.faulty):
        return "C8"
    if (found.promised, found.decided) != (wanted.promised, wanted.decided):
        return "C2"
    if found.snapshot != wanted.snapshot:
        return "C10"
    if batch is not None and batch.snapshot is not None and found.first == wanted.first and found.last < wanted.last:
        return "C6" if wanted.last == batch.trim and trims_too_far() else "C10"
    return "C7" if (found.first, found.last) == (wanted.first, wanted.last) else "C6"


def _by_slot(entries: Sequence[Entry]) -> dict[int, Entry]:
    return {entry.slot: entry for entry in sorted(entries, key=_slot)}


def _slot(entry: Entry) -> int:
    return entry.slot
