"""The types of the public API, as mypy and pyright infer them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FACE = Path(__file__).with_name("typing_face.py")
ROOT = FACE.parents[2]


def check(*command: str) -> None:
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.long
@pytest.mark.timeout(300)
def test_mypy_accepts_the_right_calls_and_rejects_the_wrong_ones(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    check(sys.executable, "-m", "mypy", "--strict", "--warn-unused-ignores", f"--cache-dir={tmp_path}", str(FACE))


@pytest.mark.long
@pytest.mark.timeout(300)
def test_pyright_accepts_the_right_calls_and_rejects_the_wrong_ones() -> None:
    beside_python = Path(sys.executable).with_name("pyright")
    pyright = str(beside_python) if beside_python.exists() else shutil.which("pyright")
    if pyright is None:
        pytest.skip("pyright is not installed")
    check(pyright, "--pythonpath", sys.executable, str(FACE))
