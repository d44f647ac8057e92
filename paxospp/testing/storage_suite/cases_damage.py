"""C8: a store never reads damage as an empty slot, as another slot or as an older value.

These cases flip a bit of one known value and check everything that the contract says about a faulty slot.
``cases_every_file`` damages all files in many places.
"""

from __future__ import annotations

import sys

from paxospp.errors import CorruptedError
from paxospp.model import Slot
from paxospp.storage.contract import DurableState, WriteBatch
from paxospp.testing.storage_suite.base import SuiteBase
from paxospp.testing.storage_suite.checks import checks, not_checked, raises
from paxospp.testing.storage_suite.file_damage import flip_needle
from paxospp.testing.storage_suite.step_log import Witness
from paxospp.testing.storage_suite.words import accepted, ballot, entry, read_all, snapshot, value_of

SLOTS = range(1, 21)
DAMAGED = 7


def is_faulty(state: DurableState, slot: int) -> bool:
    """Return whether ``load`` reported ``slot`` as faulty."""
    return any(slot in slots for slots in state.faulty)


class DamageCases(SuiteBase):
    def damaged(self, *slots: int) -> tuple[Witness, DurableState]:
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
        storage, state = self.damaged(DAMAGED)

        assert is_faulty(state, DAMAGED)
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
        storage, state = self.damaged(DAMAGED)

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
        for slot in (1, 2, DAMAGED, DAMAGED + 1):
            storage.persist(accepted(slot))
        storage.close()
        self.flip(value_of(DAMAGED), f"the value of slot {DAMAGED}")
        storage, state = self.load_damaged()

        assert is_faulty(state, DAMAGED)
        for start in (3, DAMAGED - 1):
            first = next(slot for slot in range(start, DAMAGED + 1) if is_faulty(state, slot))
            with raises(CorruptedError) as caught:
                storage.read(Slot(start), Slot(sys.maxsize), 100)
            assert any(first in slots for slots in caught.value.slots)

    @checks("C8")
    def test_every_load_reports_a_faulty_slot_until_an_entry_is_persisted_there(self) -> None:
        storage, state = self.damaged(DAMAGED)
        assert is_faulty(state, DAMAGED)
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
        storage, state = self.damaged(DAMAGED)
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
        storage, _ = self.damaged(DAMAGED)
        snapshot(storage, SLOTS[-1], "s", b"data")
        storage.persist(WriteBatch(trim=Slot(SLOTS[-1] + 1), decided=Slot(SLOTS[-1])))

        storage, state = self.reopened(storage, self.path)

        assert not any(is_faulty(state, slot) for slot in SLOTS)
        assert state.first == SLOTS[-1] + 1

    @checks("C8")
    def test_two_damaged_slots_are_both_faulty(self) -> None:
        _, state = self.damaged(3, 20)

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
