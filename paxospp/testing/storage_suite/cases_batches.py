"""C1 to C4 and C7 without faults: what a batch changes, and what an exception from ``persist`` means."""

from __future__ import annotations

import sys

import pytest

from paxospp.errors import StorageError
from paxospp.model import Ballot, Entry, Kind, NodeId, Slot, SnapshotMeta
from paxospp.storage.contract import DurableState, WriteBatch
from paxospp.testing.storage_suite.base import SuiteBase
from paxospp.testing.storage_suite.checks import checks, raises
from paxospp.testing.storage_suite.words import (
    accepted,
    ballot,
    entry,
    noise,
    read_all,
    read_entries,
    snapshot,
    value_of,
)

GROWN_BYTES = 64 << 10
GROWN_SLOTS = 640
GROWN_BATCH = 16


class BatchCases(SuiteBase):
    """Batches without faults: their effects, reopening, and exceptions."""

    @checks("C2")
    def test_a_new_store_remembers_nothing(self) -> None:
        storage, state = self.load(self.path)

        assert state == DurableState()
        assert list(storage.read(Slot(1), Slot(sys.maxsize), 100)) == []
        assert storage.open_snapshot() is None

    @checks("C2")
    def test_an_unused_store_opens_as_new_again(self) -> None:
        storage, _ = self.load(self.path)

        assert self.reopened(storage, self.path)[1] == DurableState()

    @checks("C1", "C2")
    def test_what_a_batch_names_is_seen_at_once_and_whole(self) -> None:
        storage = self.fresh(self.path)
        storage.persist(accepted(1, 2, 3))
        assert read_all(storage) == {slot: value_of(slot) for slot in (1, 2, 3)}

        storage.persist(accepted(4, 9, round=2))

        assert read_all(storage) == {
            **{slot: value_of(slot) for slot in (1, 2, 3)},
            4: value_of(4, 2),
            9: value_of(9, 2),
        }

    @checks("C2")
    def test_what_a_batch_names_is_there_after_a_reopen(self) -> None:
        storage = self.fresh(self.path)
        storage.persist(
            WriteBatch(
                promised=ballot(3, "n2"),
                accepted=[entry(1, b"one"), entry(2, b"two")],
                decided=Slot(1),
                meta={"a": b"1", "b": b"2"},
            )
        )

        storage, state = self.reopened(storage, self.path)

        assert state == DurableState(
            promised=ballot(3, "n2"), decided=Slot(1), last=Slot(2), meta={"a": b"1", "b": b"2"}
        )
        assert read_entries(storage, 1, 3) == [entry(1, b"one"), entry(2, b"two")]

    @checks("C2")
    def test_a_store_goes_on_through_many_lives(self) -> None:
        storage = self.fresh(self.path)
        for life in range(1, 7):
            storage.persist(WriteBatch(promised=ballot(life), accepted=[entry(life, value_of(life))]))
            storage, state = self.reopened(storage, self.path)
            assert (state.promised, state.last, state.faulty) == (ballot(life), life, ())
            assert read_all(storage) == {slot: value_of(slot) for slot in range(1, life + 1)}

    @checks("C1")
    def test_an_empty_batch_changes_nothing(self) -> None:
        storage = self.fresh(self.path)
        storage.persist(WriteBatch())
        storage.persist(accepted(1))
        storage.persist(WriteBatch())
        storage.persist(WriteBatch(sync=False))
        assert read_all(storage) == {1: value_of(1)}

        _, state = self.reopened(storage, self.path)

        assert state == DurableState(last=Slot(1))

    @checks("C2")
    def test_what_is_not_named_stays_as_it_was(self) -> None:
        storage = self.fresh(self.path)
        storage.persist(WriteBatch(promised=ballot(5)))
        storage.persist(WriteBatch(accepted=[entry(1), entry(2)]))
        storage.persist(WriteBatch(decided=Slot(2)))
        storage.persist(WriteBatch(meta={"k": b"v"}))

        _, state = self.reopened(storage, self.path)

        assert state == DurableState(promised=ballot(5), decided=Slot(2), last=Slot(2), meta={"k": b"v"})

    @checks("C2")
    def test_a_promise_outlives_everything_that_comes_after_it(self) -> None:
        storage = self.fresh(self.path)
        storage.persist(WriteBatch(promised=ballot(9, "n3")))
        storage.persist(accepted(*range(1, 9)))
        storage.persist(WriteBatch(decided=Slot(8), meta={"identity": b"n1"}))
        meta = SnapshotMeta(Slot(8), "s")
        writer = storage.create_snapshot(meta)
        writer.write(b"data")
        writer.commit()
        storage.persist(WriteBatch(snapshot=meta, trim=Slot(9)))
        for _ in range(2):
            storage, state = self.reopened(storage, self.path)
            assert (state.promised, state.meta, state.decided) == (ballot(9, "n3"), {"identity": b"n1"}, 8)

    @checks("C2")
    def test_decided_never_goes_back(self) -> None:
        storage = self.fresh(self.path)
        storage.persist(accepted(1, 2, 3))
        storage.persist(WriteBatch(decided=Slot(3)))
        storage.persist(WriteBatch(decided=Slot(1)))

        assert self.reopened(storage, self.path)[1].decided == 3

    @checks("C2")
    def test_a_later_write_of_a_slot_wins(self) -> None:
        storage = self.fresh(self.path)
        storage.persist(accepted(1, 2, 3, round=1))
        storage.persist(accepted(2, round=5))
        storage.persist(accepted(3, round=7))
        wanted = {1: value_of(1), 2: value_of(2, 5), 3: value_of(3, 7)}
        assert read_all(storage) == wanted
        assert [found.ballot.round for found in read_entries(storage, 1, 4)] == [1, 5, 7]

        storage, _ = self.reopened(storage, self.path)

        assert read_all(storage) == wanted
        assert [found.ballot.round for found in read_entries(storage, 1, 4)] == [1, 5, 7]

    @checks("C3")
    def test_unsynced_batches_are_seen_at_once(self) -> None:
        storage = self.fresh(self.path)
        storage.persist(WriteBatch(accepted=[entry(1, b"a")], decided=Slot(1), sync=False))
        storage.persist(WriteBatch(accepted=[entry(2, b"b")], sync=False))

        assert read_all(storage) == {1: b"a", 2: b"b"}

    @checks("C3")
    def test_unsynced_batches_outlive_a_close(self) -> None:
        storage = self.fresh(self.path)
        storage.persist(WriteBatch(accepted=[entry(1, b"a")], decided=Slot(1), sync=False))

        storage, state = self.reopened(storage, self.path)

        assert (state.decided, read_all(storage)) == (1, {1: b"a"})

    @checks("C4")
    def test_an_exception_ends_the_handle_and_nothing_of_the_batch_is_there(self) -> None:
        storage = self.fresh(self.path)
        storage.persist(accepted(1))
        never_staged = SnapshotMeta(Slot(1), "never-staged")
        with raises(StorageError, ValueError):
            storage.persist(
                WriteBatch(promised=ballot(9), accepted=[entry(2)], meta={"a": b"b"}, snapshot=never_staged)
            )

        with raises(StorageError):
            storage.persist(accepted(3))
        with raises(StorageError):
            storage.persist(WriteBatch())
        storage, state = self.reopened(storage, self.path)

        self.require("C2", "slot 1, which was acknowledged, is", read_all(storage, 1, 2), {1: value_of(1)})
        assert state == DurableState(last=Slot(1))
        assert read_all(storage) == {1: value_of(1)}
        storage.persist(accepted(2))

    @checks("C4")
    def test_closing_twice_is_well_and_a_closed_store_takes_no_batch(self) -> None:
        storage = self.fresh(self.path)
        storage.persist(accepted(1))
        storage.close()
        storage.close()

        with raises(StorageError):
            storage.persist(accepted(2))
        with raises(StorageError):
            storage.read(Slot(1), Slot(2), 1)


class GrowthCases(SuiteBase):
    """Logs of forty MiB: growth and compaction lose nothing."""

    @checks("C2")
    def test_nothing_is_lost_when_the_log_grows_to_forty_mib(self) -> None:
        """Grow the log past the sizes at which stores rotate files, merge tables and compact journals."""
        storage = self.fresh(self.path)
        meta = {"identity": b"n1", "other": b"kept"}
        storage.persist(WriteBatch(promised=ballot(9, "n3"), meta=meta))
        snapshot(storage, 1, "s", b"a snapshot")
        for begin in range(1, GROWN_SLOTS, GROWN_BATCH):
            storage.persist(WriteBatch(accepted=[grown(slot) for slot in range(begin, begin + GROWN_BATCH)]))
        storage.persist(WriteBatch(decided=Slot(GROWN_SLOTS)))
        self.steps.add("… {} MiB in all", GROWN_SLOTS * GROWN_BYTES >> 20)
        for life in range(2):
            for begin in range(1, GROWN_SLOTS, GROWN_BATCH):
                slots = range(begin, begin + GROWN_BATCH)
                found = read_entries(storage.inner, slots.start, slots.stop)
                assert found == [grown(slot) for slot in slots], f"slots {slots.start} to {slots.stop - 1} differ"
            if life or self.volatile:
                break
            storage, state = self.reopened(storage, self.path)
            assert (state.promised, dict(state.meta), state.decided) == (ballot(9, "n3"), meta, GROWN_SLOTS)
            assert (state.first, state.last, tuple(state.faulty)) == (1, GROWN_SLOTS, ())

    @checks("C2")
    def test_nothing_is_lost_when_forty_mib_are_written_and_trimmed(self) -> None:
        """The same with a log that stays short, so that compaction rewrites little but must keep all of it."""
        self.not_when_quick()
        storage = self.fresh(self.path)
        meta = {"identity": b"n1", "other": b"kept"}
        storage.persist(WriteBatch(promised=ballot(9, "n3"), meta=meta))
        for begin in range(2, GROWN_SLOTS, 4 * GROWN_BATCH):
            for at in range(begin, begin + 4 * GROWN_BATCH, GROWN_BATCH):
                storage.persist(WriteBatch(accepted=[grown(slot) for slot in range(at, at + GROWN_BATCH)]))
            covered = snapshot(storage, begin, f"s-{begin}", b"a snapshot", publish=False)
            storage.persist(WriteBatch(snapshot=covered, trim=Slot(begin), decided=Slot(begin)))
        storage, state = self.reopened(storage, self.path)

        assert (state.promised, dict(state.meta), tuple(state.faulty)) == (ballot(9, "n3"), meta, ())
        assert (state.first, state.decided, state.snapshot) == (covered.slot, covered.slot, covered)
        found = read_entries(storage, state.first, sys.maxsize)
        assert found == [grown(slot) for slot in range(state.first, state.last + 1)]


def grown(slot: int) -> Entry:
    """Return the large entry that the growth cases write in ``slot``."""
    return entry(slot, b"%d " % slot + noise(GROWN_BYTES, seed=slot % 7), round=3)


class OpaqueCases(SuiteBase):
    """Meta and values of all kinds come back byte for byte (C7)."""

    @checks("C7")
    def test_meta_merges_key_by_key_and_byte_for_byte(self) -> None:
        storage = self.fresh(self.path)
        every_byte = bytes(range(256))
        storage.persist(WriteBatch(meta={"a": b"old", "b": b"kept", "ключ/ 🔑\0": every_byte}))
        storage.persist(WriteBatch(meta={"a": b"new", "": b"no name"}))
        storage.persist(WriteBatch(meta={"a": b""}))

        _, state = self.reopened(storage, self.path)

        assert dict(state.meta) == {"a": b"", "b": b"kept", "ключ/ 🔑\0": every_byte, "": b"no name"}

    @pytest.mark.parametrize("value", [b"", b"\0", bytes(range(256)), b"\n", noise(1 << 20)], ids=len)
    @checks("C7")
    def test_a_value_comes_back_byte_for_byte(self, value: bytes) -> None:
        storage = self.fresh(self.path)
        wanted = Entry(Slot(2**62), Ballot(2**63 - 1, NodeId("n" * 63), 2**64 - 1), Kind.MEMBERSHIP, value)
        storage.persist(WriteBatch(promised=wanted.ballot, accepted=[entry(1, b"", kind=Kind.NOOP), wanted]))
        assert read_entries(storage, 2, sys.maxsize) == [wanted]

        storage, state = self.reopened(storage, self.path)

        assert state.promised == wanted.ballot
        assert read_entries(storage, 1, sys.maxsize) == [entry(1, b"", kind=Kind.NOOP), wanted]

    @checks("C7")
    def test_an_empty_value_is_not_an_absent_one(self) -> None:
        storage = self.fresh(self.path)
        storage.persist(WriteBatch(accepted=[entry(1, b""), entry(3, b"")], meta={"empty": b""}))
        assert len(storage.read(Slot(1), Slot(9), 0)) == 2, "an empty value counts for nothing in max_bytes"
        assert read_entries(storage, 1, 9) == [entry(1, b""), entry(3, b"")]

        storage, state = self.reopened(storage, self.path)

        assert state == DurableState(last=Slot(3), meta={"empty": b""})
        assert read_entries(storage, 1, 9) == [entry(1, b""), entry(3, b"")]

    @checks("C7")
    def test_a_batch_of_many_large_values_comes_back(self) -> None:
        """Persist megabytes in one batch, as a leader does that waited for a slow disk."""
        storage = self.fresh(self.path)
        entries = [entry(slot, noise(256 * 1024 + slot, seed=slot)) for slot in range(1, 33)]
        storage.persist(WriteBatch(accepted=entries))
        storage.persist(WriteBatch(accepted=[entry(slot, b"small") for slot in range(33, 600)]))
        assert read_entries(storage, 1, 33) == entries

        storage, state = self.reopened(storage, self.path)

        assert (state.last, state.faulty) == (599, ())
        assert read_entries(storage, 1, 33) == entries
        assert len(read_entries(storage, 33, sys.maxsize)) == 567
