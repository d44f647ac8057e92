"""Defaults of RocksDB that would break the contract: silent loss of log records, pickled values, unsynced writes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

rocksdict = pytest.importorskip("rocksdict", reason="the driver is an extra: pip install 'paxospp[rocksdb]'")

import paxospp_rocksdb  # noqa: E402
from paxospp_rocksdb.manifest import BLOCK_BYTES, check_manifest  # noqa: E402
from paxospp_rocksdb.store import RocksdbStorage  # noqa: E402

from paxospp import (  # noqa: E402
    BackendUnavailableError,
    ConfigError,
    CorruptedError,
    DurableState,
    LockedError,
    Slot,
    StorageError,
    WriteBatch,
)
from paxospp.testing.storage_suite.file_damage import flip_needle  # noqa: E402
from paxospp.testing.storage_suite.words import accepted, ballot, entry, read_all, value_of  # noqa: E402

LEAVE = """
import os, sys
from paxospp import WriteBatch
from paxospp_rocksdb.store import RocksdbStorage
from paxospp.testing.storage_suite.words import ballot, entry, value_of
store = RocksdbStorage(sys.argv[1])
store.load()
store.persist(WriteBatch(promised=ballot(1)))
for slot in range(1, 51):
    store.persist(WriteBatch(promised=ballot(slot), accepted=[entry(slot, value_of(slot))]))
for slot in range(51, 101):
    store.persist(WriteBatch(accepted=[entry(slot, value_of(slot))], sync=False))
os._exit(0)
"""


def run(code: str, *arguments: str) -> str:
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.path.join(root, "plugins")])}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def left(path: Path) -> Path:
    """Make a store whose process ended without closing it: 50 synced and 50 unsynced slots, all in the log."""
    run(LEAVE, str(path))
    return path


def wal(path: Path) -> Path:
    (log,) = (path / "db").glob("*.log")
    return log


def load(path: Path) -> tuple[RocksdbStorage, DurableState]:
    storage = RocksdbStorage(str(path))
    try:
        return storage, storage.load()
    except BaseException:
        storage.close()
        raise


def flip(slot: int) -> Callable[[Path], None]:
    return lambda path: _change(path, lambda data, at: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], slot)


def zero(slot: int) -> Callable[[Path], None]:
    """Overwrite the beginning of a record with zeros, which every recovery mode takes for the end of the log."""
    return lambda path: _change(path, lambda data, at: data[: at - 400] + bytes(800) + data[at + 400 :], slot)


def cut(slot: int) -> Callable[[Path], None]:
    return lambda path: _change(path, lambda data, at: data[:at], slot)


def _change(path: Path, change: Callable[[bytes, int], bytes], slot: int) -> None:
    data = wal(path).read_bytes()
    wal(path).write_bytes(change(data, data.index(value_of(slot)) + 3))


@pytest.mark.parametrize("harm", [flip, zero, cut])
def test_what_the_log_lost_below_the_anchor_is_faulty_and_the_promise_is_kept(
    tmp_path: Path, harm: Callable[[int], Callable[[Path], None]]
) -> None:
    path = left(tmp_path / "store")
    harm(20)(path)

    for _ in range(2):
        storage, state = load(path)
        storage.close()

        assert state.promised == ballot(50), "the anchor has it"
        assert list(state.faulty) == [range(1, sys.maxsize)], "nothing is known to be decided, so any slot may be lost"
        assert state.last < 20

    storage, _ = load(path)
    storage.persist(WriteBatch(accepted=[entry(slot, value_of(slot, 2), 2) for slot in range(1, 60)]))
    storage.close()
    storage, state = load(path)
    assert list(state.faulty) == [range(60, sys.maxsize)]
    assert read_all(storage, 1, 60) == {slot: value_of(slot, 2) for slot in range(1, 60)}
    storage.close()


@pytest.mark.parametrize("harm", [flip, cut])
def test_what_the_log_lost_above_the_anchor_was_never_acknowledged(
    tmp_path: Path, harm: Callable[[int], Callable[[Path], None]]
) -> None:
    path = left(tmp_path / "store")
    harm(80)(path)

    storage, state = load(path)

    assert state.faulty == ()
    assert 50 <= state.last < 80
    assert read_all(storage) == {slot: value_of(slot) for slot in range(1, state.last + 1)}
    storage.close()


@pytest.mark.parametrize("tail", [b"", b"\0" * 5000, b"garbage" * 100])
def test_a_torn_tail_is_dropped_in_silence(tmp_path: Path, tail: bytes) -> None:
    path = left(tmp_path / "store")
    log = wal(path)
    log.write_bytes(log.read_bytes()[: -7 if not tail else None] + tail)

    storage, state = load(path)

    assert (state.faulty, state.last) == ((), 100 if tail else 99)
    storage.close()


def test_a_lost_change_of_meta_is_an_error_and_stays_one(tmp_path: Path) -> None:
    path = left(tmp_path / "store")
    storage, _ = load(path)
    shutil.copytree(path / "db", tmp_path / "former")
    storage.persist(WriteBatch(meta={"boot": b"2"}))
    storage.close()
    shutil.rmtree(path / "db")
    shutil.copytree(tmp_path / "former", path / "db")

    for _ in range(2):
        with pytest.raises(CorruptedError, match="meta"):
            load(path)


def test_an_older_database_under_a_newer_anchor_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "store"
    storage, _ = load(path)
    storage.persist(WriteBatch(promised=ballot(1), accepted=[entry(1), entry(2)], decided=Slot(1)))
    storage.close()
    shutil.copytree(path / "db", tmp_path / "former")
    storage, _ = load(path)
    storage.persist(WriteBatch(promised=ballot(9), accepted=[entry(2, b"newer", 9)]))
    storage.close()
    shutil.rmtree(path / "db")
    shutil.copytree(tmp_path / "former", path / "db")

    storage, state = load(path)

    assert (state.promised, list(state.faulty)) == (ballot(9), [range(2, sys.maxsize)])
    with pytest.raises(CorruptedError):
        storage.read(Slot(2), Slot(3), 100)
    storage.close()


@pytest.mark.parametrize("lost", ["CURRENT", "MANIFEST-*", "*.sst", "*"])
def test_a_directory_that_lost_files_is_refused_and_not_recreated(tmp_path: Path, lost: str) -> None:
    path = tmp_path / "store"
    storage, _ = load(path)
    storage.persist(accepted(1))
    storage.close()
    for file in (path / "db").glob(lost):
        file.unlink()
    left_over = sorted((path / "db").iterdir())

    with pytest.raises(CorruptedError):
        load(path)

    if lost in ("CURRENT", "*"):
        assert sorted((path / "db").iterdir()) == left_over


def test_a_missing_database_is_an_error_and_is_not_recreated(tmp_path: Path) -> None:
    load(tmp_path / "store")[0].close()
    shutil.rmtree(tmp_path / "store" / "db")

    with pytest.raises(CorruptedError, match="CURRENT"):
        load(tmp_path / "store")
    assert not (tmp_path / "store" / "db").exists()


FLIP_TYPES = """
import shutil, sys
from pathlib import Path
from paxospp import CorruptedError
from paxospp_rocksdb.store import RocksdbStorage
store = Path(sys.argv[1])
(manifest,) = (store / "db").glob("MANIFEST-*")
data, at = manifest.read_bytes(), 0
while at < len(data):
    copy = store.with_name(f"copy-{at}")
    shutil.copytree(store, copy)
    (copy / "db" / manifest.name).write_bytes(data[: at + 6] + bytes([data[at + 6] ^ 4]) + data[at + 7 :])
    storage = RocksdbStorage(str(copy))
    try:
        storage.load()
    except CorruptedError:
        print("refused")
    storage.close()
    at += 7 + int.from_bytes(data[at + 4 : at + 6], "little")
"""


def test_a_manifest_that_sends_rocksdb_into_an_endless_loop_is_refused(tmp_path: Path) -> None:
    """Run in a process of its own: the loop would hold the GIL, so no timeout in this process could end it."""
    store = left(tmp_path / "store")

    assert set(run(FLIP_TYPES, str(store)).split()) == {"refused"}


def test_a_manifest_is_checked_beyond_its_first_block(tmp_path: Path) -> None:
    (tmp_path / "CURRENT").write_bytes(b"MANIFEST-000007\n")
    record = b"\0\0\0\0" + (1000).to_bytes(2, "little") + b"\1" + b"\7" * 1000
    block = (record * (BLOCK_BYTES // len(record))).ljust(BLOCK_BYTES, b"\0")
    manifest = tmp_path / "MANIFEST-000007"
    for whole in (b"", block, block + block, block + record[:500], block + record + record[:6], bytes(1 << 16)):
        manifest.write_bytes(whole)
        check_manifest(str(tmp_path))

    manifest.write_bytes(block + record + record[:6] + b"\5" + record[7:])

    with pytest.raises(CorruptedError, match="MANIFEST-000007: the record at 33775 "):
        check_manifest(str(tmp_path))


@pytest.mark.parametrize("names", [b"", b"\n", b"nowhere\n", b"\0\n", b".\n", b"x" * 300])
def test_a_current_file_that_names_no_manifest_is_left_to_rocksdb(tmp_path: Path, names: bytes) -> None:
    (tmp_path / "CURRENT").write_bytes(names)
    check_manifest(str(tmp_path))


def test_a_first_start_that_was_interrupted_before_the_anchor_starts_over(tmp_path: Path) -> None:
    path = tmp_path / "store"
    RocksdbStorage(str(path)).close()
    (path / "db").mkdir()
    (path / "db" / "MANIFEST-000001").write_bytes(b"")

    storage, state = load(path)

    assert state == DurableState()
    storage.close()


def test_a_damaged_block_costs_the_slots_in_it_and_does_not_stop_compaction(tmp_path: Path) -> None:
    path = tmp_path / "store"
    storage = RocksdbStorage(str(path), write_buffer_mib="1")
    storage.load()
    slots = range(1, 2001)
    for start in range(1, 2001, 50):
        storage.persist(WriteBatch(accepted=[entry(slot, value_of(slot) * 5) for slot in range(start, start + 50)]))
    storage.close()
    assert flip_needle(path, value_of(1000))

    storage = RocksdbStorage(str(path), write_buffer_mib="1")
    state = storage.load()

    (faulty,) = state.faulty
    assert 1000 in faulty
    assert len(faulty) < 50
    whole = {slot: value_of(slot) * 5 for slot in slots if slot not in faulty}
    assert {**read_all(storage, 1, faulty.start), **read_all(storage, faulty.stop)} == whole
    storage.persist(WriteBatch(accepted=[entry(slot, value_of(slot) * 5) for slot in faulty]))
    for round in range(2, 60):  # enough for tables to be merged
        storage.persist(WriteBatch(accepted=[entry(slot, bytes(200), round) for slot in range(3000, 4000)]))
    storage.close()
    storage = RocksdbStorage(str(path), write_buffer_mib="1")
    assert storage.load().faulty == ()
    assert read_all(storage, 1, 2001) == {slot: value_of(slot) * 5 for slot in slots}
    storage.close()


def test_a_forked_child_cannot_write(tmp_path: Path) -> None:
    code = """
import os, sys
from paxospp import StorageError
from paxospp_rocksdb.store import RocksdbStorage
from paxospp.testing.storage_suite.words import accepted, read_all
store = RocksdbStorage(sys.argv[1])
store.load()
store.persist(accepted(1))
child = os.fork()
if child == 0:
    for call in (store.persist, accepted(2)), (store.write, [], [(b"x", b"y")], True), (read_all, store):
        try:
            call[0](*call[1:])
        except StorageError as error:
            assert "process" in str(error), error
        else:
            os._exit(1)
    store.close()
    del store
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
store.persist(accepted(3))
print(sorted(read_all(store)))
store.close()
"""
    assert run(code, str(tmp_path / "store")) == "[1, 3]\n"


def test_the_error_for_a_missing_driver_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rocksdict", None)
    monkeypatch.delitem(sys.modules, "paxospp_rocksdb.store")
    (backend,) = paxospp_rocksdb.paxospp_storages()

    with pytest.raises(BackendUnavailableError, match=r"pip install 'paxospp\[rocksdb\]'"):
        backend.open(str(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("value", ["", "0", "-1", "many", "99999"])
def test_an_invalid_option_is_refused_before_anything_is_created(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match="write_buffer_mib"):
        paxospp_rocksdb.open_rocksdb(str(tmp_path / "store"), write_buffer_mib=value)
    assert not (tmp_path / "store").exists()


def test_a_range_that_ends_before_it_begins_never_reaches_the_database(tmp_path: Path) -> None:
    storage, _ = load(tmp_path / "store")
    with pytest.raises(ValueError, match="ends before"):
        storage.write([(b"e2", b"e1")], [], True)
    storage.write([(b"e1", b"e1")], [(b"e1", b"kept")], True)
    assert storage.get(b"e1") == b"kept"
    storage.close()


def test_a_database_that_somebody_else_has_open_is_locked(tmp_path: Path) -> None:
    load(tmp_path / "store")[0].close()
    database = rocksdict.Rdict(str(tmp_path / "store" / "db"))
    with pytest.raises(LockedError):
        load(tmp_path / "store")
    database.close()
    load(tmp_path / "store")[0].close()


def test_loading_twice_is_refused(tmp_path: Path) -> None:
    storage, _ = load(tmp_path / "store")
    with pytest.raises(StorageError):
        storage.load()
    storage.close()
    with pytest.raises(StorageError):
        storage.load()


def test_its_own_text_logs_do_not_pile_up(tmp_path: Path) -> None:
    for _ in range(8):
        load(tmp_path / "store")[0].close()

    assert len(list((tmp_path / "store" / "db").glob("LOG*"))) <= 4


def test_the_end_of_the_damage_is_stored(tmp_path: Path) -> None:
    path = left(tmp_path / "store")
    cut(20)(path)
    storage, state = load(path)
    assert state.faulty[-1].stop == sys.maxsize
    storage.persist(WriteBatch(faulty_until=Slot(30)))
    storage.persist(WriteBatch(accepted=[entry(40, value_of(40, 2), 2)]))
    storage.close()
    for _ in range(2):
        storage, state = load(path)
        assert list(state.faulty) == [range(1, 30)]
        assert state.last == 40
        assert read_all(storage, 30, 50) == {40: value_of(40, 2)}
        storage.close()
