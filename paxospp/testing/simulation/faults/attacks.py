"""Attacks: rounds of contested elections that take several steps, each aimed at one step of the proof of Paxos.

* *Two ballots of one round*: two nodes campaign in one round, and only the name makes one ballot higher. Each proposes
  a value of its own in the same slot; then a third candidate asks those that accepted them ("Paxos Made Simple", 2.2:
  of the reported values, that of the *highest* ballot is proposed).
* *A deposed leader learns*: a lagging node takes the lead and asks for what it lacks. The answers arrive after another
  node has taken the lead, and nothing else arrives (rule 1: a decision brings its ballot with it).
* *A lagging node leads*: one node hears nothing while the others decide. A member of their quorum loses what they
  decided, and the lagging node leads with it (rule 5: damage ends only where the leader has seen the end of the log).
* *An old heartbeat*: a heartbeat that the leader sent before an acceptor accepted more arrives when that acceptor has
  lost the end of its log and restarted (rule 5: under the ballot that a node booted with, only an answer to its present
  boot counts).
* *Parts of two answers*: acceptances are lost, so several slots are open. Another node takes the lead; some parts of
  one acceptor's answer are lost, and a second copy of the Prepare reaches the acceptor after it has accepted from that
  leader (rule 2: a report is one whole answer).
* *A gap*: one slot is accepted by its proposer only, and those above it by a quorum. A member of that quorum loses the
  end of its log, and the next leader asks it (rule 2: each slot needs clean answers of its own).
"""

from __future__ import annotations

from collections.abc import Callable

from paxospp.messages import (
    Accept,
    Accepted,
    CatchUp,
    DecidedEntries,
    Heartbeat,
    Prepare,
    Promise,
    SnapshotChunk,
    SnapshotRequest,
)
from paxospp.testing.simulation.faults.adversary import CHUNKS_AGAIN, Adversary, all_but
from paxospp.testing.simulation.faults.link_rules import (
    CALLS,
    EVERYTHING,
    FETCHES,
    HEARTBEATS,
    PHASE_1,
    PHASE_2,
    SNAPSHOTS,
    Kinds,
    LinkRule,
)
from paxospp.testing.simulation.faults.targeted_damage import damage_chosen, lose_end
from paxospp.testing.simulation.world.host import SimulatedHost
from paxospp.testing.simulation.world.path import Path

_NOTHING: Kinds = frozenset()
_LEARNING = FETCHES | SNAPSHOTS


class Attacks:
    """Begins attacks; their further steps are scheduled on the clock."""

    def __init__(self, adversary: Adversary) -> None:
        self._adversary = adversary
        self._random = adversary.random

    def begin(self) -> float:
        """Begin one attack and return its length in seconds; 0 if there are too few nodes for it now."""
        up = self._adversary.up
        if len(up) < 3 or self._adversary.world.invariants.chosen.membership is None:
            return 0.0
        return self._random.choice(
            (
                self._share_a_round,
                self._depose_a_learner,
                self._lose_parts_of_answers,
                self._leave_a_gap,
                self._damage_behind_laggard,
                self._replay_heartbeats,
            )
        )(up)

    def _link(self, passing: Callable[[SimulatedHost, SimulatedHost], Kinds], *rules: LinkRule) -> None:
        """Let only these kinds pass between two nodes, and subject them to ``rules``."""

        def rules_of(path: Path) -> tuple[LinkRule, ...]:
            return (all_but(passing(path.source, path.target)), *rules)

        self._adversary.set_rules(rules_of)

    # Two ballots of one round.

    def _share_a_round(self, up: list[SimulatedHost]) -> float:
        adversary, random = self._adversary, self._random
        following = [host for host in up if host not in adversary.world.leaders]
        if len(following) < 2:
            return 0.0
        lower, higher = sorted(random.sample(following, 2), key=lambda host: host.name)
        others = [host for host in up if host is not lower and host is not higher]
        between = random.sample(others, min(len(others), adversary.enough))
        accepting = random.sample(between, random.randint(0, len(between)))
        # Mostly the candidate does not hear that its value is chosen.
        told = PHASE_1 | (PHASE_2 if random.random() < 0.2 else {Accept})
        adversary.starved = frozenset()

        def passing(source: SimulatedHost, target: SimulatedHost) -> Kinds:
            pair = {source, target}
            if lower in pair and pair & set(between):
                return PHASE_1
            if higher in pair and pair & set(between):
                return told if pair & set(accepting) else PHASE_1
            return _NOTHING

        def rules_of(path: Path) -> tuple[LinkRule, ...]:
            late = (LinkRule(frozenset({Prepare}), delay_s=0.02),) if path.source is higher else ()
            return (all_but(passing(path.source, path.target)), *late)

        adversary.set_rules(rules_of)
        adversary.campaign(lower)
        adversary.campaign(higher)
        for delay_s in (0.02, 0.03, 0.04):
            self._adversary.after(delay_s, lambda: adversary.call(random.choice((lower, higher)), 1))
        follows_s = 0.05 + 0.05 * random.random()
        asked = [lower, higher, *accepting, *(host for host in between if host not in accepting)]
        self._adversary.after(follows_s, lambda: self._ask_both(asked[: max(adversary.enough + 1, 2 + len(accepting))]))
        return follows_s + 0.05 + 0.1 * random.random()

    def _ask_both(self, asked: list[SimulatedHost]) -> None:
        """Let a candidate hear of both values, mostly of the lower ballot's first."""
        adversary, random = self._adversary, self._random
        lower = asked[0]
        self._link(lambda source, target: EVERYTHING if {source, target} <= set(asked) else _NOTHING)
        adversary.candidate = lower
        if random.random() < 0.6:
            # ``lower`` does not know yet that it is deposed; its next boot counts its own report first.
            lower.crash()
            adversary.injector.restart(lower)
            self._adversary.after(0.02, lambda: adversary.campaign(lower))
        else:
            adversary.candidate = random.choice(asked[1:])
            adversary.campaign(adversary.candidate)

    # A deposed leader learns.

    def _depose_a_learner(self, up: list[SimulatedHost]) -> float:
        adversary, random = self._adversary, self._random
        learner = adversary.laggard(up)
        others = [host for host in up if host is not learner]
        lags_s = 0.0
        if learner.decided + 2 > max(host.decided for host in others):
            lags_s = 0.07 + 0.06 * random.random()
            self._let_lag(learner, others)
            if random.random() < 0.5:
                self._adversary.after(0.05, lambda: adversary.take_snapshots(others))
        held_s = 0.02 + 0.05 * random.random()
        self._adversary.after(lags_s, lambda: self._raise_learner(learner, others))
        self._adversary.after(lags_s + held_s, lambda: self._depose(learner, others))
        return lags_s + held_s + 0.1 + 0.25 * random.random()

    def _let_lag(self, learner: SimulatedHost, others: list[SimulatedHost], company: int = 0) -> None:
        """Let the others decide while the learner, and ``company`` nodes beside it, do not hear of it."""
        adversary = self._adversary
        leader = next((host for host in adversary.world.leaders if host is not learner), others[0])
        beside = sorted((host for host in others if host is not leader), key=lambda host: host.decided)
        adversary.starved = frozenset({learner, *beside[:company]})
        adversary.set_rules(lambda path: ())
        adversary.campaign_unless_leading(leader)
        for delay_s in (0.0, 0.01, 0.02, 0.03, 0.04, 0.05):
            self._adversary.after(delay_s, lambda: adversary.call(leader, 1))

    def _raise_learner(self, learner: SimulatedHost, others: list[SimulatedHost]) -> None:
        """Make the learner campaign; hold its requests, or the answers, until the leader has changed."""
        adversary, random = self._adversary, self._random
        asked = random.sample(others, min(len(others), adversary.enough))
        adversary.starved, adversary.candidate = frozenset(), learner
        held: Kinds = random.choice(
            (frozenset({CatchUp, SnapshotRequest}), frozenset({DecidedEntries, SnapshotChunk}), _NOTHING)
        )
        rules = [*CHUNKS_AGAIN]
        if held:
            rules.append(LinkRule(held, hold=1.0))
        if random.random() < 0.3:
            # It stays a candidate meanwhile, and wins by these promises later.
            rules.append(LinkRule(frozenset({Promise}), hold=1.0))
        inside = PHASE_1 | _LEARNING | random.choice((HEARTBEATS, PHASE_2, HEARTBEATS | PHASE_2))

        def passing(source: SimulatedHost, target: SimulatedHost) -> Kinds:
            pair = {source, target}
            return inside if learner in pair and pair & set(asked) else _NOTHING

        self._link(passing, *rules)
        adversary.campaign(learner)

    def _depose(self, learner: SimulatedHost, others: list[SimulatedHost]) -> None:
        """Let the others elect a leader and decide; the learner hears what is decided, and nothing else."""
        adversary, random = self._adversary, self._random
        outward = HEARTBEATS if random.random() < 0.3 else _NOTHING

        def passing(source: SimulatedHost, target: SimulatedHost) -> Kinds:
            if target is learner:
                return _LEARNING
            return _LEARNING | outward if source is learner else EVERYTHING

        self._link(passing, *CHUNKS_AGAIN)
        leader = random.choice(others)
        adversary.campaign(leader)
        self._adversary.after(0.03, lambda: adversary.campaign_unless_leading(leader))

    # A lagging node leads where the log has lost its end.

    def _damage_behind_laggard(self, up: list[SimulatedHost]) -> float:
        adversary, random = self._adversary, self._random
        laggard = adversary.laggard(up)
        others = [host for host in up if host is not laggard]
        if not any(host.may_be_damaged for host in others):
            return 0.0
        lags_s = 0.07 + 0.06 * random.random()
        # Let as many lag as the others can do without, so that those that remain know as little as the next leader.
        self._let_lag(laggard, others, len(adversary.world.hosts) - adversary.enough - 2)
        self._adversary.after(lags_s, lambda: damage_chosen(adversary, others, laggard, laggard.decided + 1))
        return lags_s + 0.15 + 0.2 * random.random()

    # An old heartbeat.

    def _replay_heartbeats(self, up: list[SimulatedHost]) -> float:
        adversary, random = self._adversary, self._random
        leaders = [host for host in adversary.world.leaders if host in up]
        fragile = [host for host in up if host.may_be_damaged and host not in leaders]
        if not leaders or not fragile:
            return 0.0
        leader, victim = random.choice(leaders), random.choice(fragile)
        again, since = LinkRule(frozenset({Heartbeat}), copies=1.0), victim.decided + 1
        adversary.starved = frozenset()
        adversary.set_rules(lambda path: (again,) if path.source is leader and path.target is victim else ())
        for number in range(8):
            self._adversary.after(0.012 * number, lambda: adversary.call(leader, 1))
        self._adversary.after(0.11, lambda: self._lose_what_was_accepted(victim, since))
        return 0.2 + 0.1 * random.random()

    def _lose_what_was_accepted(self, victim: SimulatedHost, since: int) -> None:
        """Lose the end of the victim's log; its next boot hears only what was sent to the former one."""
        self._link(lambda source, target: _NOTHING if victim in (source, target) else EVERYTHING)
        lose_end(self._adversary, victim, victim, since)

    # Parts of two answers.

    def _lose_parts_of_answers(self, up: list[SimulatedHost]) -> float:
        adversary, random = self._adversary, self._random
        leader = random.choice([host for host in adversary.world.leaders if host in up] or up)
        adversary.starved = frozenset()
        self._link(lambda source, target: EVERYTHING - {Accepted} - FETCHES)
        adversary.campaign_unless_leading(leader)
        for delay_s in (0.005, 0.015, 0.025, 0.035):
            self._adversary.after(delay_s, lambda: adversary.call(leader, 1))
        candidate, partial = (
            random.sample([host for host in up if host is not leader], 2) if len(up) > 3 else (random.sample(up, 2))
        )
        self._adversary.after(0.05, lambda: self._lose_parts(candidate, partial))
        return 0.15 + 0.1 * random.random()

    def _lose_parts(self, candidate: SimulatedHost, partial: SimulatedHost) -> None:
        """Let ``candidate`` lead with the promises of others, and hear from ``partial`` parts of two answers."""
        adversary = self._adversary
        again, parts = LinkRule(frozenset({Prepare}), copies=1.0), LinkRule(frozenset({Promise}), loss=0.5)

        def rules_of(path: Path) -> tuple[LinkRule, ...]:
            rules = [all_but(EVERYTHING - {Accepted} - FETCHES)]
            if path.target is partial and path.source is candidate:
                rules.append(again)
            elif path.source is partial and path.target is candidate:
                rules.append(parts)
            return tuple(rules)

        adversary.set_rules(rules_of)
        adversary.candidate = candidate
        adversary.campaign(candidate)

    # A gap.

    def _leave_a_gap(self, up: list[SimulatedHost]) -> float:
        adversary, random = self._adversary, self._random
        chosen = adversary.world.invariants.chosen
        assert chosen.membership is not None
        leader = random.choice([host for host in adversary.world.leaders if host in up] or up)
        fragile = [host for host in up if host.may_be_damaged and host is not leader]
        if chosen.membership.alpha == 1 or not fragile:
            return 0.0
        asked = adversary.ask(leader, random.choice(fragile))
        gap = chosen.up_to + random.choice((1, 1, 2))
        adversary.starved = frozenset()

        def passing(source: SimulatedHost, target: SimulatedHost) -> Kinds:
            pair = {source, target}
            told = PHASE_1 | HEARTBEATS | FETCHES | CALLS
            return told | (PHASE_2 if pair & set(asked) else _NOTHING) if leader in pair else _NOTHING

        self._link(passing, LinkRule(frozenset({Accept}), loss=1.0, slot=gap))
        adversary.campaign_unless_leading(leader)
        for delay_s in (0.0, 0.01, 0.02, 0.03):
            self._adversary.after(delay_s, lambda: adversary.call(leader, 1))
        follows_s = 0.05 + 0.05 * random.random()
        left = [host for host in up if host is not leader and host not in asked]
        lagging = random.choice(left) if left else None
        self._adversary.after(follows_s, lambda: damage_chosen(adversary, asked, lagging, gap + 1))
        return follows_s + 0.15 + 0.2 * random.random()
