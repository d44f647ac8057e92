"""Bugs that power cuts and kills at random moments have found, each reduced to a single case."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
from paxospp_file import FileStorage

from paxospp import Ballot, DurableState, Entry, Kind, NodeId, Slot, SnapshotMeta, Storage, WriteBatch

BALLOT = Ballot(1, NodeId("n1"), 0)


def entries(slots: Iterable[int], bytes_: int = 500) -> tuple[Entry, ...]:
    return tuple(Entry(Slot(slot), BALLOT, Kind.COMMANDS, bytes([slot]) * bytes_) for slot in slots)


def stage(storage: Storage, slot: int) -> SnapshotMeta:
    meta = SnapshotMeta(Slot(slot), f"at-{slot}")
    writer = storage.create_snapshot(meta)
    writer.write(b"state")
    writer.commit()
    return meta


def load_twice(path: Path) -> DurableState:
    """Check that two loads in a row return the same."""
    states = []
    for _ in range(2):
        storage = FileStorage(str(path), segment_bytes="4096")
        states.append(storage.load())
        storage.close()
    assert states[0] == states[1]
    return states[0]


def test_file_a_kill_after_the_sync_of_a_trim_before_its_anchor_loses_nothing(tmp_path: Path) -> None:
    """Everything that the trim keeps is in a segment that the anchor, one batch behind, does not know."""
    storage = FileStorage(str(tmp_path / "store"), segment_bytes="4096")
    storage.load()
    storage.persist(WriteBatch(promised=BALLOT, accepted=entries(range(1, 7)), decided=Slot(6)))
    shutil.copytree(tmp_path / "store", tmp_path / "killed")
    storage.persist(WriteBatch(accepted=entries(range(7, 10)), sync=False))  # begins a new segment
    meta = stage(storage, 6)
    storage.persist(WriteBatch(snapshot=meta, trim=Slot(7)))
    # A kill before the anchor was written and the old segment deleted: both are unchanged.
    for folder in ("log", "snapshots"):
        shutil.copytree(tmp_path / "store" / folder, tmp_path / "killed" / folder, dirs_exist_ok=True)
    expected = storage.read(Slot(7), Slot(10), 1 << 20)
    storage.close()
    assert len(list((tmp_path / "store" / "log").iterdir())) == 1, "the trim kept only the new segment"

    state = load_twice(tmp_path / "killed")

    assert (state.promised, state.decided, state.first, state.last) == (BALLOT, 6, 7, 9)
    assert (state.snapshot, state.faulty) == (meta, ())
    storage = FileStorage(str(tmp_path / "killed"), segment_bytes="4096")
    storage.load()
    assert list(storage.read(Slot(7), Slot(10), 1 << 20)) == list(expected)
    storage.close()


@pytest.mark.parametrize(
    "unsynced", [range(0), range(7, 10)], ids=["behind a synced batch", "behind an unsynced batch"]
)
def test_file_a_power_cut_after_a_trim_gave_its_space_back_loses_nothing(tmp_path: Path, unsynced: range) -> None:
    """The anchor on disk is up to a second old, and every record that it knew was trimmed and deleted."""
    storage = FileStorage(str(tmp_path / "store"), segment_bytes="4096")
    storage.load()
    shutil.copytree(tmp_path / "store" / "anchor", tmp_path / "cut" / "anchor")
    storage.persist(WriteBatch(promised=BALLOT, accepted=entries(range(1, 7)), decided=Slot(6), meta={"a": b"1"}))
    if unsynced:
        storage.persist(WriteBatch(accepted=entries(unsynced), sync=False))  # begins a new segment
    meta = stage(storage, 6)
    storage.persist(WriteBatch(snapshot=meta, trim=Slot(7)))
    for folder in ("log", "snapshots"):
        shutil.copytree(tmp_path / "store" / folder, tmp_path / "cut" / folder)
    storage.close()
    assert len(list((tmp_path / "cut" / "log").iterdir())) == 1

    state = load_twice(tmp_path / "cut")

    assert (state.promised, state.decided, state.first, state.last) == (BALLOT, 6, 7, 9 if unsynced else 6)
    assert (state.snapshot, state.faulty, dict(state.meta)) == (meta, (), {"a": b"1"})


def test_rocksdb_a_first_start_that_was_interrupted_before_the_column_families_can_be_repeated(tmp_path: Path) -> None:
    rocksdict = pytest.importorskip("rocksdict")
    from paxospp_rocksdb import open_rocksdb

    (tmp_path / "store").mkdir()
    rocksdict.Rdict(str(tmp_path / "store" / "db"), options=rocksdict.Options(raw_mode=True)).close()

    for _ in range(2):
        storage = open_rocksdb(str(tmp_path / "store"))
        assert storage.load() == DurableState()
        storage.close()
