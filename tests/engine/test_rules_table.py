"""The table of rules in ``paxospp/engine/README.md``: everything that it names exists, and it names every module."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / "paxospp/engine"
SIMULATION = ROOT / "paxospp/testing/simulation"
README = (ENGINE / "README.md").read_text()
_NAMES = re.compile(r"`([^`]+)`")
_OF_NO_RULE = {"rules/observer"}
"""Modules that belong to no rule. The observer changes nothing."""


def rows() -> dict[str, list[list[str]]]:
    """Map each rule to the names in its cells: modules, oracles, markers, scenarios, mutants."""
    found: dict[str, list[list[str]]] = {}
    for line in README.splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        if len(cells) == 6 and not cells[0].startswith(("---", "rule")):
            found[cells[0]] = [_NAMES.findall(cell) for cell in cells[1:]]
    return found


TABLE = rows()


def test_every_rule_has_a_row() -> None:
    rules = re.findall(r"^### (\d)\. ", README, re.MULTILINE)
    assert rules == [str(number) for number in range(1, 10)]
    assert {rule.split()[0] for rule in TABLE} >= set(rules)


def test_every_module_of_the_rules_and_handlers_has_a_row() -> None:
    modules = {
        f"{folder}/{path.stem}"
        for folder in ("rules", "handlers")
        for path in (ENGINE / folder).glob("*.py")
        if path.stem != "__init__"
    }
    named = {module for row in TABLE.values() for module in row[0] if "/" in module}
    assert named == modules - _OF_NO_RULE


@pytest.mark.parametrize("rule", TABLE)
def test_everything_that_a_row_names_exists(rule: str) -> None:
    modules, oracles, markers, scenarios, mutants = TABLE[rule]
    assert all((modules, oracles, markers, scenarios, mutants)), "each column names at least one"
    for module in modules:
        assert (ENGINE / f"{module}.py").is_file(), module
    for oracle in oracles:
        assert_is_an_oracle(oracle)
    sources = "".join(path.read_text() for path in ENGINE.rglob("*.py"))
    for marker in markers:
        assert marker in sources or (marker.startswith("admission: ") and marker.partition(": ")[2] in sources), marker
    for scenario in scenarios:
        path = scenario if scenario.endswith(".py") else f"tests/engine/scenarios/{scenario}.txt"
        assert (ROOT / path).is_file(), scenario
    for mutant in mutants:
        assert mutant in MUTANTS, mutant


def assert_is_an_oracle(oracle: str) -> None:
    """``oracle`` is ``folder/module.Class.method`` or ``folder/module.function``, in ``paxospp/testing/simulation``."""
    path, *names = oracle.split(".")
    file = SIMULATION / f"{path}.py"
    assert file.is_file(), oracle
    found: object = import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
    for name in names:
        found = getattr(found, name)
