"""``paxospp verify`` as a command: its table, its exit codes, and the URLs that it refuses."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from paxospp.testing.power_cut import trace_available
from paxospp.testing.storage_suite.running import run_suite

PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--pyargs", "paxospp.testing.conformance"]
CLAUSES = [f"C{number}" for number in range(1, 11)]


def verify(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "paxospp", "verify", *arguments],
        capture_output=True,
        text=True,
        timeout=110,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200"},
    )


def verdicts(output: str) -> dict[str, str]:
    """Parse the table: the verdict for each clause."""
    rows = [re.split(r"  +", line) for line in output.splitlines() if re.match(r"C\d+ ", line)]
    return {row[0].split()[0]: row[1] for row in rows if len(row) > 2}


@pytest.mark.long
def test_memory_holds_while_the_process_lives_and_says_what_was_not_checked() -> None:
    done = verify("memory", "--quick")

    assert done.returncode == 0, done.stdout + done.stderr
    found = verdicts(done.stdout)
    assert list(found) == CLAUSES
    assert {found[clause] for clause in ("C1", "C2", "C3")} == {"holds while the process lives (volatile)"}
    assert found["C8"] == "not checked"
    assert found["C6"].startswith("holds")
    assert "not checked: C1" in done.stdout
    assert "volatile" in done.stdout


@pytest.mark.parametrize("only", [("--only", "C6"), pytest.param((), marks=pytest.mark.long)], ids=["C6", "all"])
def test_a_broken_store_is_told_by_its_clause_and_the_steps_that_show_it(tmp_path: Path, only: tuple[str, ...]) -> None:
    """The store is one file, named without {tmp}."""
    (tmp_path / "my_store.py").write_text(
        "from paxospp_memory import MemoryStorage\n\n\n"
        "class MyStorage(MemoryStorage):\n"
        "    def read(self, start, stop, max_bytes):\n"
        "        return list(reversed(super().read(start, stop, max_bytes)))\n"
    )

    done = verify("my_store.py:MyStorage", "--quick", *only, cwd=tmp_path)

    assert done.returncode == 1, done.stdout + done.stderr
    found = verdicts(done.stdout)
    assert {clause for clause, verdict in found.items() if verdict == "BROKEN"} == {"C6"}
    assert "C6 (read) is broken" in done.stdout
    assert re.search(r"^  \d+\. persist\(", done.stdout, re.MULTILINE)
    assert re.search(r"^  wanted: ", done.stdout, re.MULTILINE)
    assert re.search(r"^  found:  ", done.stdout, re.MULTILINE)
    assert re.search(r"^  case:   test_", done.stdout, re.MULTILINE)
    assert done.stdout.rstrip().splitlines()[-1].startswith("broken: C6 (")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("file:./data/n1", "{tmp}"),
        ("nosuch:{tmp}", "known schemes"),
        ("no_such_file.py:Store", "no_such_file.py"),
        ("file:{tmp}?segment_byte=1", "segment_bytes"),
        ("file:{tmp}?segment_bytes=one", "segment_bytes"),
        ("broken.py:Store", "line 1"),
        ("broken_init.py:Store", "no_such_driver"),
        ("half.py:Store", "does not define"),
    ],
)
def test_what_cannot_be_verified_is_one_line_and_exit_code_2(tmp_path: Path, url: str, says: str) -> None:
    (tmp_path / "broken.py").write_text("import no_such_module\n")
    (tmp_path / "broken_init.py").write_text(
        "import paxospp\n\n\ndef Store(path):\n    import no_such_driver\n    return no_such_driver.open(path)\n"
    )
    (tmp_path / "half.py").write_text("import paxospp\n\n\nclass Store(paxospp.Storage):\n    pass\n")
    before = sorted(tmp_path.rglob("*"))

    done = verify(url, cwd=tmp_path)

    assert done.returncode == 2, done.stdout + done.stderr
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert [path for path in sorted(tmp_path.rglob("*")) if "__pycache__" not in str(path)] == before


def test_a_durable_store_that_finds_something_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "precious").write_text("kept")

    assert verify(f"file:{tmp_path}/data").returncode == 2

    assert [path.name for path in (tmp_path / "data").iterdir()] == ["precious"]


@pytest.mark.skipif(trace_available() is not None, reason=f"not checked: {trace_available()}")
def test_a_kit_that_cannot_go_on_blames_no_clause(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kit's files below /tmp were removed during the run; it must not call anything proven either."""

    def record(*_: object, **__: object) -> None:
        raise FileNotFoundError("/tmp/paxospp-1/marks")

    monkeypatch.setattr("paxospp.testing.storage_suite.tracing.record", record)
    case = "test_every_synced_batch_syncs_a_file_before_it_returns"

    verdict = run_suite("file:{tmp}", cases=[case], quick=True)

    assert not verdict.holds
    assert verdict.broken == {}
    assert verdict.problems == [f"{case}: the kit's own temporary files were removed: /tmp/paxospp-1/marks"]


def test_the_same_suite_runs_by_pyargs_without_a_file(tmp_path: Path) -> None:
    """The table comes below the output of pytest."""
    done = subprocess.run(
        [*PYTEST, "--paxospp-storage=memory:{tmp}", "-k", "read or trim", f"--rootdir={tmp_path}"],
        capture_output=True,
        text=True,
        timeout=110,
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert list(verdicts(done.stdout)) == CLAUSES


@pytest.mark.parametrize(
    ("only", "reason"),
    [
        (["C2/an_unused_store_opens_as_new_again"], "the store is volatile"),
        (["C6", "C8/two_damaged_slots_are_both_faulty"], "the store is volatile"),
        (["C7/keys_and_values_come_back_byte_for_byte"], "the case is for a KeyValueStorage only"),
    ],
)
def test_a_case_that_was_asked_for_and_could_not_be_checked_is_no_success(only: list[str], reason: str) -> None:
    flags = [word for name in only for word in ("--only", name)]

    done = verify("--quick", *flags, "memory")

    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(rf"^not checked: .*{reason}", done.stdout, re.MULTILINE)
    assert done.stdout.rstrip().splitlines()[-1].startswith(f"nothing could be checked for {only[-1]}; ")


def test_without_a_storage_the_suite_stops_once_and_says_what_to_give(tmp_path: Path) -> None:
    done = subprocess.run(
        [*PYTEST, f"--rootdir={tmp_path}"],
        capture_output=True,
        text=True,
        timeout=110,
        cwd=tmp_path,
    )

    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert (done.stdout + done.stderr).count("--paxospp-storage") == 1
    assert "Error" not in done.stdout
