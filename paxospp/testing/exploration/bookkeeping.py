"""Tables that give each budget and each history of facts a number, which worlds hold in place of them."""

from __future__ import annotations

from collections.abc import Sequence

from paxospp.testing.exploration.claims import ChosenBefore, FactHistory, GivenAnswer, Held, Votes, verdict_of
from paxospp.testing.exploration.node_state import NodeStep


class Budgets:
    """All budgets met so far: how many more times each bounded event may happen."""

    def __init__(self) -> None:
        self.amounts: list[tuple[int, ...]] = []
        """By number, in the order of ``scope.BUDGETS``."""
        self._numbers: dict[tuple[int, ...], int] = {}
        self._after: dict[int, Sequence[int]] = {}

    def number(self, amounts: tuple[int, ...]) -> int:
        """Return the number of the budget with these amounts."""
        number = self._numbers.get(amounts)
        if number is None:
            number = self._numbers[amounts] = len(self.amounts)
            self.amounts.append(amounts)
        return number

    def after(self, budget: int) -> Sequence[int]:
        """Return, for each kind of event, the number of the budget after one has happened; -1: none was left."""
        after = self._after.get(budget)
        if after is None:
            now = self.amounts[budget]
            after = self._after[budget] = [
                -1 if amount == 0 else self.number((*now[:place], amount - 1, *now[place + 1 :]))
                for place, amount in enumerate(now)
            ]
        return after


class Histories:
    """All histories of facts met so far, and the verdicts on the claims that they judge."""

    def __init__(self, quorum: int) -> None:
        self._quorum = quorum
        self._votes: dict[frozenset[Held | ChosenBefore], Votes] = {}
        self._known: list[FactHistory] = []
        self._numbers: dict[object, int] = {}
        self._merged: dict[tuple[int, int], int] = {}
        self._verdicts: dict[tuple[int, int], str | None] = {}

    def __getitem__(self, number: int) -> FactHistory:
        return self._known[number]

    def number(self, held: frozenset[Held | ChosenBefore], answers: frozenset[GivenAnswer]) -> int:
        """Return the number of the history that consists of these facts."""
        key = held, answers
        number = self._numbers.get(key)
        if number is None:
            votes = self._votes.get(held)
            if votes is None:
                votes = self._votes[held] = Votes(held, self._quorum)
            number = self._numbers[key] = len(self._known)
            self._known.append(FactHistory(votes, answers, self._quorum))
        return number

    def add(self, history: int, step: NodeStep) -> int:
        """Return the number of the history with the facts of ``history`` and of ``step``."""
        key = history, step.facts_id
        number = self._merged.get(key)
        if number is None:
            former = self._known[history]
            number = self.number(former.votes.facts.union(step.held), former.answers.union(step.answers))
            self._merged[key] = number
        return number

    def judge(self, history: int, step: NodeStep) -> str | None:
        """Return the rule that a claim of ``step`` breaks, or None; the facts of ``step`` are in ``history``."""
        key = history, step.claims_id
        try:
            return self._verdicts[key]
        except KeyError:
            verdict = self._verdicts[key] = verdict_of(step.claims, self._known[history])
            return verdict
