"""The simulator's page lists the faults and the invariants that the code has."""

from __future__ import annotations

import re
from pathlib import Path

from paxospp.testing import simulation
from paxospp.testing.simulation.faults.families import FAMILIES
from tests.simulation.test_checks import CHECKED_IN

README = (Path(simulation.__file__).parent / "README.md").read_text()


def first_cells(heading: str) -> list[str]:
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| (\w*\d+) \|", section, re.MULTILINE)


def test_the_page_lists_the_families_of_faults_of_the_code() -> None:
    assert first_cells("Families of faults") == list(FAMILIES)


def test_the_page_lists_the_invariants_that_are_checked_and_determinism() -> None:
    assert first_cells("Invariants") == [str(number) for number in (*CHECKED_IN, 19)]
