"""A bank with a bug that unit tests easily miss: it reads both balances before it writes either."""

from __future__ import annotations

from bank import Bank

import paxospp


class LeakyBank(Bank):
    @paxospp.command
    def transfer(self, source: str, target: str, amount: int) -> bool:
        before, there = self.balances.get(source, 0), self.balances.get(target)
        if amount <= 0 or before < amount or there is None:
            return False
        self.balances[source] = before - amount
        self.balances[target] = there + amount  # creates money if source is target
        return True
