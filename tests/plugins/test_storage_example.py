"""``examples/storage_plugin`` as a user installs it: its own tests, its entry point, and its class named by file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import paxospp
from paxospp.plugins.registry import PluginRegistry
from paxospp.testing import StorageSuite
from tests.plugins.example_distribution import EXAMPLES, install, run_its_tests

EXAMPLE = EXAMPLES / "storage_plugin"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(EXAMPLE, tmp_path, monkeypatch)


@pytest.mark.long
def test_its_own_tests_pass(installed: None) -> None:
    """They run a few cases of the storage kit; ``test_clauses.py`` runs the whole kit on this store."""
    assert "skipped" not in run_its_tests(EXAMPLE, "tests/test_sqlite.py")
    assert "3 passed" in run_its_tests(EXAMPLE, "tests/test_contract.py", "-k", "second_opener")


def test_its_contract_test_has_every_case_of_the_storage_kit(installed: None) -> None:
    cases = {name for name in dir(StorageSuite) if name.startswith("test_")}
    told = run_its_tests(EXAMPLE, "tests/test_contract.py", "--collect-only")

    assert {name for name in cases if f"TestSqlite::{name}" not in told} == set()


def test_its_entry_point_is_found_and_opened_by_scheme(installed: None, tmp_path: Path) -> None:
    registry = PluginRegistry()
    (found,) = [plugin for plugin in registry.found if plugin.name == "sqlite"]
    assert found.error is None
    assert found.source == "paxospp-sqlite 0.1.0"
    assert registry.storage_problem("sqlite") is None

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
    imports = re.findall(r"^[ \t]*((?:import|from) paxospp\S*.*)$", text, re.MULTILINE)
    assert imports == ["import paxospp", "from paxospp.storage import sync_directory"]
    assert set(re.findall(r"\bpaxospp\.(\w+)", text)) - {"storage"} <= set(paxospp.__all__)


def test_its_readme_shows_what_its_ci_recipe_runs() -> None:
    """The recipe for CI and the README have to show the same commands."""
    recipe = (EXAMPLE / ".github" / "workflows" / "test.yml").read_text()
    commands = [line.partition(" #")[0] for line in re.findall(r"- run: (.*)$", recipe, re.MULTILINE)]

    assert commands == [
        "sudo apt-get update && sudo apt-get install --yes strace",
        "pip install '.[test]'",
        "paxospp plugins",
        "pytest",
    ]
    readme = (EXAMPLE / "README.md").read_text()
    assert all(command in readme for command in commands[1:])
