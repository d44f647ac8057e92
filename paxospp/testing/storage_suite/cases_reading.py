"""C5 and C6: what ``read`` returns, also while another thread persists."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence

import pytest

from paxospp.errors import TrimmedError
from paxospp.model import Slot
from paxospp.storage.contract import DurableState, WriteBatch
from paxospp.storage.key_value import KeyValueStorage
from paxospp.testing.storage_suite.base import SuiteBase
from paxospp.testing.storage_suite.checks import checks, not_checked, raises
from paxospp.testing.storage_suite.step_log import Witness
from paxospp.testing.storage_suite.words import accepted, entry, read_all, snapshot, value_of


class ReadCases(SuiteBase):
    """The results of ``read`` while nothing is written (C6)."""

    @checks("C6")
    def test_read_includes_its_start_excludes_its_stop_and_skips_gaps(self) -> None:
        storage = self.fresh(self.path)
        storage.persist(accepted(7, 2, 300, 4))

        def slots(start: int, stop: int) -> list[int]:
            return [found.slot for found in storage.read(Slot(start), Slot(stop), 10_000)]

        assert slots(1, sys.maxsize) == [2, 4, 7, 300]
        assert slots(2, 4) == [2]
        assert slots(2, 5) == [2, 4]
        assert slots(3, 4) == []
        assert slots(4, 4) == []
        assert slots(7, 2) == []
        assert slots(256, 301) == [300]
        assert slots(301, 400) == []

    @checks("C6")
    def test_slots_come_ascending_in_whatever_order_they_were_written(self) -> None:
        storage = self.fresh(self.path)
        for slot in (70_000, 9, 10, 1, 255, 256, 2, 65_536):
            storage.persist(accepted(slot))

        assert list(read_all(storage)) == [1, 2, 9, 10, 255, 256, 65_536, 70_000]

    @checks("C6")
    def test_max_bytes_counts_values_and_lets_at_least_one_entry_through(self) -> None:
        storage = self.fresh(self.path)
        storage.persist(WriteBatch(accepted=[entry(1, b"12345"), entry(2, b"12"), entry(3, b"3"), entry(4, b"4")]))

        def slots(start: int, max_bytes: int) -> list[int]:
            return [found.slot for found in storage.read(Slot(start), Slot(9), max_bytes)]

        assert slots(1, 0) == [1]
        assert slots(1, 6) == [1]
        assert slots(1, 7) == [1, 2]
        assert slots(1, 8) == [1, 2, 3]
        assert slots(1, 9) == [1, 2, 3, 4]
        assert slots(3, 0) == [3]
        assert slots(5, 0) == []

    @checks("C6")
    def test_trim_forgets_what_is_below_and_read_says_where_the_log_begins(self) -> None:
        storage = self.fresh(self.path)
        storage.persist(accepted(*range(1, 9)))
        snapshot(storage, 8, "s")
        storage.persist(accepted(9, 10))
        storage.persist(WriteBatch(decided=Slot(8), trim=Slot(6)))
        for life in range(2):
            assert read_all(storage, 6) == {slot: value_of(slot) for slot in range(6, 11)}
            for start in (1, 5):
                with raises(TrimmedError) as caught:
                    storage.read(Slot(start), Slot(8), 100)
                assert caught.value.first == 6
            if life:
                break
            storage, state = self.reopened(storage, self.path)
            assert (state.first, state.last, state.decided, state.faulty) == (6, 10, 8, ())

    @checks("C6")
    def test_a_trim_below_the_first_slot_changes_nothing(self) -> None:
        storage = self.fresh(self.path)
        storage.persist(accepted(*range(1, 11)))
        snapshot(storage, 8, "s")
        storage.persist(WriteBatch(trim=Slot(6)))
        storage.persist(WriteBatch(trim=Slot(3)))
        with raises(TrimmedError):
            storage.read(Slot(5), Slot(8), 100)

        storage, state = self.reopened(storage, self.path)
        assert state.first == 6

    @checks("C6")
    def test_trimming_everything_leaves_last_just_below_first(self) -> None:
        storage = self.fresh(self.path)
        storage.persist(accepted(1, 2, 3))
        snapshot(storage, 9, "s")
        storage.persist(WriteBatch(trim=Slot(10), decided=Slot(9)))
        assert read_all(storage, 10) == {}

        storage, state = self.reopened(storage, self.path)

        assert (state.first, state.last, state.faulty) == (10, 9, ())
        storage.persist(accepted(10))
        storage, state = self.reopened(storage, self.path)
        assert (state.first, state.last) == (10, 10)

    @checks("C6")
    def test_a_slot_below_the_first_is_not_stored(self) -> None:
        storage = self.fresh(self.path)
        storage.persist(accepted(1, 2, 3))
        snapshot(storage, 4, "s")
        storage.persist(WriteBatch(trim=Slot(5), accepted=[entry(3, b"late"), entry(4, b"late"), entry(6, b"kept")]))
        storage.persist(WriteBatch(accepted=[entry(2, b"later"), entry(7, b"kept too")]))
        for life in range(2):
            assert read_all(storage, 5) == {6: b"kept", 7: b"kept too"}
            if life:
                break
            storage, state = self.reopened(storage, self.path)
            assert (state.first, state.last) == (5, 7)

    @checks("C6")
    def test_only_late_slots_leave_the_store_empty(self) -> None:
        storage = self.fresh(self.path)
        snapshot(storage, 4, "s")
        storage.persist(WriteBatch(trim=Slot(5)))
        storage.persist(accepted(1, 4))

        assert self.reopened(storage, self.path)[1].last == 4


class ThreadCases(SuiteBase):
    """Calls from several threads (C5)."""

    @pytest.mark.parametrize(("count", "rounds"), [(8, 200), (120, 60)], ids=["8 slots", "120 slots"])
    @checks("C5")
    def test_read_shows_whole_batches_while_others_are_written(self, count: int, rounds: int) -> None:
        """Read all the time while batches overwrite the same slots: every read shows one batch, never an older one than
        the last that had returned."""
        storage = self.fresh(self.path)
        slots = range(1, count + 1)
        storage.persist(accepted(*slots, round=1))
        storage.persist(accepted(*slots, round=2))
        if read_all(storage) != {slot: value_of(slot, 2) for slot in slots}:
            not_checked("a later write of a slot does not replace the earlier one; repair this first")
        returned = begun = 2
        ended = threading.Event()
        failures: list[object] = []

        def read_until_ended() -> None:
            try:
                while not ended.is_set():
                    at_least = returned
                    found = storage.inner.read(Slot(1), Slot(slots.stop), 1 << 20)
                    seen, at_most = {entry.ballot.round for entry in found}, begun
                    if len(seen) != 1 or not at_least <= min(seen) <= at_most:
                        failures.append(f"rounds {sorted(seen)}; round {at_least} had returned, {at_most} had begun")
            except BaseException as error:
                failures.append(error)

        reader = threading.Thread(target=read_until_ended)
        reader.start()
        try:
            for round in range(3, rounds):
                begun = round
                storage.persist(accepted(*slots, round=round))
                returned = round
        finally:
            ended.set()
            reader.join()

        one = "one round, no older than the last that had returned"
        self.require("C5", f"a read of the {count} slots shows", next(iter(failures), one), one)

    @checks("C5")
    def test_read_sees_nothing_of_a_batch_that_has_not_returned(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Hold ``persist`` at its sync: the batch overwrites, adds and trims, and no effect of it may show yet."""
        self.only_if_durable()
        storage = self.fresh(self.path)
        storage.persist(accepted(*range(1, 6)))
        snapshot(storage, 3, "s")
        before = read_all(storage), read_all(storage, 5), read_all(storage, 2, 3)
        main = threading.get_ident()
        arrived, go_on = threading.Event(), threading.Event()

        def hold() -> None:
            if threading.current_thread() is writer and threading.get_ident() != main:
                arrived.set()
                go_on.wait()

        batch = WriteBatch(
            accepted=[entry(slot, b"new", 2) for slot in (4, 5, 6, 9)], trim=Slot(3), decided=Slot(5), sync=True
        )
        failures: list[BaseException] = []
        writer = threading.Thread(target=_catching(lambda: storage.persist(batch), failures))
        hold_writes(storage, monkeypatch, hold)
        writer.start()
        try:
            if not _wait(arrived, writer):
                not_checked(
                    "the kit cannot hold persist at its sync: the store calls neither os.fsync nor os.fdatasync"
                )
            self.steps.add("… the kit holds this batch at its sync: it is written and not synced")
            during = read_all(storage), read_all(storage, 5), read_all(storage, 2, 3)
        finally:
            go_on.set()
            writer.join()

        assert failures == []
        assert during == before
        assert read_all(storage, 4).keys() >= {4, 5, 6, 9}

    @checks("C5")
    def test_the_calls_may_come_from_different_threads(self) -> None:
        made: list[object] = []

        def in_a_thread(call: Callable[..., object], *arguments: object) -> object:
            failures: list[BaseException] = []
            thread = threading.Thread(target=_catching(lambda: made.append(call(*arguments)), failures))
            thread.start()
            thread.join()
            if failures:
                raise failures[0]
            return made.pop()

        storage = self.open(self.path)
        assert in_a_thread(storage.load) == DurableState()
        assert in_a_thread(storage.persist, accepted(1, 2)) is None
        storage.persist(accepted(3))
        assert len(_as_dict(in_a_thread(read_all, storage))) == 3
        assert in_a_thread(storage.close) is None


def hold_writes(storage: Witness, monkeypatch: pytest.MonkeyPatch, hold: Callable[[], None]) -> None:
    """Have ``hold`` called within ``persist`` once the batch is written and before ``persist`` returns."""
    if isinstance(storage.inner, KeyValueStorage):
        write = storage.inner.write  # a native driver's sync cannot be held, so hold after its write

        def held_write(
            delete_ranges: Sequence[tuple[bytes, bytes]], puts: Sequence[tuple[bytes, bytes]], sync: bool
        ) -> None:
            write(delete_ranges, puts, sync)
            hold()

        monkeypatch.setattr(storage.inner, "write", held_write)
        return
    for name in ("fsync", "fdatasync"):
        sync_file: Callable[[int], None] = getattr(os, name)

        def held_sync(descriptor: int, sync_file: Callable[[int], None] = sync_file) -> None:
            hold()
            sync_file(descriptor)

        monkeypatch.setattr(os, name, held_sync)


def _wait(arrived: threading.Event, writer: threading.Thread) -> bool:
    """Whether the writer reached the point where it is held before it ended."""
    while writer.is_alive():
        if arrived.wait(0.01):
            return True
    return arrived.is_set()


def _catching(call: Callable[[], object], failures: list[BaseException]) -> Callable[[], None]:
    def caught() -> None:
        try:
            call()
        except BaseException as error:
            failures.append(error)

    return caught


def _as_dict(value: object) -> dict[int, bytes]:
    assert isinstance(value, dict)
    return value
