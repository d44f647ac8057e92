"""Which damage ``KeyValueStorage`` notices, tested over a dict that can be damaged."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from paxospp import (
    CorruptedError,
    DurableState,
    FileSnapshots,
    KeyValueStorage,
    Slot,
    SnapshotMeta,
    StorageError,
    WriteBatch,
)
from paxospp.storage import SlotSet
from paxospp.storage.key_value import REPLACED_MAX
from paxospp.storage.key_value_records import META_KEY, RECORD_KEY, REPLACED_KEY, entry_key
from paxospp.testing.storage_suite.words import accepted, ballot, entry, read_all, read_snapshot, snapshot, value_of

Pairs = dict[bytes, bytes]


class DictStorage(KeyValueStorage):
    """The shortest possible ``KeyValueStorage``; its ``pairs`` survive it, as a disk would."""

    def __init__(self, path: Path, pairs: Pairs, snapshots: FileSnapshots | None = None) -> None:
        super().__init__(str(path), snapshots=snapshots)
        self.pairs = pairs
        self.unreadable: set[bytes] = set()
        self.syncs = 0
        self.before_write: Callable[[], None] = lambda: None
        self.after_write: Callable[[], None] = lambda: None

    def get(self, key: bytes) -> bytes | None:
        if key in self.unreadable:
            raise CorruptedError("cannot be read")
        return self.pairs.get(key)

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key in sorted(key for key in {*self.pairs, *self.unreadable} if start <= key < stop):
            if key in self.unreadable:
                raise CorruptedError("cannot be read")
            yield key, self.pairs[key]

    def write(
        self, delete_ranges: Sequence[tuple[bytes, bytes]], puts: Sequence[tuple[bytes, bytes]], sync: bool
    ) -> None:
        self.before_write()
        for start, stop in delete_ranges:
            for key in [key for key in self.pairs if start <= key < stop]:
                del self.pairs[key]
        self.pairs.update(puts)
        self.syncs += sync
        self.after_write()

    def close(self) -> None:
        super().close()


class Disk:
    """The contents of one store: a directory for the anchor, and pairs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pairs: Pairs = {}
        self.unreadable: set[bytes] = set()
        self.storage: DictStorage | None = None

    def load(self) -> tuple[DictStorage, DurableState]:
        if self.storage is not None:
            self.storage.close()
        self.storage = DictStorage(self.path, self.pairs)
        self.storage.unreadable = self.unreadable
        return self.storage, self.storage.load()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "store")
    yield disk
    if disk.storage is not None:
        disk.storage.close()


@pytest.fixture
def twenty(disk: Disk) -> Disk:
    """Return a store of slots 1 to 20, of which 1 to 5 are decided."""
    storage, _ = disk.load()
    for slot in range(1, 21):
        storage.persist(WriteBatch(promised=ballot(3), accepted=[entry(slot, value_of(slot))], meta={"a": b"b"}))
    storage.persist(WriteBatch(decided=Slot(5)))
    storage.close()
    return disk


def flipped(data: bytes) -> bytes:
    return data[:-3] + bytes([data[-3] ^ 4]) + data[-2:]


@pytest.mark.parametrize("slot", [2, 9, 20])
def test_an_entry_that_vanished_is_faulty_decided_or_not(twenty: Disk, slot: int) -> None:
    del twenty.pairs[entry_key(slot)]

    for _ in range(2):
        storage, state = twenty.load()
        assert list(state.faulty) == [range(slot, slot + 1)]
        assert state.last == 20
        assert read_all(storage) == {found: value_of(found) for found in range(1, slot)}

    storage.persist(accepted(slot))
    assert twenty.load()[1].faulty == ()


def test_entries_that_were_exchanged_are_both_faulty(twenty: Disk) -> None:
    one, other = entry_key(7), entry_key(12)
    twenty.pairs[one], twenty.pairs[other] = twenty.pairs[other], twenty.pairs[one]

    assert list(twenty.load()[1].faulty) == [range(7, 8), range(12, 13)]


def test_an_entry_that_moved_to_another_key_makes_both_slots_faulty(twenty: Disk) -> None:
    twenty.pairs[entry_key(40)] = twenty.pairs.pop(entry_key(12))

    assert list(twenty.load()[1].faulty) == [range(12, 13), range(40, 41)]


def test_slots_that_cannot_be_read_are_faulty_and_those_behind_them_are_not(twenty: Disk) -> None:
    twenty.unreadable |= {entry_key(slot) for slot in (6, 7, 8, 15)}

    storage, state = twenty.load()

    assert list(state.faulty) == [range(6, 9), range(15, 16)]
    assert read_all(storage, 9, 15) == {slot: value_of(slot) for slot in range(9, 15)}


def test_a_wide_gap_before_an_unreadable_slot_is_skipped_in_few_steps(disk: Disk) -> None:
    storage, _ = disk.load()
    storage.persist(accepted(1, 2**40, 2**40 + 1))
    storage.close()
    disk.unreadable.add(entry_key(2**40))

    _, state = disk.load()

    (faulty,) = state.faulty
    assert 2**40 in faulty


def test_an_older_entry_that_comes_back_is_faulty(twenty: Disk) -> None:
    """The disk lost the page of the newer entry, and the record of the store is newer."""
    older = twenty.pairs[entry_key(9)]
    for life in range(2, 5):
        storage, state = twenty.load()
        assert state.faulty == ()
        storage.persist(accepted(9, 12, round=life))
        storage.persist(accepted(20 + life))
        storage.close()
        newest = twenty.pairs[entry_key(9)]
        twenty.pairs[entry_key(9)] = older
        assert list(twenty.load()[1].faulty) == [range(9, 10)]
        twenty.pairs[entry_key(9)] = older = newest
        storage, _ = twenty.load()
        storage.persist(accepted(9, round=life))
        storage.close()


def test_an_older_list_of_replaced_slots_makes_every_slot_faulty(twenty: Disk) -> None:
    storage, _ = twenty.load()
    storage.persist(accepted(9, round=2))
    older = {key: twenty.pairs[key] for key in (entry_key(9), REPLACED_KEY)}
    storage.persist(accepted(9, round=3))
    storage.persist(accepted(21))
    storage.close()
    twenty.pairs.update(older)

    storage, state = twenty.load()

    assert list(state.faulty) == [range(1, 22)]
    storage.persist(accepted(*range(1, 22), round=4))
    assert twenty.load()[1].faulty == ()


def test_the_list_of_replaced_slots_is_bounded(disk: Disk) -> None:
    storage, _ = disk.load()
    slots = range(1, 3 * REPLACED_MAX)
    storage.persist(accepted(*slots))
    storage.persist(accepted(*slots, round=2))

    storage, state = disk.load()

    assert state.faulty == ()
    assert len(disk.pairs[REPLACED_KEY]) < 16 * REPLACED_MAX
    snapshot(storage, slots[-1], "s")
    storage.persist(WriteBatch(trim=Slot(slots[-1])))
    storage.persist(accepted(slots[-1], round=3))
    assert len(disk.pairs[REPLACED_KEY]) < 32


@pytest.mark.parametrize("key", [RECORD_KEY, META_KEY])
def test_a_damaged_single_value_is_an_error(twenty: Disk, key: bytes) -> None:
    whole = twenty.pairs[key]
    for damaged in (flipped(whole), b"", whole[:-1], whole + b"x"):
        twenty.pairs[key] = damaged
        with pytest.raises(CorruptedError):
            twenty.load()
    del twenty.pairs[key]
    with pytest.raises(CorruptedError):
        twenty.load()


def test_an_older_meta_under_a_newer_record_is_an_error(twenty: Disk) -> None:
    older = twenty.pairs[META_KEY]
    storage, _ = twenty.load()
    storage.persist(WriteBatch(meta={"a": b"c"}))
    twenty.pairs[META_KEY] = older

    with pytest.raises(CorruptedError, match="meta"):
        twenty.load()


def test_a_lost_batch_makes_faulty_what_it_may_have_written_and_keeps_its_promise(twenty: Disk) -> None:
    storage, _ = twenty.load()
    former = dict(twenty.pairs)
    storage.persist(WriteBatch(promised=ballot(8), accepted=[entry(9, b"newer", 8), entry(21)]))
    storage.close()
    twenty.pairs.clear()
    twenty.pairs.update(former)

    storage, state = twenty.load()

    assert state.promised == ballot(8)
    assert list(state.faulty) == [range(6, sys.maxsize)]
    storage.persist(WriteBatch(accepted=[entry(slot, b"healed", 9) for slot in range(6, 30)], decided=Slot(29)))
    assert list(twenty.load()[1].faulty) == [range(30, sys.maxsize)]


def test_everything_lost_is_an_error(twenty: Disk) -> None:
    twenty.pairs.clear()
    with pytest.raises(CorruptedError):
        twenty.load()


def test_another_stores_pairs_are_refused(twenty: Disk, tmp_path: Path) -> None:
    other = Disk(tmp_path / "other")
    other.load()[0].persist(accepted(1))
    assert other.storage is not None
    other.storage.close()
    twenty.pairs.clear()
    twenty.pairs.update(other.pairs)

    with pytest.raises(CorruptedError, match="different stores"):
        twenty.load()


def test_a_write_that_succeeded_and_then_raised_is_complete_after_a_restart(twenty: Disk) -> None:
    storage, _ = twenty.load()

    def fail() -> None:
        raise OSError(5, "the disk is gone")

    storage.after_write = fail
    with pytest.raises(OSError, match="disk is gone"):
        storage.persist(WriteBatch(promised=ballot(9), accepted=[entry(21)]))
    with pytest.raises(StorageError, match="disk is gone"):
        storage.persist(accepted(22))
    assert read_all(storage, 20) == {20: value_of(20)}, "a batch whose write raised is not readable"

    _, state = twenty.load()

    assert (state.promised, state.last, state.faulty) == (ballot(9), 21, ())


def test_a_failed_handle_writes_nothing_when_it_closes(twenty: Disk) -> None:
    storage, _ = twenty.load()

    def fail() -> None:
        raise OSError(28, "no space left")

    storage.before_write = fail
    writer = storage.create_snapshot(SnapshotMeta(Slot(5), "s"))
    with pytest.raises(StorageError):
        writer.write(b"x" * 1_000_000)
    before = dict(twenty.pairs)
    writer.abort()
    storage.close()

    assert twenty.pairs == before


def test_batches_newer_than_the_anchor_are_written_again_before_load_returns(twenty: Disk) -> None:
    storage, _ = twenty.load()
    stale = {path.name: path.read_bytes() for path in (twenty.path / "anchor").glob("anchor-*")}
    storage.persist(accepted(21, 22))
    storage.close()
    for name, data in stale.items():
        (twenty.path / "anchor" / name).write_bytes(data)
    again = DictStorage(twenty.path, twenty.pairs)
    written: list[bytes] = []
    write = again.write

    def watch(delete_ranges: Sequence[tuple[bytes, bytes]], puts: Sequence[tuple[bytes, bytes]], sync: bool) -> None:
        written.extend(key for key, _ in puts)
        assert sync
        write(delete_ranges, puts, sync)

    again.write = watch  # type: ignore[method-assign]

    assert again.load().faulty == ()
    assert {entry_key(21), entry_key(22), RECORD_KEY, META_KEY} <= set(written)
    again.close()


def test_a_batch_is_one_write_and_one_sync(twenty: Disk) -> None:
    storage, _ = twenty.load()
    calls: list[bool] = []
    storage.before_write = lambda: calls.append(True)
    syncs = storage.syncs

    storage.persist(WriteBatch(promised=ballot(9), accepted=[entry(21)], decided=Slot(6), meta={"x": b"y"}))
    storage.persist(WriteBatch(accepted=[entry(22)], sync=False))

    assert (len(calls), storage.syncs - syncs) == (2, 1)


def test_a_trim_is_synced_and_deletes_only_after_it_returned(twenty: Disk) -> None:
    storage, _ = twenty.load()
    snapshot(storage, 10, "s", b"data")
    storage.before_write = lambda: seen.append(entry_key(1) in twenty.pairs)
    seen: list[bool] = []
    syncs = storage.syncs

    storage.persist(WriteBatch(trim=Slot(11), sync=False))

    assert (seen, storage.syncs - syncs) == ([True, True], 1)
    assert entry_key(10) not in twenty.pairs


def test_what_an_interrupted_trim_left_behind_is_deleted_at_load(twenty: Disk) -> None:
    storage, _ = twenty.load()
    snapshot(storage, 10, "s", b"data")
    write = storage.write

    def put_only(delete_ranges: Sequence[tuple[bytes, bytes]], puts: Sequence[tuple[bytes, bytes]], sync: bool) -> None:
        write((), puts, sync)

    storage.write = put_only  # type: ignore[method-assign]
    storage.persist(WriteBatch(trim=Slot(11)))
    assert entry_key(10) in twenty.pairs

    storage, state = twenty.load()

    assert (state.first, state.faulty) == (11, ())
    assert entry_key(10) not in twenty.pairs
    assert read_snapshot(storage) == b"data"


def test_the_pieces_of_an_old_snapshot_are_deleted_when_its_last_reader_closes(disk: Disk) -> None:
    storage, _ = disk.load()
    snapshot(storage, 1, "old", b"o" * 600_000)
    reader, second = storage.open_snapshot(), storage.open_snapshot()
    assert reader is not None
    assert second is not None
    snapshot(storage, 2, "new", b"new")
    reader.close()
    assert b"".join(iter(lambda: second.read(1 << 16), b"")) == b"o" * 600_000
    second.close()

    assert not [key for key in disk.pairs if b"old" in key]


def test_a_store_in_a_directory_may_keep_snapshots_in_files(tmp_path: Path) -> None:
    pairs: Pairs = {}
    for life in range(1, 4):
        storage = DictStorage(tmp_path / "store", pairs, FileSnapshots(str(tmp_path / "store" / "snapshots")))
        state = storage.load()
        assert state.snapshot == (None if life == 1 else SnapshotMeta(Slot(life - 1), f"s-{life - 1}"))
        assert read_snapshot(storage) == (None if life == 1 else b"%d" % (life - 1))
        snapshot(storage, life, f"s-{life}", b"%d" % life)
        snapshot(storage, 9, f"orphan-{life}", b"orphan", publish=False)
        storage.close()
    assert [file.name for file in (tmp_path / "store" / "snapshots").iterdir()] == ["snapshot-3-s-3"]


def test_a_store_of_another_format_is_refused(twenty: Disk) -> None:
    twenty.pairs[b"f"] = b"paxospp.KeyValueStorage 2"
    with pytest.raises(StorageError, match=r"reads 'paxospp\.KeyValueStorage 1'"):
        twenty.load()


def test_a_damaged_list_of_replaced_entries_does_no_harm_once_they_are_trimmed(twenty: Disk) -> None:
    storage, _ = twenty.load()
    storage.persist(accepted(9, round=2))
    storage, _ = twenty.load()
    storage.close()
    twenty.pairs[REPLACED_KEY] = flipped(twenty.pairs[REPLACED_KEY])
    storage, state = twenty.load()
    assert list(state.faulty) == [range(1, 21)], "any of them may be an older entry"
    snapshot(storage, 20, "s")
    storage.persist(WriteBatch(decided=Slot(20), trim=Slot(21)))
    for slot in range(21, 24):
        storage.persist(accepted(slot))
        storage, state = twenty.load()
        assert state.faulty == ()


def test_a_replaced_entry_that_faulty_until_made_empty_stays_empty_at_later_starts(twenty: Disk) -> None:
    storage, _ = twenty.load()
    storage.persist(accepted(20, round=2))
    storage, _ = twenty.load()
    del twenty.pairs[entry_key(20)]
    storage, state = twenty.load()
    assert list(state.faulty) == [range(20, 21)]
    storage.persist(WriteBatch(faulty_until=Slot(20)))
    for _ in range(3):
        _, state = twenty.load()
        assert (list(state.faulty), state.last) == ([], 19)


def test_many_missing_decided_slots_are_each_reported_once(disk: Disk) -> None:
    """Each missing slot once doubled the length of the list of them, so a start with forty of them never ended."""
    storage, _ = disk.load()
    storage.persist(accepted(*range(1, 81, 2)))
    storage.persist(WriteBatch(decided=Slot(79)))

    _, state = disk.load()

    assert list(state.faulty) == [range(slot, slot + 1) for slot in range(2, 80, 2)]


@pytest.mark.parametrize("nothing", [range(5, 5), range(7, 3), range(0)])
def test_discarding_an_empty_range_changes_nothing(nothing: range) -> None:
    slots = SlotSet([range(1, 9), range(12, 20)])
    slots.discard(nothing)
    assert slots.ranges == (range(1, 9), range(12, 20))
