"""What readers of a ``KeyValueStorage`` are shown, also while a write is under way (C5, C6).

The store below may show a batch before it is durable. So ``persist`` puts what the slots held
before into the *view*, swaps views whole, and a reader takes the view's word over the store's.
A scan is one state of the store; it fits the view if that is still the same one when the scan's
first row is there. If not, the reader begins again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass

from paxospp.errors import CorruptedError
from paxospp.model import Entry
from paxospp.storage.key_value_records import decode_entry, slot_of


@dataclass(slots=True, frozen=True, eq=False)
class ReadView:
    """One state of the log; replaced whole, never changed."""

    first: int
    last: int
    absent: tuple[range, ...]
    faulty: tuple[range, ...]
    hidden: Mapping[int, bytes | None]
    """While a write is under way: the slots it writes, as they were before it."""

    def faulty_from(self, slot: int) -> range | None:
        """The faulty range that holds ``slot``, or else the next one above it."""
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
    """What ``rows``, a scan from ``start`` to before ``stop``, gives under ``view``; None: begin again."""
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
