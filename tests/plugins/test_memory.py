"""The memory storage: it is volatile, and its name decides which opened stores are the same one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from paxospp_memory import MemoryStorage, paxospp_storages

from paxospp import Ballot, DurableState, Entry, Kind, NodeId, Slot, SnapshotMeta, WriteBatch
from paxospp.errors import CorruptedError, LockedError, StorageError, TrimmedError


def entry(slot: int, value: bytes = b"v") -> Entry:
    return Entry(Slot(slot), Ballot(1, NodeId("n1"), 7), Kind.COMMANDS, value)


def test_it_says_that_it_is_volatile() -> None:
    (backend,) = paxospp_storages()
    assert backend.scheme == "memory"
    assert backend.open("").durable is False


def test_one_name_is_one_store_and_an_empty_name_is_a_new_store_each_time() -> None:
    first = MemoryStorage("place")
    with pytest.raises(LockedError):
        MemoryStorage("place")
    MemoryStorage("")
    MemoryStorage("")
    first.load()
    first.persist(WriteBatch(accepted=[entry(1)]))
    first.close()
    first.close()
    again = MemoryStorage("place")
    assert again.load() == DurableState()
    again.close()


def test_it_keeps_what_it_is_told_until_it_is_closed() -> None:
    storage = MemoryStorage()
    storage.load()
    storage.persist(WriteBatch(accepted=[entry(1, b""), entry(2), entry(5)], decided=Slot(2), meta={"a": b""}))
    assert list(storage.read(Slot(1), Slot(sys.maxsize), 100)) == [entry(1, b""), entry(2), entry(5)]
    meta = SnapshotMeta(Slot(1), "s")
    writer = storage.create_snapshot(meta)
    writer.write(b"state")
    writer.commit()
    storage.persist(WriteBatch(snapshot=meta, trim=Slot(2)))
    with pytest.raises(TrimmedError):
        storage.read(Slot(1), Slot(3), 100)
    reader = storage.open_snapshot()
    assert reader is not None
    assert (reader.meta, reader.read(3), reader.read(9), reader.read(9)) == (meta, b"sta", b"te", b"")
    storage.close()
    with pytest.raises(StorageError):
        storage.persist(WriteBatch())


def test_a_missing_decided_slot_is_an_error_and_not_an_empty_slot() -> None:
    storage = MemoryStorage()
    storage.load()
    storage.persist(WriteBatch(accepted=[entry(1), entry(3), entry(9)], decided=Slot(4)))
    assert list(storage.read(Slot(1), Slot(10), 100)) == [entry(1)]
    for slot in (2, 4):
        with pytest.raises(CorruptedError):
            storage.read(Slot(slot), Slot(10), 100)
    assert list(storage.read(Slot(5), Slot(10), 100)) == [entry(9)]
    assert list(storage.read(Slot(3), Slot(10), 100)) == [entry(3)]


def test_after_a_refused_batch_the_store_accepts_no_other() -> None:
    storage = MemoryStorage()
    storage.load()
    with pytest.raises(StorageError):
        storage.persist(WriteBatch(accepted=[entry(1)], trim=Slot(2)))
    with pytest.raises(StorageError):
        storage.persist(WriteBatch())
    assert list(storage.read(Slot(1), Slot(9), 100)) == []


def test_it_is_short_enough_to_read_first() -> None:
    source = Path(sys.modules["paxospp_memory"].__file__ or "").read_text()
    assert len(source.splitlines()) < 250
