"""Helpers that install the distributions in ``examples/`` and run their own tests."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def install(example: Path, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put ``example`` on the path, and in ``directory`` the metadata that an installation would write."""
    project = tomllib.loads((example / "pyproject.toml").read_text())["project"]
    name, version = project["name"], project["version"]
    metadata = directory / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    points = "".join(f"{name} = {value}\n" for name, value in project["entry-points"]["paxospp"].items())
    (metadata / "entry_points.txt").write_text(f"[paxospp]\n{points}")
    monkeypatch.syspath_prepend(str(example))
    monkeypatch.syspath_prepend(str(directory))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(directory), str(example)]))


def run_its_tests(example: Path, *arguments: str) -> str:
    """Run the tests of an installed example, with a quick kit, and return the output of pytest."""
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        cwd=example,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
