"""For a moment, one node hears only what it fetches from its peers: entries and snapshots.

First the node falls behind and knows it. Then everything else that it would hear is lost, another node takes the lead,
and what the node fetches may be the first it hears of that leader's ballot. The node may be campaigning or leading
then.

Reference: rule 1 of ``paxospp/engine/README.md``, for every message that says something is decided.
"""

from __future__ import annotations

from random import Random

from paxospp.testing.simulation.faults.adversary import STARVING
from paxospp.testing.simulation.faults.injector_base import InjectorBase
from paxospp.testing.simulation.faults.link_rules import EVERYTHING, FETCHES, HEARTBEATS, SNAPSHOTS, LinkRule
from paxospp.testing.simulation.world.host import SimulatedHost


class FetchOnlyRounds:
    """Runs the rounds of one run, one after another."""

    def __init__(self, injector: InjectorBase) -> None:
        self._injector = injector
        self._world = injector.world
        self._mean_s = injector.faults.fetch_only_s
        self._random = Random(f"{self._world.seed} N13 whispers")

    def begin(self) -> None:
        """Schedule the first round."""
        if self._mean_s and len(self._world.hosts) > 2:
            self._world.clock.after(self._random.expovariate(1 / self._mean_s), self._starve)

    def _starve(self, _: object) -> None:
        """Starve a node that does not lead: it hears who leads, and nothing of what is decided."""
        if not self._injector.is_on:
            return
        host = self._random.choice([host for host in self._world.hosts if host not in self._world.leaders])
        self._set(host, STARVING)
        self._world.clock.after(0.05 + self._random.expovariate(1 / self._mean_s), self._promote, host)

    def _promote(self, host: SimulatedHost) -> None:
        """Perhaps make the starved node campaign."""
        if self._random.random() < 0.6:
            self._campaign(host)
        self._world.clock.after(0.005 + 0.02 * self._random.random(), self._isolate, host)

    def _isolate(self, host: SimulatedHost) -> None:
        """Let the node hear nothing while another one takes the lead and decides."""
        self._set(host, LinkRule(EVERYTHING, loss=1.0))
        random, clock = self._random, self._world.clock
        if random.random() < 0.4:
            self._campaign(host)
        for _ in range(random.randint(2, 4)):
            others = [other for other in self._others(host) if other not in self._world.leaders]
            clock.after(0.03 * random.random(), self._campaign, random.choice(others or self._others(host)))
        clock.after(0.03 + 0.12 * random.random(), self._let_fetch, host)

    def _let_fetch(self, host: SimulatedHost) -> None:
        random = self._random
        # Slowly at times, so that a leader makes progress and never gets all of it.
        delay_s = self._world.plan.config_of(host.index).election_timeout_s * random.choice((0.0, 0.0, 0.3))
        lost = EVERYTHING - FETCHES - SNAPSHOTS if random.random() < 0.8 else HEARTBEATS
        self._set(host, LinkRule(lost, loss=1.0), *([LinkRule(FETCHES, delay_s=delay_s)] if delay_s else []))
        if not self._injector.is_on:
            self._set(host)
            return
        self._world.clock.after(0.1 + 0.4 * random.random(), self._end, host)

    def _end(self, host: SimulatedHost) -> None:
        self._set(host)
        self._world.clock.after(self._random.expovariate(1 / self._mean_s), self._starve)

    def _others(self, host: SimulatedHost) -> list[SimulatedHost]:
        return [other for other in self._world.hosts if other is not host]

    def _set(self, host: SimulatedHost, *rules: LinkRule) -> None:
        """Set the rules of the links to ``host``."""
        for path in self._world.network.paths:
            if path.target is host:
                path.rules = rules

    def _campaign(self, host: SimulatedHost) -> None:
        if not self._injector.is_on or host.runtime is None or host.loop is None or host.asleep:
            return
        if not host.runtime.replica.leading:
            host.take(host.loop, host.campaign_at_once, ())
