"""What a case says: which clauses it checks, which one is broken and by which steps, what could not be checked.

A *case* is a test method marked ``@checks("C2", …)``. It fails with ``ClausesBroken``, which names
the clauses, or with any other exception, which then counts against the first clause it checks. What
cannot run here ends in ``not_checked(reason)`` and never passes for a success.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, ParamSpec, TypeVar, cast

import pytest

P = ParamSpec("P")
R = TypeVar("R")

CLAUSES = {
    "C1": "atomic",
    "C2": "durable",
    "C3": "prefix",
    "C4": "fail-stop",
    "C5": "one writer",
    "C6": "read",
    "C7": "opaque",
    "C8": "integrity",
    "C9": "exclusive",
    "C10": "snapshot",
}

CRASH_CLAUSES = ("C1", "C2", "C3", "C8", "C10")
"""What a crash, of the process or of the power, can show to be broken."""


@dataclass(slots=True, frozen=True)
class Broken:
    """One clause that a store broke, and how to see it."""

    clause: str
    steps: tuple[str, ...]
    wanted: str
    found: str

    def __str__(self) -> str:
        numbered = [f"  {number}. {step}" for number, step in enumerate(self.steps, 1)]
        head = f"{self.clause} ({CLAUSES[self.clause]}) is broken"
        return "\n".join([head, *numbered, f"  wanted: {self.wanted}", f"  found:  {self.found}"])


class ClausesBroken(AssertionError):
    """At least one clause is broken; ``broken`` has one example for each."""

    def __init__(self, broken: Sequence[Broken]) -> None:
        super().__init__("\n\n".join(map(str, broken)))
        self.broken = tuple(broken)


class KitFailedError(Exception):
    """The kit itself could not go on, which says nothing of the store."""


class Findings:
    """What a case that tries many things found: the first example for each clause, and how many there were."""

    def __init__(self) -> None:
        self._examples: dict[str, Broken] = {}
        self._counts: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._examples)

    def add(self, clause: str, steps: Sequence[str], wanted: str, found: str) -> None:
        self._examples.setdefault(clause, Broken(clause, tuple(steps), wanted, found))
        self._counts[clause] = self._counts.get(clause, 0) + 1

    def raise_any(self, tried: int, note: str = "") -> None:
        """Raise ClausesBroken if there is anything; ``tried`` says of how many, ``note`` what to bear in mind."""
        if self._examples:
            broken = []
            for clause, example in self._examples.items():
                found = f"{example.found}\n          ({self._counts[clause]} times in {tried} tries)"
                found += f"\n          note: {note}" if note else ""
                broken.append(Broken(clause, example.steps, example.wanted, found))
            raise ClausesBroken(broken)


def checks(*clauses: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a case with the clauses it checks; a failure shows the steps that led to it."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def case(*args: P.args, **kwargs: P.kwargs) -> R:
            __tracebackhide__ = True
            try:
                return function(*args, **kwargs)
            except (AssertionError, Exception) as error:
                steps = cast("Any", args[0]).steps.told()
                if steps and not isinstance(error, ClausesBroken):
                    error.add_note("Step by step:\n" + "\n".join(f"  {n}. {step}" for n, step in enumerate(steps, 1)))
                raise

        case.paxospp_clauses = clauses  # type: ignore[attr-defined]
        return case

    return decorate


def clauses_of(function: object) -> tuple[str, ...]:
    """The clauses that a test method checks; none if it is no case."""
    found: tuple[str, ...] = getattr(function, "paxospp_clauses", ())
    return found


def not_checked(reason: str) -> NoReturn:
    """End the case: it cannot run here, and says why."""
    pytest.skip(reason)


def counted(node: pytest.Item, what: str, number: int) -> None:
    """Have the verdict table show that ``number`` of ``what`` were tried."""
    node.user_properties.append(("paxospp", (what, number)))
