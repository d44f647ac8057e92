"""Run the storage kit on every storage that comes with paxospp, and on the one in ``examples/storage_plugin``.

A plain run uses the quick kit for memory and file, and a few cases of each kind for rocksdb; CI runs the whole kit.
"""

from __future__ import annotations

from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

from paxospp.testing import StorageSuite
from paxospp.testing.storage_suite.running import run_suite

EXAMPLE = Path(__file__).parents[2] / "examples" / "storage_plugin" / "paxospp_sqlite" / "__init__.py"
SQLITE = f"{EXAMPLE}:SqliteStorage:{{tmp}}"

needs_rocksdict = pytest.mark.skipif(
    find_spec("rocksdict") is None, reason="the driver is an extra: pip install 'paxospp[rocksdb]'"
)


class TestMemory(StorageSuite):
    storage_url = "memory:{tmp}"
    quick = True


class TestFile(StorageSuite):
    storage_url = "file:{tmp}"
    quick = True


A_FEW = (
    "test_a_random_history_leaves_what_the_model_says[1-False]",
    "test_reopening_after_every_operation_changes_nothing[cutting]",
    "test_a_killed_process_leaves_all_it_acknowledged_and_no_part_of_a_batch[4-True]",
    "test_whenever_the_power_goes_what_was_acknowledged_is_there[31-False]",
    "test_a_file_that_cannot_grow_ends_the_handle_and_costs_nothing_that_was_acknowledged",
    "test_a_flipped_bit_anywhere_is_told_or_harmless[killed]",
    "test_a_second_opener_in_another_process_is_told_at_once",
)


@needs_rocksdict
@pytest.mark.long
def test_rocksdb_as_it_is_opened_by_default_passes_a_few_cases_of_every_kind() -> None:
    """The whole kit runs below, on a store with a write buffer so small that tables are written and compacted too."""
    verdict = run_suite("rocksdb:{tmp}", cases=A_FEW, quick=True)

    assert verdict.holds, "\n\n".join(verdict.details())
    assert len(verdict.cases) == len(A_FEW)


@pytest.mark.long
@pytest.mark.timeout(0)  # the kit itself ends a case that hangs
@pytest.mark.parametrize(
    "url",
    [  # the longest first, because CI runs them in two processes
        # A small buffer, so that tables are written and compacted.
        pytest.param("rocksdb:{tmp}?write_buffer_mib=2", marks=needs_rocksdict),
        SQLITE,
        "file:{tmp}",
        "file:{tmp}?segment_bytes=4096",
    ],
)
def test_the_whole_kit_finds_no_clause_broken(url: str) -> None:
    verdict = run_suite(url)

    assert verdict.holds, "\n\n".join(verdict.details())
    unchecked = [case for case in verdict.cases.values() if case.not_checked is not None]
    assert [f"{case.name}: {case.not_checked}" for case in unchecked] == []
    tried: Counter[str] = Counter()
    for case in verdict.cases.values():
        tried.update(case.counts)
    assert verdict.below_floors == []
    assert tried["SIGKILL points"] >= 100
    assert tried["power cuts"] >= 500
    assert tried["files with 64 bit flips each"] >= 4
    assert tried["failed syncs"] >= 3
    assert tried["failed writes"] >= 10
