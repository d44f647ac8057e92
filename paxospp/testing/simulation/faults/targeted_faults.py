"""Targeted faults: wait until a node is in a certain state, and inject a fault then.

Other profiles make a state likely, and a random fault may hit it. That is rare if the state lasts for milliseconds: the
machine of a leader is busy, or a log is damaged and not repaired yet. Here the plan names the state (``reach.states``).
A node found in it is deposed, cut off or killed, its disk hangs, or it campaigns.

Reference: Lu et al., "CrashTuner: Detecting Crash-Recovery Bugs in Cloud Systems via Meta-Info Analysis" (2019), for
faults at the moment in which the state of a node makes them matter.
"""

from __future__ import annotations

from random import Random

from paxospp.testing.simulation.faults.adversary import Adversary, all_but
from paxospp.testing.simulation.faults.injector_base import InjectorBase
from paxospp.testing.simulation.faults.link_rules import FETCHES, HEARTBEATS, PHASE_1, PHASE_2, SNAPSHOTS, LinkRule
from paxospp.testing.simulation.reach.states import STATES
from paxospp.testing.simulation.world.host import SimulatedHost
from paxospp.testing.simulation.world.path import Path

_AGAIN_S = 0.04
"""Mean time between two faults."""


class TargetedFaults:
    """Polls the nodes of one run, and injects a fault into a node that is in the state the plan names."""

    def __init__(self, injector: InjectorBase) -> None:
        self._adversary = Adversary(injector)
        self._injector = injector
        self._world = injector.world
        self._mean_s = injector.faults.targeted_s
        self._random = Random(f"{self._world.seed} N14 ambush")

    def begin(self) -> None:
        """Begin to poll."""
        if self._mean_s and self._world.plan.targeted_state:
            self._world.clock.after(self._random.expovariate(1 / self._mean_s), self._look)

    def _look(self, _: object) -> None:
        if not self._injector.is_on:
            return
        random, is_there = self._random, STATES[self._world.plan.targeted_state]
        found = [host for host in self._adversary.up if is_there(host)]
        if found:
            leading = [host for host in found if host in self._world.leaders]
            self._act(random.choice(leading if leading and random.random() < 0.8 else found))
        mean_s = _AGAIN_S if found else self._mean_s
        self._world.clock.after(random.expovariate(1 / mean_s), self._look)

    def _act(self, host: SimulatedHost) -> None:
        adversary, random = self._adversary, self._random
        others = [other for other in adversary.up if other is not host]
        self._world.coverage["a node was caught in a state that was waited for"] += 1
        draw = random.random()
        if draw < 0.45 and others:
            adversary.set_rules(lambda path: ())
            adversary.campaign(random.choice(others))
        elif draw < 0.65:
            adversary.set_rules(lambda path: ())
            adversary.campaign(host)
        elif draw < 0.85 and others:
            self._cut_off(host, others)
        elif draw < 0.95:
            host.stall(random.expovariate(20.0))
        else:
            host.crash()
            self._world.clock.after(0.1 * random.random(), self._injector.restart, host)

    def _cut_off(self, host: SimulatedHost, others: list[SimulatedHost]) -> None:
        """Stop some kinds of messages to the node, or from it, while another node takes the lead."""
        random, adversary = self._random, self._adversary
        passing = frozenset().union(
            *(group for group in (PHASE_1, PHASE_2, HEARTBEATS, FETCHES, SNAPSHOTS) if random.random() < 0.3)
        )
        rule, inward, outward = all_but(passing), random.random() < 0.7, random.random() < 0.7

        def rules_of(path: Path) -> tuple[LinkRule, ...]:
            is_cut = (path.target is host and inward) or (path.source is host and outward)
            return (rule,) if is_cut else ()

        adversary.set_rules(rules_of)
        adversary.campaign(random.choice(others))
        self._world.clock.after(random.expovariate(10.0), lambda _: adversary.set_rules(lambda path: ()))
