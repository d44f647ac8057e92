"""Who may take a role, and keep it: judged when a replica changes its role, and when a leader ticks.

A campaign and a tick are judged in the middle of the event that they are part of, by the answers that were in by then:
after a pause one event holds many messages, and those behind it were not known.

Rules 1 and 5 of ``paxospp/engine/README.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paxospp.engine.rules.bootstrap import FOUNDING_SLOT, voters_to_found
from paxospp.engine.rules.campaign import Campaigning
from paxospp.engine.rules.leader import Leading
from paxospp.model import Ballot
from paxospp.testing.simulation.rule_broken import RuleBroken

if TYPE_CHECKING:
    from paxospp.testing.simulation.judges.invariants import Invariants
    from paxospp.testing.simulation.world.host import SimulatedHost


class RoleRules:
    """Remembers under which ballots anybody has led."""

    def __init__(self, invariants: Invariants) -> None:
        self._invariants = invariants
        self.led: set[Ballot] = set()
        """Every ballot that was led under."""
        self.highest: Ballot | None = None
        """The highest of them."""

    def after_event(self, host: SimulatedHost, role: object) -> None:
        """``host`` is done with an event, and has this role now."""
        if role is not host.role:
            self._on_role(host, role)
            host.role = role

    def _on_role(self, host: SimulatedHost, role: object) -> None:
        if isinstance(role, Leading):
            self._on_leading(host, role)
        elif isinstance(host.role, Campaigning) and not isinstance(role, Campaigning):
            self._invariants.coverage["a campaign was given up"] += 1

    def on_campaign(self, host: SimulatedHost, asked_in: int | None) -> None:
        """B41, B45: nobody who answered the round it asked in leads with a quorum, or hears such a leader."""
        if host.usurps:
            return
        assert host.parts is not None
        protocol, voters = host.parts.replica.protocol, host.parts.replica.protocol.cluster.voters
        if protocol.cluster.membership is None:
            # Who holds a founding value asks the lives in it; what another life of a member says counts for nothing.
            voters = voters_to_found(protocol.log.get(FOUNDING_SLOT), voters)
        if asked_in is None:
            raise RuleBroken("rule 5", f"{host.name} campaigns and has asked nobody")
        window_s = host.world.plan.config_of(host.index).election_timeout_s
        asked_at = host.parts.replica.active_time - window_s
        self._invariants.of_steps.check_may_campaign(host, asked_in, asked_at)
        for peer, answer in protocol.heartbeats.rounds.since(asked_in, asked_at, voters).items():
            if answer.quorum_connected:
                raise RuleBroken("B45", f"{host.name} campaigns although {peer} is served")

    def on_leads_on(self, host: SimulatedHost, ticked_at: float) -> None:
        """17, B47: when it ticks, a quorum has answered and its disk too, both within two windows."""
        assert host.parts is not None
        protocol, config = host.parts.replica.protocol, host.world.plan.config_of(host.index)
        leading = protocol.leading
        assert leading is not None
        if self._invariants.chosen.membership is None:
            return
        self._invariants.of_steps.check_is_quorum_connected(host, leading, ticked_at)
        self._invariants.of_steps.check_gets_on(host, leading, ticked_at)
        if protocol.writes.oldest_age(ticked_at) > 2 * config.election_timeout_s:
            raise RuleBroken("B47", f"{host.name} leads, and its disk has not answered for two windows")

    def _on_leading(self, host: SimulatedHost, leading: Leading) -> None:
        """17: a new leader is the only one of its ballot."""
        if leading.ballot in self.led:
            raise RuleBroken("17", f"{leading.ballot} leads a second time, now {host.name}")
        self.led.add(leading.ballot)
        self.highest = max(leading.ballot, self.highest or leading.ballot)
        self._invariants.of_leaders.on_leading(host, leading)
        self._invariants.of_reads.on_leading(leading)
        self._invariants.coverage["leaders"] += 1
        self._invariants.of_leases.on_leading(host, leading)
