"""The state that readers see: that of the log after the last batch whose ``persist`` returned (clause C5).

Readers run in any thread. They look up locations under a lock that is held briefly, and read the
files outside it, by name: a slow disk does not delay the writer, and a segment that was deleted in
the meantime is simply missing. Every entry is verified again when it is read.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Sequence

from paxospp import Entry, Slot
from paxospp.errors import CorruptedError, TrimmedError
from paxospp.storage import SlotSet
from paxospp_file.log_index import EntryLocation, LogIndex
from paxospp_file.record import ENTRY_HEAD_BYTES_MAX, RecordForm, RecordHead
from paxospp_file.segment import segment_path

_LOCATIONS_MAX = 512  # looked up at once


class LogView:
    """The log as readers may see it: ``head`` of the last record, and ``index`` of the entries."""

    def __init__(self, directory: str, form: RecordForm, head: RecordHead, index: LogIndex, faulty: SlotSet) -> None:
        self._directory = directory
        self._form = form
        self._guard = threading.Lock()
        self._index = index
        self.head = head
        self.faulty = faulty
        """The faulty slots. The set is replaced, never changed."""

    @property
    def last(self) -> int:
        """The highest slot that holds an entry, ``first - 1`` if none does."""
        return max(self._index.last, self.head.first - 1)

    def entries_left(self, first: int) -> Counter[int]:
        """Return how many entries each segment would hold after a trim to ``first``."""
        left = Counter(self._index.held)
        left.subtract(place.segment for place in self._index.places(range(first)))
        return left

    def show(self, head: RecordHead, places: Sequence[EntryLocation], faulty: SlotSet) -> None:
        """Make a durable batch visible: its head, its entries, and the slots that are faulty after it."""
        with self._guard:
            if head.first > self.head.first:
                self._index.discard(range(head.first))
            for place in places:
                self._index.put(place)
            self.head, self.faulty = head, faulty

    def read(self, start: Slot, stop: Slot, max_bytes: int) -> Sequence[Entry]:
        """See ``Storage.read``."""
        found: list[Entry] = []
        at, left = int(start), max_bytes
        while True:
            with self._guard:
                if start < self.head.first:
                    raise TrimmedError(self.head.first)
                places, fault = self._find(range(at, stop), left, at_least=0 if found else 1)
            entries = self._fetch(places)
            found += entries
            if len(entries) < len(places):
                if start < self.head.first:
                    continue  # trimmed in the meantime, and the file deleted
                fault = range(places[len(entries)].slot, places[len(entries)].slot + 1)
            if fault is not None and not found:
                raise CorruptedError(f"the slots from {fault.start} to {fault.stop - 1} are damaged", [fault])
            if fault is not None or len(places) < _LOCATIONS_MAX:
                return found
            at = places[-1].slot + 1
            left -= sum(place.value_length for place in places)

    def _find(self, slots: range, max_bytes: int, *, at_least: int) -> tuple[list[EntryLocation], range | None]:
        """Return the locations of the next entries, and the faulty slots that follow them, if any."""
        fault = self.faulty.next_from(slots.start)
        fault = range(max(fault.start, slots.start), fault.stop) if fault and fault.start < slots.stop else None
        stop = fault.start if fault else slots.stop
        decided = min(self.head.decided + 1, stop)
        places: list[EntryLocation] = []
        expected = slots.start
        for place in self._index.places(range(slots.start, stop)):
            if place.slot > expected < decided:
                break
            max_bytes -= place.value_length
            if (max_bytes < 0 and len(places) >= at_least) or len(places) == _LOCATIONS_MAX:
                return places, None
            places.append(place)
            expected = place.slot + 1
        if expected < decided:  # decided and missing
            return places, next(self._index.gaps(range(expected, decided)))
        return places, fault

    def _fetch(self, places: Sequence[EntryLocation]) -> list[Entry]:
        """Return the entries at ``places``, up to the first one that is missing or damaged."""
        found: list[Entry] = []
        files: dict[int, int] = {}
        try:
            for place in places:
                file = files.get(place.segment)
                if file is None:
                    file = os.open(segment_path(self._directory, place.segment), os.O_RDONLY | os.O_CLOEXEC)
                    files[place.segment] = file
                data = os.pread(file, place.value_length + ENTRY_HEAD_BYTES_MAX, place.offset)
                entry = self._form.decode_entry(data, place.slot)
                if entry is None:
                    break
                found.append(entry)
        except OSError:
            pass  # an unreadable entry is damaged; the caller reports it
        finally:
            for file in files.values():
                os.close(file)
        return found
