"""``tests/BUGS.md``: every bug is tested, or waits for a reason; every test and scenario that it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS

ROOT = Path(__file__).resolve().parent.parent
SCENARIOS = ROOT / "tests/engine/scenarios"
SIMULATION = ROOT / "paxospp/testing/simulation"


def table(heading: str) -> dict[str, str]:
    """Return the rows of the table under ``heading``, as a dict from the first cell to the last."""
    page = (ROOT / "tests/BUGS.md").read_text()
    section = page.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if re.match(r"\| B\d", line)]
    assert len({row[0] for row in rows}) == len(rows), "each number has one row"
    return {row[0]: row[-1] for row in rows}


BUGS = table("The bugs")
TESTED = {number: re.findall(r"`([^`]+)`", cell) for number, cell in table("Where they are tested").items()}
WAITING = table("Waiting")


def test_every_bug_is_tested_or_waits_and_none_does_both() -> None:
    assert sorted([*TESTED, *WAITING]) == sorted(BUGS)
    assert all(TESTED.values())


@pytest.mark.parametrize("number", TESTED)
def test_everything_that_is_named_exists(number: str) -> None:
    for place in TESTED[number]:
        path, _, name = place.partition("::")
        file = ROOT / path if "/" in path else SCENARIOS / f"{path}.txt"
        assert file.is_file(), place
        assert not name or re.search(rf"def {name}\b", file.read_text()), f"{path} has no {name}"


def test_every_scenario_named_after_a_bug_is_listed() -> None:
    listed = {place for places in TESTED.values() for place in places}
    assert {path.stem for path in SCENARIOS.glob("B[0-9]*.txt")} <= listed


def test_mutants_and_oracles_cite_only_bugs_that_are_listed() -> None:
    reasons = " ".join(mutant.why for mutant in MUTANTS.values())
    oracles = "".join(file.read_text() for file in SIMULATION.rglob("*.py"))
    cited = {*re.findall(r"\bB[0-9]+\b", reasons), *re.findall(r'Broken\(\s*"(B[0-9]+)"', oracles)}
    assert cited <= {*BUGS}
