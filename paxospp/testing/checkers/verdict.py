"""What a check comes to: linearizable, not, or not found out within the budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from paxospp.testing.checkers.history import Operation


class Judgement(Enum):
    """Three values: a search that gave up has found nothing, in either direction."""

    LINEARIZABLE = "linearizable"
    VIOLATION = "violation"
    BUDGET_SPENT = "budget spent"


class NotLinearizableError(AssertionError):
    """A history that no order explains, or that was not explained within the budget."""


@dataclass(slots=True, frozen=True)
class Verdict:
    """The judgement of one history, and for a violation the operations that show it."""

    judgement: Judgement
    reason: str = ""
    operations: Sequence[Operation] = ()
    steps: int = 0
    """How many placements were tried; 0 where no search was needed."""

    @property
    def ok(self) -> bool:
        return self.judgement is Judgement.LINEARIZABLE

    @property
    def violated(self) -> bool:
        return self.judgement is Judgement.VIOLATION

    def expect(self) -> None:
        """Raise unless the history is linearizable."""
        if not self.ok:
            raise NotLinearizableError(str(self))

    def __str__(self) -> str:
        lines = [f"{self.judgement.value}: {self.reason}" if self.reason else self.judgement.value]
        return "\n  ".join([*lines, *map(str, self.operations)])


def violation(reason: str, *operations: Operation, steps: int = 0) -> Verdict:
    return Verdict(Judgement.VIOLATION, reason, operations, steps)


def linearizable(steps: int = 0) -> Verdict:
    return Verdict(Judgement.LINEARIZABLE, steps=steps)
