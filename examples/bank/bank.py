"""A bank that moves money between accounts and shares out bonuses; and what has to be true of it.

``Bank`` is the state machine. ``all_money_is_accounted_for`` is its invariant, ``calls`` a
workload: a few customers, small amounts, so that calls get in each other's way.
"""

from __future__ import annotations

from random import Random
from typing import Any

import paxospp


class Bank(paxospp.StateMachine):
    balances: dict[str, int]
    members: set[str]
    paid_in: int

    def __init__(self) -> None:
        self.balances = {}
        self.members = set()
        self.paid_in = 0

    @paxospp.command
    def deposit(self, name: str, amount: int) -> int:
        if amount <= 0:
            raise ValueError("an amount is positive")
        self.balances[name] = self.balances.get(name, 0) + amount
        self.paid_in += amount
        return self.balances[name]

    @paxospp.command
    def transfer(self, source: str, target: str, amount: int) -> bool:
        if amount <= 0 or self.balances.get(source, 0) < amount or target not in self.balances:
            return False
        self.balances[source] -= amount
        self.balances[target] += amount
        return True

    @paxospp.command
    def join(self, name: str) -> None:
        """From now on ``name`` takes part in bonuses."""
        self.members.add(name)

    @paxospp.command
    def share_out(self, source: str, amount: int) -> list[str]:
        """Share ``amount`` of ``source`` among the members; who got the odd coins, one each."""
        if amount <= 0 or not self.members or self.balances.get(source, 0) < amount:
            return []
        self.balances[source] -= amount
        each, odd = divmod(amount, len(self.members))
        members = sorted(self.members)  # a set has no order that two replicas share
        for name in members:
            self.balances[name] = self.balances.get(name, 0) + each
        for name in members[:odd]:
            self.balances[name] += 1
        return members[:odd]

    @paxospp.query
    def balance(self, name: str) -> int:
        return self.balances.get(name, 0)


def all_money_is_accounted_for(bank: Bank) -> None:
    """The invariant: no command makes money or loses it."""
    held = sum(bank.balances.values())
    assert held == bank.paid_in, f"{held} is held, {bank.paid_in} was paid in"
    assert all(balance >= 0 for balance in bank.balances.values()), f"a balance is below zero: {bank.balances}"


CUSTOMERS = ("ann", "bob", "cleo", "dan", "eve")


def calls(random: Random) -> tuple[Any, ...]:
    """The workload: one call, by the chance that is given."""
    one, other = random.choice(CUSTOMERS), random.choice(CUSTOMERS)
    match random.randrange(8):
        case 0 | 1:
            return Bank.deposit, one, random.randint(1, 20)
        case 2 | 3:
            return Bank.transfer, one, other, random.randint(1, 10)
        case 4:
            return Bank.join, one
        case 5 | 6:
            return Bank.share_out, one, random.randint(1, 10)
        case _:
            return Bank.balance, one
