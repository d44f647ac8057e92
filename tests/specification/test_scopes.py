"""The executable specification: no invariant breaks, and without any one guard some invariant does."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from paxospp.testing import specification
from paxospp.testing.specification.__main__ import main
from paxospp.testing.specification.model_checker import explore
from paxospp.testing.specification.scopes import NOT_NEEDED, SCOPES

FOLDER = Path(specification.__file__).parent
CASES = [(scope.name, guard) for scope in SCOPES.values() for guard in scope.guards]
LARGE = {
    "count: only incarnations that vote + promise: only a voter",
    "bootstrap: a promise from every node",
    "bootstrap: the recovered membership",
    "install: a snapshot's ballot is met",
    "lease: clocks stay within the drift bound",
    "learn: accepted under the announcer's ballot or above",
    "propose: decided is not clean",
    "propose: faulty is not clean",
    "propose: at most alpha above decided",
    "restart: no synced write is lost",
    "send: a message about the disk waits for its write",
    "wipe: a new disk is a new incarnation",
}
"""Guards without which it takes hundreds or thousands of states until an invariant breaks."""
STATES_MAX = 100
"""States to visit per scope in an ordinary test run."""
LONG_STATES_MAX = 3_000
"""States to visit per scope in a long run; ``python -m paxospp.testing.specification --seconds N`` goes further."""


def guards_in_the_rules() -> set[str]:
    """Return every guard that an action names."""
    guards = set()
    for file in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                at = {"needs": 0, "lacks": 0, "meet": 1}.get(node.func.attr)
                if at is not None and len(node.args) > at and isinstance(node.args[at], ast.Constant):
                    guards.add(str(ast.literal_eval(node.args[at])))
    return guards


def test_it_imports_nothing_of_the_engine() -> None:
    """A specification that shared code with the engine would repeat its mistakes."""
    wrong = []
    for file in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [name.name for name in node.names] if isinstance(node, ast.Import) else []
            wrong += [m for m in modules if m.startswith("paxospp") and not m.startswith(specification.__name__)]
    assert wrong == []


@pytest.mark.parametrize("name", SCOPES)
def test_no_invariant_breaks_in_the_first_states_of_any_scope(name: str) -> None:
    result = explore(SCOPES[name], states_max=STATES_MAX)
    assert result.broken == "", result.trace
    assert result.exhausted or result.distinct >= STATES_MAX


@pytest.mark.long
@pytest.mark.parametrize("name", SCOPES)
def test_no_invariant_breaks_in_any_scope(name: str) -> None:
    result = explore(SCOPES[name], states_max=LONG_STATES_MAX)
    assert result.broken == "", result.trace


@pytest.mark.parametrize(("name", "guard"), [case for case in CASES if case[1] not in LARGE])
def test_without_a_guard_an_invariant_breaks_in_its_scope(name: str, guard: str) -> None:
    """This shows that the invariants can fail, and that the guard is needed."""
    result = explore(SCOPES[name], without=frozenset(guard.split(" + ")), states_max=20_000)
    assert result.broken, f"{result.distinct} states and nothing broke"


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "guard"), [case for case in CASES if case[1] in LARGE])
def test_without_a_guard_an_invariant_breaks_in_its_larger_scope(name: str, guard: str) -> None:
    result = explore(SCOPES[name], without=frozenset(guard.split(" + ")), states_max=100_000)
    assert result.broken, f"{result.distinct} states and nothing broke"


def test_every_guard_has_its_scope_or_a_reason_why_not() -> None:
    told = {guard for _, case in CASES for guard in case.split(" + ")}
    assert guards_in_the_rules() == told | NOT_NEEDED.keys()
    assert not told & NOT_NEEDED.keys()


def test_symmetry_reduction_leaves_out_no_kind_of_state() -> None:
    """Without symmetry the search visits more states, at least as deep, and breaks nothing either."""
    scope = replace(SCOPES["one slot"], ballots=1)
    merged = explore(scope)
    apart = explore(replace(scope, vouches=True))  # ends symmetry, and adds no step while no slot is decided
    assert merged.exhausted
    assert apart.exhausted
    assert merged.distinct < apart.distinct
    assert merged.depth <= apart.depth


def test_the_command_prints_what_it_explored_and_the_trace_of_a_violation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--scope", "a wiped disk that knows nothing"]) == 0
    assert "exhausted" in capsys.readouterr().out
    assert main(["--without", "snapshot: only decided slots"]) == 0
    told = capsys.readouterr().out
    assert "BROKEN" in told
    assert "n3 decides 3" in told
