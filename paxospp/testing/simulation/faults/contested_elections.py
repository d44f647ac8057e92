"""Contested elections: an adversary decides, in rounds, who campaigns, whom it reaches, and what is lost meanwhile.

Before each round it looks at the cluster (who leads, who lags, who holds what), never at the code under test. A round
makes one or two nodes campaign at once. A chosen quorum may answer, and some of its members may accept the proposals
that follow. Of all other messages, each group of kinds either passes, or is lost or held until the leader has changed.
One node at a time is starved: it hears who leads and nothing of what is decided, so it falls behind. Some rounds
disturb nothing, so that the other nodes decide more. Some are ``attacks`` of several steps, or damage what was chosen.

The rounds follow the proof of Paxos: a value is chosen by one quorum while the next leader asks another (Lamport,
"Paxos Made Simple", 2.2).
"""

from __future__ import annotations

from collections.abc import Collection

from paxospp.messages import Accepted, Prepare, Promise
from paxospp.testing.simulation.faults.adversary import CHUNKS_AGAIN, Adversary
from paxospp.testing.simulation.faults.attacks import Attacks
from paxospp.testing.simulation.faults.injector_base import InjectorBase
from paxospp.testing.simulation.faults.link_rules import (
    CALLS,
    EVERYTHING,
    FETCHES,
    GROUPS,
    HEARTBEATS,
    PHASE_1,
    PHASE_2,
    SNAPSHOTS,
    Kinds,
    LinkRule,
)
from paxospp.testing.simulation.faults.targeted_damage import damage_chosen
from paxospp.testing.simulation.world.host import SimulatedHost
from paxospp.testing.simulation.world.path import Path

_PARTIAL = (LinkRule(frozenset({Promise}), loss=0.4), LinkRule(frozenset({Prepare}), copies=0.7))
_ANSWERS_HELD = LinkRule(frozenset({Accepted}), hold=1.0)
_PASS_OUTSIDE = {PHASE_1: 0.05, PHASE_2: 0.1, HEARTBEATS: 0.2, FETCHES: 0.35, SNAPSHOTS: 0.35, CALLS: 0.2}
"""Chance that messages of these kinds pass between nodes that do not ask each other."""
_PASS_INSIDE = {HEARTBEATS: 0.7, FETCHES: 0.6, SNAPSHOTS: 0.6, CALLS: 0.5}
"""Chance that messages of these kinds pass between a candidate and the nodes that it asks."""
_ATTACKS = 0.4
"""Share of the rounds that are attacks."""


class ContestedElections:
    """Runs the rounds of one run, one after another."""

    def __init__(self, injector: InjectorBase) -> None:
        self._adversary = Adversary(injector)
        self._injector = injector
        self._world = injector.world
        self._faults = injector.faults
        self._random = self._adversary.random
        self._attacks = Attacks(self._adversary)

    def begin(self) -> None:
        """Schedule the first round."""
        if self._faults.contest_s:
            self._world.clock.after(self._random.expovariate(1 / self._faults.contest_s), self._next)

    def _next(self, _: object) -> None:
        """Begin a round: an undisturbed one, an attack, damage to what was chosen, or one or two candidates."""
        if not self._injector.is_on:
            return
        random, adversary, mean_s = self._random, self._adversary, self._faults.contest_s
        up = adversary.up
        length_s = random.expovariate(1 / mean_s) + 0.01
        losses, chosen_loss = adversary.losses, self._faults.chosen_loss
        if random.random() < 0.2:
            adversary.starve()
        if not up or random.random() < 0.25:
            adversary.set_rules(lambda path: ())
            length_s *= 3
        elif random.random() < _ATTACKS and (attack_s := self._attacks.begin()):
            length_s = attack_s
        elif chosen_loss and losses.random() < chosen_loss and damage_chosen(adversary):
            length_s = max(length_s, 0.1 + 0.3 * random.random())
        else:
            self._contest(up)
        self._world.clock.after(length_s, self._next)

    def on_leader(self, host: SimulatedHost) -> None:
        """Have clients call ``host``, which has taken the lead, so that it has something to propose."""
        if self._faults.contest_s and self._random.random() < 0.7:
            self._world.clock.after(0.001, self._call, host)

    def _call(self, host: SimulatedHost) -> None:
        self._adversary.call(host, self._random.randint(1, 2))

    def _choose_candidate(self, up: list[SimulatedHost]) -> SimulatedHost:
        """Return a node that lags, the latest candidate, or any node."""
        random, last = self._random, self._adversary.candidate
        draw = random.random()
        if draw < 0.35:
            return min(up, key=lambda host: host.decided)
        if draw < 0.6 and last in up:
            return last
        return random.choice(up)

    def _contest(self, up: list[SimulatedHost]) -> None:
        random, adversary = self._random, self._adversary
        first = adversary.candidate = self._choose_candidate(up)
        candidates = [first]
        if len(up) > 2 and random.random() < 0.25:
            candidates.append(random.choice([host for host in up if host is not first]))
        self._link({candidate: adversary.ask(candidate) for candidate in candidates})
        for candidate in candidates:
            self._disturb_disk(candidate)
            adversary.campaign(candidate)

    def _disturb_disk(self, candidate: SimulatedHost) -> None:
        """Delay the candidate's own promise; perhaps make it campaign again before that is on disk."""
        random = self._random
        if random.random() < 0.2:
            candidate.stall(random.expovariate(1 / self._faults.contest_s))
            if random.random() < 0.6:
                self._world.clock.after(0.03 * random.random(), self._campaign_again, (candidate, candidate.loop))

    def _campaign_again(self, what: tuple[SimulatedHost, object]) -> None:
        host, loop = what
        if host.loop is loop:
            self._adversary.campaign(host)

    # Links.

    def _link(self, asked: dict[SimulatedHost, list[SimulatedHost]]) -> None:
        """Let candidates reach the nodes they ask for phase 1, and some of these for phase 2."""
        random, adversary = self._random, self._adversary
        accepting = {candidate: self._accepting(others) for candidate, others in asked.items()}
        inside = frozenset().union(*(group for group, chance in _PASS_INSIDE.items() if random.random() < chance))
        partial = _PARTIAL if random.random() < 0.3 else ()
        held = (_ANSWERS_HELD,) if random.random() < 0.3 else ()
        again = random.choice(((), CHUNKS_AGAIN))

        def rules_of(path: Path) -> tuple[LinkRule, ...]:
            for candidate, others in asked.items():
                other = path.target if path.source is candidate else path.source
                if candidate in (path.source, path.target) and other in others:
                    passing = inside | PHASE_1 | (PHASE_2 if other in accepting[candidate] else frozenset())
                    return (*held, *partial, *again, adversary.stopping(EVERYTHING - passing))
            return (*again, adversary.stopping(self._not_passing()))

        adversary.set_rules(rules_of)

    def _accepting(self, asked: list[SimulatedHost]) -> Collection[SimulatedHost]:
        """Return the nodes that may be asked to accept."""
        draw = self._random.random()
        if draw < 0.3:
            return ()
        if draw < 0.6:
            return asked
        return self._random.sample(asked, self._random.randint(0, len(asked)))

    def _not_passing(self) -> Kinds:
        return frozenset().union(*(group for group in GROUPS if self._random.random() >= _PASS_OUTSIDE[group]))
