"""Runs the script that the plan names; ``scripted_profiles`` lists the scripts and what each is for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from random import Random

from paxospp.messages import Accept, Accepted, Prepare, Promise
from paxospp.model import Slot
from paxospp.testing.simulation.faults.adversary import Adversary, all_but
from paxospp.testing.simulation.faults.injector_base import InjectorBase
from paxospp.testing.simulation.faults.link_rules import EVERYTHING, FETCHES, HEARTBEATS, PHASE_2, LinkRule
from paxospp.testing.simulation.faults.scripted_profiles import FOUNDERS, LATE_PROMISES, STAR, TORN, TWO_LEADERS
from paxospp.testing.simulation.world.host import SimulatedHost
from paxospp.testing.simulation.world.path import Path

_NOTHING = all_but(frozenset())
"""A rule that loses everything."""


class ScriptedFaults:
    """Runs the script of one run again and again."""

    def __init__(self, injector: InjectorBase) -> None:
        self._adversary = Adversary(injector)
        self._world = injector.world
        self._mean_s = injector.faults.script_s
        self._random = Random(f"{self._world.seed} N15 rehearsal")
        scripts: Mapping[str, Callable[[list[SimulatedHost]], float]] = {
            LATE_PROMISES: self._delay_a_promise,
            TWO_LEADERS: self._split,
            FOUNDERS: self._kill_a_founder,
            TORN: self._tear_a_write,
            STAR: self._lose_a_snapshot,
        }
        self._script = scripts.get(self._world.plan.profile)
        self._next_slot = 0
        """The slot that must be decided before the script begins again, if the script is about slots."""

    def begin(self) -> None:
        """Schedule the first repetition."""
        if self._mean_s and self._script is not None:
            # A cluster is founded once: that script has to begin before any node founds one.
            self._world.clock.after(0.005 if self._world.plan.profile == FOUNDERS else self._mean_s, self._next)

    def _rest(self) -> None:
        self._world.clock.after(self._random.expovariate(1 / self._mean_s), self._next)

    def _next(self, _: object) -> None:
        if not self._adversary.injector.is_on or self._script is None:
            return
        up = self._adversary.up
        length_s = self._script(up) if len(up) > 2 else 0.0
        if length_s:
            self._world.clock.after(length_s, self._end)
        else:
            self._rest()

    def _end(self, _: object) -> None:
        if self._world.plan.profile != FOUNDERS:  # else the cluster would be founded before the next repetition
            self._adversary.set_rules(lambda path: ())
        self._rest()

    def _leader(self) -> SimulatedHost | None:
        up = self._adversary.up
        leaders = [host for host in self._world.leaders if host in up]
        return self._random.choice(leaders) if leaders else None

    def _separate(self, group: Collection[SimulatedHost]) -> None:
        """Let nothing pass between these nodes and the others."""
        self._adversary.set_rules(lambda path: (_NOTHING,) if (path.source in group) != (path.target in group) else ())

    # Late promises.

    def _delay_a_promise(self, up: list[SimulatedHost]) -> float:
        """Lose all acceptances; let one slot be accepted by its proposer alone, and the last ones by two nodes."""
        adversary, random = self._adversary, self._random
        leader = self._leader()
        fragile = [host for host in up if host.may_be_damaged and host is not leader]
        if leader is None or not fragile:
            return 0.0
        candidate = random.choice(fragile)
        known = max(host.decided for host in up)
        if known < self._next_slot:
            return 0.0  # what the former repetition left open is not decided yet
        self._next_slot = known + 3
        hole, damaged = known + random.choice((1, 2)), known + random.choice((3, 4))
        unheard = [LinkRule(frozenset({Accept}), loss=1.0, slot=slot) for slot in range(damaged, damaged + 6)]

        def rules_of(path: Path) -> tuple[LinkRule, ...]:
            rules = (all_but(EVERYTHING - {Accepted} - FETCHES), LinkRule(frozenset({Accept}), loss=1.0, slot=hole))
            return rules if path.target is candidate else (*rules, *unheard)

        adversary.set_rules(rules_of)
        for delay_s in (0.0, 0.01, 0.02, 0.03):
            self._adversary.after(delay_s, lambda: adversary.call(leader, 3))
        self._adversary.after(0.08, lambda: self._lose_and_lead(candidate, leader, Slot(damaged)))
        return 0.25 + 0.1 * random.random()

    def _lose_and_lead(self, candidate: SimulatedHost, leader: SimulatedHost, damaged: Slot) -> None:
        """Lose the end of the log of ``candidate``, and let it lead; the promise of the former leader comes late."""
        adversary = self._adversary
        if candidate.runtime is None:
            return
        candidate.crash()
        candidate.disk.image.lose_end(damaged)
        self._world.clock.after(0.01 * self._random.random(), adversary.injector.restart, candidate)
        late = LinkRule(frozenset({Promise}), delay_s=self._random.choice((0.002, 0.005, 0.01)))
        silent = EVERYTHING - PHASE_2 - HEARTBEATS - FETCHES

        def rules_of(path: Path) -> tuple[LinkRule, ...]:
            return (late, all_but(silent)) if path.source is leader else ()

        adversary.set_rules(rules_of)
        for delay_s in (0.02, 0.06, 0.1):
            self._adversary.after(delay_s, lambda: adversary.campaign_unless_leading(candidate))

    # Two leaders.

    def _split(self, up: list[SimulatedHost]) -> float:
        """Leave the leader one companion; the others try to elect another until the leases that bind them end."""
        leader, random, clients = self._leader(), self._random, self._world.clients
        if leader is None or len(up) < 5 or clients is None:
            return 0.0
        others = [host for host in up if host is not leader]
        random.shuffle(others)
        if random.random() < 0.4:
            return self._forget_a_grant(leader, others)
        kept, left = {leader, others[0]}, others[1:]
        self._adversary.after(0.0, lambda: clients.set_lease(leader, 0))
        self._adversary.after(0.06, lambda: clients.set_lease(leader, self._world.plan.lease_us))
        self._adversary.after(0.15, lambda: self._part(kept, left))
        return 0.55 + 0.2 * random.random()

    def _part(self, kept: set[SimulatedHost], left: list[SimulatedHost]) -> None:
        self._separate(kept)
        for number in range(8):
            self._adversary.after(0.02 + 0.04 * number, lambda: self._adversary.campaign_unless_leading(left[0]))

    def _forget_a_grant(self, former: SimulatedHost, others: list[SimulatedHost]) -> float:
        """Isolate ``former``; a node grants a new leader a lease, loses its promise, and restarts beside ``former``."""
        adversary = self._adversary
        forgets, left = others[0], set(others[1:])
        adversary.set_rules(lambda path: () if {path.source, path.target} <= left else (_NOTHING,))
        for number in range(6):
            self._adversary.after(0.02 + 0.04 * number, lambda: adversary.campaign_unless_leading(others[1]))

        def come() -> None:
            forgets.stall(0.05)
            self._separate({former})

        def forget() -> None:
            forgets.crash()
            self._world.clock.after(0.001, adversary.injector.restart, forgets)
            self._separate({former, forgets})

        self._adversary.after(0.26, come)
        self._adversary.after(0.3, forget)
        return 0.5

    # Founders.

    def _kill_a_founder(self, up: list[SimulatedHost]) -> float:
        """Hide that a founding value was accepted; kill a node that holds it, and make it campaign again."""
        adversary, random = self._adversary, self._random
        unheard = LinkRule(frozenset({Accepted}), loss=1.0)
        holders = [host for host in up if 1 in host.disk.image.entries]
        wipeable = [host for host in adversary.injector.wipeable if host in up]
        if wipeable and random.random() < (0.4 if holders else 0.7):
            wiped = random.choice(wipeable)
            others = [host for host in holders or up if host is not wiped]
            if others:
                script = self._wipe_a_member if holders else self._wipe_a_founder
                return script(random.choice(others), wiped, unheard)
        first, second = random.sample(up, 2)
        adversary.set_rules(lambda path: (unheard,))
        adversary.campaign(first)
        self._adversary.after(0.02 + 0.04 * random.random(), lambda: self._restart(random.choice((first, second))))
        return 0.15 + 0.1 * random.random()

    def _restart(self, founder: SimulatedHost) -> None:
        if founder.is_up:
            founder.crash()
        self._world.clock.after(0.01 * self._random.random(), self._adversary.injector.restart, founder)
        for delay_s in (0.02, 0.05, 0.09):
            self._adversary.after(delay_s, lambda: self._adversary.campaign_unless_leading(founder))

    def _wipe_a_founder(self, candidate: SimulatedHost, wiped: SimulatedHost, unheard: LinkRule) -> float:
        """Wipe a node that has promised, so that it promises again before all others have."""
        adversary, injector = self._adversary, self._adversary.injector
        late, again = LinkRule(frozenset({Promise}), loss=1.0), LinkRule(frozenset({Prepare}), copies=1.0, delay_s=0.07)

        def rules_of(path: Path) -> tuple[LinkRule, ...]:
            if path.source is wiped:
                return (unheard,)
            return (unheard, late, again) if path.target is wiped else (unheard, late)

        adversary.set_rules(rules_of)
        adversary.campaign(candidate)
        self._adversary.after(0.03 + 0.02 * self._random.random(), lambda: self._wipe(wiped))
        self._world.clock.after(0.06, injector.restart, wiped)
        self._adversary.after(0.1, lambda: adversary.set_rules(lambda path: (unheard,)))
        return 0.2 + 0.1 * self._random.random()

    def _wipe_a_member(self, candidate: SimulatedHost, wiped: SimulatedHost, unheard: LinkRule) -> float:
        """Let only a wiped node answer ``candidate``, which holds a founding value."""
        adversary = self._adversary
        pair = {candidate, wiped}
        adversary.set_rules(lambda path: (unheard,) if {path.source, path.target} == pair else (_NOTHING,))
        self._wipe(wiped)
        self._world.clock.after(0.01, adversary.injector.restart, wiped)
        for delay_s in (0.03, 0.07):
            self._adversary.after(delay_s, lambda: adversary.campaign_unless_leading(candidate))
        return 0.15 + 0.1 * self._random.random()

    def _wipe(self, host: SimulatedHost) -> None:
        if host.has_vote:
            self._adversary.injector.wipe(host)

    # Torn writes.

    def _tear_a_write(self, up: list[SimulatedHost]) -> float:
        """Let a node take the lead without an acceptor, which hears nothing but the values of that leader."""
        adversary, random = self._adversary, self._random
        leader, acceptor = random.sample(up, 2)
        only_values = all_but(frozenset({Accept}))
        adversary.set_rules(lambda path: (only_values,) if path.target is acceptor else ())
        adversary.campaign(leader)
        for delay_s in (0.02, 0.03, 0.05):
            self._adversary.after(delay_s, lambda: adversary.call(leader, 2))
        self._world.clock.after(0.02, self._watch, (acceptor, self._world.clock.now + 0.15))
        return 0.25 + 0.1 * random.random()

    def _watch(self, what: tuple[SimulatedHost, float]) -> None:
        acceptor, until = what
        if not acceptor.is_up or not self._adversary.injector.is_on or self._world.clock.now > until:
            return
        written = acceptor.disk.under_way
        if written is not None and written.promised is not None and written.accepted:
            self._world.coverage["a write that promises and accepts was torn"] += 1
            acceptor.crash()
            self._world.clock.after(0.02 * self._random.random(), self._adversary.injector.restart, acceptor)
        else:
            self._world.clock.after(0.0005, self._watch, what)

    # A star.

    def _lose_a_snapshot(self, up: list[SimulatedHost]) -> float:
        """Let two others accept what ``leader`` decides and not hear so; it trims its log behind a snapshot."""
        adversary, random = self._adversary, self._random
        leader = self._leader()
        if leader is None or len(up) < 5:
            return 0.0
        others = [host for host in up if host is not leader]
        random.shuffle(others)
        hub, accepting = others[0], frozenset(others[1:3])

        def rules_of(path: Path) -> tuple[LinkRule, ...]:
            if path.source is leader:
                return (all_but(frozenset({Accept}) if path.target in accepting else frozenset()),)
            return ()

        self._adversary.after(0.0, lambda: adversary.call(leader, 3))
        self._adversary.after(0.001, lambda: adversary.set_rules(rules_of))
        self._adversary.after(0.05, lambda: adversary.take_snapshots([leader]))
        self._adversary.after(0.09, lambda: self._lose_it(leader, hub))
        return 1.5 + random.random()

    def _lose_it(self, leader: SimulatedHost, hub: SimulatedHost) -> None:
        self._adversary.set_rules(lambda path: () if hub in (path.source, path.target) else (_NOTHING,))
        if leader.is_up:
            leader.crash()
        leader.disk.image.snapshot_is_damaged = leader.disk.image.snapshot is not None
        self._world.clock.after(0.01, self._adversary.injector.restart, leader)
