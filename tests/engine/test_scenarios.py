"""Every scenario file plays as written; ``pytest --paxospp-rewrite`` updates the files."""

from __future__ import annotations

from pathlib import Path

import pytest

from paxospp.testing.scenario import play

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_the_scenario_happens_as_written(path: Path, pytestconfig: pytest.Config) -> None:
    told = play(path)
    if pytestconfig.getoption("--paxospp-rewrite"):
        path.write_text(told)
    assert path.read_text() == told


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_the_scenario_opens_by_saying_what_it_shows(path: Path) -> None:
    assert path.read_text().startswith("# ")


def test_the_scenario_files_are_found() -> None:
    assert len(SCENARIOS) >= 25
