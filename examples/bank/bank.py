"""A bank as a state machine, with an invariant and a workload to test it with.

``Bank`` moves money between accounts and shares out bonuses. ``all_money_is_accounted_for`` is its
invariant. ``calls`` is a workload with few customers and small amounts, so that calls often conflict.
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
            raise ValueError(f"amount={amount}: deposit a positive amount")
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
        """Make ``name`` a member: members take part in bonuses."""
        self.members.add(name)

    @paxospp.command
    def share_out(self, source: str, amount: int) -> list[str]:
        """Share ``amount`` from ``source`` equally; return the members that got one of the coins left over."""
        if amount <= 0 or not self.members or self.balances.get(source, 0) < amount:
            return []
        self.balances[source] -= amount
        each, odd = divmod(amount, len(self.members))
        members = sorted(self.members)  # the order of a set differs between replicas
        for name in members:
            self.balances[name] = self.balances.get(name, 0) + each
        for name in members[:odd]:
            self.balances[name] += 1
        return members[:odd]

    @paxospp.query
    def balance(self, name: str) -> int:
        return self.balances.get(name, 0)


def all_money_is_accounted_for(bank: Bank) -> None:
    """The invariant: no command creates or destroys money."""
    held = sum(bank.balances.values())
    assert held == bank.paid_in, f"{held} is held, {bank.paid_in} was paid in"
    assert all(balance >= 0 for balance in bank.balances.values()), f"a balance is negative: {bank.balances}"


CUSTOMERS = ("ann", "bob", "cleo", "dan", "eve")


def calls(random: Random) -> tuple[Any, ...]:
    """The workload: return one random call, as the operation and its arguments."""
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
