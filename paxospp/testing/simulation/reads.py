"""What a leader does with reads, judged as it does it.

A stale read shows only if somebody else leads, writes and is answered in between; what makes it
possible shows always. Judged is what the world knows, never what the node believes:

* A read is confirmed only if a quorum of voters said, after it came, that they had promised its
  leader's ballot and none above: nobody newer led when it came (FAULTS B30, B32, B33). One who came
  back with an empty disk has no vote (B16). A lease, which ``leases`` judges, needs no such word.
* No read is confirmed that came when somebody led under a higher ballot.
* The slot that a read waits for is no less than what was chosen under any lower ballot (B31), as
  far as no slot is missing below: nobody was answered for what was chosen behind a gap. And of the
  slot behind all it knows, the leader has clean answers of a quorum (B20).
* An answer that a replica keeps is one to a round that it has begun: rounds are counted anew at
  each boot.

Reference: Ongaro's thesis, 6.4; DESIGN rule 6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paxospp.engine.leading import Leading
from paxospp.engine.reading import Asker
from paxospp.messages import HeartbeatAnswer
from paxospp.model import Ballot, NodeId, Slot
from paxospp.testing.simulation.broken import Broken

if TYPE_CHECKING:
    from paxospp.testing.simulation.host import Host
    from paxospp.testing.simulation.invariants import Invariants


@dataclass(slots=True, frozen=True)
class _Asked:
    """A read, as it came."""

    at: float
    next_slot: Slot
    is_late: bool
    """Whether somebody led above its leader by then."""


class ReadRules:
    """Remembers when every voter last spoke for a ballot, and what had been chosen when it was led under."""

    def __init__(self, invariants: Invariants) -> None:
        self._invariants = invariants
        self._coming: Asker | None = None
        """The read that is just being taken in: if it is confirmed at once, a lease does it."""
        self._spoke: dict[Ballot, dict[NodeId, float]] = {}
        self._chosen_below: dict[Ballot, Slot] = {}
        """Per ballot that was led under, the highest slot below every gap that was chosen under a lower one."""

    # What is said.

    def on_answer(self, host: Host, answer: HeartbeatAnswer) -> None:
        """``host`` says what it has promised."""
        if answer.promised is not None and self._invariants.has_vote(host):
            self._spoke.setdefault(answer.promised, {})[host.name] = host.world.clock.now

    def on_round(self, host: Host, round: int) -> None:
        """``host`` begins a round of heartbeats, or is asking on."""
        assert host.parts is not None
        for peer, answered in host.parts.replica._protocol.pulse.heartbeats.answers.items():
            if answered.answer.round > round:
                raise Broken(
                    "B32",
                    f"{host.name} counts what {peer} answered to round {answered.answer.round}, and is at {round}",
                )

    # What is done with reads.

    def on_leading(self, host: Host, leading: Leading) -> None:
        """``host`` takes the lead: look at every read that it confirms in this life."""
        self._begin(leading.ballot)
        assert host.parts is not None
        confirming = host.parts.replica._protocol._confirming
        if "_confirm" in vars(confirming) or host.world.plan.rolls_back:
            return  # watched already; or a promise is forgotten here
        confirm, answer = confirming._confirm, confirming._answer
        waiting: dict[Asker, list[_Asked]] = {}  # copies of one question are answered in their order

        def watched_confirm(asker: Asker, leading: Leading, *arguments: Any, **options: Any) -> None:
            highest = self._invariants.highest_leader
            is_late = highest is not None and highest > leading.ballot
            asked = _Asked(host.world.clock.now, leading.next_slot, is_late)
            waiting.setdefault(asker, []).append(asked)
            self._coming = asker
            confirm(asker, leading, *arguments, **options)
            self._coming = None

        def watched_answer(asker: Asker, slot: Slot | None, leading: Leading | None, *arguments: Any) -> None:
            if copies := waiting.get(asker):
                asked = copies.pop() if asker == self._coming else copies.pop(0)
                if slot is not None:
                    assert leading is not None
                    self._check_confirmed(host, asked, slot, leading, by_lease=asker == self._coming)
            answer(asker, slot, leading, *arguments)

        _replace(confirming, "_confirm", watched_confirm)
        _replace(confirming, "_answer", watched_answer)

    def _begin(self, ballot: Ballot) -> None:
        chosen = self._invariants.chosen
        below = (slot for slot, under in chosen.under.items() if under < ballot and slot <= chosen.up_to)
        self._chosen_below[ballot] = max(below, default=Slot(0))

    def _check_confirmed(self, host: Host, asked: _Asked, slot: Slot, leading: Leading, *, by_lease: bool) -> None:
        ballot = leading.ballot
        if asked.is_late:
            raise Broken("B30", f"{host.name} confirms a read that came when somebody led above it")
        if ballot not in self._chosen_below:
            self._begin(ballot)  # who leads alone may confirm within the event in which it took the lead
        if slot < self._chosen_below[ballot]:
            raise Broken(
                "B31", f"{host.name} reads at slot {slot}; {self._chosen_below[ballot]} was chosen before it led"
            )
        if not self._invariants.of_leaders.has_clean(host, leading, asked.next_slot):
            raise Broken("B20", f"{host.name} confirms a read, and slot {asked.next_slot} may hold what was chosen")
        spoke = self._spoke.get(ballot, {})
        names = {host.name, *(name for name, at in spoke.items() if at >= asked.at)}
        if not by_lease and not self._invariants.chosen.are_quorum(names):
            raise Broken("B32", f"{host.name} confirms a read that nobody but {sorted(names)} has spoken for since")


def _replace(owner: object, name: str, method: Callable[..., object]) -> None:
    setattr(owner, name, method)
