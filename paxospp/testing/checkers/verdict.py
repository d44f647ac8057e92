"""The verdict on a history: linearizable, a violation, or not settled within the budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from paxospp.testing.checkers.history import Operation


class Judgement(Enum):
    """Whether a history is linearizable. A search that spent its budget proves neither."""

    LINEARIZABLE = "linearizable"
    VIOLATION = "violation"
    BUDGET_SPENT = "budget spent"


class NotLinearizableError(AssertionError):
    """No order explains the history, or none was found within the budget; the text is the verdict."""


@dataclass(slots=True, frozen=True)
class Verdict:
    """The verdict on one history, with the operations that show a violation."""

    judgement: Judgement
    reason: str = ""
    operations: Sequence[Operation] = ()
    steps: int = 0
    """How many placements the search tried; 0 if none was needed."""

    @property
    def ok(self) -> bool:
        return self.judgement is Judgement.LINEARIZABLE

    @property
    def violated(self) -> bool:
        return self.judgement is Judgement.VIOLATION

    def expect(self) -> None:
        """Raise NotLinearizableError unless the history is linearizable."""
        if not self.ok:
            raise NotLinearizableError(str(self))

    def __str__(self) -> str:
        lines = [f"{self.judgement.value}: {self.reason}" if self.reason else self.judgement.value]
        return "\n  ".join([*lines, *map(str, self.operations)])


def violation(reason: str, *operations: Operation, steps: int = 0) -> Verdict:
    """Return the verdict that no order explains the history; ``operations`` show why."""
    return Verdict(Judgement.VIOLATION, reason, operations, steps)


def linearizable(steps: int = 0) -> Verdict:
    """Return the verdict that an order explains the history."""
    return Verdict(Judgement.LINEARIZABLE, steps=steps)
