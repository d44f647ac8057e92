"""Searches of bounded size find faults that the protocol once had, when they are put back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from paxospp.testing.exploration.__main__ import main
from paxospp.testing.scenario import play

ROOT = Path(__file__).resolve().parents[2]


def explore(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "paxospp.testing.exploration", "--seconds", "600", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("scope", "states", "fault", "rule"),
    [
        ("damage", 60_000, "a leader that has not seen the end of the log says where damage ends", "vouches that"),
        pytest.param(
            "parts",
            200_000,
            "parts of two answers to one Prepare are mixed",
            "rule 2: n1 counts answer",
            marks=pytest.mark.long,
        ),
        pytest.param(
            "snapshot",
            700_000,
            "a leader or candidate installs a snapshot without meeting its ballot",
            "rule 1: n1 leads or campaigns under",
            marks=[pytest.mark.long, pytest.mark.timeout(600)],
        ),
    ],
)
def test_the_search_finds_a_fault_put_back(scope: str, states: int, fault: str, rule: str, tmp_path: Path) -> None:
    story = tmp_path / "story.txt"
    found = explore(
        *("--scope", scope, "--directed", "--states", str(states), "--fault", fault, "--scenario", str(story))
    )

    assert found.returncode == 1, found.stdout + found.stderr
    assert rule in found.stdout
    # The trace can be played without the fault too.
    assert "show" in play(story)


def test_unknown_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--scope", "tiny"]) == 2
    assert "known: plain" in capsys.readouterr().err
    assert main(["--bound", "campaigns"]) == 2
    assert "campaigns" in capsys.readouterr().err
    assert main(["--begin-at", "nowhere"]) == 2
    assert "is not a marker" in capsys.readouterr().err
    assert main(["--fault", "none"]) == 2
    assert "put_back.py" in capsys.readouterr().err


def test_what_was_explored_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--scope", "plain", "--bound", "campaigns=1", "--bound", "proposals=0", "--states", "500"]) == 0

    printed = capsys.readouterr().out
    assert "distinct, complete to depth" in printed
    assert "states/s of it" in printed
