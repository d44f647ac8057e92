"""Virtual disks: what a storage holds, what a power cut may take from it, and what rots.

A disk keeps the contract's word (``paxospp.storage.contract``): batches are there whole or not at
all (C1), synced ones always (C2), and of the others a prefix (C3). It knows which part of it is
synced, which nobody else does, and which of it is damaged: damage shows as ``faulty`` or as an
error, as C8 and the anchor promise, never as absence. The anchor is modelled by its effect: what a
batch that returned has lost is reported, named by slot or open-ended, and the promise is known
from its copies unless both rot.

It keeps no time. ``storage.VirtualStorage`` says when a write begins, and the writer when it returned
(``returned``).

References: FAULTS (b), D1 to D17; Alagappan et al., "Protocol-Aware Recovery for Consensus-Based
Storage" (2018).
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
    """A batch that is not synced; ``returned`` once its ``persist`` is done."""

    batch: WriteBatch
    returned: bool = False
    lost: bool = False
    """It will return, and will not be there (D9)."""
    misdirected: bool = False
    """It will return, and one of its entries will be in another's place (D8)."""


@dataclass(slots=True)
class StoredImage:
    """Everything on one platter."""

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
    """From here on everything that is not in ``entries`` is faulty."""
    lost_since_load: bool = False
    """Whether something was damaged that the store which wrote here last does not know of."""
    copy_is_rotten: bool = False
    """One of the two copies of the promise is damaged; the next load, or write of a promise, mends it."""
    unreadable: str | None = None
    """Why it can never be loaded again."""

    @property
    def boot_record(self) -> bytes:
        """What says how often this disk was started from."""
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
            self.copy_is_rotten,
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
        """These slots are there and cannot be read."""
        for slot in slots:
            if self.entries.pop(slot, None) is not None:
                self.faulty.add(slot)
                self.lost_since_load = True

    @property
    def floor(self) -> Slot:
        """The lowest slot that the log alone tells of: those below are in the snapshot, or found the cluster."""
        return Slot(max(self.first, 2, 0 if self.snapshot is None else self.snapshot[0].slot + 1))

    def lose_end(self, start: Slot | None = None) -> None:
        """What was written last never reached the platter, and its slots cannot be named (D9).

        Everything from ``start`` on is in doubt, by default from the lowest undecided slot on; what was written
        beside it about slots that are decided is lost with it.
        """
        start = Slot(self.decided + 1) if start is None else max(start, self.floor)
        self.decided = min(self.decided, Slot(start - 1))
        self.damage([slot for slot in self.entries if slot >= start])
        self.open_from = min(self.open_from, start)
        self.lost_since_load = True

    def end_damage(self, start: Slot) -> None:
        """Make the slots empty that the last load called faulty, from ``start`` on and above ``decided``."""
        if self.lost_since_load:
            return  # it cannot be told apart here from what was lost since, and may be reported on
        start = max(start, Slot(self.decided + 1))
        self.faulty = {slot for slot in self.faulty if slot < start}
        self.faulty |= {Slot(slot) for slot in range(self.open_from, start) if slot not in self.entries}
        self.open_from = sys.maxsize


class SimulatedDisk:
    """One disk. It outlives its node, and can be taken out and put into another."""

    def __init__(self) -> None:
        self.image = StoredImage()
        """What is synced."""
        self.known: dict[Slot, Ballot] = {}
        """Per slot the ballot of what this life of the node has synced or found, rotten since or not."""
        self.pending: list[_Pending] = []
        self.in_use = False
        self.healed: list[Slot] = []
        """Slots that were damaged and are written anew; whoever looks takes them out."""
        self.staged: dict[str, bytes] = {}

    # Writing.

    def begin(self, batch: WriteBatch, *, lost: bool = False, misdirected: bool = False) -> None:
        """A write of ``batch`` is under way; all earlier ones returned."""
        self.pending.append(_Pending(batch, lost=lost, misdirected=misdirected))

    @property
    def under_way(self) -> WriteBatch | None:
        """The batch that is being written now."""
        return self.pending[-1].batch if self.pending and not self.pending[-1].returned else None

    @property
    def snapshot(self) -> SnapshotMeta | None:
        """The snapshot that is current once all writes are synced."""
        named = [pending.batch.snapshot for pending in self.pending if pending.batch.snapshot is not None]
        if named:
            return named[-1]
        return None if self.image.snapshot is None else self.image.snapshot[0]

    def returned(self, random: Random) -> Sequence[WriteBatch]:
        """The write under way returned; the batches that are synced by that."""
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
        """The write under way failed; nobody knows what of it is there (C4)."""
        if not survives:
            self.pending.pop()

    def cut_power(self, random: Random, *, lose: bool, torn: bool) -> None:
        """Only what was synced is sure to be there, and any prefix of the rest may be."""
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
            image.promised = batch.promised  # also of a lost batch: the anchor repeats it
            image.copy_is_rotten = False
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
        """A batch whose ``persist`` returned is not there; the anchor knows that it was (D9)."""
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
        image.copy_is_rotten = image.lost_since_load = False
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
