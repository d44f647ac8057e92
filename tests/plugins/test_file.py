"""The file storage: what its format must withstand, beyond the clauses of the contract that every storage keeps."""

from __future__ import annotations

import errno
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from paxospp_file import FileStorage

from paxospp import Ballot, DurableState, Entry, Kind, NodeId, Slot, SnapshotMeta, WriteBatch
from paxospp.errors import ConfigError, CorruptedError, StorageError, TrimmedError

CHILD_TIMEOUT_S = 60


def ballot(round: int) -> Ballot:
    return Ballot(round, NodeId("n1"), 7)


def entry(slot: int, round: int = 1, bytes_: int = 20) -> Entry:
    return Entry(Slot(slot), ballot(round), Kind.COMMANDS, random.Random(slot * 1000 + round).randbytes(bytes_))


@dataclass
class Model:
    """The expected content of a store, in plain dicts."""

    promised: Ballot | None = None
    decided: int = 0
    first: int = 1
    entries: dict[int, Entry] = field(default_factory=dict)
    snapshot: SnapshotMeta | None = None
    meta: dict[str, bytes] = field(default_factory=dict)

    def persist(self, batch: WriteBatch) -> None:
        self.promised = batch.promised or self.promised
        self.decided = max(self.decided, batch.decided or 0)
        self.first = max(self.first, batch.trim or 0)
        self.snapshot = batch.snapshot or self.snapshot
        self.meta.update(batch.meta)
        self.entries.update({found.slot: found for found in batch.accepted})
        self.entries = {slot: found for slot, found in self.entries.items() if slot >= self.first}

    def copy(self) -> Model:
        return Model(self.promised, self.decided, self.first, dict(self.entries), self.snapshot, dict(self.meta))


def is_in(slot: int, ranges: Iterator[range] | tuple[range, ...]) -> bool:
    return any(slot in slots for slots in ranges)


def check_against(model: Model, storage: FileStorage, state: DurableState, *, damaged: bool) -> int:
    """Check that every slot equals ``model`` or is reported as faulty; return how many of them are faulty."""
    assert (state.promised, state.first, state.snapshot) == (model.promised, model.first, model.snapshot)
    assert dict(state.meta) == model.meta
    faulty = tuple(state.faulty)
    if not damaged:
        assert state.decided == model.decided
        assert state.last == max(model.entries, default=model.first - 1)
        holes = {slot for slot in range(model.first, model.decided + 1) if slot not in model.entries}
        assert {slot for slots in faulty for slot in slots} == holes
    assert state.decided <= model.decided
    count = 0
    for slot in range(model.first, max(model.entries, default=0) + 3):
        wanted = [model.entries[slot]] if slot in model.entries else []
        if is_in(slot, faulty):
            count += slot in model.entries
            with pytest.raises(CorruptedError):
                storage.read(Slot(slot), Slot(slot + 1), 0)
        else:
            assert list(storage.read(Slot(slot), Slot(slot + 1), 0)) == wanted, f"slot {slot}, faulty: {faulty}"
    return count


def random_batch(model: Model, chance: random.Random, storage: FileStorage, number: int) -> WriteBatch:
    """Return a batch such as a replica writes: slots above ``decided``, sometimes a trim."""
    top = max(model.entries, default=model.first - 1)
    accepted = {}
    for _ in range(chance.choice([0, 1, 1, 1, 1, 2, 5])):
        slot = chance.randint(max(model.decided + 1, model.first), top + 2)
        accepted[slot] = entry(slot, number, chance.choice([0, 3, 20, 200]))
    together = {**model.entries, **accepted}
    decided = model.decided
    while decided + 1 in together and chance.random() < 0.8:
        decided += 1
    snapshot = trim = None
    if chance.random() < 0.08 and decided > (model.snapshot.slot if model.snapshot else 0):
        snapshot = SnapshotMeta(Slot(decided), f"s-{number}")
        writer = storage.create_snapshot(snapshot)
        writer.write(b"state at %d" % decided)
        writer.commit()
    newest = snapshot or model.snapshot
    if newest and chance.random() < 0.1:
        trim = Slot(chance.randint(1, newest.slot + 1))
    return WriteBatch(
        promised=ballot(number) if chance.random() < 0.3 else None,
        accepted=tuple(accepted[slot] for slot in sorted(accepted)),
        decided=Slot(decided) if chance.random() < 0.7 else None,
        trim=trim,
        snapshot=snapshot,
        meta={chance.choice("abc"): chance.randbytes(5)} if chance.random() < 0.1 else {},
        sync=chance.random() < 0.8,
    )


def live(path: Path, seed: int, batches: int, model: Model | None = None) -> Model:
    """Open a store at ``path``, write random batches, and close it."""
    chance = random.Random(seed)
    model = model or Model()
    storage = FileStorage(str(path), segment_bytes="4096")
    storage.load()
    for number in range(batches):
        batch = random_batch(model, chance, storage, seed * 1000 + number + 1)
        storage.persist(batch)
        model.persist(batch)
    storage.close()
    return model


def files_of(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file() and file.name != "LOCK")


def log_files(path: Path) -> list[Path]:
    return sorted((path / "log").iterdir())


@pytest.mark.parametrize("seed", range(1, 6))
def test_a_store_that_is_reopened_many_times_keeps_everything(ram: Path, seed: int) -> None:
    model = Model()
    for life in range(6):
        model = live(ram / "store", seed * 10 + life, 60, model)
        storage = FileStorage(str(ram / "store"), segment_bytes="4096")
        check_against(model, storage, storage.load(), damaged=False)
        storage.close()


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long), pytest.param(3, marks=pytest.mark.long)])
def test_any_flipped_bit_is_reported_as_faulty_slots_or_an_error(ram: Path, seed: int) -> None:
    model = live(ram / "store", seed, 50)
    chance = random.Random(seed)
    named = 0
    for file in files_of(ram / "store"):
        if file.parent.name == "snapshots":
            continue
        size = file.stat().st_size
        for position in sorted(chance.sample(range(size), min(size, 80))):
            copy = ram / "copy"
            shutil.copytree(ram / "store", copy)
            damaged = copy / file.relative_to(ram / "store")
            flip(damaged, position, chance.randrange(8))
            storage = FileStorage(str(copy), segment_bytes="4096")
            try:
                state = storage.load()
            except CorruptedError:
                assert file.parent.name == "log", "one copy of the anchor is enough"
            else:
                named += check_against(model, storage, state, damaged=True)
                storage.close()
                storage = FileStorage(str(copy), segment_bytes="4096")
                assert storage.load().faulty == state.faulty, "every load reports it until it is healed"
            finally:
                storage.close()
            shutil.rmtree(copy)
    assert named > 0


def flip(file: Path, position: int, bit: int = 0) -> None:
    data = bytearray(file.read_bytes())
    data[position] ^= 1 << bit
    file.write_bytes(data)


def damage_cases() -> list[tuple[str, Callable[[bytes], bytes | None]]]:
    return [
        ("deleted", lambda data: None),
        ("emptied", lambda data: b""),
        ("halved", lambda data: data[: len(data) // 2]),
        ("zeroed from a third on", lambda data: data[: len(data) // 3].ljust(len(data), b"\0")),
        ("zeroed at its beginning", lambda data: bytes(600) + data[600:]),
        ("its blocks exchanged", lambda data: data[512:1024] + data[:512] + data[1024:]),
    ]


@pytest.mark.parametrize(("what", "damage"), damage_cases(), ids=lambda case: case if isinstance(case, str) else "")
def test_a_whole_file_of_the_log_or_the_anchor_may_be_damaged(
    ram: Path, what: str, damage: Callable[[bytes], bytes | None]
) -> None:
    model = live(ram / "store", 11, 150)
    assert len(log_files(ram / "store")) > 2
    for file in files_of(ram / "store"):
        if file.parent.name == "snapshots":
            continue
        copy = ram / "copy"
        shutil.copytree(ram / "store", copy)
        damaged = copy / file.relative_to(ram / "store")
        data = damage(damaged.read_bytes())
        damaged.unlink() if data is None else damaged.write_bytes(data)
        storage = FileStorage(str(copy), segment_bytes="4096")
        try:
            state = storage.load()
        except CorruptedError:
            assert file.parent.name == "log", "one copy of the anchor is enough"
        else:
            assert check_against(model, storage, state, damaged=True) > 0 or file.parent.name == "anchor"
        finally:
            storage.close()
        shutil.rmtree(copy)


def test_a_store_without_either_copy_of_the_anchor_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    live(tmp_path / "store", 3, 20)
    for file in (tmp_path / "store" / "anchor").glob("anchor-*"):
        file.unlink()
    storage = FileStorage(str(tmp_path / "store"))
    with pytest.raises(CorruptedError, match="anchor"):
        storage.load()
    storage.close()


def test_a_store_without_its_log_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    storage = FileStorage(str(tmp_path / "store"))
    storage.load()
    storage.close()
    shutil.rmtree(tmp_path / "store" / "log")
    storage = FileStorage(str(tmp_path / "store"))
    with pytest.raises(CorruptedError):
        storage.load()
    storage.close()


def test_the_log_of_another_store_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        live(tmp_path / name, 3, 20)
    shutil.rmtree(tmp_path / "a" / "log")
    shutil.copytree(tmp_path / "b" / "log", tmp_path / "a" / "log")
    storage = FileStorage(str(tmp_path / "a"))
    with pytest.raises(CorruptedError):
        storage.load()
    storage.close()


def crashed_in_the_last_batch(tmp_path: Path) -> tuple[Path, Model, Model, int, int]:
    """Make a store whose anchor is older than its last record.

    Returns its path, the states before and after that record, and where the record begins and ends.
    """
    path = tmp_path / "store"
    storage = FileStorage(str(path))
    storage.load()
    before = Model()
    for number in range(1, 6):
        batch = WriteBatch(promised=ballot(number), accepted=[entry(number)], meta={"n": b"%d" % number})
        storage.persist(batch)
        before.persist(batch)
    storage.close()
    log = log_files(path)[0]
    begin = log.stat().st_size
    shutil.copytree(path / "anchor", tmp_path / "anchor-before")
    storage = FileStorage(str(path))
    storage.load()
    after = before.copy()
    batch = WriteBatch(promised=ballot(9), accepted=[entry(6), entry(7, bytes_=70)], meta={"n": b"9"})
    storage.persist(batch)
    after.persist(batch)
    storage.close()
    shutil.rmtree(path / "anchor")
    shutil.copytree(tmp_path / "anchor-before", path / "anchor")
    return path, before, after, begin, log.stat().st_size


@pytest.mark.parametrize("tail", ["cut", "zeros", "garbage"])
def test_a_torn_last_record_is_dropped_silently_wherever_it_is_torn(ram: Path, tail: str) -> None:
    path, before, after, begin, end = crashed_in_the_last_batch(ram)
    log = log_files(path)[0]
    whole = log.read_bytes()
    anchor = {file: file.read_bytes() for file in (path / "anchor").glob("anchor-*")}
    for cut in range(begin, end + 1, 1 if tail == "cut" else 5):
        rest = {"cut": b"", "zeros": bytes(end - cut), "garbage": random.Random(cut).randbytes(end - cut)}[tail]
        log.write_bytes(whole[:cut] + rest)
        for file, data in anchor.items():
            file.write_bytes(data)
        for _ in range(2):
            storage = FileStorage(str(path))
            state = storage.load()
            assert state.faulty == ()
            check_against(after if cut == end else before, storage, state, damaged=False)
            storage.close()


def test_a_torn_record_is_a_loss_if_the_anchor_knows_its_batch(tmp_path: Path) -> None:
    """Bug B21: the log alone cannot tell this loss from a torn tail; the anchor can, because it is outside the log."""
    path = tmp_path / "store"
    storage = FileStorage(str(path))
    storage.load()
    for slot in range(1, 6):
        storage.persist(WriteBatch(promised=ballot(slot), accepted=[entry(slot)], decided=Slot(slot - 1)))
    storage.close()
    log = log_files(path)[0]
    log.write_bytes(log.read_bytes()[:-1])

    for _ in range(2):
        storage = FileStorage(str(path))
        state = storage.load()
        assert state.promised == ballot(5), "the anchor repeats the promise"
        assert state.faulty == (range(4, sys.maxsize),)
        storage.close()
    storage = FileStorage(str(path))
    storage.load()
    storage.persist(WriteBatch(accepted=[entry(5, 6)]))
    storage.close()
    storage = FileStorage(str(path))
    assert storage.load().faulty == (range(4, 5), range(6, sys.maxsize))
    assert list(storage.read(Slot(5), Slot(6), 0)) == [entry(5, 6)]
    storage.close()


def test_a_later_record_proves_that_an_earlier_one_was_synced(tmp_path: Path) -> None:
    """The anchor on disk may be a second old; a later record names the ones that were durable before it."""
    path, _, after, _, end = crashed_in_the_last_batch(tmp_path)
    storage = FileStorage(str(path))
    storage.load()
    batch = WriteBatch(accepted=[entry(8)])
    storage.persist(batch)
    after.persist(batch)
    storage.close()
    shutil.rmtree(path / "anchor")
    shutil.copytree(tmp_path / "anchor-before", path / "anchor")
    flip(log_files(path)[0], end - 3)

    storage = FileStorage(str(path))
    state = storage.load()

    assert state.faulty == (range(7, 8),)
    assert check_against(after, storage, state, damaged=True) == 1
    storage.close()


def test_an_unsynced_batch_with_a_hole_before_it_is_dropped_with_all_behind_it(tmp_path: Path) -> None:
    """C3: the disk wrote a later page but not an earlier one."""
    path, _, after, _, end = crashed_in_the_last_batch(tmp_path)
    storage = FileStorage(str(path))
    storage.load()
    anchor = {file: file.read_bytes() for file in (path / "anchor").glob("anchor-*")}
    storage.persist(WriteBatch(accepted=[entry(8)], sync=False))
    storage.persist(WriteBatch(accepted=[entry(9)], sync=False))
    storage.close()
    for file, data in anchor.items():
        file.write_bytes(data)
    flip(log_files(path)[0], end + 50)  # in the record of slot 8

    storage = FileStorage(str(path))
    check_against(after, storage, storage.load(), damaged=False)
    storage.close()


def test_a_write_that_never_reached_the_disk_is_noticed_by_the_record_behind_it(tmp_path: Path) -> None:
    """The disk acknowledged a write but kept the old bytes, which are an intact record at the same offset."""
    path = tmp_path / "store"
    storage = FileStorage(str(path))
    storage.load()
    for slot in range(1, 6):
        storage.persist(WriteBatch(accepted=[entry(slot)], decided=Slot(slot - 1)))
    storage.close()
    shutil.copytree(path, tmp_path / "other-life")
    begin = log_files(path)[0].stat().st_size
    for life, round in ((tmp_path / "other-life", 1), (path, 2)):
        storage = FileStorage(str(life))
        storage.load()
        storage.persist(WriteBatch(accepted=[entry(6, round)]))
        if life == path:
            storage.persist(WriteBatch(accepted=[entry(7, 2)]))
        storage.close()
    stale = log_files(tmp_path / "other-life")[0].read_bytes()[begin:]
    end = begin + len(stale)
    log = log_files(path)[0]
    data = log.read_bytes()
    log.write_bytes(data[:begin] + stale + data[end:])

    storage = FileStorage(str(path))
    state = storage.load()

    assert state.faulty == (range(6, 7),)
    assert [found.slot for found in storage.read(Slot(1), Slot(9), 1000)] == [1, 2, 3, 4, 5]
    assert list(storage.read(Slot(7), Slot(9), 1000)) == [entry(7, 2)]
    storage.close()


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long), pytest.param(2, marks=pytest.mark.long)])
def test_after_a_kill_any_flipped_bit_is_still_reported(ram: Path, seed: int) -> None:
    path = ram / "store"
    code = """
        import sys
        from tests.plugins.test_file import *
        storage = FileStorage(sys.argv[1], segment_bytes="4096")
        storage.load()
        for number in range(1, 200):
            storage.persist(WriteBatch(promised=ballot(number), accepted=[entry(number)], decided=Slot(number - 1)))
            print(number, flush=True)
        signal.pause()
    """
    with run_child(code, str(path)) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) == 120 + seed * 7:
                break
        child.send_signal(signal.SIGKILL)
        done = max([int(line), *(int(more) for more in child.stdout)])
        child.wait(CHILD_TIMEOUT_S)
    chance = random.Random(seed)
    found = 0
    for file in [*log_files(path), *(path / "anchor").glob("anchor-*")]:
        size = file.stat().st_size  # 0: killed between making the next segment and writing to it
        for position in chance.sample(range(size), min(size, 25)):
            shutil.copytree(path, ram / "copy")
            damaged = ram / "copy" / file.relative_to(path)
            flip(damaged, position, chance.randrange(8))
            storage = FileStorage(str(ram / "copy"), segment_bytes="4096")
            state = storage.load()
            assert state.promised is not None
            assert done <= state.promised.round <= done + 1
            for slot in range(1, done + 1):
                if is_in(slot, tuple(state.faulty)):
                    found += 1
                else:
                    assert list(storage.read(Slot(slot), Slot(slot + 1), 0)) == [entry(slot)]
            storage.close()
            shutil.rmtree(ram / "copy")
    assert found > 0


def run_child(code: str, *arguments: str) -> subprocess.Popen[str]:
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments], stdout=subprocess.PIPE, env=environment, text=True
    )


def test_a_full_disk_ends_the_handle_and_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """At a limit of 40,000 bytes per file, one write is short and the next one fails."""
    code = """
        import resource, sys
        from tests.plugins.test_file import *
        storage = FileStorage(sys.argv[1])
        storage.load()
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))
        slot = 0
        try:
            while True:
                storage.persist(WriteBatch(accepted=[entry(slot + 1, bytes_=999)]))
                slot += 1
        except StorageError as error:
            assert error.__cause__.errno == errno.EFBIG, error
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        sizes = [file.stat().st_size for file in files_of(Path(sys.argv[1]))]
        try:
            storage.persist(WriteBatch())
        except StorageError:
            print(slot, flush=True)
        storage.close()
        storage.close()
        assert sizes == [file.stat().st_size for file in files_of(Path(sys.argv[1]))], "close() wrote"
    """
    with run_child(code, str(tmp_path / "store")) as child:
        output, _ = child.communicate(timeout=CHILD_TIMEOUT_S)
    assert child.returncode == 0
    slot = int(output)
    assert slot > 20
    storage = FileStorage(str(tmp_path / "store"))
    state = storage.load()
    assert (state.last, state.faulty) == (slot, ())
    storage.persist(WriteBatch(accepted=[entry(slot + 1, bytes_=999)]))
    assert [found.slot for found in storage.read(Slot(1), Slot(slot + 2), 1 << 20)] == list(range(1, slot + 2))
    storage.close()


@pytest.mark.parametrize("failing", ["pwrite", "fdatasync"])
def test_a_failed_write_or_sync_is_never_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    storage = FileStorage(str(tmp_path / "store"))
    storage.load()
    storage.persist(WriteBatch(accepted=[entry(1)]))
    calls = 0

    def fail(*_: object) -> int:
        nonlocal calls
        calls += 1
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, fail)
        with pytest.raises(StorageError):
            storage.persist(WriteBatch(accepted=[entry(2)]))
    tried = calls
    monkeypatch.setattr(os, "pwrite", fail)
    monkeypatch.setattr(os, "fdatasync", fail)
    monkeypatch.setattr(os, "ftruncate", fail)
    for _ in range(2):
        with pytest.raises(StorageError, match="earlier write failed"):
            storage.persist(WriteBatch())
    assert list(storage.read(Slot(1), Slot(9), 100)) == [entry(1)]
    storage.close()
    assert calls == tried


def test_load_writes_records_newer_than_the_anchor_again_and_syncs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _, after, begin, end = crashed_in_the_last_batch(tmp_path)
    log = log_files(path)[0]
    done: list[tuple[str, int, int]] = []
    real_pwrite, real_fsync = os.pwrite, os.fsync

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        if os.path.sameopenfile(descriptor, known):
            done.append(("pwrite", offset, len(data)))
        return real_pwrite(descriptor, data, offset)

    def fsync(descriptor: int) -> None:
        if os.path.sameopenfile(descriptor, known):
            done.append(("fsync", 0, 0))
        real_fsync(descriptor)

    known = os.open(log, os.O_RDONLY)
    monkeypatch.setattr(os, "pwrite", pwrite)
    monkeypatch.setattr(os, "fsync", fsync)
    storage = FileStorage(str(path))
    state = storage.load()
    monkeypatch.undo()
    os.close(known)

    assert done == [("pwrite", begin, end - begin), ("fsync", 0, 0)]
    check_against(after, storage, state, damaged=False)
    storage.close()


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_one_sync_per_synced_batch_and_none_for_the_others(tmp_path: Path) -> None:
    code = """
        import sys
        from tests.plugins.test_file import *
        storage = FileStorage(sys.argv[1])
        storage.load()
        mark = os.open(sys.argv[1] + "/mark", os.O_CREAT | os.O_WRONLY)
        for number in range(1, 41):
            storage.persist(WriteBatch(promised=ballot(number), accepted=[entry(number)], sync=number % 2 == 0))
        os._exit(0)
    """
    trace = tmp_path / "trace"
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    subprocess.run(
        [
            *("strace", "-f", "-y", "-e", "trace=fdatasync,fsync,openat", "-o", str(trace)),
            *(sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "store")),
        ],
        check=True,
        timeout=CHILD_TIMEOUT_S,
        env=environment,
    )
    lines = trace.read_text().splitlines()
    begin = next(number for number, line in enumerate(lines) if "store/mark" in line)
    syncs = [line for line in lines[begin:] if re.search(r"\bf(data)?sync\(", line) and "/anchor/" not in line]
    assert len(syncs) == 20
    assert all("/log/" in line for line in syncs)


def test_a_trim_gives_space_back_and_keeps_promise_meta_and_snapshot(tmp_path: Path) -> None:
    path = tmp_path / "store"
    storage = FileStorage(str(path), segment_bytes="65536")
    storage.load()
    storage.persist(WriteBatch(promised=ballot(5), meta={"identity": b"mine"}))
    for slot in range(1, 301):
        storage.persist(WriteBatch(accepted=[entry(slot, bytes_=2000)], decided=Slot(slot), sync=False))
    assert len(log_files(path)) > 8
    meta = SnapshotMeta(Slot(290), "s")
    writer = storage.create_snapshot(meta)
    writer.write(b"state")
    writer.commit()
    storage.persist(WriteBatch(snapshot=meta, trim=Slot(291)))
    assert len(log_files(path)) <= 2
    storage.close()

    storage = FileStorage(str(path))
    state = storage.load()
    assert state == DurableState(
        promised=ballot(5),
        decided=Slot(300),
        first=Slot(291),
        last=Slot(300),
        snapshot=meta,
        meta={"identity": b"mine"},
    )
    assert [found.slot for found in storage.read(Slot(291), Slot(400), 1 << 20)] == list(range(291, 301))
    with pytest.raises(TrimmedError):
        storage.read(Slot(290), Slot(400), 1)
    storage.close()


def test_space_is_given_back_only_after_the_trim_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store"
    storage = FileStorage(str(path), segment_bytes="4096")
    storage.load()
    for slot in range(1, 100):
        storage.persist(WriteBatch(accepted=[entry(slot, bytes_=500)], decided=Slot(slot), sync=False))
    meta = SnapshotMeta(Slot(99), "s")
    storage.create_snapshot(meta).commit()
    before = log_files(path)

    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(StorageError):
            storage.persist(WriteBatch(snapshot=meta, trim=Slot(100)))
    assert set(before) <= set(log_files(path))
    storage.close()
    assert (path / "snapshots" / "snapshot-99-s").exists(), "the log may name it"


def test_segments_left_over_by_a_crash_after_a_trim_are_no_loss(tmp_path: Path) -> None:
    path = tmp_path / "store"
    storage = FileStorage(str(path), segment_bytes="4096")
    storage.load()
    for slot in range(1, 60):
        storage.persist(WriteBatch(accepted=[entry(slot, bytes_=500)], decided=Slot(slot)))
    meta = SnapshotMeta(Slot(50), "s")
    storage.create_snapshot(meta).commit()
    shutil.copytree(path / "log", tmp_path / "log-before")
    storage.persist(WriteBatch(snapshot=meta, trim=Slot(51)))
    storage.close()
    kept = {file.name for file in log_files(path)}
    gone = sorted(file for file in (tmp_path / "log-before").iterdir() if file.name not in kept)
    for file in gone[len(gone) // 2 :]:
        shutil.copy(file, path / "log" / file.name)

    storage = FileStorage(str(path), segment_bytes="4096")
    state = storage.load()

    assert (state.first, state.last, state.faulty) == (51, 59, ())
    assert {file.name for file in log_files(path)} == kept
    storage.close()


def test_faulty_slots_are_remembered_when_the_damaged_segment_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "store"
    storage = FileStorage(str(path), segment_bytes="4096")
    storage.load()
    for slot in range(1, 31):
        storage.persist(WriteBatch(accepted=[entry(slot, bytes_=300)], decided=Slot(slot)))
    storage.close()
    files = log_files(path)
    needle = entry(9, bytes_=300).value
    (damaged,) = [file for file in files if needle in file.read_bytes()]
    flip(damaged, damaged.read_bytes().find(needle) + 5)
    storage = FileStorage(str(path), segment_bytes="4096")
    assert storage.load().faulty == (range(9, 10),)
    meta = SnapshotMeta(Slot(8), "s")
    storage.create_snapshot(meta).commit()
    for slot in [number for number in range(1, 31) if number != 9]:
        storage.persist(WriteBatch(accepted=[entry(slot, 2, bytes_=300)]))  # all other slots move to later segments
    storage.persist(WriteBatch(snapshot=meta, trim=Slot(9)))
    assert not damaged.exists()
    storage.close()
    for healed in (False, True):
        storage = FileStorage(str(path), segment_bytes="4096")
        assert storage.load().faulty == (() if healed else (range(9, 10),))
        storage.persist(WriteBatch(accepted=[entry(9, 3)]))
        storage.close()


@pytest.mark.parametrize("value", ["", "1", "x", "-5", "1e6", "99999999999999", "４０９６"])
def test_a_bad_segment_size_is_an_error_that_names_it(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match="segment_bytes"):
        FileStorage(str(tmp_path / "store"), segment_bytes=value)
    assert not (tmp_path / "store").exists()


def test_a_path_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("mine")
    with pytest.raises(ConfigError, match="store"):
        FileStorage(str(tmp_path / "store"))
    with pytest.raises(ConfigError):
        FileStorage("")
    assert (tmp_path / "store").read_text() == "mine"


def test_a_forked_child_is_refused_and_does_not_hold_the_lock(tmp_path: Path) -> None:
    code = """
        import sys
        from tests.plugins.test_file import *
        storage = FileStorage(sys.argv[1])
        storage.load()
        ready, go = os.pipe(), os.pipe()
        if os.fork() == 0:
            for refused in (lambda: storage.persist(WriteBatch()), lambda: storage.read(Slot(1), Slot(2), 1)):
                try:
                    refused()
                except StorageError as error:
                    assert "fork" in str(error)
                    os.write(ready[1], b".")
            storage.close()
            os.close(go[1])
            os.read(go[0], 1)     # outlives the storage of its parent
            os._exit(0)
        assert os.read(ready[0], 1) + os.read(ready[0], 1) == b".."
        storage.persist(WriteBatch(accepted=[entry(1)]))
        storage.close()
        storage = FileStorage(sys.argv[1])     # the child does not keep it locked
        assert storage.load().last == 1
        storage.close()
        print("done", flush=True)
        os._exit(0)
    """
    with run_child(code, str(tmp_path / "store")) as child:
        assert child.communicate(timeout=CHILD_TIMEOUT_S)[0] == "done\n"


def test_large_and_many_values_in_one_batch(tmp_path: Path) -> None:
    storage = FileStorage(str(tmp_path / "store"), segment_bytes="1000000")
    storage.load()
    large = [entry(slot, bytes_=700_000) for slot in (1, 2, 3)]
    many = [entry(slot, bytes_=slot % 7) for slot in range(4, 3004)]
    storage.persist(WriteBatch(accepted=large))
    storage.persist(WriteBatch(accepted=many))
    for _ in range(2):
        assert list(storage.read(Slot(1), Slot(sys.maxsize), 1 << 30)) == large + many
        assert list(storage.read(Slot(1), Slot(sys.maxsize), 1_400_000)) == large[:2]
        assert list(storage.read(Slot(1), Slot(sys.maxsize), 1_399_999)) == large[:1]
        storage.close()
        storage = FileStorage(str(tmp_path / "store"))
        storage.load()
    storage.close()


def test_a_long_read_holds_up_no_writer_and_sees_what_is_written_meanwhile(tmp_path: Path) -> None:
    storage = FileStorage(str(tmp_path / "store"))
    storage.load()
    slots = range(1, 5001)
    storage.persist(WriteBatch(accepted=[entry(slot, bytes_=slot % 3) for slot in slots], decided=Slot(5000)))
    failures: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            found = [one.slot for one in storage.read(Slot(1), Slot(sys.maxsize), 1 << 30)]
            if found[:5000] != list(slots) or found != list(range(1, len(found) + 1)):
                failures.append(f"{len(found)} entries, out of order or with holes")

    thread = threading.Thread(target=read)
    thread.start()
    for slot in range(5001, 5301):
        storage.persist(WriteBatch(accepted=[entry(slot)], sync=slot % 10 == 0))
    done.set()
    thread.join()
    assert failures == []
    assert [one.slot for one in storage.read(Slot(1), Slot(sys.maxsize), 600)] == [
        slot for slot in slots if sum(one % 3 for one in range(1, slot + 1)) <= 600
    ]
    storage.close()


@pytest.mark.long
def test_readers_during_a_trim_get_trimmed_errors_and_no_others(tmp_path: Path) -> None:
    storage = FileStorage(str(tmp_path / "store"), segment_bytes="4096")
    storage.load()
    failures: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        first = 1
        while not done.is_set():
            try:
                storage.read(Slot(first), Slot(sys.maxsize), 1 << 30)
            except TrimmedError as error:
                first = error.first
            except BaseException as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for slot in range(1, 400):
        storage.persist(WriteBatch(accepted=[entry(slot, bytes_=300)], decided=Slot(slot), sync=False))
        if slot % 10 == 0:
            meta = SnapshotMeta(Slot(slot), f"s-{slot}")
            storage.create_snapshot(meta).commit()
            storage.persist(WriteBatch(snapshot=meta, trim=Slot(slot + 1)))
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    storage.close()


def killed_with_hints_after_a_damaged_batch(path: Path, hints: int) -> Path:
    """Make a store of slots 1 to 9, a batch each, then unsynced hints; kill it and damage the batch of slot 9."""
    storage = FileStorage(str(path / "running"))
    storage.load()
    for slot in range(1, 9):
        storage.persist(WriteBatch(accepted=[entry(slot)]))
    begin = log_end(path / "running")
    storage.persist(WriteBatch(accepted=[entry(9)]))
    for decided in range(1, hints + 1):
        storage.persist(WriteBatch(decided=Slot(decided), sync=False))
    shutil.copytree(path / "running", path / "left", ignore=shutil.ignore_patterns("LOCK"))
    storage.close()
    flip(log_files(path / "left")[-1], begin + 20)
    return path / "left"


def log_end(path: Path) -> int:
    """Return the offset where the last record ends; zeros follow it."""
    return len(log_files(path)[-1].read_bytes().rstrip(b"\0"))


def test_old_records_after_a_lost_end_are_not_mistaken_for_new_ones_with_their_numbers(tmp_path: Path) -> None:
    """The next batches got the numbers of those hints, and the following start found the hints first."""
    path = killed_with_hints_after_a_damaged_batch(tmp_path, 2)
    storage = FileStorage(str(path))
    assert storage.load().faulty == (range(1, sys.maxsize),)
    for slot in range(12, 16):
        storage.persist(WriteBatch(promised=ballot(slot), accepted=[entry(slot, slot)]))
    storage.close()
    for _ in range(2):
        storage = FileStorage(str(path))
        state = storage.load()
        assert state.faulty == (range(1, 12), range(16, sys.maxsize))
        assert list(storage.read(Slot(12), Slot(16), 1 << 20)) == [entry(slot, slot) for slot in range(12, 16)]
        storage.close()


def test_a_batch_that_reuses_the_number_of_a_record_after_a_lost_end_can_be_loaded(tmp_path: Path) -> None:
    path = killed_with_hints_after_a_damaged_batch(tmp_path, 1)
    storage = FileStorage(str(path))
    storage.load()
    storage.persist(WriteBatch(promised=ballot(4), faulty_until=Slot(20)))
    storage.close()
    storage = FileStorage(str(path))
    state = storage.load()
    assert (state.promised, state.faulty) == (ballot(4), (range(1, 20),))
    storage.close()


def test_a_faulty_slot_is_still_reported_after_the_record_that_lists_it_is_damaged(tmp_path: Path) -> None:
    """A trim deleted the segment of the damaged entry, which it counted as empty; then the trim's record is damaged."""

    def opened() -> tuple[FileStorage, DurableState]:
        storage = FileStorage(str(tmp_path / "store"), segment_bytes="4096")
        return storage, storage.load()

    storage, _ = opened()
    for slot in range(1, 20):  # three segments and the beginning of a fourth
        decided = Slot(min(slot, 11))
        storage.persist(WriteBatch(promised=ballot(3), accepted=[entry(slot, 3, 420)], decided=decided))
    storage.close()
    damaged = log_files(tmp_path / "store")[1]
    flip(damaged, damaged.read_bytes().index(entry(12, 3, 420).value) + 5)
    storage, state = opened()
    assert state.faulty == (range(12, 13),)
    storage.persist(WriteBatch(promised=ballot(4)))
    begun = log_files(tmp_path / "store")[-1]
    storage.persist(WriteBatch(promised=ballot(5)))
    writer = storage.create_snapshot(SnapshotMeta(Slot(11), "s"))
    writer.write(b"state")
    writer.commit()
    storage.persist(WriteBatch(snapshot=SnapshotMeta(Slot(11), "s"), trim=Slot(12)))
    storage.persist(WriteBatch(promised=ballot(6)))
    storage.close()
    assert damaged not in log_files(tmp_path / "store")
    flip(begun, 20)
    for _ in range(2):
        storage, state = opened()
        assert is_in(12, tuple(state.faulty))
        storage.close()
