"""examples/storage_plugin as a stranger meets it: its own tests, its entry point, its class by file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import paxospp
from paxospp.plugins.registry import PluginRegistry

EXAMPLE = Path(__file__).parents[2] / "examples" / "storage_plugin"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example on the path, with the metadata that installing it would leave."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    metadata = tmp_path / "paxospp_sqlite-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    points = "".join(f"{name} = {value}\n" for name, value in project["entry-points"]["paxospp"].items())
    (metadata / "entry_points.txt").write_text(f"[paxospp]\n{points}")
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_its_own_tests_pass(installed: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), str(EXAMPLE)])}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", str(EXAMPLE)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=EXAMPLE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout


def test_its_entry_point_is_found_and_opened_by_scheme(installed: Path, tmp_path: Path) -> None:
    registry = PluginRegistry()
    (found,) = [plugin for plugin in registry.found if plugin.name == "sqlite"]
    assert found.error is None
    assert found.source == "paxospp-sqlite 0.1.0"

    storage = registry.storage(f"sqlite:{tmp_path / 'store'}?cache_kib=512")()

    assert storage.load() == paxospp.DurableState()
    storage.close()
    with pytest.raises(paxospp.ConfigError, match="cache_kib"):
        registry.storage(f"sqlite:{tmp_path / 'store'}?cash_kib=512")


def test_its_class_opens_by_file_without_installing_anything(tmp_path: Path) -> None:
    file = EXAMPLE / "paxospp_sqlite" / "__init__.py"
    storage = PluginRegistry().storage(f"{file}:SqliteStorage:{tmp_path / 'store'}")()

    assert storage.load() == paxospp.DurableState()
    storage.close()


def test_it_imports_public_names_only() -> None:
    text = (EXAMPLE / "paxospp_sqlite" / "__init__.py").read_text()
    assert re.findall(r"^[ \t]*(?:import|from) paxospp\S*.*$", text, re.MULTILINE) == ["import paxospp"]
    assert set(re.findall(r"\bpaxospp\.(\w+)", text)) <= set(paxospp.__all__)
