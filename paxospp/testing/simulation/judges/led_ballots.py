"""The ballots under which any replica of a run has led."""

from __future__ import annotations

from paxospp.model import Ballot


class LedBallots:
    """Every ballot that a replica has led under, and the highest of them."""

    def __init__(self) -> None:
        self.highest: Ballot | None = None
        self._led: set[Ballot] = set()

    def add(self, ballot: Ballot) -> bool:
        """Note that a replica leads under ``ballot``; return False if one has done so before."""
        if ballot in self._led:
            return False
        self._led.add(ballot)
        self.highest = max(ballot, self.highest or ballot)
        return True
