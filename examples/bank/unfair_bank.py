"""A bank with a bug that no unit test can find: the order of a set decides who gets the odd coins."""

from __future__ import annotations

from bank import Bank

import paxospp


class UnfairBank(Bank):
    @paxospp.command
    def share_out(self, source: str, amount: int) -> list[str]:
        if amount <= 0 or not self.members or self.balances.get(source, 0) < amount:
            return []
        self.balances[source] -= amount
        each, odd = divmod(amount, len(self.members))
        lucky: list[str] = []
        for name in self.members:  # a replica restored from a snapshot iterates in another order
            self.balances[name] = self.balances.get(name, 0) + each
            if len(lucky) < odd:
                self.balances[name] += 1
                lucky.append(name)
        return lucky
