"""The disk of a scenario: a small model of a storage that can be damaged and rolled back.

The disk applies batches one after another to a ``ScenarioImage``, as the storage contract requires
(``paxospp.storage.contract``). It also keeps the batches, so that it can be rolled back to an earlier state. A snapshot
holds the values that its machine had applied, so that a scenario can show two machines that applied different values.
``host`` decides when a write returns.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from paxospp.engine.handlers.learning import membership_meta, stored_membership
from paxospp.errors import CorruptedError, TrimmedError
from paxospp.model import Ballot, Entry, Kind, Membership, Slot, SnapshotMeta
from paxospp.storage.contract import DurableState, WriteBatch


@dataclass(slots=True, frozen=True)
class ScenarioSnapshot:
    """The state of a machine that had applied every slot up to ``meta.slot``."""

    meta: SnapshotMeta
    membership: Membership
    applied: tuple[Entry, ...]
    """The applied values, in order, each with the ballot under which its replica handed it out."""


@dataclass(slots=True)
class ScenarioImage:
    """The state of a disk after the batches applied so far."""

    promised: Ballot | None = None
    decided: Slot = Slot(0)
    first: Slot = Slot(1)
    entries: dict[Slot, Entry] = field(default_factory=dict)
    meta: dict[str, bytes] = field(default_factory=dict)
    snapshot: ScenarioSnapshot | None = None

    def apply(self, batch: WriteBatch, staged: ScenarioSnapshot | None) -> None:
        """Apply ``batch``; ``staged`` is the snapshot that it names, or None."""
        if batch.promised is not None:
            self.promised = batch.promised
        if batch.decided is not None:
            self.decided = max(self.decided, batch.decided)
        for entry in batch.accepted:
            self.entries[entry.slot] = entry
        self.meta.update(batch.meta)
        if staged is not None and (self.snapshot is None or staged.meta.slot >= self.snapshot.meta.slot):
            self.snapshot = staged
        if batch.trim is not None:
            self.first = max(self.first, batch.trim)
        self.entries = {slot: entry for slot, entry in self.entries.items() if slot >= self.first}


class ScenarioDisk:
    """The disk of one node; it outlives the node's replica."""

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self.boot = 0
        self.image = ScenarioImage()
        self.faulty: list[range] = []
        """Damaged slots, until a value is written there again; a lost end of the log stops at ``sys.maxsize``."""
        self.snapshot_is_lost = False
        """Whether the current snapshot can no longer be read."""
        self._writes: list[WriteBatch] = []
        self._synced = 0
        """How many of the writes survive a power cut."""
        self._staged: dict[str, ScenarioSnapshot] = {}

    # Writing.

    def stage(self, snapshot: ScenarioSnapshot) -> None:
        """Keep ``snapshot`` for the batch that will name it."""
        self._staged[snapshot.meta.id] = snapshot

    def write(self, batch: WriteBatch) -> None:
        """Apply ``batch`` as one write."""
        if batch.faulty_until is not None:
            self._end_damage(Slot(max(batch.faulty_until, self.image.decided + 1, (batch.decided or 0) + 1)))
        self._writes.append(batch)
        if batch.sync:
            self._synced = len(self._writes)
        self._apply(self.image, batch)
        healed = {entry.slot for entry in batch.accepted}
        self.faulty = [piece for slots in self.faulty for piece in _without(slots, healed)]
        if batch.snapshot is not None:
            self.snapshot_is_lost = False

    def roll_back(self, count: int) -> None:
        """Lose all but the first ``count`` writes; damaged slots stay damaged."""
        ends = [batch.faulty_until for batch in self._writes[count:] if batch.faulty_until is not None]
        if ends:  # the disk no longer knows that the damage ended
            self.faulty.append(range(min(ends), sys.maxsize))
        del self._writes[count:]
        self._synced = min(self._synced, count)
        self.image = ScenarioImage()
        for batch in self._writes:
            self._apply(self.image, batch)

    def _end_damage(self, start: Slot) -> None:
        """Make the faulty slots from ``start`` on empty; values that were lost there never come back."""
        gone = {slot for slot in self.image.entries if slot >= start and self.is_faulty(slot)}
        for slot in gone:
            del self.image.entries[slot]
        self._writes = [
            replace(batch, accepted=tuple(entry for entry in batch.accepted if entry.slot not in gone))
            for batch in self._writes
        ]
        ended = [range(slots.start, min(slots.stop, start)) for slots in self.faulty]
        self.faulty = [slots for slots in ended if slots]

    def cut_power(self) -> None:
        """Lose the writes after the last synced one."""
        self.roll_back(self._synced)

    def trim(self, first: Slot) -> None:
        """Trim the slots below ``first``, without a snapshot of them."""
        founding = self.image.entries.get(Slot(1))
        meta = {} if founding is None else membership_meta(Membership.from_bytes(founding.value))
        self.write(WriteBatch(trim=first, meta=meta))

    def _apply(self, image: ScenarioImage, batch: WriteBatch) -> None:
        image.apply(batch, None if batch.snapshot is None else self._staged[batch.snapshot.id])

    # Reading.

    @property
    def writes(self) -> int:
        """How many writes the disk has applied."""
        return len(self._writes)

    @property
    def readable_snapshot(self) -> ScenarioSnapshot | None:
        """The current snapshot, unless it is lost."""
        return None if self.snapshot_is_lost else self.image.snapshot

    @property
    def applied(self) -> Slot:
        """The slot up to which a machine that starts from this disk needs no log."""
        if self.image.snapshot is None:
            return Slot(self.image.first - 1)
        return Slot(0) if self.snapshot_is_lost else self.image.snapshot.meta.slot

    @property
    def memberships(self) -> Sequence[tuple[Slot, Membership]]:
        """The membership that a start knows without reading the log: from the snapshot, or else from beside the log."""
        snapshot = self.readable_snapshot
        membership = stored_membership(self.image.meta) if snapshot is None else snapshot.membership
        return () if membership is None else ((Slot(1), membership),)

    def load(self) -> DurableState:
        """Return what ``Storage.load`` would."""
        image = self.image
        held = [slot for slot in image.entries if not self._is_behind_the_end(slot)]
        return DurableState(
            promised=image.promised,
            decided=image.decided,
            first=image.first,
            last=Slot(max(held, default=image.first - 1)),
            snapshot=None if image.snapshot is None else image.snapshot.meta,
            meta=dict(image.meta),
            faulty=tuple(self.faulty),
        )

    def read(self, start: Slot, stop: Slot, max_bytes: int) -> Sequence[Entry]:
        """Return what ``Storage.read`` would.

        Raises:
            TrimmedError: ``start`` is below the first slot.
            CorruptedError: the first slot to return is damaged; the error names it.
        """
        if start < self.image.first:
            raise TrimmedError(self.image.first)
        entries: list[Entry] = []
        size = 0
        for number in range(start, stop):
            slot = Slot(number)
            if self.is_faulty(slot):
                if not entries:
                    raise CorruptedError(f"slot {slot} is damaged", [range(slot, slot + 1)])
                break
            entry = self.image.entries.get(slot)
            if entry is None:
                continue
            size += len(entry.value)
            if entries and size > max_bytes:
                break
            entries.append(entry)
        return entries

    def _is_behind_the_end(self, slot: Slot) -> bool:
        """Whether ``slot`` was lost with the end of the log."""
        return any(slot in slots and slots.stop == sys.maxsize for slots in self.faulty)

    def is_faulty(self, slot: Slot) -> bool:
        """Whether ``slot`` is damaged."""
        return any(slot in slots for slots in self.faulty)


def founding_write(ballot: Ballot, membership: Membership) -> WriteBatch:
    """Return the write that tells a disk that ``membership`` was decided in slot 1."""
    entry = Entry(Slot(1), ballot, Kind.MEMBERSHIP, membership.to_bytes())
    return WriteBatch(promised=ballot, accepted=(entry,), decided=Slot(1))


def _without(slots: range, healed: set[Slot]) -> Iterator[range]:
    start = slots.start
    for slot in sorted(healed):
        if slot in slots and slot >= start:
            if slot > start:
                yield range(start, slot)
            start = slot + 1
    if start < slots.stop:
        yield range(start, slots.stop)
