"""The goals of ``--sweep``: bounds on ratios between rows, or between figures of one row, of the same run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from paxospp.bench.sweep_rows import Medians

MediansByRow = Mapping[str, Medians]


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A bound on one figure of one row."""

    row: str
    text: str
    """The name of the figure, as it is printed."""
    of: Callable[[MediansByRow], float]
    """Computes the figure; raises KeyError if a row it needs was not measured."""
    at_least: float | None = None
    at_most: float | None = None


@dataclass(frozen=True, slots=True)
class GoalOutcome:
    """The measured value of a goal's figure."""

    goal: Goal
    value: float

    @property
    def met(self) -> bool:
        low, high = self.goal.at_least, self.goal.at_most
        return (low is None or self.value >= low) and (high is None or self.value <= high)

    def to_json(self) -> dict[str, Any]:
        goal = self.goal
        bound = {"at_least": goal.at_least} if goal.at_least is not None else {"at_most": goal.at_most}
        return {"goal": goal.text, **bound, "value": round(self.value, 3), "met": self.met}

    def cells(self) -> tuple[str, ...]:
        """Return the cells of a table: row, figure, value, goal, and whether it was missed."""
        goal = self.goal
        bound = f"≥ {goal.at_least:g}" if goal.at_least is not None else f"≤ {goal.at_most:g}"
        return goal.row, goal.text, f"{self.value:.2f}", bound, "" if self.met else "missed"


def goal_outcomes(rows: MediansByRow) -> list[GoalOutcome]:
    """Return the outcome of every goal whose rows were measured."""
    outcomes = []
    for goal in GOALS:
        try:
            outcomes.append(GoalOutcome(goal, goal.of(rows)))
        except (KeyError, ZeroDivisionError):
            continue
    return outcomes


def outcomes_of_row(outcomes: Iterable[GoalOutcome], row: str) -> list[GoalOutcome]:
    return [outcome for outcome in outcomes if outcome.goal.row == row]


def _rate(row: str, other: str) -> Callable[[MediansByRow], float]:
    return lambda rows: rows[row].ops_per_s / rows[other].ops_per_s


def _spread(row: str) -> Callable[[MediansByRow], float]:
    return lambda rows: rows[row].p99_ms / rows[row].p50_ms


def _over_floor(row: str) -> Callable[[MediansByRow], float]:
    return lambda rows: rows[row].p50_ms / rows[row].floor_ms


GOALS = (
    Goal(row="remote 1", text="p50 / floor", of=_over_floor("remote 1"), at_most=1.4),
    Goal(row="remote 1024", text="p99 / p50", of=_spread("remote 1024"), at_most=5.0),
    Goal(row="remote 4096", text="× remote 1024", of=_rate("remote 4096", "remote 1024"), at_least=1.0),
    Goal(row="embedded 1", text="p50 / floor", of=_over_floor("embedded 1"), at_most=1.6),
    Goal(row="embedded 1024", text="p99 / p50", of=_spread("embedded 1024"), at_most=5.0),
    Goal(row="embedded 4096", text="× embedded 1024", of=_rate("embedded 4096", "embedded 1024"), at_least=1.0),
    Goal(row="rocksdb 1024", text="× file", of=_rate("rocksdb 1024", "remote 1024"), at_least=0.8),
    Goal(
        row="100 kB 100",
        text="MB/s",
        of=lambda rows: rows["100 kB 100"].ops_per_s * rows["100 kB 100"].value_bytes / 1e6,
        at_least=80.0,
    ),
    Goal(row="reads 1024", text="× writes", of=_rate("reads 1024", "remote 1024"), at_least=2.0),
    Goal(row="4 clients 256", text="× one client", of=_rate("4 clients 256", "remote 1024"), at_least=0.9),
    Goal(row="5 nodes 1024", text="× three nodes", of=_rate("5 nodes 1024", "remote 1024"), at_least=0.6),
    Goal(row="fail-over", text="gap in s", of=lambda rows: rows["fail-over"].gap_s, at_most=0.6),
)
