"""Whole histories of batches and reopenings compared with a model: random ones by seed, and some from hypothesis.

The random ones are compared with ``StorageModel``, those from hypothesis with the memory plug-in. Each difference is
reported under the clause that it breaks.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from paxospp.errors import CorruptedError
from paxospp.model import Slot
from paxospp.storage.contract import DurableState, Storage, WriteBatch
from paxospp.testing.storage_suite.base import SuiteBase, registry_of
from paxospp.testing.storage_suite.checks import checks, not_checked
from paxospp.testing.storage_suite.read_clauses import attempt, clause_of_read, clause_of_state
from paxospp.testing.storage_suite.step_log import Witness
from paxospp.testing.storage_suite.stream import STREAMS, Stream
from paxospp.testing.storage_suite.words import (
    EVERYTHING,
    accepted,
    entry,
    read_snapshot,
    snapshot,
    told_call_of_read,
    value_of,
)

if TYPE_CHECKING:
    from hypothesis.stateful import RuleBasedStateMachine

BATCHES = 80
HISTORY_CLAUSES = ("C2", "C6", "C7", "C10")


class HistoryCases(SuiteBase):
    @pytest.mark.parametrize(("seed", "cutting"), STREAMS)
    @checks(*HISTORY_CLAUSES)
    def test_a_random_history_leaves_what_the_model_says(self, seed: int, cutting: bool) -> None:
        """Write each stream that the crash cases use, without a crash."""
        chance, stream = random.Random(seed), Stream(seed, cutting=cutting)
        storage = self.fresh(self.path)
        for number in range(1, BATCHES + 1):
            stream.step(number).run(storage)
            self.compare(chance, storage, stream, number)
            if not self.volatile and chance.random() < (0.04 if self.is_quick else 0.12):
                storage = self.reopened_as(storage, stream, number)
                self.compare(chance, storage, stream, number, reopened=True)
        if not self.volatile:
            storage = self.reopened_as(storage, stream, BATCHES)
            self.compare(chance, storage, stream, BATCHES, reopened=True)
        self.note_right_without_faults(seed, cutting)

    @pytest.mark.parametrize("cutting", [False, True], ids=["writing", "cutting"])
    @checks(*HISTORY_CLAUSES)
    def test_reopening_after_every_operation_changes_nothing(self, cutting: bool) -> None:
        chance, stream = random.Random(77), Stream(77, cutting=cutting)
        storage = self.fresh(self.path)
        self.only_if_durable()
        for number in range(1, self.some(60) + 1):
            stream.step(number).run(storage)
            storage = self.reopened_as(storage, stream, number)
            self.compare(chance, storage, stream, number, reopened=True)
        self.count("reopenings", self.some(60))

    @checks(*HISTORY_CLAUSES)
    def test_it_does_what_the_memory_plug_in_does(self) -> None:
        try:
            from hypothesis import HealthCheck, Phase, settings
            from hypothesis.stateful import run_state_machine_as_test
        except ImportError:
            not_checked("hypothesis is not installed; pip install hypothesis")
        from paxospp.testing.storage_suite.memory_comparison import Comparison

        def machine() -> RuleBasedStateMachine:
            self.steps.clear()
            reopen = None if self.volatile else self.reopened_as_is
            return Comparison(self.new_store, reopen, self.require, self.trims_too_far)

        examples = self.some(40)
        run: Callable[..., Any] = run_state_machine_as_test
        run(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=40,
                deadline=None,
                database=None,
                derandomize=True,
                print_blob=False,
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
                phases=(Phase.generate, Phase.shrink),
            ),
        )
        self.count("generated histories", examples)

    def new_store(self) -> tuple[Witness, Storage]:
        """Return a new store under test and a new memory store, both loaded."""
        for storage in self._opened:
            storage.close()
        self._opened.clear()
        self.path = self.new_place()
        memory = registry_of(()).storage("memory:")()
        memory.load()
        return self.fresh(self.path), memory

    def trims_too_far(self) -> bool:
        """Whether ``trim=3`` alone, without a snapshot in the same batch, also removes slot 3, which must stay."""
        storage = registry_of(self.loaded_plugins).storage(self.url_of(self.new_place()))()
        try:
            storage.load()
            storage.persist(accepted(1, 2, 3, 4))
            snapshot(storage, 4, "s")
            storage.persist(WriteBatch(trim=Slot(3)))
            return attempt(storage, 3, 4, EVERYTHING) != [entry(3, value_of(3))]
        finally:
            storage.close()

    def reopened_as_is(self, storage: Witness) -> tuple[Witness, DurableState]:
        return self.reopened(storage, self.path)

    def reopened_as(self, storage: Storage, stream: Stream, number: int) -> Witness:
        """Close and reopen the store, and check that ``load`` returns the state after batch ``number``."""
        model = stream.model(number)
        try:
            reopened, state = self.reopened(storage, self.path)
        except CorruptedError as error:
            self.require("C8", "load of an undamaged store raises", error, None)
            raise
        earlier = range(stream.synced_by(number), number)
        only_unsynced_lost = any(state == stream.model(n).state for n in earlier)
        batch = stream.step(number).batch
        clause = "C3" if only_unsynced_lost else clause_of_state(state, model.state, batch, self.trims_too_far)
        self.require(clause, "load returns", state, model.state)
        return reopened

    def compare(
        self, chance: random.Random, storage: Storage, stream: Stream, number: int, *, reopened: bool = False
    ) -> None:
        """Check that a few reads and the snapshot show the state after batch ``number``."""
        model = stream.model(number)
        start = chance.randint(model.first, model.first + 12)
        for begin, stop, max_bytes in (
            (model.first, sys.maxsize, EVERYTHING),
            (start, start + 5, 40),
            (start, sys.maxsize, 5000),
        ):
            found, wanted = attempt(storage, begin, stop, max_bytes), model.read(begin, stop, max_bytes)
            earlier = [stream.model(n) for n in range(stream.synced_by(number), number if reopened else 0)]
            only_unsynced_lost = any(found == old.read(begin, stop, max_bytes) for old in earlier if old.first <= begin)
            batch = stream.step(number).batch if max_bytes == EVERYTHING else None
            clause = "C3" if only_unsynced_lost else clause_of_read(found, wanted, batch, self.trims_too_far)
            self.require(clause, f"{told_call_of_read(begin, stop, max_bytes)} returns", found, wanted)
        if model.first > 1:
            found = attempt(storage, model.first - 1, model.first, 1)
            self.require("C6", f"read({model.first - 1}, …) raises", found, "paxospp.TrimmedError")
        self.require("C10", "the snapshot holds", read_snapshot(storage), model.content)
