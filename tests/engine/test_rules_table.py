"""The table of rules in ``paxospp/engine/README.md``: what it names exists."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / "paxospp/engine"
README = (ENGINE / "README.md").read_text()
_NAMES = re.compile(r"`([^`]+)`")


def rows() -> dict[str, list[list[str]]]:
    """Per rule the names in each of its cells."""
    found: dict[str, list[list[str]]] = {}
    for line in README.splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        if len(cells) == 6 and not cells[0].startswith(("---", "rule")):
            found[cells[0]] = [_NAMES.findall(cell) for cell in cells[1:]]
    return found


TABLE = rows()


def test_every_rule_stands_in_the_table() -> None:
    rules = re.findall(r"^\*\*(\d)\. ", README, re.MULTILINE)
    assert rules == [str(number) for number in range(1, 10)]
    assert {rule.split()[0] for rule in TABLE} >= set(rules)


@pytest.mark.parametrize("rule", TABLE)
def test_what_a_row_names_exists(rule: str) -> None:
    modules, oracles, markers, stories, mutants = TABLE[rule]
    assert all((modules, oracles, markers, stories, mutants)), "each of them has at least one"
    for module in modules:
        assert (ENGINE / f"{module}.py").is_file(), module
    for oracle in oracles:
        module, *path = oracle.split(".")
        found: object = import_module(f"paxospp.testing.simulation.{module.replace('/', '.')}")
        for name in path:
            found = getattr(found, name)
    sources = "".join(path.read_text() for path in ENGINE.rglob("*.py"))
    for marker in markers:
        assert marker in sources or (marker.startswith("admission: ") and marker.partition(": ")[2] in sources), marker
    for story in stories:
        assert (ROOT / f"tests/engine/scenarios/{story}.txt").is_file(), story
    for mutant in mutants:
        assert mutant in MUTANTS, mutant
