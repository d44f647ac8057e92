"""What a leader does with reads, judged as it does it.

A stale read shows only if somebody else leads, writes and is answered in between; what makes it
possible shows always. Judged is what the world knows, never what the node believes:

* A read is confirmed only if a quorum of voters said, after it came, that they had promised its
  leader's ballot and none above: nobody newer led when it came (B30, B32, B33). One who came
  back with an empty disk has no vote (B16). A lease, which ``leases`` judges, needs no such word.
* No read is confirmed that came when somebody led under a higher ballot.
* The slot that a read waits for is no less than what was chosen under any lower ballot (B31), as
  far as no slot is missing below: nobody was answered for what was chosen behind a gap. And of the
  slot behind all it knows, the leader has clean answers of a quorum (B20).
* An answer that a replica keeps is one to a round that it has begun: rounds are counted anew at
  each boot.

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
    """Whether somebody led above its leader by then."""


class ReadRules:
    """Remembers when every voter last spoke for a ballot, and what had been chosen when it was led under."""

    def __init__(self, chosen: ChosenValues, led: LedBallots, leader_rules: LeaderRules) -> None:
        self._chosen = chosen
        self._led = led
        self._leader_rules = leader_rules
        self._waiting: dict[tuple[NodeId, ReadRequester], list[_Asked]] = {}
        """Reads that a node has taken in; copies of one question are answered in their order."""
        self._spoke: dict[Ballot, dict[NodeId, float]] = {}
        self._chosen_below: dict[Ballot, Slot] = {}
        """Per ballot that was led under, the highest slot below every gap that was chosen under a lower one."""

    # What is said.

    def on_answer(self, host: ObservedHost, answer: HeartbeatAnswer) -> None:
        """``host`` says what it has promised."""
        if answer.promised is not None and self._chosen.has_vote((host.name, host.sender.incarnation)):
            self._spoke.setdefault(answer.promised, {})[host.name] = host.world.clock.now

    def on_round(self, host: ObservedHost, round: int) -> None:
        """``host`` begins a round of heartbeats, or is asking on."""
        assert host.parts is not None
        for peer, answered in host.parts.replica.protocol.heartbeats.rounds.answers.items():
            if answered.answer.round > round:
                raise RuleBroken(
                    "B32",
                    f"{host.name} counts what {peer} answered to round {answered.answer.round}, and is at {round}",
                )

    # What is done with reads.

    def on_leading(self, leading: Leading) -> None:
        """Somebody takes the lead."""
        self._begin(leading.ballot)

    def on_load(self, host: ObservedHost) -> None:
        """A node starts, and has forgotten the reads it took in."""
        self._waiting = {key: copies for key, copies in self._waiting.items() if key[0] != host.name}

    def on_taken(self, host: ObservedHost, asker: ReadRequester, ballot: Ballot, next_slot: Slot) -> None:
        """The leader of ``ballot`` takes in a read."""
        highest = self._led.highest
        asked = _Asked(host.world.clock.now, next_slot, highest is not None and highest > ballot)
        self._waiting.setdefault((host.name, asker), []).append(asked)

    def on_given_up(self, host: ObservedHost, asker: ReadRequester) -> None:
        """A leader says that it cannot confirm this read."""
        if copies := self._waiting.get((host.name, asker)):
            copies.pop()

    def on_confirmed(
        self, host: ObservedHost, asker: ReadRequester, ballot: Ballot | None, slot: Slot, *, by_lease: bool
    ) -> None:
        """A leader confirms a read: the one that just came, if by its lease, or the oldest copy of it."""
        assert host.parts is not None
        if ballot is None:
            raise RuleBroken("B30", f"{host.name} confirms a read and does not lead")
        copies = self._waiting.get((host.name, asker))
        leading = host.parts.replica.protocol.leading
        if copies and not host.world.plan.rolls_back:  # there, a promise is forgotten
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
            raise RuleBroken("B30", f"{host.name} confirms a read that came when somebody led above it")
        if ballot not in self._chosen_below:
            self._begin(ballot)  # who leads alone may confirm within the event in which it took the lead
        if slot < self._chosen_below[ballot]:
            raise RuleBroken(
                "B31", f"{host.name} reads at slot {slot}; {self._chosen_below[ballot]} was chosen before it led"
            )
        if not self._leader_rules.has_clean(leading, asked.next_slot):
            raise RuleBroken("B20", f"{host.name} confirms a read, and slot {asked.next_slot} may hold what was chosen")
        spoke = self._spoke.get(ballot, {})
        names = {host.name, *(name for name, at in spoke.items() if at >= asked.at)}
        if not by_lease and not self._chosen.are_quorum(names):
            raise RuleBroken("B32", f"{host.name} confirms a read that nobody but {sorted(names)} has spoken for since")
