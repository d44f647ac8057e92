"""Histories that hypothesis generates, run on the store under test and on a memory store side by side."""

from __future__ import annotations

import sys
from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from paxospp.model import Ballot, Entry, Kind, NodeId, Slot, SnapshotMeta
from paxospp.storage.contract import DurableState, SnapshotWriter, Storage, WriteBatch
from paxospp.testing.storage_suite.read_clauses import attempt, clause_of_read, clause_of_state
from paxospp.testing.storage_suite.step_log import Witness
from paxospp.testing.storage_suite.words import EVERYTHING, read_snapshot, told_call_of_read

Require = Callable[[str, str, object, object], None]
Reopen = Callable[[Witness], tuple[Witness, DurableState]]

_VALUES = st.binary(max_size=60)
_OFFSETS = st.integers(0, 8)


class Comparison(RuleBasedStateMachine):
    """Two stores that get the same calls; the memory store is right by definition."""

    def __init__(
        self,
        new: Callable[[], tuple[Witness, Storage]],
        reopen: Reopen | None,
        require: Require,
        trims_too_far: Callable[[], bool],
    ) -> None:
        super().__init__()
        self._new = new
        self._reopen = reopen
        self._require = require
        self._trims_too_far = trims_too_far
        self._batch: WriteBatch | None = None
        self._writer: SnapshotWriter | None = None
        self._snapshots = 0
        self._round = 0
        self._promised: Ballot | None = None
        self._meta: dict[str, bytes] = {}
        self._held: set[int] = set()
        self._decided = 0
        self._first = 1
        self._snapshot: SnapshotMeta | None = None
        self._storage: Witness
        self._memory: Storage

    @initialize()
    def open(self) -> None:
        self._storage, self._memory = self._new()

    @rule(
        offsets=st.lists(_OFFSETS, max_size=4, unique=True),
        values=st.lists(_VALUES, min_size=4, max_size=4),
        kind=st.sampled_from(list(Kind)),
        promise=st.booleans(),
        decided=st.none() | _OFFSETS,
        meta=st.dictionaries(st.sampled_from(["", "a", "b"]), _VALUES, max_size=2),
    )
    def persist(
        self,
        offsets: list[int],
        values: list[bytes],
        kind: Kind,
        promise: bool,
        decided: int | None,
        meta: dict[str, bytes],
    ) -> None:
        self._round += 1
        ballot = Ballot(self._round, NodeId("n1"), 3)
        low = max(1, self._first - 1)
        entries = [Entry(Slot(low + o), ballot, kind, v) for o, v in zip(offsets, values, strict=False)]
        self._held |= {entry.slot for entry in entries if entry.slot >= self._first}
        self._persist(
            WriteBatch(
                promised=ballot if promise else None,
                accepted=entries,
                decided=None if decided is None else self._decidable(decided),
                meta=meta,
            )
        )

    @rule(ahead=st.integers(0, 3), keep=st.none() | _OFFSETS, content=_VALUES, beside=st.booleans())
    def publish(self, ahead: int, keep: int | None, content: bytes, beside: bool) -> None:
        """Publish a snapshot, with or without a trim; ``ahead``: how many slots a peer's snapshot is ahead."""
        if self._writer is not None:
            return
        slot = Slot(max(self._decided + ahead, self._snapshot.slot if self._snapshot else 0))
        self._round += 1
        meta = self._stage(slot, content)
        trim = None if keep is None and not ahead else Slot(max(1, slot + 1 - (0 if ahead else keep or 0)))
        entries = [Entry(Slot(slot + 2), Ballot(self._round, NodeId("n1"), 3), Kind.COMMANDS, b"beside")]
        if beside:
            self._held.add(slot + 2)
        batch = WriteBatch(
            snapshot=meta, trim=trim, decided=slot if ahead else None, accepted=entries if beside else (), sync=False
        )
        self._snapshot = meta
        self._trim_to(trim)
        self._persist(batch)

    @precondition(lambda self: self._snapshot is not None)
    @rule(keep=_OFFSETS, sync=st.booleans())
    def trim(self, keep: int, sync: bool) -> None:
        assert self._snapshot is not None
        trim = Slot(max(1, self._snapshot.slot + 1 - keep))
        self._trim_to(trim)
        self._persist(WriteBatch(trim=trim, sync=sync))

    @rule(content=_VALUES)
    def orphan(self, content: bytes) -> None:
        """Commit a snapshot that no batch ever names."""
        if self._writer is None:
            self._stage(Slot(self._decided), content)

    @rule(content=_VALUES, abort=st.booleans())
    def begin_or_abort(self, content: bytes, abort: bool) -> None:
        """Begin a snapshot that is never committed, and abort it or leave it open."""
        if self._writer is None:
            self._snapshots += 1
            self._writer = self._storage.create_snapshot(SnapshotMeta(Slot(1), f"half-{self._snapshots}"))
            self._writer.write(content)
        if abort:
            self._writer.abort()
            self._writer = None

    @rule(start=_OFFSETS, length=st.integers(0, 12), max_bytes=st.integers(0, 200))
    def read(self, start: int, length: int, max_bytes: int) -> None:
        begin, stop = max(1, self._first - 2) + start, self._first + start + length
        self._compare(begin, stop, max_bytes)

    @precondition(lambda self: self._reopen is not None)
    @rule()
    def reopen(self) -> None:
        assert self._reopen is not None
        self._writer = None
        self._storage, state = self._reopen(self._storage)
        clause = clause_of_state(state, self._state, self._batch, self._trims_too_far)
        self._require(clause, "load returns", state, self._state)

    @invariant()
    def both_show_the_same(self) -> None:
        if not hasattr(self, "_storage"):
            return
        self._compare(self._first, sys.maxsize, EVERYTHING, self._batch)
        self._require("C10", "the snapshot holds", read_snapshot(self._storage), read_snapshot(self._memory))

    def _stage(self, slot: Slot, content: bytes) -> SnapshotMeta:
        self._snapshots += 1
        meta = SnapshotMeta(slot, f"s-{self._snapshots}")
        for storage in (self._storage, self._memory):
            writer = storage.create_snapshot(meta)
            writer.write(content)
            writer.commit()
        return meta

    def _decidable(self, back: int) -> Slot:
        """Return the slot ``back`` below the highest that may be decided: the end of the run of slots without a gap."""
        decided = self._decided
        while decided + 1 in self._held or decided + 1 < self._first:
            decided += 1
        return Slot(max(0, decided - back))

    def _trim_to(self, trim: Slot | None) -> None:
        self._first = max(self._first, trim or 1)
        self._held = {slot for slot in self._held if slot >= self._first}

    @property
    def _state(self) -> DurableState:
        return DurableState(
            promised=self._promised,
            decided=Slot(self._decided),
            first=Slot(self._first),
            last=Slot(max(self._held, default=self._first - 1)),
            snapshot=self._snapshot,
            meta=dict(self._meta),
        )

    def _persist(self, batch: WriteBatch) -> None:
        self._promised = batch.promised or self._promised
        self._decided = max(self._decided, batch.decided or 0)
        self._meta |= batch.meta
        self._memory.persist(batch)
        self._storage.persist(batch)
        self._batch = batch

    def _compare(self, start: int, stop: int, max_bytes: int, batch: WriteBatch | None = None) -> None:
        wanted = attempt(self._memory, start, stop, max_bytes)
        found = attempt(self._storage, start, stop, max_bytes)
        clause = clause_of_read(found, wanted, batch, self._trims_too_far)
        self._require(clause, f"{told_call_of_read(start, stop, max_bytes)} returns", found, wanted)
