"""The machine that a simulation runs by default, and calls for it.

It is small, but has what makes replicas differ: values that depend on all earlier commands, results that depend on the
state, exceptions, time and randomness from the context, and a dict whose order shows.
"""

from __future__ import annotations

from random import Random
from typing import Any

from paxospp.state_machine import StateMachine, command, query

_KEYS = "abcd"


class Ledger(StateMachine):
    """Counters and notes."""

    balances: dict[str, int]
    notes: dict[str, str]
    drawn: int

    def __init__(self) -> None:
        self.balances = {}
        self.notes = {}
        self.drawn = 0

    @command
    def add(self, key: str, amount: int) -> int:
        self.balances[key] = self.balances.get(key, 0) + amount
        return self.balances[key]

    @command
    def move(self, source: str, target: str, amount: int) -> int:
        if self.balances.get(source, 0) < amount:
            raise ValueError(f"{source} has less than {amount}")
        self.balances[source] -= amount
        self.balances[target] = self.balances.get(target, 0) + amount
        return self.balances[target]

    @command
    def note(self, key: str, text: str) -> str | None:
        before = self.notes.pop(key, None)
        self.notes[key] = text
        return before

    @command
    def forget(self, key: str) -> None:
        if key not in self.notes:
            raise PermissionError("there is no such note")
        del self.notes[key]

    @command
    def draw(self) -> tuple[int, float, int]:
        self.drawn ^= self.context.random.getrandbits(32)
        return self.drawn, self.context.time, self.context.slot

    @query
    def balance(self, key: str) -> int:
        return self.balances.get(key, 0)

    @query
    def everything(self) -> tuple[dict[str, int], dict[str, str]]:
        return self.balances, self.notes


def ledger_calls(random: Random) -> tuple[Any, ...]:
    """Draw one call for a ``Ledger``."""
    key = random.choice(_KEYS)
    match random.randrange(10):
        case 0 | 1 | 2:
            return Ledger.add, key, random.randint(1, 9)
        case 3 | 4:
            return Ledger.move, key, random.choice(_KEYS), random.randint(1, 9)
        case 5:
            return Ledger.note, key, random.choice(("", "x", "y" * 40))
        case 6:
            return (Ledger.forget, key) if random.random() < 0.5 else (Ledger.draw,)
        case 7 | 8:
            return Ledger.balance, key
        case _:
            return (Ledger.everything,)
