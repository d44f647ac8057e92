"""Budgets and histories by number, so that worlds are small and what was found out about them is found out once."""

from __future__ import annotations

from collections.abc import Sequence

from paxospp.testing.exploration.judging import Answer, Chosen, Held, History, Votes, verdict_of
from paxospp.testing.exploration.nodes import Step


class Budgets:
    """Budgets: how many more times each bounded event may happen."""

    def __init__(self) -> None:
        self.amounts: list[tuple[int, ...]] = []
        """By number, in the order of ``scope.BUDGETS``."""
        self._numbers: dict[tuple[int, ...], int] = {}
        self._after: dict[int, Sequence[int]] = {}

    def number(self, amounts: tuple[int, ...]) -> int:
        """Return the number of these amounts."""
        number = self._numbers.get(amounts)
        if number is None:
            number = self._numbers[amounts] = len(self.amounts)
            self.amounts.append(amounts)
        return number

    def after(self, budget: int) -> Sequence[int]:
        """Return by place what is left, by number, after one of that kind has happened; -1: nothing of it was left."""
        after = self._after.get(budget)
        if after is None:
            now = self.amounts[budget]
            after = self._after[budget] = [
                -1 if amount == 0 else self.number((*now[:place], amount - 1, *now[place + 1 :]))
                for place, amount in enumerate(now)
            ]
        return after


class Histories:
    """Histories of facts, and the verdicts on the steps that they judge."""

    def __init__(self, quorum: int) -> None:
        self._quorum = quorum
        self._votes: dict[frozenset[Held | Chosen], Votes] = {}
        self._known: list[History] = []
        self._numbers: dict[object, int] = {}
        self._merged: dict[tuple[int, int], int] = {}
        self._verdicts: dict[tuple[int, int], str | None] = {}

    def __getitem__(self, number: int) -> History:
        return self._known[number]

    def number(self, held: frozenset[Held | Chosen], answers: frozenset[Answer]) -> int:
        """Return the number of the history that consists of these facts."""
        key = held, answers
        number = self._numbers.get(key)
        if number is None:
            votes = self._votes.get(held)
            if votes is None:
                votes = self._votes[held] = Votes(held, self._quorum)
            number = self._numbers[key] = len(self._known)
            self._known.append(History(votes, answers, self._quorum))
        return number

    def add(self, history: int, step: Step) -> int:
        """Return the number of ``history`` with the facts of ``step``."""
        key = history, step.facts_id
        number = self._merged.get(key)
        if number is None:
            former = self._known[history]
            number = self.number(former.votes.facts.union(step.held), former.answers.union(step.answers))
            self._merged[key] = number
        return number

    def judge(self, history: int, step: Step) -> str | None:
        """Return the rule that ``step`` breaks, whose facts are in ``history``; None if it breaks none."""
        key = history, step.claims_id
        try:
            return self._verdicts[key]
        except KeyError:
            verdict = self._verdicts[key] = verdict_of(step.claims, self._known[history])
            return verdict
