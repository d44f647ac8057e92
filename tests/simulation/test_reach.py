"""The markers that runs reach: read from the source, in pairs, and with seeds picked for rare ones."""

from __future__ import annotations

import ast
import json
import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from paxospp.cli import main
from paxospp.testing import Simulation
from paxospp.testing.simulation.machines import Ledger
from paxospp.testing.simulation.reach.beyond import BEYOND, required
from paxospp.testing.simulation.reach.markers import WATCHED, HiddenMarkerError, known_markers, markers_in
from paxospp.testing.simulation.reach.pairs import PAIRS, all_pairs
from paxospp.testing.simulation.reach.states import STATES
from paxospp.testing.simulation.reach.steering import ROUND, Steering
from paxospp.testing.simulation.reach.tally import MarkerTally, everything
from paxospp.testing.simulation.report import Reached
from tests.simulation.plans import draw

ROOT = Path(__file__).resolve().parents[2]


def test_markers_are_read_from_every_form_in_which_they_are_reported() -> None:
    source = """
TABLE = {"a": "m: one", "b": "m: two"}
observer.reached("m: three")
self._observer.reached("m: four" if x else "m: five")
self._observer.reached(TABLE[key])
book.reached("an address")
"""
    assert set(markers_in(source, "m.py")) == {"m: one", "m: two", "m: three", "m: four", "m: five"}


@pytest.mark.parametrize("argument", ["marker", 'f"m: {x}"', '"m: " + x', "UNKNOWN[x]"])
def test_a_marker_that_is_not_a_literal_is_an_error(argument: str) -> None:
    with pytest.raises(HiddenMarkerError, match=r"m\.py:1"):
        list(markers_in(f"observer.reached({argument})", "m.py"))


def test_a_marker_names_one_branch() -> None:
    found = [
        marker
        for package in WATCHED
        for file in (ROOT / "paxospp" / package).rglob("*.py")
        for marker in markers_in(file.read_text("utf-8"), file.name)
    ]
    assert len(found) == len(set(found)) == len(known_markers())
    assert all(": " in marker for marker in found)


def test_every_pair_is_one_of_a_known_marker_and_a_known_state_and_every_state_is_used() -> None:
    assert PAIRS.keys() <= known_markers()
    assert {state for states in PAIRS.values() for state in states} == STATES.keys()
    pairs = list(all_pairs())
    assert len(pairs) == len(set(pairs))


def test_what_is_beyond_the_simulator_is_reached_by_a_test_that_exists() -> None:
    assert BEYOND.keys() <= everything()
    assert required() == everything() - BEYOND.keys()
    for marker, beyond in BEYOND.items():
        file, _, test = beyond.test.partition("::")
        names = {node.name for node in ast.walk(ast.parse((ROOT / file).read_text())) if hasattr(node, "name")}
        assert test in names, marker
        assert beyond.reason.endswith("."), marker


def test_a_run_counts_what_it_reaches_and_the_same_again() -> None:
    report = Simulation(Ledger).run([12, 10])

    assert report.runs[12].hits != report.runs[10].hits
    assert report.runs[12] == Simulation(Ledger).run([12]).runs[12]
    tally = report.tally
    assert tally.runs == 2
    marker = "promises: a gap is filled with a no-op"
    assert tally.hits[marker] == sum(run.hits.get(marker, 0) for run in report.runs.values()) >= tally.seeds[marker] > 0
    assert {row.marker for row in tally.rows()} == everything()
    assert tally.hits.keys() <= everything()


def test_seeds_for_rare_markers_come_first() -> None:
    tally = MarkerTally()
    tally.add({"a": 3, "b": 1})
    tally.add({"a": 1})

    assert [(row.marker, row.seeds, row.hits) for row in tally.below(4, ("a", "b", "c"))] == [("c", 0, 0), ("b", 1, 1)]


RARE = "a marker that only churn under leases reaches"


def is_rare(seed: int) -> bool:
    plan = draw(seed)
    return plan.lease_us == 1_000_000 and plan.faults.depose_s > 0


def steered(rounds: int, shuffle: random.Random | None = None) -> list[list[int]]:
    """Return the seeds of ``rounds`` rounds, of which some reach RARE."""
    steering = Steering(0, rounds * ROUND, [RARE], 1_000, draw)
    chosen = []
    for seeds in steering.rounds():
        chosen.append(list(seeds))
        told: Iterable[int] = shuffle.sample(chosen[-1], len(chosen[-1])) if shuffle else chosen[-1]
        for seed in told:
            steering.learn(seed, Reached({RARE: 1} if is_rare(seed) else {}, 100))
    return chosen


def test_steering_learns_which_plans_reach_what_is_rare() -> None:
    first, *later = steered(3)
    usual = sum(map(is_rare, range(1_000))) / 1_000

    assert first == list(range(ROUND)), "nothing is known before the first round"
    assert sum(map(is_rare, later[-1])) / ROUND > 3 * usual


def test_which_seeds_are_picked_does_not_depend_on_the_order_in_which_results_come() -> None:
    assert steered(3) == steered(3, random.Random(1))


def test_a_sweep_that_misses_markers_fails_and_names_them(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "markers.json"
    command = ("simulate", "--seed", "12", "--seeds", "2", "--jobs", "1", "--markers-json", str(file))

    assert main([*command, "--require-markers", "3"]) == 1
    said = capsys.readouterr().out
    table = json.loads(file.read_text())
    assert table["seeds"] == 2
    assert {row["marker"] for row in table["markers"]} == everything()
    missed = {row["marker"] for row in table["markers"] if row["hits"] < 3 and row["marker"] in required()}
    assert f"{len(missed)} of {len(required())} markers were hit fewer than 3 times:" in said
    lines = said.partition("hit fewer than 3 times:")[2].splitlines()
    assert {line.split("  ")[0] for line in lines} - {"", "marker"} == missed


def test_the_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--seed", "7", "--seconds", "0.5", "--faults", "none", "--markers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {name for name in everything() if not any(line.startswith(name) for line in lines)} == set()
