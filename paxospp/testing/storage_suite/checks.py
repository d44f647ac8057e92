"""The ways in which a case reports: the clauses it checks, those it found broken and how, or why it could not run.

A *case* is a test method marked ``@checks("C2", …)``. It fails with ``ClausesBroken``, which names the broken clauses;
any other exception counts against the first clause that the case checks. A case that cannot run here calls
``not_checked(reason)``, which never counts as a success.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, NoReturn, ParamSpec, Self, TypeVar, cast

import pytest

from paxospp.testing.storage_suite.kinds import named
from paxospp.testing.storage_suite.source_line import authors_line

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
"""The clauses that a crash of the process or a power cut can show to be broken."""


@dataclass(slots=True, frozen=True)
class BrokenClause:
    """One clause that a store broke, with the steps that show it."""

    clause: str
    steps: tuple[str, ...]
    """A step that begins with two spaces adds a detail to the one before and is not numbered."""
    wanted: str
    found: str
    left_out: int = 0
    """The number of steps before the first of ``steps``."""

    def __str__(self) -> str:
        head = f"{self.clause} ({CLAUSES[self.clause]}) is broken"
        return "\n".join(
            [head, *numbered(self.steps, self.left_out), f"  wanted: {self.wanted}", f"  found:  {self.found}"]
        )


def numbered(steps: Sequence[str], left_out: int = 0) -> list[str]:
    """Number ``steps``, counting those that were left out before them."""
    lines, number = [], left_out
    if left_out:
        lines.append(f"  (steps 1 to {left_out} are left out; --all-steps shows them)")
    for step in steps:
        if step.startswith("  "):
            lines.append(f"     {step}")
        else:
            number += 1
            lines.append(f"  {number}. {step}")
    return lines


class ClausesBroken(AssertionError):
    """At least one clause is broken; ``broken`` holds one example for each."""

    def __init__(self, broken: Sequence[BrokenClause]) -> None:
        super().__init__("\n\n".join(map(str, broken)))
        self.broken = tuple(broken)


class KitFailedError(Exception):
    """The kit itself failed, which says nothing about the store."""


class ClauseFindings:
    """Collects what a case with many tries finds: for each clause the first example and the number of them."""

    def __init__(self) -> None:
        self._examples: dict[str, BrokenClause] = {}
        self._counts: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._examples)

    def add(self, clause: str, steps: Sequence[str], wanted: str, found: str, left_out: int = 0) -> None:
        self._examples.setdefault(clause, BrokenClause(clause, tuple(steps), wanted, found, left_out))
        self._counts[clause] = self._counts.get(clause, 0) + 1

    def raise_any(self, tried: int, note: str = "") -> None:
        """Raise ClausesBroken if anything was found.

        Args:
            tried: the number of tries, for the message.
            note: a remark to append to every example.
        """
        if self._examples:
            broken = []
            for clause, example in self._examples.items():
                tries = "1 try" if tried == 1 else f"{tried} tries"
                found = f"{example.found}\n          ({self._counts[clause]} times in {tries})"
                found += f"\n          note: {note}" if note else ""
                broken.append(replace(example, found=found))
            raise ClausesBroken(broken)


STEP_BY_STEP = "Step by step:"
AT = "At: "


def checks(*clauses: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a method as a case that checks ``clauses``; if it fails, the steps that led there are added as a note."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def case(*args: P.args, **kwargs: P.kwargs) -> R:
            __tracebackhide__ = True
            try:
                return function(*args, **kwargs)
            except (AssertionError, Exception) as error:
                steps = cast("Any", args[0]).steps
                if not isinstance(error, ClausesBroken):
                    if (line := authors_line(error)) is not None:
                        error.add_note(f"{AT}{line}")
                    if told := steps.told():
                        error.add_note("\n".join([STEP_BY_STEP, *numbered(told, steps.left_out)]))
                raise

        case.paxospp_clauses = clauses  # type: ignore[attr-defined]
        return case

    return decorate


def clauses_of(function: object) -> tuple[str, ...]:
    """Return the clauses that a test method checks; empty if it is not a case."""
    found: tuple[str, ...] = getattr(function, "paxospp_clauses", ())
    return found


class raises:
    """Like ``pytest.raises``, but names the exception that came instead, with its module and the store's line."""

    def __init__(self, *kinds: type[BaseException]) -> None:
        self._kinds = kinds
        self.value: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, self._kinds):
            self.value = error
            return True
        if error is not None and not isinstance(error, Exception):
            return False
        wanted = " or ".join(map(named, self._kinds))
        if error is None:
            raise AssertionError(f"wanted {wanted}, but nothing was raised")
        raise AssertionError(f"wanted {wanted}, found {named(type(error))}: {error}") from error


def not_checked(reason: str) -> NoReturn:
    """End the case as *not checked*: it cannot run here, for ``reason``."""
    pytest.skip(reason)


WRONG_WITHOUT_FAULTS = "the store is wrong even without a fault; repair this first: "
"""The start of the reason with which all crash cases end if the store fails without a crash."""
NOT_APPLICABLE = "does not apply: "


def not_applicable(reason: str) -> NoReturn:
    """End the case: it is not meant for stores of this kind, and counts for no clause."""
    pytest.skip(NOT_APPLICABLE + reason)


def counted(node: pytest.Item, what: str, number: int) -> None:
    """Add ``number`` tries of ``what`` to the last column of the verdict table."""
    node.user_properties.append(("paxospp", (what, number)))
