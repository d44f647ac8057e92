"""The part of the log that is held in memory: everything undecided, and a bounded tail below.

The storage holds all of it; this is a view. Every held entry from ``memory_from`` on is here.
Slots whose record was damaged are *faulty*: neither accepted nor none, until a value is
stored there again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from paxospp.model import Entry, Slot


class Log:
    """Entries by slot, with what is faulty; evicts what is decided once it holds too much."""

    def __init__(self, *, first: Slot, last: Slot, memory_from: Slot, faulty: Sequence[range], bytes_max: int) -> None:
        self.first = first
        self.last = last
        self.memory_from = memory_from
        self.faulty = [range(max(slots.start, first), slots.stop) for slots in faulty if slots.stop > first]
        self.bytes = 0
        self.bytes_max = bytes_max
        """What ``bytes`` may be after ``evict``."""
        self._entries: dict[Slot, Entry] = {}

    def get(self, slot: Slot) -> Entry | None:
        """The entry held in memory for ``slot``."""
        return self._entries.get(slot)

    @property
    def held(self) -> Collection[Slot]:
        """The slots whose entries memory holds."""
        return self._entries.keys()

    def store(self, entry: Entry) -> None:
        """Hold ``entry``; a value stored over a faulty slot heals it."""
        former = self._entries.get(entry.slot)
        if former is not None:
            self.bytes -= len(former.value)
        self._entries[entry.slot] = entry
        self.bytes += len(entry.value)
        self.last = max(self.last, entry.slot)
        if self.faulty:
            self.faulty = list(_without(self.faulty, entry.slot))

    def mark_faulty(self, slots: Iterable[range]) -> None:
        """Damage found while reading: these slots are faulty unless memory holds them."""
        for damaged in slots:
            start = max(damaged.start, self.first)
            stop = min(damaged.stop, self.last + 1)
            held = sorted(slot for slot in self._entries if start <= slot < stop)
            for slot in (*held, stop):
                if start < slot and not any(known.start <= start and slot <= known.stop for known in self.faulty):
                    self.faulty.append(range(start, slot))
                start = slot + 1

    @property
    def faulty_end(self) -> bool:
        """Whether damage reaches beyond all that is held."""
        return bool(self.faulty) and self.is_faulty_above(self.last)

    def is_faulty(self, slot: Slot) -> bool:
        return any(slot in slots for slots in self.faulty)

    def is_faulty_above(self, bound: Slot) -> bool:
        """Whether any slot above ``bound`` is faulty."""
        return any(slots.stop > bound + 1 for slots in self.faulty)

    def end_of_faulty(self, slot: Slot) -> Slot:
        """The first slot above ``slot`` that is not faulty with it, or past all that is held."""
        for slots in self.faulty:
            if slot in slots:
                # Damage may reach above all that is held; whoever steps over it must come on all the same.
                return Slot(max(slot + 1, min(slots.stop, self.last + 1)))
        return slot

    def forget_loose(self, slot: Slot) -> None:
        """Drop a healed entry that lies below what memory holds without gaps."""
        if slot < self.memory_from:
            entry = self._entries.pop(slot, None)
            if entry is not None:
                self.bytes -= len(entry.value)

    def close_faulty_end(self, bound: Slot) -> bool:
        """Nothing above ``bound`` can have been accepted before the damage: open ends end there.

        Returns whether anything was faulty above it.
        """
        if not self.is_faulty_above(bound):
            return False
        self.faulty = [
            slots
            for slots in (range(faulty.start, min(faulty.stop, bound + 1)) for faulty in self.faulty)
            if len(slots)
        ]
        return True

    def above(self, slot: Slot) -> tuple[Entry, ...]:
        """What is held above ``slot``, ascending; complete as long as ``slot >= memory_from - 1``."""
        return tuple(self._entries[held] for held in sorted(self._entries) if held > slot)

    def between(self, start: Slot, stop: Slot, bytes_max: int) -> tuple[Entry, ...]:
        """Consecutive entries from ``start`` on that memory holds, at least one if it holds ``start``."""
        entries: list[Entry] = []
        size = 0
        for slot in range(start, stop):
            entry = self._entries.get(Slot(slot))
            if entry is None or (entries and size + len(entry.value) > bytes_max):
                break
            entries.append(entry)
            size += len(entry.value)
        return tuple(entries)

    def trim(self, first: Slot) -> None:
        """The slots below ``first`` are forgotten."""
        if first <= self.first:
            return
        for slot in [slot for slot in self._entries if slot < first]:
            self.bytes -= len(self._entries.pop(slot).value)
        self.first = first
        self.last = max(self.last, Slot(first - 1))
        self.memory_from = max(self.memory_from, first)
        self.faulty = [range(max(slots.start, first), slots.stop) for slots in self.faulty if slots.stop > first]

    def evict(self, up_to: Slot) -> None:
        """Let go of the oldest entries, up to that slot, until the bound holds again."""
        while self.bytes > self.bytes_max and self.memory_from <= up_to:
            entry = self._entries.pop(self.memory_from, None)
            if entry is not None:
                self.bytes -= len(entry.value)
            self.memory_from = Slot(self.memory_from + 1)

    @property
    def is_full(self) -> bool:
        """Whether even after evicting there is no room for more undecided values."""
        return self.bytes > 2 * self.bytes_max


def _without(ranges: Iterable[range], slot: Slot) -> Iterator[range]:
    for slots in ranges:
        if slot not in slots:
            yield slots
            continue
        if slots.start < slot:
            yield range(slots.start, slot)
        if slot + 1 < slots.stop:
            yield range(slot + 1, slots.stop)
