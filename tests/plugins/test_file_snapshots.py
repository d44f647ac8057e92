"""Snapshots in files: staged, made current by a batch, readable until closed, and never damaged unnoticed."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest

from paxospp.errors import CorruptedError, StorageError
from paxospp.model import Slot, SnapshotMeta
from paxospp.storage import FileSnapshots, SnapshotReader


def meta(slot: int, id: str = "a") -> SnapshotMeta:
    return SnapshotMeta(Slot(slot), id)


def committed(snapshots: FileSnapshots, name: SnapshotMeta, *chunks: bytes) -> SnapshotMeta:
    writer = snapshots.create_snapshot(name)
    for chunk in chunks:
        writer.write(chunk)
    writer.commit()
    return name


def opened(snapshots: FileSnapshots) -> SnapshotReader:
    reader = snapshots.open_snapshot()
    assert reader is not None
    return reader


def read_all(snapshots: FileSnapshots, size: int = 1000) -> bytes:
    with opened(snapshots) as reader:
        return b"".join(iter(lambda: reader.read(size), b""))


def fresh(path: Path, current: SnapshotMeta | None = None) -> FileSnapshots:
    snapshots = FileSnapshots(str(path))
    snapshots.adopt_snapshot(current)
    return snapshots


@pytest.mark.parametrize("size", [0, 1, 262_143, 262_144, 262_145, 1_000_000])
def test_a_snapshot_reads_back_as_written_whatever_the_chunks(tmp_path: Path, size: int) -> None:
    data = random.Random(size).randbytes(size)
    snapshots = fresh(tmp_path)
    name = committed(snapshots, meta(3), *[data[at : at + 99_991] for at in range(0, size, 99_991)])
    assert snapshots.open_snapshot() is None
    snapshots.adopt_snapshot(name)
    for read_size in (1, 4096, 1 << 20) if size < 1000 else (4097, 1 << 20):
        assert read_all(snapshots, read_size) == data
    assert read_all(fresh(tmp_path, name)) == data


def test_a_disk_that_is_full_at_the_first_byte_leaves_no_file_and_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller has no writer to abort, and will retry."""
    opened_files: list[int] = []
    closed_files: list[int] = []
    begin, end = os.open, os.close

    def watched(*arguments: object, **options: object) -> int:
        opened_files.append(begin(*arguments, **options))  # type: ignore[arg-type]
        return opened_files[-1]

    def closed(descriptor: int) -> None:
        closed_files.append(descriptor)
        end(descriptor)

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "no space left on device")

    snapshots = fresh(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", watched)
        patch.setattr(os, "close", closed)
        patch.setattr(os, "write", full)
        for _ in range(3):
            with pytest.raises(OSError, match="no space left"):
                snapshots.create_snapshot(meta(3))
    assert list(tmp_path.iterdir()) == []
    assert len(opened_files) == 3
    assert closed_files == opened_files
    committed(snapshots, meta(3), b"now there is room")


def test_the_snapshot_that_a_batch_names_is_current_and_all_others_are_deleted(tmp_path: Path) -> None:
    snapshots = fresh(tmp_path)
    first = committed(snapshots, meta(1), b"one")
    snapshots.adopt_snapshot(first)
    second = committed(snapshots, meta(2), b"two")
    snapshots.adopt_snapshot(first)  # a batch that names no snapshot
    snapshots.adopt_snapshot(second)
    assert [file.name for file in tmp_path.iterdir()] == ["snapshot-2-a"]
    committed(snapshots, meta(3), b"orphan")
    snapshots.create_snapshot(meta(4)).write(b"half")
    snapshots = fresh(tmp_path, second)
    assert [file.name for file in tmp_path.iterdir()] == ["snapshot-2-a"]
    assert read_all(snapshots) == b"two"


def test_closing_and_aborting_drop_what_no_batch_named(tmp_path: Path) -> None:
    snapshots = fresh(tmp_path)
    committed(snapshots, meta(1), b"one")
    writer = snapshots.create_snapshot(meta(2))
    writer.abort()
    assert [file.name for file in tmp_path.iterdir()] == ["snapshot-1-a"]
    writer = snapshots.create_snapshot(meta(2))
    snapshots.drop_staged()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StorageError):
        writer.write(b"late")


def test_one_writer_at_a_time_and_one_attempt_per_name(tmp_path: Path) -> None:
    snapshots = fresh(tmp_path)
    writer = snapshots.create_snapshot(meta(1))
    with pytest.raises(StorageError):
        snapshots.create_snapshot(meta(2))
    writer.commit()
    with pytest.raises(StorageError):
        snapshots.create_snapshot(meta(1))
    with pytest.raises(StorageError):
        writer.write(b"late")
    with pytest.raises(StorageError):
        writer.commit()
    snapshots.create_snapshot(meta(2)).abort()


def test_only_a_committed_snapshot_may_be_named(tmp_path: Path) -> None:
    snapshots = fresh(tmp_path)
    writer = snapshots.create_snapshot(meta(1))
    with pytest.raises(StorageError):
        snapshots.check_snapshot(meta(1))
    writer.commit()
    snapshots.check_snapshot(meta(1))
    snapshots.adopt_snapshot(meta(1))
    snapshots.check_snapshot(meta(1))
    with pytest.raises(StorageError):
        snapshots.check_snapshot(meta(1, "b"))


def test_a_reader_outlives_the_file(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(600_000)
    snapshots = fresh(tmp_path)
    snapshots.adopt_snapshot(committed(snapshots, meta(1), data))
    reader = opened(snapshots)
    head = reader.read(10)
    snapshots.adopt_snapshot(committed(snapshots, meta(2), b"two"))
    assert len(list(tmp_path.iterdir())) == 1
    assert head + b"".join(iter(lambda: reader.read(100_000), b"")) == data
    reader.close()
    reader.close()
    with pytest.raises(StorageError):
        reader.read(1)


def test_a_damaged_file_is_never_read_to_its_end(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(600_000)
    snapshots = fresh(tmp_path)
    name = committed(snapshots, meta(1), data)
    snapshots.adopt_snapshot(name)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    chance = random.Random(2)
    damaged = [b"", whole[:-1], whole[:-8], whole + b"\0", whole[:300_000], whole + whole[-8:]]
    for position in [*range(60), *chance.sample(range(len(whole)), 40), *range(len(whole) - 10, len(whole))]:
        flipped = bytearray(whole)
        flipped[position] ^= 1 << chance.randrange(8)
        damaged.append(bytes(flipped))
    for bytes_ in damaged:
        file.write_bytes(bytes_)
        with pytest.raises(CorruptedError):
            read_all(snapshots, 1 << 20)
    file.unlink()
    with pytest.raises(CorruptedError):
        snapshots.open_snapshot()
    file.write_bytes(whole)
    assert read_all(fresh(tmp_path, name)) == data
