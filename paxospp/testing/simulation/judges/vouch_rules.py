"""The claim with which a leader vouches for a slot: nothing was accepted above it (rule 5).

``paxospp.engine.rules.log`` proves the claim from its premises. Here the claim itself is checked when a leader makes
it, with all disks in view: no storage that votes has ever synced an acceptance above that slot, under the leader's
ballot or a lower one. So a leader that vouches too early is found even where no damage ends because of it.
"""

from __future__ import annotations

from paxospp.model import Ballot, Slot
from paxospp.testing.simulation.judges.observed import ObservedHost
from paxospp.testing.simulation.rule_broken import RuleBroken


class VouchRules:
    """Remembers the highest slot that was synced under each ballot."""

    def __init__(self) -> None:
        self._highest: dict[Ballot, tuple[Slot, str]] = {}
        self._vouched: dict[Ballot, Slot] = {}

    def on_synced(self, host: ObservedHost, slot: Slot, ballot: Ballot) -> None:
        """Note an acceptance that is synced on the disk of ``host``, which votes."""
        highest = self._highest.get(ballot)
        if highest is None or slot > highest[0]:
            self._highest[ballot] = (slot, host.name)

    def on_vouched(self, host: ObservedHost, ballot: Ballot, bound: Slot) -> None:
        """Check the claim of ``host``, leading under ``ballot``, that nothing lies above ``bound``; 0: no claim."""
        if not bound:
            return
        faulty = () if host.runtime is None else host.runtime.replica.protocol.log.faulty
        if any(slots.stop > bound + 1 for slots in faulty):
            raise RuleBroken("rule 5", f"{host.name} vouches for {bound}, and considers its own log damaged above that")
        if self._vouched.get(ballot) == bound:
            return
        self._vouched[ballot] = bound
        for under, (slot, holder) in self._highest.items():
            if slot > bound and under <= ballot:
                raise RuleBroken(
                    "rule 5",
                    f"{host.name}, leading under {ballot}, vouches for {bound}; {holder} accepted {slot} under {under}",
                )
