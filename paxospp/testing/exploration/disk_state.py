"""A node's disk as a value: what was written, and would be loaded after a crash."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

from paxospp.errors import CorruptedError, TrimmedError
from paxospp.model import Ballot, Entry, Kind, Membership, Slot
from paxospp.storage.contract import DurableState, WriteBatch


class SnapshotState(NamedTuple):
    """A snapshot, without its content, which follows from what was decided."""

    slot: Slot
    """The last slot that it covers."""
    ballot: Ballot
    """The highest ballot under which an entry that it covers was handed out to be applied."""


class DiskState(NamedTuple):
    """Everything that survives a crash."""

    boot: int
    promised: Ballot | None
    decided: Slot
    first: Slot
    entries: tuple[Entry, ...]
    """Ascending."""
    faulty: tuple[range, ...] = ()
    snapshot: SnapshotState | None = None
    meta: tuple[tuple[str, bytes], ...] = ()

    @classmethod
    def founded(cls, under: Ballot, membership: Membership) -> DiskState:
        """Return a disk that holds the membership in slot 1, decided, and nothing else."""
        founding = Entry(Slot(1), under, Kind.MEMBERSHIP, membership.to_bytes())
        return cls(boot=0, promised=under, decided=Slot(1), first=Slot(1), entries=(founding,))

    def write(self, batch: WriteBatch, staged: SnapshotState | None) -> DiskState:
        """Return the disk after ``batch``, which makes ``staged`` current if it names a snapshot."""
        entries = {entry.slot: entry for entry in (*self.entries, *batch.accepted)}
        first = self.first if batch.trim is None else max(self.first, batch.trim)
        healed = {entry.slot for entry in batch.accepted}
        decided = self.decided if batch.decided is None else max(self.decided, batch.decided)
        stop = sys.maxsize if batch.faulty_until is None else max(batch.faulty_until, decided + 1)
        faulty = [range(slots.start, min(slots.stop, stop)) for slots in self.faulty]
        return self._replace(
            promised=self.promised if batch.promised is None else batch.promised,
            decided=decided,
            first=first,
            entries=tuple(entries[slot] for slot in sorted(entries) if slot >= first),
            faulty=tuple(piece for slots in faulty for piece in _without(slots, healed, first)),
            snapshot=self.snapshot if batch.snapshot is None else staged,
            meta=tuple(sorted({**dict(self.meta), **batch.meta}.items())),
        )

    def damage(self, slot: Slot) -> DiskState:
        """Return the disk with the record of ``slot`` damaged."""
        return self._replace(
            entries=tuple(entry for entry in self.entries if entry.slot != slot),
            faulty=(*self.faulty, range(slot, slot + 1)),
        )

    def lose_end(self, slot: Slot) -> DiskState:
        """Return the disk without its log from ``slot`` on, and without the hint of what is decided there."""
        return self._replace(
            decided=Slot(min(self.decided, slot - 1)),
            entries=tuple(entry for entry in self.entries if entry.slot < slot),
            faulty=(*(slots for slots in self.faulty if slots.start < slot), range(slot, sys.maxsize)),
        )

    def load(self) -> DurableState:
        """Return what ``Storage.load`` would."""
        return DurableState(
            promised=self.promised,
            decided=self.decided,
            first=self.first,
            last=max((entry.slot for entry in self.entries), default=Slot(self.first - 1)),
            meta=dict(self.meta),
            faulty=self.faulty,
        )

    def read(self, start: Slot, stop: Slot) -> Sequence[Entry]:
        """Return what ``Storage.read`` would.

        Raises:
            TrimmedError: ``start`` is below the first slot.
            CorruptedError: the first slot to return is damaged.
        """
        if start < self.first:
            raise TrimmedError(self.first)
        damaged = [slot for slot in range(start, min(stop, start + 64)) if any(slot in slots for slots in self.faulty)]
        end = damaged[0] if damaged else stop
        found = [entry for entry in self.entries if start <= entry.slot < end]
        if damaged and not found:
            raise CorruptedError(f"slot {end} is damaged", [range(end, end + 1)])
        return found


def _without(slots: range, healed: set[Slot], first: Slot) -> Sequence[range]:
    pieces: list[range] = []
    start = max(slots.start, first)
    for slot in sorted(healed):
        if start <= slot < slots.stop:
            pieces.append(range(start, slot))
            start = slot + 1
    pieces.append(range(start, slots.stop))
    return [piece for piece in pieces if piece.start < piece.stop]
