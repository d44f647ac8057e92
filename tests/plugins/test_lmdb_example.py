"""``examples/lmdb_store`` as a user installs it: its own tests, its entry point, and the whole kit.

Every test is ``long``: only the extra ``dev`` installs lmdb, and a plain run of the tests does not need it.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

import paxospp
from paxospp.plugins.registry import PluginRegistry
from paxospp.testing.power_cut import Fault, inject, trace_available
from paxospp.testing.storage_suite.running import run_suite
from tests.plugins.example_distribution import EXAMPLES, install, run_its_tests

pytest.importorskip("lmdb", reason="the driver comes with the extra dev: pip install 'paxospp[dev]'")
pytestmark = pytest.mark.long

EXAMPLE = EXAMPLES / "lmdb_store"
STORE = EXAMPLE / "paxospp_lmdb" / "store.py"

VARIANTS = """
import threading
import lmdb
from paxospp_lmdb.store import LmdbStorage

class TwoTransactions(LmdbStorage):
    def __init__(self, path):
        self.lock = threading.Lock()
        super().__init__(path)

    def write(self, delete_ranges, puts, sync):
        with self.lock:
            super().write(delete_ranges, (), sync)
            super().write((), puts, sync)

    def scan(self, start, stop):
        with self.lock:
            rows = list(super().scan(start, stop))
        yield from rows

class EndsAtAnError(LmdbStorage):
    def scan(self, start, stop):
        try:
            yield from super().scan(start, stop)
        except Exception:
            return

class WriteMap(LmdbStorage):
    def _open(self, directory):
        return lmdb.open(directory, map_size=self._map_bytes, mode=0o700, writemap=True)
"""
FAILING_READS = "test_a_scan_that_cannot_read_does_not_end_as_if_there_were_nothing_more"
MAPPED = "no read of a scan could be made to fail: the store maps its files, or keeps them in memory"
DELETES_AND_PUTS = "test_whenever_the_power_goes_a_write_of_deletes_and_puts_is_there_whole_or_not_at_all"


@pytest.fixture
def variants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a file with variants of the store, and return its path."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    (tmp_path / "variants.py").write_text(VARIANTS)
    return f"{tmp_path}/variants.py"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(EXAMPLE, tmp_path, monkeypatch)


def test_its_own_tests_pass(installed: None) -> None:
    """They run a few cases of the storage kit; the whole kit runs below."""
    assert "skipped" not in run_its_tests(EXAMPLE, "tests/test_lmdb.py")
    assert "3 passed" in run_its_tests(EXAMPLE, "tests/test_contract.py", "-k", "second_opener")


def test_its_entry_point_is_found_and_opened_by_scheme(installed: None, tmp_path: Path) -> None:
    registry = PluginRegistry()
    (found,) = [plugin for plugin in registry.found if plugin.name == "lmdb"]
    assert found.source == "paxospp-lmdb 0.1.0"
    assert registry.storage_problem("lmdb") is None

    storage = registry.storage(f"lmdb:{tmp_path / 'store'}?map_mib=8")()

    assert storage.load() == paxospp.DurableState()
    storage.close()
    with pytest.raises(paxospp.ConfigError, match="it takes map_mib"):
        registry.storage(f"lmdb:{tmp_path / 'store'}?map_size=8")


def test_it_imports_public_names_only() -> None:
    text = STORE.read_text()
    imports = re.findall(r"^[ \t]*((?:import|from) paxospp\S*.*)$", text, re.MULTILINE)
    assert imports == ["import paxospp", "from paxospp.storage import sync_directory"]


LOAD = """
import json, sys
from paxospp.plugins.registry import PluginRegistry
storage = PluginRegistry().storage(sys.argv[1])()
try:
    storage.load()
    print(json.dumps("loaded"))
except Exception as error:
    print(json.dumps(f"{type(error).__name__}: {error}"))
"""


def test_a_sector_that_cannot_be_read_is_damage_and_not_sigbus(tmp_path: Path) -> None:
    """Whichever read of the file fails, the error is the same."""
    if (reason := trace_available()) is not None:
        pytest.skip(f"needs strace: {reason}")
    url = f"{STORE}:LmdbStorage:{tmp_path / 'store'}"
    storage = PluginRegistry().storage(url)()
    storage.load()
    ballot = paxospp.Ballot(1, paxospp.NodeId("n1"), 7)
    for slot in range(1, 6):
        entry = paxospp.Entry(paxospp.Slot(slot), ballot, paxospp.Kind.COMMANDS, bytes(1_000_000))
        storage.persist(paxospp.WriteBatch(accepted=[entry]))
    storage.close()
    file = str(tmp_path / "store" / "db" / "data.mdb")
    answers = []
    for when in ("1", "5", "9"):
        ended = inject([sys.executable, "-c", LOAD, url], Fault(syscall="read", error="EIO", when=when), paths=[file])
        answers.append(json.loads(ended.output))

    assert answers == [f"CorruptedError: {file}: [Errno 5] Input/output error"] * 3


@pytest.mark.timeout(0)  # the kit itself ends a case that hangs
def test_the_whole_kit_finds_no_clause_broken() -> None:
    verdict = run_suite(f"{STORE}:LmdbStorage:{{tmp}}")

    assert verdict.holds, "\n\n".join(verdict.details())
    unchecked = {case.name: case.not_checked for case in verdict.cases.values() if case.not_checked}
    assert unchecked == {FAILING_READS: MAPPED}  # LMDB scans its map
    assert verdict.below_floors == []


@pytest.mark.skipif(trace_available() is not None, reason=f"needs strace: {trace_available()}")
def test_the_mapped_lock_file_hides_no_finding(variants: str) -> None:
    """LMDB maps ``lock.mdb`` as well, but stores no data in it."""
    verdict = run_suite(f"{variants}:TwoTransactions:{{tmp}}", cases=[DELETES_AND_PUTS], quick=True)

    assert tuple(verdict.broken) == ("C1",)


@pytest.mark.skipif(trace_available() is not None, reason=f"needs strace: {trace_available()}")
@pytest.mark.timeout(0)  # the kit itself ends a case that hangs
def test_a_database_that_is_written_through_its_map_is_not_called_broken(variants: str) -> None:
    verdict = run_suite(f"{variants}:WriteMap:{{tmp}}", quick=True)

    assert verdict.holds, "\n\n".join(verdict.details())
    (unchecked,) = [case.not_checked for case in verdict.cases.values() if case.name == DELETES_AND_PUTS]
    assert unchecked is not None
    assert re.search(r"data\.mdb \(shared mapping or io_uring\); [1-9]\d* of \d+ power cuts looked wrong", unchecked)


@pytest.mark.skipif(trace_available() is not None, reason=f"needs strace: {trace_available()}")
def test_a_read_that_fails_while_it_loads_says_nothing_of_its_scans(variants: str) -> None:
    verdict = run_suite(f"{variants}:EndsAtAnError:{{tmp}}", cases=[FAILING_READS], quick=True)

    assert verdict.broken == {}
    assert [case.not_checked for case in verdict.cases.values()] == [MAPPED]
