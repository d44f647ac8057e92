"""Simulated disks: what a storage holds, what a power cut may take from it, and what is damaged.

A disk keeps the storage contract (``paxospp.storage.contract``): a batch is there whole or not at all (C1), synced
batches are always there (C2), and of the others a prefix (C3). The disk knows what is synced, which nothing else does,
and what is damaged: damage shows as ``faulty`` or as an error, as C8 and the anchor promise, never as absence. The
anchor is modelled by its effect: what a returned batch has lost is reported, by slot or as an open end, and the promise
is known from its two copies unless both are damaged.

A disk has no time. ``VirtualStorage`` says when a write begins, and the virtual writer when it has returned
(``returned``).

References: families D1 to D17 of ``paxospp/testing/simulation/README.md``; Alagappan et al., "Protocol-Aware Recovery
for Consensus-Based Storage" (2018).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from paxospp.errors import CorruptedError, TrimmedError
from paxospp.model import Ballot, Entry, Slot, SnapshotMeta
from paxospp.storage.contract import DurableState, WriteBatch


@dataclass(slots=True)
class _Pending:
    """A batch that is not synced; ``returned`` once its ``persist`` has returned."""

    batch: WriteBatch
    returned: bool = False
    lost: bool = False
    """Whether it returns and is lost (D9)."""
    misdirected: bool = False
    """Whether it returns and one of its entries is in the place of another (D8)."""


@dataclass(slots=True)
class StoredImage:
    """The synced content of one disk."""

    promised: Ballot | None = None
    decided: Slot = Slot(0)
    first: Slot = Slot(1)
    entries: dict[Slot, Entry] = field(default_factory=dict)
    meta: dict[str, bytes] = field(default_factory=dict)
    snapshot: tuple[SnapshotMeta, bytes] | None = None
    snapshot_is_damaged: bool = False
    faulty: set[Slot] = field(default_factory=set)
    """Slots whose records are there and cannot be read."""
    open_from: int = sys.maxsize
    """From this slot on, every slot that is not in ``entries`` is faulty."""
    lost_since_load: bool = False
    """Whether something was damaged since the last load, so that the store does not know of it."""
    copy_is_damaged: bool = False
    """Whether one of the two copies of the promise is damaged; the next load or promise repairs it."""
    unreadable: str | None = None
    """Why the disk can never be loaded again; None if it can."""

    @property
    def boot_record(self) -> bytes:
        """Return the record that counts how often this disk was started from."""
        return self.meta.get("boot", b"")

    def copy(self) -> StoredImage:
        return StoredImage(
            self.promised,
            self.decided,
            self.first,
            dict(self.entries),
            dict(self.meta),
            self.snapshot,
            self.snapshot_is_damaged,
            set(self.faulty),
            self.open_from,
            self.lost_since_load,
            self.copy_is_damaged,
            self.unreadable,
        )

    def is_faulty(self, slot: Slot) -> bool:
        return slot in self.faulty or (slot >= self.open_from and slot not in self.entries)

    def faulty_ranges(self) -> tuple[range, ...]:
        ranges = list(_ranges(slot for slot in self.faulty if slot < self.open_from))
        if self.open_from < sys.maxsize:
            start = self.open_from
            for slot in sorted(slot for slot in self.entries if slot >= start):
                if start < slot:
                    ranges.append(range(start, slot))
                start = slot + 1
            ranges.append(range(start, sys.maxsize))
        return tuple(ranges)

    def damage(self, slots: Iterable[Slot]) -> None:
        """Damage the records of these slots, so that they cannot be read."""
        for slot in slots:
            if self.entries.pop(slot, None) is not None:
                self.faulty.add(slot)
                self.lost_since_load = True

    @property
    def floor(self) -> Slot:
        """Return the lowest slot that only the log holds: lower ones are in the snapshot, or are the founding."""
        return Slot(max(self.first, 2, 0 if self.snapshot is None else self.snapshot[0].slot + 1))

    def lose_end(self, start: Slot | None = None) -> None:
        """Lose the last writes, which returned and never reached the disk, and whose slots cannot be named (D9).

        Everything from ``start`` on is in doubt; by default, from the lowest undecided slot on. The lost writes
        may also have raised ``decided``, so it drops below ``start``.
        """
        start = Slot(self.decided + 1) if start is None else max(start, self.floor)
        self.decided = min(self.decided, Slot(start - 1))
        self.damage([slot for slot in self.entries if slot >= start])
        self.open_from = min(self.open_from, start)
        self.lost_since_load = True

    def end_damage(self, start: Slot) -> None:
        """Empty the slots from ``start`` on that the last load reported as faulty and that are above ``decided``."""
        if self.lost_since_load:
            return  # what the load reported cannot be told apart from what was lost since, so all of it stays faulty
        start = max(start, Slot(self.decided + 1))
        self.faulty = {slot for slot in self.faulty if slot < start}
        self.faulty |= {Slot(slot) for slot in range(self.open_from, start) if slot not in self.entries}
        self.open_from = sys.maxsize


class SimulatedDisk:
    """One disk. It outlives its node, and may be moved to another node."""

    def __init__(self) -> None:
        self.image = StoredImage()
        """The synced content."""
        self.known: dict[Slot, Ballot] = {}
        """By slot: the ballot of what this boot of the node has synced or found, whether damaged since or not."""
        self.pending: list[_Pending] = []
        self.in_use = False
        self.healed: list[Slot] = []
        """Slots that were damaged and are written again; the reader of this list empties it."""
        self.staged: dict[str, bytes] = {}

    # Writing.

    def begin(self, batch: WriteBatch, *, lost: bool = False, misdirected: bool = False) -> None:
        """Begin to write ``batch``; all earlier writes have returned."""
        self.pending.append(_Pending(batch, lost=lost, misdirected=misdirected))

    @property
    def under_way(self) -> WriteBatch | None:
        """Return the batch that is being written now."""
        return self.pending[-1].batch if self.pending and not self.pending[-1].returned else None

    @property
    def snapshot(self) -> SnapshotMeta | None:
        """Return the snapshot that is current once all writes are synced."""
        named = [pending.batch.snapshot for pending in self.pending if pending.batch.snapshot is not None]
        if named:
            return named[-1]
        return None if self.image.snapshot is None else self.image.snapshot[0]

    def returned(self, random: Random) -> Sequence[WriteBatch]:
        """Let the current write return, and return the batches that are synced by it."""
        last = self.pending[-1]
        last.returned = True
        if not last.batch.sync:
            return ()
        synced = [pending.batch for pending in self.pending]
        for pending in self.pending:
            self._settle(pending, random)
        self.pending.clear()
        return synced

    def fail(self, random: Random, survives: bool) -> None:
        """Let the current write fail; it ``survives`` or not, which nobody is told (C4)."""
        if not survives:
            self.pending.pop()

    def cut_power(self, random: Random, *, lose: bool, torn: bool) -> None:
        """Cut the power: what was synced stays, and of the rest any prefix."""
        pending = self.pending
        if torn and pending and not pending[-1].returned:
            pending.pop()
        keep = random.randint(0, len(pending)) if lose else len(pending)
        for kept in pending[:keep]:
            kept.lost = kept.misdirected = False
            self._settle(kept, random)
        pending.clear()
        self.staged.clear()
        self.in_use = False

    def _settle(self, pending: _Pending, random: Random) -> None:
        batch, image = pending.batch, self.image
        if batch.promised is not None:
            image.promised = batch.promised  # even of a lost batch: the anchor repeats it
            image.copy_is_damaged = False
        if pending.lost:
            self._lose(batch, random)
            return
        if batch.decided is not None and batch.decided > image.decided:
            image.decided = batch.decided
        for entry in batch.accepted:
            slot = entry.slot
            if slot >= image.first:
                self.known[slot] = entry.ballot
                if image.is_faulty(slot):
                    self.healed.append(slot)
                image.entries[slot] = entry
                image.faulty.discard(slot)
        if batch.faulty_until is not None:
            image.end_damage(batch.faulty_until)
        image.meta.update(batch.meta)
        if batch.snapshot is not None:
            image.snapshot = (batch.snapshot, self.staged.pop(batch.snapshot.id))
            image.snapshot_is_damaged = False
        if batch.trim is not None and batch.trim > image.first:
            self._trim(batch.trim)
        if pending.misdirected and batch.accepted:
            here = random.choice(batch.accepted).slot
            there = random.choice(sorted(image.entries))
            image.damage({here, there})

    def _lose(self, batch: WriteBatch, random: Random) -> None:
        """Lose a batch whose ``persist`` has returned; the anchor knows that it existed (D9)."""
        self.image.lost_since_load = True
        for entry in batch.accepted:
            if entry.slot >= self.image.first:
                self.known[entry.slot] = entry.ballot
                self.image.entries[entry.slot] = entry
        if random.random() < 0.5:
            self.image.damage([entry.slot for entry in batch.accepted])
            return
        self.image.lose_end()

    def _trim(self, first: Slot) -> None:
        image = self.image
        image.first = first
        for slot in [slot for slot in image.entries if slot < first]:
            del image.entries[slot]
        image.faulty = {slot for slot in image.faulty if slot >= first}
        if image.open_from < first:
            image.open_from = first

    # Reading.

    def load(self) -> DurableState:
        image = self.image
        if image.unreadable is not None:
            raise CorruptedError(image.unreadable)
        image.copy_is_damaged = image.lost_since_load = False
        self.known = {slot: entry.ballot for slot, entry in image.entries.items()}
        return DurableState(
            promised=image.promised,
            decided=image.decided,
            first=image.first,
            last=Slot(max(image.entries, default=image.first - 1)),
            snapshot=None if image.snapshot is None else image.snapshot[0],
            meta=dict(image.meta),
            faulty=image.faulty_ranges(),
        )

    def read(self, start: Slot, stop: Slot, max_bytes: int) -> Sequence[Entry]:
        image = self.image
        if start < image.first:
            raise TrimmedError(image.first)
        entries = image.entries
        unsynced = {
            entry.slot: entry for pending in self.pending if pending.returned for entry in pending.batch.accepted
        }
        found: list[Entry] = []
        size = 0
        last = max(max(entries, default=0), max(unsynced, default=0), max(image.faulty, default=0))
        for number in range(start, min(stop, last + 1)):
            slot = Slot(number)
            entry = unsynced.get(slot) or entries.get(slot)
            if entry is None:
                if not image.is_faulty(slot):
                    continue
                if not found:
                    raise CorruptedError(f"slot {slot} is damaged", [range(slot, slot + 1)])
                break
            size += len(entry.value)
            if found and size > max_bytes:
                break
            found.append(entry)
        return found


def _ranges(slots: Iterable[Slot]) -> Iterable[range]:
    start = stop = 0
    for slot in sorted(slots):
        if slot != stop:
            if stop > start:
                yield range(start, stop)
            start = slot
        stop = slot + 1
    if stop > start:
        yield range(start, stop)
