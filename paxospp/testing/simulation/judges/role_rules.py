"""Which replica may take a role and keep it: checked when a replica changes its role, and when a leader ticks.

A campaign and a tick are checked in the middle of their event, with the answers known by then: after a pause, one event
holds many messages, and the later ones are not known yet. A *window* is one election timeout.

Rules 1 and 5 of ``paxospp/engine/README.md``.
"""

from __future__ import annotations

from collections import Counter

from paxospp.engine.rules.bootstrap import FOUNDING_SLOT, voters_to_found
from paxospp.engine.rules.campaign import Campaigning
from paxospp.engine.rules.leader import Leading
from paxospp.testing.simulation.judges.chosen_values import ChosenValues
from paxospp.testing.simulation.judges.leader_rules import LeaderRules
from paxospp.testing.simulation.judges.lease_rules import LeaseRules
from paxospp.testing.simulation.judges.led_ballots import LedBallots
from paxospp.testing.simulation.judges.observed import ObservedHost
from paxospp.testing.simulation.judges.read_rules import ReadRules
from paxospp.testing.simulation.judges.step_rules import StepRules
from paxospp.testing.simulation.rule_broken import RuleBroken


class RoleRules:
    """Checks changes of role, and notes the ballots of leaders."""

    def __init__(
        self,
        chosen: ChosenValues,
        led: LedBallots,
        step_rules: StepRules,
        leader_rules: LeaderRules,
        read_rules: ReadRules,
        lease_rules: LeaseRules,
        coverage: Counter[str],
    ) -> None:
        self._chosen = chosen
        self._led = led
        self._step_rules = step_rules
        self._leader_rules = leader_rules
        self._read_rules = read_rules
        self._lease_rules = lease_rules
        self._coverage = coverage

    def after_event(self, host: ObservedHost, role: object) -> None:
        """Check the role of ``host`` after an event."""
        if role is not host.record.role:
            self._on_role(host, role)
            host.record.role = role

    def _on_role(self, host: ObservedHost, role: object) -> None:
        if isinstance(role, Leading):
            self._on_leading(host, role)
        elif isinstance(host.record.role, Campaigning) and not isinstance(role, Campaigning):
            self._coverage["a campaign was given up"] += 1

    def on_campaign(self, host: ObservedHost, asked_in: int | None) -> None:
        """Check that no node which answered the round leads with a quorum, or hears such a leader (bugs B41, B45)."""
        if host.is_made_to_campaign:
            return
        assert host.runtime is not None
        protocol, voters = host.runtime.replica.protocol, host.runtime.replica.protocol.cluster.voters
        if protocol.cluster.membership is None:
            # A holder of a founding value asks the incarnations in it; other incarnations of a member do not count.
            voters = voters_to_found(protocol.log.get(FOUNDING_SLOT), voters)
        if asked_in is None:
            raise RuleBroken("rule 5", f"{host.name} campaigns and has asked nobody")
        window_s = host.world.plan.config_of(host.index).election_timeout_s
        asked_at = host.runtime.replica.active_time - window_s
        self._step_rules.check_may_campaign(host, asked_in, asked_at)
        for peer, answer in protocol.heartbeats.rounds.since(asked_in, asked_at, voters).items():
            if answer.quorum_connected:
                raise RuleBroken("B45", f"{host.name} campaigns although {peer} has a leader with a quorum")

    def on_leads_on(self, host: ObservedHost, ticked_at: float) -> None:
        """Check invariant 17 and bug B47 at a tick: a quorum and the disk have answered within two windows."""
        assert host.runtime is not None
        protocol, config = host.runtime.replica.protocol, host.world.plan.config_of(host.index)
        leading = protocol.leading
        assert leading is not None
        if self._chosen.membership is None:
            return
        self._step_rules.check_is_quorum_connected(host, leading, ticked_at)
        self._step_rules.check_gets_on(host, leading, ticked_at)
        if protocol.writes.oldest_age(ticked_at) > 2 * config.election_timeout_s:
            raise RuleBroken("B47", f"{host.name} leads, and its disk has not answered for two windows")

    def _on_leading(self, host: ObservedHost, leading: Leading) -> None:
        """Check invariant 17: a ballot has one leader."""
        if not self._led.add(leading.ballot):
            raise RuleBroken("17", f"{leading.ballot} leads a second time, now {host.name}")
        self._leader_rules.on_leading(host, leading)
        self._read_rules.on_leading(leading)
        self._coverage["leaders"] += 1
        self._lease_rules.on_leading(host, leading)
