"""The kit is tested with stores that look right: it must find each broken in the clauses it breaks, and in no other."""

from __future__ import annotations

import importlib
import inspect
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from paxospp.testing.power_cut import trace_available
from paxospp.testing.storage_suite.running import run_suite
from tests.kit.broken_stores.pairs import SoundPairs
from tests.kit.broken_stores.sound import SoundStorage
from tests.kit.matrix import BREAKS, FOUND_BY, HEAD, SEED, SHARE, Row, stores, url_of, verified

WORKERS = 2

needs_strace = pytest.mark.skipif(trace_available() is not None, reason=f"not checked: {trace_available()}")

AT_ONCE = {
    "UnorderedRead": "test_slots_come_ascending_in_whatever_order_they_were_written",
    "EmptyAsAbsent": "test_an_empty_value_is_not_an_absent_one",
    "NoLock": "test_a_second_opener_in_another_process_is_told_at_once",
    "DamageAsAbsent": "test_a_damaged_slot_stands_in_faulty_and_no_slot_is_lost_or_altered",
    "FaultyForgottenByCompaction": "test_a_flipped_bit_anywhere_is_told_or_harmless[closed]",
    "NoFsync": "test_every_synced_batch_syncs_a_file_before_it_returns",
    "MetaLostByCompaction": "test_nothing_is_lost_when_the_log_grows_to_forty_mib",
    "OlderOverNewer": "test_an_older_snapshot_is_never_published_over_a_newer_one",
}
"""A few stores, each with a fast case that finds it broken, for an ordinary test run."""


NEVER_FULL = """
import resource
from tests.kit.broken_stores.sound import SoundStorage

class NeverFull(SoundStorage):
    def create_snapshot(self, meta):
        self.grow()
        return super().create_snapshot(meta)

    def persist(self, batch):
        self.grow()
        super().persist(batch)

    def grow(self):
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""

ELSEWHERE = """
import os, tempfile, time
from paxospp import LockedError
from tests.kit.broken_stores.sound import SoundStorage

class Elsewhere(SoundStorage):
    def __init__(self, path):
        link = os.path.join(path, "data")
        if not os.path.islink(link):
            os.makedirs(path)
            os.symlink(tempfile.mkdtemp(dir=os.path.dirname(__file__)), link)
            with open(os.path.join(path, "readme"), "w") as file:
                file.write("nothing of the store is here")
        for _ in range(200):
            try:
                return super().__init__(os.path.realpath(link))
            except LockedError:  # a copy is another name for the same store
                time.sleep(0.05)
        raise LockedError("for ten seconds")
"""


SILENT_BEHIND_A_GAP = """
from paxospp import CorruptedError
from paxospp_file import FileStorage

class SilentBehindAGap(FileStorage):
    def read(self, start, stop, max_bytes):
        try:
            return super().read(start, stop, max_bytes)
        except CorruptedError as error:
            if any(start in slots for slots in error.slots):
                raise
            return []
"""

UNDO_IN_A_MAP = """
import json
import mmap
import os
import paxospp
from paxospp.storage import sync_directory

SIZE = 1 << 22

class UndoInAMap(paxospp.KeyValueStorage):
    def __init__(self, path):
        super().__init__(path)
        self.directory, self.file = os.path.join(path, "pairs"), -1

    def load(self):
        os.makedirs(self.directory, exist_ok=True)
        sync_directory(os.path.dirname(self.directory))
        self.file = os.open(os.path.join(self.directory, "pairs"), os.O_RDWR | os.O_CREAT)
        journal = os.open(os.path.join(self.directory, "undo"), os.O_RDWR | os.O_CREAT)
        os.ftruncate(journal, SIZE)
        os.fsync(journal)
        sync_directory(self.directory)
        self.undo = mmap.mmap(journal, SIZE)
        os.close(journal)
        size = int.from_bytes(self.undo[:8], "big")
        old = self.undo[8 : 7 + size] if size else os.pread(self.file, SIZE, 0)
        os.pwrite(self.file, old, 0)
        os.ftruncate(self.file, len(old))
        self.finish()
        try:
            pairs = json.loads(old or b"{}")
        except ValueError as error:
            raise paxospp.CorruptedError("torn") from error
        self.pairs = {bytes.fromhex(key): bytes.fromhex(value) for key, value in pairs.items()}
        return super().load()

    def get(self, key):
        return self.pairs.get(key)

    def scan(self, start, stop):
        yield from sorted((key, value) for key, value in self.pairs.items() if start <= key < stop)

    def write(self, delete_ranges, puts, sync):
        kept = {k: v for k, v in self.pairs.items() if not any(start <= k < stop for start, stop in delete_ranges)}
        pairs = {**kept, **dict(puts)}
        old = os.pread(self.file, SIZE, 0)
        self.undo[8 : 8 + len(old)] = old
        self.undo.flush()
        self.undo[:8] = (len(old) + 1).to_bytes(8, "big")
        self.undo.flush()
        new = json.dumps({key.hex(): value.hex() for key, value in pairs.items()}).encode()
        for at in range(0, len(new), 1000):
            os.pwrite(self.file, new[at : at + 1000], at)
        os.ftruncate(self.file, len(new))
        self.finish()
        self.pairs = pairs

    def finish(self):
        os.fsync(self.file)
        self.undo[:8] = bytes(8)
        self.undo.flush()

    def close(self):
        if self.file >= 0:
            os.close(self.file)
            self.undo.close()
            self.file = -1
        super().close()
"""
"""A store that survives every power cut. Its mapped undo file matters only in the middle of a write."""


def test_every_broken_store_stands_in_the_matrix() -> None:
    found = {
        module: sorted(
            name
            for name, cls in inspect.getmembers(importlib.import_module(f"tests.kit.broken_stores.{module}"))
            if inspect.isclass(cls)
            and issubclass(cls, SoundStorage | SoundPairs)
            and cls.__module__.endswith(f".{module}")
        )
        for module in BREAKS
    }

    assert found == {module: sorted(classes) for module, classes in BREAKS.items()}
    assert {name for _, name, clauses in stores() if clauses} == FOUND_BY.keys()
    assert len(FOUND_BY) >= 50


MARKS = {"NoFsync": needs_strace, "MetaLostByCompaction": pytest.mark.long}


@pytest.mark.parametrize(
    ("module", "name", "clauses"),
    [pytest.param(*store, marks=MARKS.get(store[1], ()), id=store[1]) for store in stores() if store[1] in AT_ONCE],
)
def test_a_broken_store_is_found_out_by_its_clause(module: str, name: str, clauses: tuple[str, ...]) -> None:
    case = AT_ONCE[name]
    broken = run_suite(url_of(module, name), cases=[case], quick=True)
    sound = run_suite(url_of("sound", "SoundStorage"), cases=[case], quick=True)

    assert broken.broken
    assert broken.broken.keys() <= set(clauses)
    assert sound.holds


@needs_strace
@pytest.mark.long
@pytest.mark.parametrize(
    ("module", "name", "case", "clause", "file"),
    [
        (
            "durability",
            "NoFsyncBesideAMap",
            "whenever_the_power_goes_what_was_acknowledged_is_there[31-False]",
            "C2",
            "index",
        ),
        (
            "pairs",
            "DeletesThenPutsBesideAMap",
            "whenever_the_power_goes_a_write_of_deletes_and_puts_is_there_whole_or_not_at_all",
            "C1",
            "statistics",
        ),
    ],
)
def test_a_map_that_the_store_does_without_hides_no_finding(
    module: str, name: str, case: str, clause: str, file: str
) -> None:
    """strace does not see what the store writes to the map, but the store is wrong whatever the file holds."""
    verdict = run_suite(url_of(module, name), cases=[f"test_{case}"], quick=True)

    assert tuple(verdict.broken) == (clause,)
    assert f"wrong both with store/{file}, a mapped file" in verdict.broken[clause].found


@needs_strace
@pytest.mark.long
@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("whenever_the_power_goes_what_was_acknowledged_is_there[31-False]", "shared mapping"),
        ("what_load_returned_after_a_kill_between_write_and_sync_survives_a_power_cut", "shared mapping"),
    ],
)
def test_what_cannot_be_tried_on_a_store_that_writes_through_a_map_is_not_checked(case: str, reason: str) -> None:
    verdict = run_suite(url_of("sound", "WritesThroughAMap"), cases=[f"test_{case}"], quick=True)

    assert verdict.broken == {}
    assert verdict.problems == []
    (unchecked,) = [done.not_checked for done in verdict.cases.values()]
    assert unchecked is not None
    assert reason in unchecked
    assert re.search(r"[1-9]\d* of \d+ power cuts looked wrong", unchecked)


@needs_strace
@pytest.mark.long
@pytest.mark.parametrize(
    "case",
    [
        "whenever_the_power_goes_what_was_acknowledged_is_there[31-False]",
        "whenever_the_power_goes_a_write_of_deletes_and_puts_is_there_whole_or_not_at_all",
    ],
)
def test_a_map_that_matters_in_the_middle_of_a_write_is_an_excuse(tmp_path: Path, case: str) -> None:
    (tmp_path / "undo.py").write_text(UNDO_IN_A_MAP)

    verdict = run_suite(f"{tmp_path}/undo.py:UndoInAMap:{{tmp}}", cases=[f"test_{case}"], quick=True)

    assert verdict.broken == {}
    (unchecked,) = [done.not_checked for done in verdict.cases.values()]
    assert unchecked is not None
    assert re.search(
        r"store/pairs/undo \(shared mapping or io_uring\); [1-9]\d* of \d+ power cuts looked wrong", unchecked
    )


def test_a_store_of_which_no_write_can_be_made_to_fail_is_not_checked_for_that(tmp_path: Path) -> None:
    (tmp_path / "never_full.py").write_text(NEVER_FULL)
    case = "test_a_file_that_cannot_grow_ends_the_handle_and_costs_nothing_that_was_acknowledged"

    verdict = run_suite(f"{tmp_path}/never_full.py:NeverFull:{{tmp}}", cases=[case], quick=True)

    assert verdict.broken == {}
    (unchecked,) = [done.not_checked for done in verdict.cases.values()]
    assert unchecked is not None
    assert "no file could grow" in unchecked


def test_a_store_that_passes_over_damage_behind_a_gap_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "silent.py").write_text(SILENT_BEHIND_A_GAP)
    case = "test_read_raises_when_a_faulty_slot_comes_first_behind_slots_that_hold_nothing"

    broken = run_suite(f"{tmp_path}/silent.py:SilentBehindAGap:{{tmp}}", cases=[case], quick=True)
    sound = run_suite("file:{tmp}", cases=[case], quick=True)

    assert tuple(broken.broken) == ("C8",)
    assert sound.holds


def test_damage_that_meets_nothing_that_the_store_needs_is_not_checked(tmp_path: Path) -> None:
    """The store keeps its data outside its directory, so damage there has no effect."""
    (tmp_path / "elsewhere.py").write_text(ELSEWHERE)
    case = "test_a_flipped_bit_anywhere_is_told_or_harmless[closed]"

    verdict = run_suite(f"{tmp_path}/elsewhere.py:Elsewhere:{{tmp}}", cases=[case], quick=True)

    assert verdict.broken == {}
    (unchecked,) = [done.not_checked for done in verdict.cases.values()]
    assert unchecked is not None
    assert "does it keep its files below {tmp}?" in unchecked


@needs_strace
@pytest.mark.long
@pytest.mark.timeout(0)  # the kit itself ends a case that hangs
def test_each_broken_store_is_red_in_what_it_breaks_and_green_in_all_else(capsys: pytest.CaptureFixture[str]) -> None:
    """Print the matrix of stores and clauses; the tenth that ``--quick`` runs must be enough to find each store."""

    def row(store: tuple[str, str, tuple[str, ...]]) -> Row:
        module, name, clauses = store
        begun = time.monotonic()
        found, output = verified(module, name)
        return Row(module, name, clauses, found, time.monotonic() - begun, output)

    rows = []
    with ThreadPoolExecutor(WORKERS) as pool, capsys.disabled():
        print(f"\nPAXOSPP_KIT_SEED={SEED} PAXOSPP_KIT_SHARE={SHARE}\n{HEAD}")
        for done in pool.map(row, stores()):
            print(done, flush=True)
            rows.append(done)

    wrong = [done for done in rows if done.found != done.wanted]
    assert not wrong, "\n\n".join(f"{done}\n{done.output}" for done in wrong)
