"""Run the tests of examples/bank as its reader would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "bank"


def pytest_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=110, check=False)


@pytest.mark.long
@pytest.mark.parametrize("name", [path.name for path in sorted(EXAMPLE.glob("test_*.py"))])
def test_its_own_tests_pass(name: str, tmp_path: Path) -> None:
    done = pytest_in(EXAMPLE, "--rootdir", str(tmp_path), "-c", "/dev/null", name)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout


@pytest.mark.parametrize(
    ("hash_seed", "machine"), [("3", "leaky_bank.py:LeakyBank"), ("4", "unfair_bank.py:UnfairBank")]
)
def test_each_fault_is_found_by_the_command(hash_seed: str, machine: str) -> None:
    invariant = ["--invariant", "bank.py:all_money_is_accounted_for"]
    done = subprocess.run(
        [sys.executable, "-m", "paxospp.testing.machine_checks", machine, "--workload", "bank.py:calls", *invariant],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        cwd=EXAMPLE,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert (done.returncode, done.stderr) == (1, ""), done.stdout
