"""The kit is tested by stores that look fine: each is red in the clauses it breaks, and in no other."""

from __future__ import annotations

import importlib
import inspect
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from paxospp.testing.power_cut import trace_available
from paxospp.testing.storage_suite.running import run_suite
from tests.kit.broken_stores.sound import SoundStorage
from tests.kit.matrix import BREAKS, HEAD, Row, stores, url_of, verified

WORKERS = 2

needs_strace = pytest.mark.skipif(trace_available() is not None, reason=f"not checked: {trace_available()}")

AT_ONCE = {
    "UnorderedRead": "test_slots_come_ascending_in_whatever_order_they_were_written",
    "EmptyAsAbsent": "test_an_empty_value_is_not_an_absent_one",
    "NoLock": "test_a_second_opener_in_another_process_is_told_at_once",
    "DamageAsAbsent": "test_a_damaged_slot_stands_in_faulty_and_no_slot_is_lost_or_altered",
    "NoFsync": "test_every_synced_batch_syncs_a_file_before_it_returns",
    "OlderOverNewer": "test_an_older_snapshot_is_never_published_over_a_newer_one",
}
"""A few stores, and one quick case for each that finds it out: for a plain run."""


def test_every_broken_store_stands_in_the_matrix() -> None:
    found = {
        module: sorted(
            name
            for name, cls in inspect.getmembers(importlib.import_module(f"tests.kit.broken_stores.{module}"))
            if inspect.isclass(cls) and issubclass(cls, SoundStorage) and cls.__module__.endswith(f".{module}")
        )
        for module in BREAKS
    }

    assert found == {module: sorted(classes) for module, classes in BREAKS.items()}
    assert sum(bool(clauses) for _, _, clauses in stores()) >= 20


@pytest.mark.parametrize(
    ("module", "name", "clauses"),
    [
        pytest.param(*store, marks=needs_strace if store[1] == "NoFsync" else (), id=store[1])
        for store in stores()
        if store[1] in AT_ONCE
    ],
)
def test_a_broken_store_is_found_out_by_its_clause(module: str, name: str, clauses: tuple[str, ...]) -> None:
    case = AT_ONCE[name]
    broken = run_suite(url_of(module, name), cases=[case], quick=True)
    sound = run_suite(url_of("sound", "SoundStorage"), cases=[case], quick=True)

    assert tuple(broken.broken) == clauses
    assert sound.holds


@needs_strace
def test_what_a_store_writes_through_a_map_hides_no_finding() -> None:
    """Strace does not see it, so what was found may have another cause: that is said, and the clause is red."""
    case = "test_whenever_the_power_goes_what_was_acknowledged_is_there[32-False]"

    verdict = run_suite(url_of("durability", "NoFsyncBesideAMap"), cases=[case], quick=True)

    assert tuple(verdict.broken) == ("C2",)
    assert "note: store/index: written in ways that strace cannot follow" in verdict.broken["C2"].found


@needs_strace
@pytest.mark.long
@pytest.mark.timeout(1500)
def test_each_broken_store_is_red_in_what_it_breaks_and_green_in_all_else(capsys: pytest.CaptureFixture[str]) -> None:
    """The whole matrix; ``paxospp verify`` does a tenth of everything, which has to be enough for these."""

    def row(store: tuple[str, str, tuple[str, ...]]) -> Row:
        module, name, clauses = store
        begun = time.monotonic()
        found, output = verified(module, name)
        return Row(module, name, clauses, found, time.monotonic() - begun, output)

    rows = []
    with ThreadPoolExecutor(WORKERS) as pool, capsys.disabled():
        print(f"\n{HEAD}")
        for done in pool.map(row, stores()):
            print(done, flush=True)
            rows.append(done)

    wrong = [done for done in rows if done.found != done.wanted]
    assert not wrong, "\n\n".join(f"{done}\n{done.output}" for done in wrong)
