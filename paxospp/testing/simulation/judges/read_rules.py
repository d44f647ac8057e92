"""Reads: what a leader does with them, checked when it does so.

A stale read shows only if another node leads, writes and is answered in between; what makes it possible always shows.
The checks use what the world knows, never what the node believes:

* A read is confirmed only if, after it came, a quorum of voters said that the leader's ballot is the highest they have
  promised: then nobody newer led when the read came (bugs B30, B32, B33). A node that came back with an empty disk
  has no vote (B16). A lease, which ``lease_rules`` checks, makes this unnecessary.
* A read is not confirmed if it came while another node led under a higher ballot.
* The slot that a read waits for is at least every slot that was chosen under a lower ballot (B31), up to the first
  gap: nobody was answered for a value chosen behind a gap. The leader has clean answers of a quorum for the next slot
  (B20).
* Each answer that a replica keeps belongs to a round that this boot has begun: every boot counts its rounds from 1.

Reference: Ongaro's thesis, 6.4.
"""

from __future__ import annotations

from dataclasses import dataclass

from paxospp.engine.rules.leader import Leading
from paxospp.engine.rules.pending_reads import ReadRequester
from paxospp.messages import HeartbeatAnswer
from paxospp.model import Ballot, NodeId, Slot
from paxospp.testing.simulation.judges.chosen_values import ChosenValues
from paxospp.testing.simulation.judges.leader_rules import LeaderRules
from paxospp.testing.simulation.judges.led_ballots import LedBallots
from paxospp.testing.simulation.judges.observed import ObservedHost
from paxospp.testing.simulation.rule_broken import RuleBroken


@dataclass(slots=True, frozen=True)
class _Asked:
    """A read, as it came."""

    at: float
    next_slot: Slot
    is_late: bool
    """Whether another node led under a higher ballot by then."""


class ReadRules:
    """Remembers when each voter last answered under a ballot, and what was chosen below each ballot."""

    def __init__(self, chosen: ChosenValues, led: LedBallots, leader_rules: LeaderRules) -> None:
        self._chosen = chosen
        self._led = led
        self._leader_rules = leader_rules
        self._waiting: dict[tuple[NodeId, ReadRequester], list[_Asked]] = {}
        """Reads that a node has taken in; copies of one request are answered in their order."""
        self._spoke: dict[Ballot, dict[NodeId, float]] = {}
        self._chosen_below: dict[Ballot, Slot] = {}
        """By ballot that was led under: the highest slot, below every gap, that was chosen under a lower ballot."""

    # What is said.

    def on_answer(self, host: ObservedHost, answer: HeartbeatAnswer) -> None:
        """Note the promise that ``host`` names in its answer to a heartbeat."""
        if answer.promised is not None and self._chosen.has_vote((host.name, host.sender.incarnation)):
            self._spoke.setdefault(answer.promised, {})[host.name] = host.world.clock.now

    def on_round(self, host: ObservedHost, round: int) -> None:
        """Check the answers that ``host`` keeps, when it begins a round of heartbeats or repeats one."""
        assert host.runtime is not None
        for peer, answered in host.runtime.replica.protocol.heartbeats.rounds.answers.items():
            if answered.answer.round > round:
                raise RuleBroken(
                    "B32",
                    f"{host.name} keeps an answer of {peer} to round {answered.answer.round}, and is at round {round}",
                )

    # What is done with reads.

    def on_leading(self, leading: Leading) -> None:
        """Note what is chosen when a node takes the lead."""
        self._begin(leading.ballot)

    def on_load(self, host: ObservedHost) -> None:
        """Forget the reads that ``host`` took in before this start."""
        self._waiting = {key: copies for key, copies in self._waiting.items() if key[0] != host.name}

    def on_taken(self, host: ObservedHost, requester: ReadRequester, ballot: Ballot, next_slot: Slot) -> None:
        """Note a read that the leader of ``ballot`` takes in."""
        highest = self._led.highest
        asked = _Asked(host.world.clock.now, next_slot, highest is not None and highest > ballot)
        self._waiting.setdefault((host.name, requester), []).append(asked)

    def on_given_up(self, host: ObservedHost, requester: ReadRequester) -> None:
        """Forget a read that a leader cannot confirm."""
        if copies := self._waiting.get((host.name, requester)):
            copies.pop()

    def on_confirmed(
        self, host: ObservedHost, requester: ReadRequester, ballot: Ballot | None, slot: Slot, *, by_lease: bool
    ) -> None:
        """Check a read that is confirmed: the latest copy, if by a lease, or the oldest one."""
        assert host.runtime is not None
        if ballot is None:
            raise RuleBroken("B30", f"{host.name} confirms a read and does not lead")
        copies = self._waiting.get((host.name, requester))
        leading = host.runtime.replica.protocol.leading
        if copies and not host.world.plan.rolls_back:  # a disk that is rolled back forgets a promise
            assert leading is not None
            assert leading.ballot == ballot
            self._check_confirmed(host, copies.pop(-1 if by_lease else 0), slot, leading, by_lease=by_lease)

    def _begin(self, ballot: Ballot) -> None:
        chosen = self._chosen
        below = (slot for slot, under in chosen.under.items() if under < ballot and slot <= chosen.up_to)
        self._chosen_below[ballot] = max(below, default=Slot(0))

    def _check_confirmed(
        self, host: ObservedHost, asked: _Asked, slot: Slot, leading: Leading, *, by_lease: bool
    ) -> None:
        ballot = leading.ballot
        if asked.is_late:
            raise RuleBroken(
                "B30", f"{host.name} confirms a read that came when another node led under a higher ballot"
            )
        if ballot not in self._chosen_below:
            self._begin(ballot)  # the leader of a single node may confirm in the event in which it took the lead
        if slot < self._chosen_below[ballot]:
            raise RuleBroken(
                "B31", f"{host.name} reads at slot {slot}; {self._chosen_below[ballot]} was chosen before it led"
            )
        if not self._leader_rules.has_clean(leading, asked.next_slot):
            raise RuleBroken("B20", f"{host.name} confirms a read, and a value may be chosen in slot {asked.next_slot}")
        spoke = self._spoke.get(ballot, {})
        names = {host.name, *(name for name, at in spoke.items() if at >= asked.at)}
        if not by_lease and not self._chosen.are_quorum(names):
            raise RuleBroken("B32", f"{host.name} confirms a read; only {sorted(names)} have answered since it came")
