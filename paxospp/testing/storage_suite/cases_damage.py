"""C8: a store never reads damage as an empty slot, as another slot or as an older value.

``DamageCases`` flip a bit of one known value and check everything that the contract says about a faulty slot.
``EveryFileCases`` damage every file of a store in many places, after a clean close and after SIGKILL.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import pytest

from paxospp.errors import CorruptedError
from paxospp.model import Slot
from paxospp.storage.contract import DurableState, WriteBatch
from paxospp.testing.storage_suite.base import SuiteBase
from paxospp.testing.storage_suite.checks import ClauseFindings, checks, not_checked, raises
from paxospp.testing.storage_suite.file_damage import Damage, copy_store, files_of, flip_needle, flips, holes
from paxospp.testing.storage_suite.looking import ExceptionReport, Look
from paxospp.testing.storage_suite.step_log import Witness
from paxospp.testing.storage_suite.store_judge import Complaint, after_damage
from paxospp.testing.storage_suite.stream import DAMAGE_STREAM, Stream
from paxospp.testing.storage_suite.words import accepted, ballot, entry, read_all, snapshot, told, value_of
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
LAST = next(number for number in range(BATCHES, 0, -1) if Stream(SEED, cutting=CUTTING).step(number).synced)
"""The last batch before the damage. It is synced: a damaged unsynced batch looks like a torn one, which a store may
drop."""
MORE = 7
"""How many batches are persisted after damage that the store reported; among them are two snapshots and a trim."""


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
        whole = self.made(left)
        chance, number = random.Random(SEED), self.some(FLIPS_PER_FILE)
        if self.is_quick:
            number = min(number, max(3, QUICK_FLIPS // len(files_of(whole))))
        tried = self.hurt_copies(
            whole, left, chain.from_iterable(flips(whole, file, number, chance) for file in files_of(whole))
        )
        self.count("bit flips", tried)
        if left == "closed":  # smaller files have every bit flipped
            sizes = [(whole / file).stat().st_size for file in files_of(whole)]
            self.count(f"files with {number} bit flips each", sum(size > 0 for size in sizes))

    @pytest.mark.parametrize("left", ["closed", "killed"])
    @checks("C8")
    def test_a_zeroed_or_overwritten_block_or_a_cut_anywhere_is_told_or_harmless(self, left: str) -> None:
        whole = self.made(left)
        chance, files = random.Random(SEED), files_of(whole)
        number = self.some(min(HOLES_PER_FILE, max(3, HOLES_OF_EACH_KIND // len(files))))
        damages: Iterator[Damage] = chain.from_iterable(holes(whole, file, number, chance) for file in files)
        if self.is_quick:  # not every kind of damage to every file, but every kind to some files
            damages = islice(damages, 0, None, max(1, 5 * len(files) // QUICK_HOLES))
        tried = self.hurt_copies(whole, left, damages)
        self.count("blocks and cuts", tried)

    def made(self, left: str) -> Path:
        """Make a store of ``LAST`` batches that ended by a clean close or by SIGKILL, and return its directory."""
        self.only_with_a_directory()
        self.only_if_right_without_faults(SEED, CUTTING, BATCHES)
        self.path.parent.mkdir(parents=True)
        with self.zygote.worker() as worker:
            raised = worker.open(self.url_of(self.path))
            assert raised is None, raised
            assert worker.load().refused is None
            half = LAST // 2
            for first, stop in ((1, half), (half, LAST + 1)):
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
            run = self.continued(worker, undamaged, worker.look(self.url_of(undamaged)), "close")
        complaint, _ = run.judge()
        if complaint is not None or run.look.refused is not None or run.look.state.faulty:
            found = complaint.found if complaint is not None else run.look.refused or run.look.state.faulty
            not_checked(f"the {left} store is wrong even before it is damaged: {found}")
        return self.path

    def hurt_copies(self, whole: Path, left: str, damages: Iterator[Damage]) -> int:
        """Apply each damage to a fresh copy of ``whole`` and judge what the store shows; return how many were tried.

        A store that reports faulty slots is opened again, written to, left and opened once more.
        """
        findings, tried = ClauseFindings(), 0
        outcomes: Counter[str] = Counter()
        ended = "close it" if left == "closed" else "kill the process with SIGKILL"

        def hurt(worker: WorkerHandle, numbered: tuple[int, Damage]) -> DamagedRun:
            (number, damage), place = numbered, self.new_place()
            copy_store(whole, place)
            damage.do(place)
            try:
                look = worker.look(self.url_of(place))
                if look.refused is not None or not (look.state.faulty or look.unreadable):
                    return DamagedRun(look)
                if number % 2:
                    return self.continued(worker, place, look, "close")
                with self.zygote.worker() as other:
                    return self.continued(other, place, look, "kill")
            finally:
                self.drop(place)

        for (_, damage), run in side_by_side(self.zygote, enumerate(damages), hurt):
            steps = [f"open {self.url}, load, persist {LAST} batches, {ended}", str(damage), "open and load"]
            tried += 1
            if isinstance(run, WorkerDied | WorkerStuck):
                findings.add("C8", steps, "CorruptedError from load, or faulty slots", str(run))
                continue
            look = run.look
            outcomes["told" if look.refused or look.state.faulty or look.unreadable else "harmless"] += 1
            outcomes["continued"] += run.after is not None
            complaint, more_steps = run.judge()
            if complaint is not None:
                findings.add(complaint.clause, [*steps, *more_steps], complaint.wanted, complaint.found)
        findings.raise_any(tried)
        if not outcomes["told"]:
            not_checked(f"the store noticed none of {tried} damages: does it keep its files below {{tmp}}?")
        if outcomes["continued"]:
            self.count("damaged stores that were written to again", outcomes["continued"])
        return tried

    def continued(self, worker: WorkerHandle, place: Path, look: Look, end: str) -> DamagedRun:
        """Open a store that showed ``look`` again, persist ``MORE`` batches, close it or kill its process, and look."""
        url = self.url_of(place)
        again, returned, raised = worker.continue_stream(url, SEED, LAST, LAST + 1 + MORE)
        if end == "kill":
            worker.kill()
        elif again.refused is None:
            worker.close()
        if again.refused is not None:
            return DamagedRun(look, again)
        with self.zygote.worker() as other:
            return DamagedRun(look, again, returned, raised, end, other.look(url))


@dataclass(slots=True, frozen=True)
class DamagedRun:
    """What a store showed after damage and, if it reported faulty slots, how it went on."""

    look: Look
    again: Look | None = None
    """What it showed when it was opened a second time."""
    returned: int = LAST
    """The last batch that was persisted after that."""
    raised: ExceptionReport | None = None
    """What the next batch raised; the run ended with it."""
    end: str = "close"
    after: Look | None = None
    """What the store showed after these batches and a close or SIGKILL (``end``)."""

    def judge(self) -> tuple[Complaint | None, list[str]]:
        """Return what is wrong, and the steps after the first ``load`` that led there."""
        stream, steps = Stream(SEED, cutting_after=LAST), list[str]()
        complaint = after_damage(self.look, [stream.model(LAST)])
        if complaint is None and self.again is not None:
            steps += ["close it; open and load once more"]
            complaint = after_damage(self.again, [stream.model(LAST)])
        if complaint is None and self.after is not None:
            highest = self.returned
            steps += [f"persist({told(stream.step(n).batch)})" for n in range(LAST + 1, self.returned + 1)]
            if self.raised is not None:
                highest += 1
                steps += [f"persist({told(stream.step(highest).batch)}) raises {self.raised}"]
                if not self.raised.storage_error:
                    return Complaint("C8", "persist returns or raises StorageError", f"it raises {self.raised}"), steps
            steps += ["close it; open and load" if self.end == "close" else "SIGKILL; open and load in a new process"]
            lowest = self.returned if self.end == "close" else stream.synced_by(self.returned)
            complaint = after_damage(self.after, [stream.model(number) for number in range(lowest, highest + 1)])
        return complaint, steps
