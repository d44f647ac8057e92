"""The state that readers of a ``KeyValueStorage`` see while a write is in progress (C5, C6).

The database may show a batch before it is durable. So before it writes, ``persist`` stores the
former contents of the slots in a *view*, and a reader prefers the view to the database. Views are
immutable and replaced as a whole. A scan sees one state of the database; it matches the view if the
view is still the current one when the scan has produced its first row. If not, the reader retries.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass

from paxospp.errors import CorruptedError
from paxospp.model import Entry
from paxospp.storage.key_value_records import decode_entry, slot_of


@dataclass(slots=True, frozen=True, eq=False)
class ReadView:
    """One immutable state of the log."""

    first: int
    last: int
    absent: tuple[range, ...]
    faulty: tuple[range, ...]
    hidden: Mapping[int, bytes | None]
    """During a write, the former contents of the slots that it writes; None for a slot that held nothing."""

    def faulty_from(self, slot: int) -> range | None:
        """Return the faulty range that contains ``slot``, or else the next one above it."""
        return next((slots for slots in self.faulty if slots.stop > slot), None)

    def check_gap(self, start: int, stop: int) -> None:
        """Raise CorruptedError unless the slots ``start <= slot < stop`` are known to hold nothing."""
        at = start
        for slots in self.absent:
            if slots.start <= at < slots.stop:
                at = slots.stop
        if at < stop:
            raise CorruptedError(f"slot {at} is missing", [range(at, at + 1)])


def read_entries(
    view: ReadView,
    is_current: Callable[[], bool],
    rows: Iterator[tuple[bytes, bytes]],
    start: int,
    stop: int,
    max_bytes: int,
) -> list[Entry] | None:
    """Return the entries in ``rows``, a scan of ``start <= slot < stop``, as ``view`` shows them.

    Returns None if the view was replaced before the first row arrived; the caller has to scan again.

    Raises:
        CorruptedError: the first entry is damaged or missing; the error names its slot.
    """
    entries: list[Entry] = []
    size, next_slot = 0, start
    try:
        row = next(rows, None)
        if not is_current():
            return None
        while row is not None:
            slot, data = slot_of(row[0]), row[1]
            former = view.hidden.get(slot, data)
            if former is not None:
                view.check_gap(next_slot, slot)
                entry = decode_entry(slot, former)
                size += len(entry.value)
                if entries and size > max_bytes:
                    return entries
                entries.append(entry)
                next_slot = slot + 1
            row = next(rows, None)
        view.check_gap(next_slot, min(stop, view.last + 1))
    except CorruptedError as error:
        if not entries:
            if not is_current():
                return None
            raise CorruptedError(str(error), error.slots or [range(next_slot, next_slot + 1)]) from error
    finally:
        if isinstance(rows, Generator):
            rows.close()
    return entries
