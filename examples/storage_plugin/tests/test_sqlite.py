"""Tests that only SQLite needs: its settings, its damage, its entry point. The contract is in test_contract.py."""

from __future__ import annotations

import sqlite3
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from paxospp_sqlite import SqliteStorage, paxospp_storages

from paxospp import (
    Ballot,
    ConfigError,
    CorruptedError,
    DurableState,
    Entry,
    Kind,
    LockedError,
    NodeId,
    Slot,
    WriteBatch,
)

BALLOT = Ballot(1, NodeId("n1"), 7)


def entry(slot: int, value: bytes) -> Entry:
    return Entry(Slot(slot), BALLOT, Kind.COMMANDS, value)


def test_what_was_persisted_is_there_after_a_restart(tmp_path: Path) -> None:
    storage = SqliteStorage(str(tmp_path))
    assert storage.load() == DurableState()
    storage.persist(WriteBatch(promised=BALLOT, accepted=[entry(1, b"one"), entry(2, b"")], meta={"who": b"n1"}))
    storage.close()

    storage = SqliteStorage(str(tmp_path))
    assert storage.load() == DurableState(promised=BALLOT, last=Slot(2), meta={"who": b"n1"})
    assert list(storage.read(Slot(1), Slot(3), 100)) == [entry(1, b"one"), entry(2, b"")]
    storage.close()


def test_each_commit_is_synced(tmp_path: Path) -> None:
    storage = SqliteStorage(str(tmp_path))
    storage.load()
    assert storage._writer is not None
    settings = {
        name: storage._writer.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
    }
    assert settings == {"journal_mode": "wal", "synchronous": 2}
    storage.close()


def test_a_page_that_is_overwritten_is_damage(tmp_path: Path) -> None:
    storage = SqliteStorage(str(tmp_path))
    storage.load()
    for slot in range(1, 200):
        storage.persist(WriteBatch(accepted=[entry(slot, bytes(500))]))
    storage.close()
    file = tmp_path / "log.sqlite"
    data = bytearray(file.read_bytes())
    data[8192:8200] = b"\xff" * 8
    file.write_bytes(data)

    storage = SqliteStorage(str(tmp_path))
    with pytest.raises(CorruptedError):
        storage.load()
    storage.close()


def test_a_second_opener_is_told_who_holds_it(tmp_path: Path) -> None:
    storage = SqliteStorage(str(tmp_path))
    with pytest.raises(LockedError, match="process"):
        SqliteStorage(str(tmp_path))
    storage.close()


def test_an_option_that_is_not_a_number_is_refused_before_anything_is_created(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cache_kib"):
        SqliteStorage(str(tmp_path / "store"), cache_kib="much")
    assert not (tmp_path / "store").exists()


def test_a_commit_that_fails_ends_the_handle(tmp_path: Path) -> None:
    storage = SqliteStorage(str(tmp_path))
    storage.load()
    storage.persist(WriteBatch(accepted=[entry(1, b"kept")]))
    other = sqlite3.connect(tmp_path / "log.sqlite", isolation_level=None)
    other.execute("DROP TABLE pairs")
    with pytest.raises(sqlite3.OperationalError):
        storage.persist(WriteBatch(accepted=[entry(2, b"lost")]))
    assert storage.failed
    other.close()
    storage.close()


def test_the_entry_point_names_this_module() -> None:
    found = [point for point in entry_points(group="paxospp") if point.name == "sqlite"]
    if not found:
        pytest.skip("paxospp-sqlite is not installed, only on the path")
    assert found[0].load().paxospp_storages is paxospp_storages
