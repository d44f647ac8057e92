"""The traps of LMDB, one by one. The storage contract is checked in test_contract.py."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import lmdb
import pytest
from paxospp_lmdb import open_lmdb, paxospp_storages, store
from paxospp_lmdb.store import KEY_BYTES_MAX, READERS_MAX, LmdbStorage

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
    StorageError,
    WriteBatch,
)

BALLOT = Ballot(1, NodeId("n1"), 7)
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def entry(slot: int, value: bytes) -> Entry:
    return Entry(Slot(slot), BALLOT, Kind.COMMANDS, value)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[LmdbStorage]:
    """Open and load a store with a small map."""
    opened = LmdbStorage(str(tmp_path / "store"), map_mib="1")
    opened.load()
    yield opened
    opened.close()


def data_file(path: Path) -> Path:
    return path / "db" / "data.mdb"


def put(storage: LmdbStorage, *keys: bytes, value: bytes = b"value") -> None:
    storage.write((), [(key, value) for key in keys], sync=True)


def test_what_was_persisted_is_there_after_a_restart(tmp_path: Path) -> None:
    storage = open_lmdb(str(tmp_path))
    assert storage.load() == DurableState()
    storage.persist(WriteBatch(promised=BALLOT, accepted=[entry(1, b"one"), entry(2, b"")], meta={"who": b"n1"}))
    storage.close()

    storage = open_lmdb(str(tmp_path))
    assert storage.load() == DurableState(promised=BALLOT, last=Slot(2), meta={"who": b"n1"})
    assert list(storage.read(Slot(1), Slot(3), 100)) == [entry(1, b"one"), entry(2, b"")]
    storage.close()


def test_each_commit_is_synced_and_the_map_cannot_be_written(storage: LmdbStorage) -> None:
    assert storage._env is not None
    flags = storage._env.flags()
    assert (flags["sync"], flags["metasync"], flags["lock"]) == (True, True, True)
    assert (flags["writemap"], flags["map_async"]) == (False, False)


# Creation


def test_a_creation_that_was_cut_short_is_repeated(tmp_path: Path) -> None:
    """A power cut left half of the meta pages, under the temporary name."""
    unfinished = tmp_path / "db.new"
    unfinished.mkdir()
    (unfinished / "data.mdb").write_bytes(bytes(100))

    storage = LmdbStorage(str(tmp_path))

    assert storage.load() == DurableState()
    assert not unfinished.exists()
    storage.close()


def test_a_database_that_is_gone_is_not_created_again(tmp_path: Path) -> None:
    storage = LmdbStorage(str(tmp_path))
    storage.load()
    storage.persist(WriteBatch(promised=BALLOT))
    storage.close()
    shutil.rmtree(tmp_path / "db")

    for _ in range(2):
        storage = LmdbStorage(str(tmp_path))
        with pytest.raises(CorruptedError, match="is missing, and this is not a new store"):
            storage.load()
        storage.close()
        assert not (tmp_path / "db").exists()


def test_a_second_opener_is_told_who_holds_it(storage: LmdbStorage, tmp_path: Path) -> None:
    with pytest.raises(LockedError, match="process"):
        LmdbStorage(str(tmp_path / "store"))
    storage.persist(WriteBatch(promised=BALLOT))


# SIGBUS

LOAD = """
import sys
from paxospp_lmdb.store import LmdbStorage
storage = LmdbStorage(sys.argv[1])
try:
    state = storage.load()
except Exception as error:
    print(type(error).__name__)
else:
    print([(slots.start, slots.stop) for slots in state.faulty])
    for slot in range(state.first, state.last + 1):
        if not any(slot in slots for slots in state.faulty):
            assert storage.read(slot, slot + 1, 10)[0].value
storage.close()
"""


def loaded_elsewhere(path: Path) -> str:
    """Load and read everything in another process, so that SIGBUS does not kill pytest."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", LOAD, str(path)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr}"
    return done.stdout.strip()


def test_a_file_that_was_cut_anywhere_is_reported_and_never_raises_sigbus(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    storage = LmdbStorage(str(whole))
    storage.load()
    for slot in range(1, 11):
        storage.persist(WriteBatch(accepted=[entry(slot, b"%02d" % slot * 6000)]))  # three pages each
    storage.close()
    size = data_file(whole).stat().st_size
    answers = set()
    for left in (0, 100, PAGE_BYTES, size // 3, size - 2 * PAGE_BYTES - 1, size - PAGE_BYTES, size - 1):
        cut = tmp_path / str(left)
        shutil.copytree(whole, cut)
        os.truncate(data_file(cut), left)
        answers.add(loaded_elsewhere(cut))

    assert "CorruptedError" in answers
    assert any(answer.startswith("[(") for answer in answers), "a value whose end is gone costs its slot only"


def test_a_file_that_is_shorter_than_the_database_says_is_sound_if_the_end_is_free(tmp_path: Path) -> None:
    """LMDB does not write a page that one transaction allocated and freed, not even at the end of the file."""
    chance = random.Random(6)
    storage = LmdbStorage(str(tmp_path))
    storage.load()
    assert storage._env is not None
    first = number = missing = 0
    for _ in range(100):
        with storage._env.begin(write=True) as transaction, transaction.cursor() as cursor:
            for _ in range(chance.randrange(1, 4)):
                for _ in range(chance.choice([0, 300])):
                    transaction.put(b"x%08d" % number, bytes(chance.choice([0, 16, 100, 1000, 3000])))
                    number += 1
                first = chance.randrange(first, number + 1)
                while cursor.set_range(b"x") and cursor.key() < b"x%08d" % first:
                    cursor.delete()
        missing = (storage._env.info()["last_pgno"] + 1) * PAGE_BYTES - data_file(tmp_path).stat().st_size
        if missing > 0:
            break
    assert missing > 0, "the case that this test is about did not come up"
    keys = [key for key, _ in storage.scan(b"x", b"y")]
    storage.close()

    storage = LmdbStorage(str(tmp_path))
    storage.load()

    assert [key for key, _ in storage.scan(b"x", b"y")] == keys
    storage.close()


def test_a_page_whose_header_changed_is_damage(tmp_path: Path) -> None:
    storage = LmdbStorage(str(tmp_path))
    storage.load()
    for slot in range(1, 200):
        storage.persist(WriteBatch(accepted=[entry(slot, bytes(500))]))
    leaf = (2).to_bytes(2, sys.byteorder)  # the flags of a leaf page
    storage.close()
    data = bytearray(data_file(tmp_path).read_bytes())
    for page in range(2, len(data) // PAGE_BYTES):
        if data[page * PAGE_BYTES + 10 : page * PAGE_BYTES + 12] == leaf:
            data[page * PAGE_BYTES + 12] ^= 0x40
    data_file(tmp_path).write_bytes(data)

    storage = LmdbStorage(str(tmp_path))
    with pytest.raises(CorruptedError, match="problems"):
        storage.load()
    storage.close()


# The map


def test_a_full_map_grows_and_the_write_is_repeated(storage: LmdbStorage) -> None:
    assert storage._env is not None
    before = storage._env.info()["map_size"]
    for slot in range(1, 6):
        storage.persist(WriteBatch(accepted=[entry(slot, bytes([slot]) * 1_000_000)]))

    assert storage._env.info()["map_size"] >= 4 * before
    found = storage.read(Slot(1), Slot(6), 1 << 30)
    assert [(e.slot, len(e.value), e.value[0]) for e in found] == [(slot, 1_000_000, slot) for slot in range(1, 6)]


def test_a_store_that_has_grown_opens_with_a_small_map(tmp_path: Path) -> None:
    for slot in range(1, 4):
        storage = LmdbStorage(str(tmp_path), map_mib="1")
        storage.load()
        storage.persist(WriteBatch(accepted=[entry(slot, bytes(900_000))]))
        storage.close()

    storage = LmdbStorage(str(tmp_path), map_mib="1")
    assert storage.load().last == 3
    storage.close()


def test_a_write_that_has_to_grow_the_map_waits_for_a_scan(storage: LmdbStorage) -> None:
    """Changing the size would invalidate the scan's transaction."""
    put(storage, b"x1", b"x2")
    rows = storage.scan(b"x", b"y")
    assert next(rows) == (b"x1", b"value")
    writer = threading.Thread(target=put, args=(storage, b"x3"), kwargs={"value": bytes(2_000_000)})
    writer.start()
    writer.join(0.2)
    assert writer.is_alive()

    assert list(rows) == [(b"x2", b"value")]
    writer.join()

    assert [key for key, _ in storage.scan(b"x", b"y")] == [b"x1", b"x2", b"x3"]


def test_a_scan_that_is_never_ended_fails_the_write_instead_of_waiting_for_ever(
    storage: LmdbStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "GROW_WAIT_S", 0.05)
    put(storage, b"x1", b"x2")
    rows = storage.scan(b"x", b"y")
    next(rows)

    with pytest.raises(StorageError, match="a scan has kept it from growing"):
        put(storage, b"x3", value=bytes(2_000_000))

    assert list(rows) == [(b"x2", b"value")]
    assert storage.get(b"x3") is None


# Keys, readers, fork


@pytest.mark.parametrize("size", [0, KEY_BYTES_MAX + 1])
def test_a_key_that_lmdb_cannot_hold_is_refused_with_its_length_and_writes_nothing(
    storage: LmdbStorage, size: int
) -> None:
    with pytest.raises(StorageError, match=rf"has {size} bytes; LMDB takes 1 to 511"):
        put(storage, b"a", b"k" * size)

    assert storage.get(b"a") is None
    assert storage.get(b"k" * size) is None
    assert [key for key, _ in storage.scan(b"g", b"k" * 600)] == []


def test_a_key_of_the_greatest_length_and_bounds_that_are_longer(storage: LmdbStorage) -> None:
    longest = b"k" * KEY_BYTES_MAX
    put(storage, b"j", longest, b"l")

    assert storage.get(longest) == b"value"
    assert [key for key, _ in storage.scan(longest, longest + b"k")] == [longest]
    storage.write([(longest, longest + b"k")], (), sync=True)
    assert [key for key, _ in storage.scan(b"j", b"m")] == [b"j", b"l"]
    assert storage._env is not None
    assert storage._env.max_key_size() == KEY_BYTES_MAX


def test_pages_that_a_scan_may_still_show_are_not_reused(storage: LmdbStorage) -> None:
    """This is the cost of a long scan: the file grows until the scan ends."""

    def pages_for_writes() -> int:
        assert storage._env is not None
        before: int = storage._env.info()["last_pgno"]
        for number in range(20):
            put(storage, b"x1", value=bytes([number]) * 10_000)
        return storage._env.info()["last_pgno"] - before

    pages_for_writes()
    put(storage, b"x2")
    rows = storage.scan(b"x", b"y")
    next(rows)
    while_it_is_open = pages_for_writes()
    rows.close()  # type: ignore[attr-defined]

    assert while_it_is_open >= 20 * 3
    assert pages_for_writes() == 0


def test_too_many_readers_are_an_error_that_names_the_limit(storage: LmdbStorage) -> None:
    put(storage, b"x1", b"x2")
    scans = [storage.scan(b"x", b"y") for _ in range(READERS_MAX)]
    assert {next(rows) for rows in scans} == {(b"x1", b"value")}

    with pytest.raises(StorageError, match="MDB_READERS_FULL"):
        storage.get(b"x1")

    assert next(scans.pop()) == (b"x2", b"value")
    assert storage.get(b"x1") == b"value"


def test_a_forked_child_is_refused_and_its_parent_goes_on(storage: LmdbStorage) -> None:
    put(storage, b"x1")
    pid = os.fork()
    if pid == 0:
        refused = 0
        for attempt in (lambda: storage.get(b"x1"), lambda: list(storage.scan(b"x", b"y")), lambda: put(storage, b"y")):
            try:
                attempt()
            except StorageError:
                refused += 1
        storage.close()
        os._exit(refused)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    put(storage, b"x2")
    assert [key for key, _ in storage.scan(b"x", b"y")] == [b"x1", b"x2"]


def test_a_store_that_is_closed_or_not_yet_loaded_says_so(tmp_path: Path) -> None:
    storage = LmdbStorage(str(tmp_path))
    with pytest.raises(StorageError, match="never loaded"):
        storage.get(b"x")
    storage.load()
    storage.close()
    storage.close()
    with pytest.raises(StorageError, match="closed"):
        storage.write((), (), sync=True)


@pytest.mark.parametrize("size", ["0", "-1", "much", "1.5", "99999999"])
def test_a_map_size_out_of_bounds_is_refused_before_anything_is_created(tmp_path: Path, size: str) -> None:
    with pytest.raises(ConfigError, match="map_mib"):
        open_lmdb(str(tmp_path / "store"), map_mib=size)
    assert not (tmp_path / "store").exists()


def test_what_lmdb_calls_damage_is_damage_here() -> None:
    for kind in (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.InvalidError):
        assert isinstance(store._translated(kind("a test")), CorruptedError)
    assert type(store._translated(lmdb.DiskError("a test"))) is StorageError


def test_the_entry_point_names_this_module() -> None:
    found = [point for point in entry_points(group="paxospp") if point.name == "lmdb"]
    if not found:
        pytest.skip("paxospp-lmdb is not installed, only on the path")
    assert found[0].load().paxospp_storages is paxospp_storages
