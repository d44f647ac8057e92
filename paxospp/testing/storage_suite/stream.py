"""Streams of batches, equal in every process for equal seed, and the state of a store after each batch.

The parent need not ask a killed child what it was writing: batch *n* of seed *s* is known. ``StorageModel`` is the
state that the contract prescribes, in plain dicts: after batch *n* a store holds ``Stream(s).model(n)``, and after a
crash the model of one batch between the last that had to survive and the one under way.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from paxospp.model import Ballot, Entry, Kind, NodeId, Slot, SnapshotMeta
from paxospp.storage.contract import DurableState, Storage, WriteBatch

KILL_STREAMS = (1, False), (2, False), (3, False), (4, True), (5, True)
LEAVE_STREAM = 6, False
DAMAGE_STREAM = 114, False
LIMIT_STREAMS = (20, False), (21, False), (22, False), (23, True)
POWER_STREAMS = (31, False), (32, False), (33, True), (34, True)
SYNC_STREAM = 35, False
FAILING_STREAM = 60, False

LIVES = (14, 9, 12)
"""How many batches each handle writes before it is closed, in cases that close and reopen the store."""

STREAMS = (
    *KILL_STREAMS,
    LEAVE_STREAM,
    DAMAGE_STREAM,
    *LIMIT_STREAMS,
    *POWER_STREAMS,
    SYNC_STREAM,
    FAILING_STREAM,
)
"""Seed of each stream that the crash and damage cases use, and whether it is ``cutting``."""

UNSYNCED = 0.3
"""The share of batches without a sync, among those that neither trim nor publish a snapshot."""
VALUE_BYTES = (0, 1, 20, 40, 90, 200, 700, 3000)
SNAPSHOT_BYTES = (0, 10, 300, 5000)


@dataclass(slots=True)
class StorageModel:
    """The state of a store that keeps the contract."""

    promised: Ballot | None = None
    decided: int = 0
    first: int = 1
    entries: Mapping[int, Entry] = field(default_factory=dict)
    snapshot: SnapshotMeta | None = None
    content: bytes | None = None
    """The current snapshot's bytes."""
    meta: Mapping[str, bytes] = field(default_factory=dict)

    def after(self, batch: WriteBatch, content: bytes | None = None) -> StorageModel:
        """Return the model after ``batch``; ``content``: the bytes of the snapshot that the batch names."""
        first = max(self.first, batch.trim or 0)
        entries = dict(self.entries)
        entries.update({entry.slot: entry for entry in batch.accepted})
        return StorageModel(
            promised=batch.promised or self.promised,
            decided=max(self.decided, batch.decided or 0),
            first=first,
            entries={slot: entry for slot, entry in entries.items() if slot >= first},
            snapshot=batch.snapshot or self.snapshot,
            content=self.content if batch.snapshot is None else content,
            meta={**self.meta, **batch.meta},
        )

    @property
    def last(self) -> int:
        return max(self.entries, default=self.first - 1)

    @property
    def state(self) -> DurableState:
        """The state that ``load`` returns."""
        return DurableState(
            promised=self.promised,
            decided=Slot(self.decided),
            first=Slot(self.first),
            last=Slot(self.last),
            snapshot=self.snapshot,
            meta=self.meta,
        )

    def read(self, start: int, stop: int, max_bytes: int) -> list[Entry]:
        """Return what ``read`` returns, for a ``start`` not below ``first`` and a store without faulty slots."""
        found: list[Entry] = []
        for slot in sorted(slot for slot in self.entries if start <= slot < stop):
            max_bytes -= len(self.entries[slot].value)
            if found and max_bytes < 0:
                break
            found.append(self.entries[slot])
        return found


@dataclass(slots=True, frozen=True)
class StreamStep:
    """One batch and the snapshots that are staged before it."""

    batch: WriteBatch
    content: bytes | None = None
    """The bytes of the snapshot that the batch names."""
    orphan: tuple[SnapshotMeta, bytes] | None = None
    """A snapshot that is committed but that no batch ever names."""

    @property
    def synced(self) -> bool:
        return self.batch.sync or self.batch.trim is not None or self.batch.snapshot is not None

    def run(self, storage: Storage) -> None:
        """Stage the snapshots and persist the batch."""
        self.stage(storage)
        storage.persist(self.batch)

    def stage(self, storage: Storage) -> None:
        """Stage the snapshots; if this fails, the handle stays usable."""
        for meta, content in filter(None, (self.orphan, self._named)):
            writer = storage.create_snapshot(meta)
            half = len(content) // 2
            writer.write(content[:half])
            writer.write(content[half:])
            writer.commit()

    @property
    def _named(self) -> tuple[SnapshotMeta, bytes] | None:
        if self.batch.snapshot is None or self.content is None:
            return None
        return self.batch.snapshot, self.content


class Stream:
    """The batches 1, 2, 3, … of ``seed``. Several threads may use one stream: the judges of power cuts do."""

    def __init__(self, seed: int, *, cutting: bool = False, cutting_after: int | None = None) -> None:
        """Args:
        seed: the seed.
        cutting: half of the batches publish a snapshot, trim, or both; otherwise one in eight.
        cutting_after: the same for the batches after this one only.
        """
        self._seed = seed
        self._cutting_after = 0 if cutting else cutting_after
        self._steps: list[StreamStep] = [StreamStep(WriteBatch())]  # number 0 is the new store
        self._models = [StorageModel()]
        self._drawing = threading.Lock()  # without it, two threads that draw one batch put it in two places

    def step(self, number: int) -> StreamStep:
        self._reach(number)
        return self._steps[number]

    def model(self, number: int) -> StorageModel:
        self._reach(number)
        return self._models[number]

    def continued(self, model: StorageModel, numbers: range) -> StorageModel:
        """Return ``model`` after the batches ``numbers``."""
        for step in map(self.step, numbers):
            model = model.after(step.batch, step.content)
        return model

    def written(self, numbers: range) -> Mapping[int, Entry]:
        """Return the entries that the batches ``numbers`` wrote and did not trim."""
        return self.continued(StorageModel(), numbers).entries

    def synced_by(self, number: int) -> int:
        """Return the last synced batch up to ``number``: all up to it survive power loss once ``number`` returned."""
        return next((n for n in range(number, 0, -1) if self.step(n).synced), 0)

    def _reach(self, number: int) -> None:
        with self._drawing:
            while len(self._steps) <= number:
                model = self._models[-1]
                step = self._next(model, len(self._steps))
                self._steps.append(step)
                self._models.append(model.after(step.batch, step.content))

    def _next(self, model: StorageModel, number: int) -> StreamStep:
        chance = random.Random(f"{self._seed}/{number}")
        cutting = self._cutting_after is not None and number > self._cutting_after
        if chance.random() < (0.5 if cutting else 0.12):
            return self._cut(model, chance, number)
        return self._write(model, chance, number)

    def _write(self, model: StorageModel, chance: random.Random, number: int) -> StreamStep:
        ballot = Ballot(number, NodeId("n1"), 7)  # one value per slot and ballot, as in any run of Paxos
        batch = draw_batch(model, chance, ballot)
        if chance.random() < 0.3:
            batch = replace(batch, promised=Ballot(ballot.round + 1, NodeId(chance.choice(["n1", "n2"])), number))
        orphan = None
        if chance.random() < 0.05:
            orphan = SnapshotMeta(Slot(model.decided + 1), f"orphan-{number}"), chance.randbytes(200)
        return StreamStep(replace(batch, sync=chance.random() >= UNSYNCED), None, orphan)

    def _cut(self, model: StorageModel, chance: random.Random, number: int) -> StreamStep:
        at_least = model.snapshot.slot if model.snapshot else 0
        covered = max(model.decided, at_least)
        decided = None
        if chance.random() < 0.15:  # a snapshot of a peer that is ahead
            covered += chance.randint(1, 9)
            decided = Slot(covered)
        meta, content = SnapshotMeta(Slot(covered), f"s-{number}"), chance.randbytes(chance.choice(SNAPSHOT_BYTES))
        match chance.choice(["snapshot", "both", "both", "trim"]):
            case "trim" if model.snapshot is not None:
                first = chance.randint(model.first, max(model.first, model.snapshot.slot + 1))
                return StreamStep(WriteBatch(trim=Slot(first), sync=chance.random() < 0.5))
            case "both":
                trim = covered + 1 if decided is not None else chance.randint(1, covered + 1)
                return StreamStep(WriteBatch(snapshot=meta, trim=Slot(max(trim, 1)), decided=decided), content)
            case _ if decided is not None:
                return StreamStep(WriteBatch(snapshot=meta, trim=Slot(covered + 1), decided=decided), content)
            case _:
                return StreamStep(WriteBatch(snapshot=meta), content)


def draw_batch(model: StorageModel, chance: random.Random, ballot: Ballot) -> WriteBatch:
    """Draw a batch without promise, trim or snapshot that an acceptor could persist in the state ``model``.

    It overwrites undecided slots, never decided ones, because a leader never proposes another value for a decided slot.
    An entry below ``first`` may be among them, which the store must not keep.
    """
    low, stop = model.decided + 1, max(model.decided, model.last) + 5
    count = chance.choice([0, 1, 1, 1, 2, 4])
    slots = chance.sample(range(low, stop), min(count, stop - low))
    if model.first > 1 and chance.random() < 0.2:
        slots.append(model.first - 1)
    entries = [
        Entry(Slot(slot), ballot, chance.choice(list(Kind)), chance.randbytes(chance.choice(VALUE_BYTES)))
        for slot in slots
    ]
    held = set(model.entries) | {slot for slot in slots if slot >= model.first}
    decided = model.decided
    while decided + 1 in held or decided + 1 < model.first:
        decided += 1
    return WriteBatch(
        accepted=entries,
        decided=Slot(chance.randint(0, decided)) if chance.random() < 0.5 else None,
        meta={chance.choice("abc"): chance.randbytes(chance.choice([0, 3, 40]))} if chance.random() < 0.15 else {},
    )
