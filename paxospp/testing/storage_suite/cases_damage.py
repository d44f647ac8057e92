"""C8: a store never reads damage as an empty slot, as another slot or as an older value.

``DamageCases`` flip a bit of one known value and check everything that the contract says about a faulty slot.
``EveryFileCases`` damage every file of a store in many places, after a clean close and after SIGKILL.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import pytest

from paxospp.errors import CorruptedError
from paxospp.model import Slot
from paxospp.storage.contract import DurableState, WriteBatch
from paxospp.testing.storage_suite.base import SuiteBase
from paxospp.testing.storage_suite.checks import ClauseFindings, checks, not_checked, raises
from paxospp.testing.storage_suite.file_damage import Damage, copy_store, files_of, flip_needle, flips, holes
from paxospp.testing.storage_suite.looking import Look
from paxospp.testing.storage_suite.step_log import Witness
from paxospp.testing.storage_suite.store_judge import after_damage
from paxospp.testing.storage_suite.stream import DAMAGE_STREAM, StorageModel, Stream
from paxospp.testing.storage_suite.words import accepted, ballot, entry, read_all, snapshot, value_of
from paxospp.testing.storage_suite.worker_pool import WorkerDied, WorkerHandle, WorkerStuck, side_by_side

SLOTS = range(1, 21)
HURT = 7
FLIPS_PER_FILE = 64
HOLES_PER_FILE = 8
HOLES_OF_EACH_KIND = 64
"""Damage of each kind in all files together; at least three in each file."""
QUICK_FLIPS, QUICK_HOLES = 32, 24
"""About how many of each in all files together in a quick run."""
BATCHES = 40
SEED, CUTTING = DAMAGE_STREAM


def is_faulty(state: DurableState, slot: int) -> bool:
    return any(slot in slots for slots in state.faulty)


class DamageCases(SuiteBase):
    def hurt(self, *slots: int) -> tuple[Witness, DurableState]:
        """Write twenty slots, close the store, damage the values of some slots, and open it again."""
        self.only_with_a_directory()
        storage = self.fresh(self.path)
        for slot in SLOTS:
            storage.persist(
                WriteBatch(promised=ballot(1), accepted=[entry(slot, value_of(slot))], decided=Slot(slot - 1))
            )
        storage.close()
        for slot in slots:
            self.flip(value_of(slot), f"the value of slot {slot}")
        return self.load_damaged()

    def load_damaged(self) -> tuple[Witness, DurableState]:
        """Open and load a damaged store; end the case as not checked if ``load`` refuses it, which C8 allows."""
        try:
            return self.load(self.path)
        except CorruptedError:
            not_checked("load refuses a store with a damaged value, which the contract allows; no slot is ever faulty")

    def flip(self, needle: bytes, what: str) -> None:
        """Flip a bit wherever the files hold ``needle``; end the case as not checked if they do not hold it."""
        if not flip_needle(self.path, needle):
            not_checked("the store's files do not hold values as they are, so the kit cannot find a value to damage")
        self.steps.add("… a bit of {} flips on disk", what)

    @checks("C8")
    def test_a_damaged_slot_stands_in_faulty_and_no_slot_is_lost_or_altered(self) -> None:
        storage, state = self.hurt(HURT)

        assert is_faulty(state, HURT)
        assert state.promised == ballot(1)
        for slot in SLOTS:
            if is_faulty(state, slot):
                with raises(CorruptedError) as caught:
                    storage.read(Slot(slot), Slot(slot + 1), 100)
                assert any(slot in slots for slots in caught.value.slots)
            else:
                assert read_all(storage, slot, slot + 1) == {slot: value_of(slot)}

    @checks("C8")
    def test_read_ends_before_a_faulty_slot_and_raises_when_it_comes_first(self) -> None:
        storage, state = self.hurt(HURT)

        assert state.faulty
        first = min(slots.start for slots in state.faulty)
        if first > 1:
            assert read_all(storage) == {slot: value_of(slot) for slot in range(1, first)}
        with raises(CorruptedError):
            storage.read(Slot(first), Slot(sys.maxsize), 100)

    @checks("C8")
    def test_read_raises_when_a_faulty_slot_comes_first_behind_slots_that_hold_nothing(self) -> None:
        """A read that returns nothing means that nothing was accepted from its start on: a store that answers so loses
        the entries above the damaged one too."""
        self.only_with_a_directory()
        storage = self.fresh(self.path)
        for slot in (1, 2, HURT, HURT + 1):
            storage.persist(accepted(slot))
        storage.close()
        self.flip(value_of(HURT), f"the value of slot {HURT}")
        storage, state = self.load_damaged()

        assert is_faulty(state, HURT)
        for start in (3, HURT - 1):
            first = next(slot for slot in range(start, HURT + 1) if is_faulty(state, slot))
            with raises(CorruptedError) as caught:
                storage.read(Slot(start), Slot(sys.maxsize), 100)
            assert any(first in slots for slots in caught.value.slots)

    @checks("C8")
    def test_every_load_reports_a_faulty_slot_until_an_entry_is_persisted_there(self) -> None:
        storage, state = self.hurt(HURT)
        assert is_faulty(state, HURT)
        storage, again = self.reopened(storage, self.path)
        assert [slot for slot in SLOTS if is_faulty(again, slot)] == [slot for slot in SLOTS if is_faulty(state, slot)]

        storage.persist(WriteBatch(promised=ballot(2)))
        storage, again = self.reopened(storage, self.path)
        faulty = [slot for slot in SLOTS if is_faulty(again, slot)]
        assert faulty == [slot for slot in SLOTS if is_faulty(state, slot)]

        for slot in faulty:
            storage.persist(accepted(slot, round=2))
            assert read_all(storage, slot, slot + 1) == {slot: value_of(slot, 2)}
        for _ in range(2):
            storage, again = self.reopened(storage, self.path)
            assert not [slot for slot in SLOTS if is_faulty(again, slot)]
            assert {slot: found for slot, found in read_all(storage).items() if slot in faulty} == {
                slot: value_of(slot, 2) for slot in faulty
            }
            assert len(read_all(storage)) == len(SLOTS)

    @checks("C8")
    def test_the_end_of_damage_takes_nothing_that_is_held_or_decided(self) -> None:
        """``faulty_until`` empties only slots that are undecided and that ``load`` reported as faulty."""
        storage, state = self.hurt(HURT)
        faulty = [slot for slot in SLOTS if is_faulty(state, slot) and slot <= state.decided]
        held = {slot: value_of(slot) for slot in SLOTS if not is_faulty(state, slot)}
        storage.persist(accepted(SLOTS[-1] + 5))
        storage.persist(WriteBatch(faulty_until=Slot(1)))

        for _ in range(2):
            storage, again = self.reopened(storage, self.path)
            assert [slot for slot in faulty if not is_faulty(again, slot)] == []
            for slot, value in {**held, SLOTS[-1] + 5: value_of(SLOTS[-1] + 5)}.items():
                assert read_all(storage, slot, slot + 1) == {slot: value}

    @checks("C8")
    def test_a_damaged_slot_is_forgotten_with_the_trim_that_covers_it(self) -> None:
        storage, _ = self.hurt(HURT)
        snapshot(storage, SLOTS[-1], "s", b"data")
        storage.persist(WriteBatch(trim=Slot(SLOTS[-1] + 1), decided=Slot(SLOTS[-1])))

        storage, state = self.reopened(storage, self.path)

        assert not any(is_faulty(state, slot) for slot in SLOTS)
        assert state.first == SLOTS[-1] + 1

    @checks("C8")
    def test_two_damaged_slots_are_both_faulty(self) -> None:
        _, state = self.hurt(3, 20)

        assert is_faulty(state, 3)
        assert is_faulty(state, 20)

    @checks("C8")
    def test_an_older_value_never_takes_a_damaged_ones_place(self) -> None:
        self.only_with_a_directory()
        storage = self.fresh(self.path)
        storage.persist(accepted(1, 2, 3, round=1))
        storage.persist(accepted(2, round=5))
        storage.close()
        self.flip(value_of(2, 5), "the newer value of slot 2")

        _, state = self.load_damaged()

        assert is_faulty(state, 2)

    @checks("C8")
    def test_a_damaged_promise_or_meta_is_never_taken_for_none(self) -> None:
        """``load`` raises, or the store keeps a second copy and returns what was written."""
        self.only_with_a_directory()
        storage = self.fresh(self.path)
        mark = value_of(4711)
        storage.persist(WriteBatch(promised=ballot(9), meta={"identity": mark}))
        storage.close()
        self.flip(mark, "meta")

        try:
            _, state = self.load(self.path)
        except CorruptedError:
            return
        assert (state.promised, state.meta) == (ballot(9), {"identity": mark})

    @checks("C8")
    def test_a_hole_below_decided_is_faulty(self) -> None:
        storage = self.fresh(self.path)
        storage.persist(accepted(1, 3))
        storage.persist(WriteBatch(decided=Slot(5)))

        storage, state = self.reopened(storage, self.path)

        assert [slot for slot in range(1, 10) if is_faulty(state, slot)] == [2, 4, 5]
        assert read_all(storage, 1) == {1: value_of(1)}
        for slot in (2, 4, 5):
            with raises(CorruptedError):
                storage.read(Slot(slot), Slot(10), 100)
        storage.persist(accepted(2, 4, 5))
        storage, state = self.reopened(storage, self.path)
        assert state.faulty == ()

    @checks("C8")
    def test_damaged_snapshot_bytes_are_noticed(self) -> None:
        self.only_with_a_directory()
        storage = self.fresh(self.path)
        needle = value_of(1)
        snapshot(storage, 1, "s", b"a" * 10_000, needle, b"z" * 10_000)
        storage.close()
        self.flip(needle, "the snapshot")

        storage, _ = self.load_damaged()

        with raises(CorruptedError):
            self.read_snapshot(storage)
        snapshot(storage, 2, "again", b"fetched again")
        assert self.read_snapshot(storage) == b"fetched again"

    def read_snapshot(self, storage: Witness) -> bytes | None:
        reader = storage.open_snapshot()
        if reader is None:
            return None
        with reader:
            return b"".join(iter(lambda: reader.read(1 << 16), b""))


class EveryFileCases(SuiteBase):
    @pytest.mark.parametrize("left", ["closed", "killed"])
    @checks("C8")
    def test_a_flipped_bit_anywhere_is_told_or_harmless(self, left: str) -> None:
        whole, models = self.made(left)
        chance, number = random.Random(SEED), self.some(FLIPS_PER_FILE)
        if self.is_quick:
            number = min(number, max(3, QUICK_FLIPS // len(files_of(whole))))
        tried = self.hurt_copies(
            whole, models, left, chain.from_iterable(flips(whole, file, number, chance) for file in files_of(whole))
        )
        self.count("bit flips", tried)
        if left == "closed":  # smaller files have every bit flipped
            sizes = [(whole / file).stat().st_size for file in files_of(whole)]
            self.count(f"files with {number} bit flips each", sum(size > 0 for size in sizes))

    @pytest.mark.parametrize("left", ["closed", "killed"])
    @checks("C8")
    def test_a_zeroed_or_overwritten_block_or_a_cut_anywhere_is_told_or_harmless(self, left: str) -> None:
        whole, models = self.made(left)
        chance, files = random.Random(SEED), files_of(whole)
        number = self.some(min(HOLES_PER_FILE, max(3, HOLES_OF_EACH_KIND // len(files))))
        damages: Iterator[Damage] = chain.from_iterable(holes(whole, file, number, chance) for file in files)
        if self.is_quick:  # not every kind of damage to every file, but every kind to some files
            damages = islice(damages, 0, None, max(1, 5 * len(files) // QUICK_HOLES))
        tried = self.hurt_copies(whole, models, left, damages)
        self.count("blocks and cuts", tried)

    def made(self, left: str) -> tuple[Path, list[StorageModel]]:
        """Make a store of forty batches that ended by a clean close or by SIGKILL.

        Returns: the store's directory, and the models of which it may show one after damage.
        """
        self.only_with_a_directory()
        self.only_if_right_without_faults(SEED, CUTTING, BATCHES)
        self.path.parent.mkdir(parents=True)
        stream = Stream(SEED, cutting=CUTTING)
        # The last batch is synced: a damaged unsynced batch at the end looks like a torn one, which a store may drop.
        last = next(number for number in range(BATCHES, 0, -1) if stream.step(number).synced)
        with self.zygote.worker() as worker:
            raised = worker.open(self.url_of(self.path))
            assert raised is None, raised
            assert worker.load().refused is None
            half = last // 2
            for first, stop in ((1, half), (half, last + 1)):
                worker.begin("stream", SEED, CUTTING, first, stop)
                for _ in range(first, stop):
                    answer = worker.answer()
                    assert isinstance(answer, int), answer
                worker.answer()
                if first == 1:  # reopen once: the files then also hold what ``load`` took over
                    assert worker.close() is None
                    assert worker.open(self.url_of(self.path)) is None
                    assert worker.load().refused is None
            if left == "closed":
                assert worker.close() is None
        undamaged = self.new_place()
        copy_store(self.path, undamaged)
        with self.zygote.worker() as worker:
            look = worker.look(self.url_of(undamaged))
        complaint = after_damage(look, [stream.model(last)])
        if complaint is not None or look.refused is not None or look.state.faulty:
            found = complaint.found if complaint is not None else look.refused or look.state.faulty
            not_checked(f"the {left} store is wrong even before it is damaged: {found}")
        return self.path, [stream.model(last)]

    def hurt_copies(self, whole: Path, models: list[StorageModel], left: str, damages: Iterator[Damage]) -> int:
        """Apply each damage to a fresh copy of ``whole`` and judge what the store shows; return how many were tried."""
        findings, tried = ClauseFindings(), 0
        outcomes: Counter[str] = Counter()
        ended = "close it" if left == "closed" else "kill the process with SIGKILL"

        def hurt(worker: WorkerHandle, damage: Damage) -> tuple[Look, Look | None]:
            place = self.new_place()
            copy_store(whole, place)
            damage.do(place)
            try:
                return self.look_twice(worker, place)
            finally:
                self.drop(place)

        for damage, looks in side_by_side(self.zygote, damages, hurt):
            steps = [f"open {self.url}, load, persist {BATCHES} batches, {ended}", str(damage), "open and load"]
            tried += 1
            if isinstance(looks, WorkerDied | WorkerStuck):
                findings.add("C8", steps, "CorruptedError from load, or faulty slots", str(looks))
                continue
            look, again = looks
            outcomes["told" if look.refused or look.state.faulty or look.unreadable else "harmless"] += 1
            complaint = after_damage(look, models)
            if complaint is None and again is not None:
                complaint = after_damage(again, models)
                steps += ["close it, open and load once more"]
            if complaint is not None:
                findings.add(complaint.clause, steps, complaint.wanted, complaint.found)
        findings.raise_any(tried)
        if not outcomes["told"]:
            not_checked(f"the store noticed none of {tried} damages: does it keep its files below {{tmp}}?")
        return tried

    def look_twice(self, worker: WorkerHandle, place: Path) -> tuple[Look, Look | None]:
        """Look at a damaged store and, if it reports faulty slots, close it and look once more."""
        look = worker.look(self.url_of(place))
        return look, worker.look(self.url_of(place)) if look.refused is None and look.state.faulty else None
