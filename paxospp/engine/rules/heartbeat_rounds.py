"""Rounds of heartbeats: every replica asks every peer, and remembers the latest answer of each (rule 5).

Answers carry no vote. They show which peers are reachable in both directions. Elections, the step-down of a leader
without a quorum, and the confirmation of reads are based on them. For a quorum, only voters with working disks count,
each in the incarnation that votes: a node whose disk was wiped or hangs does not count.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from paxospp.engine.rules.voters import Voters
from paxospp.messages import HeartbeatAnswer, Sender
from paxospp.model import NodeId, Slot

ANNOUNCEMENT = 0
"""The round number of a heartbeat that is not answered."""


@dataclass(slots=True, frozen=True)
class Answered:
    """The latest answer of one peer, and when it arrived."""

    answer: HeartbeatAnswer
    at: float
    incarnation: int


class HeartbeatRounds:
    """The current round, when the next one is due, and the latest answer of each peer."""

    def __init__(self, interval_s: float) -> None:
        self.round = 0
        self.next_at = 0.0
        self.answers: dict[NodeId, Answered] = {}
        self._interval_s = interval_s

    def begin(self, now: float) -> int:
        """Begin a round, which is sent now, and return its number."""
        self.round += 1
        self.next_at = now + self._interval_s
        return self.round

    def is_nearly_due(self, now: float) -> bool:
        """Return whether more than half of the interval has passed since the last round."""
        return now > self.next_at - self._interval_s / 2

    def on_answer(self, sender: Sender, answer: HeartbeatAnswer, now: float) -> bool:
        """Remember an answer; return False if a newer one of that peer is known."""
        former = self.answers.get(sender.node)
        if former is not None and answer.round < former.answer.round:
            return False
        self.answers[sender.node] = Answered(answer, now, sender.incarnation)
        return True

    def since(self, round: int, time: float, voters: Voters) -> dict[NodeId, HeartbeatAnswer]:
        """Return the answers of voters to ``round`` or a later round that arrived after ``time``."""
        return {peer: answer for peer, answer in self.after(time, voters).items() if answer.round >= round}

    def after(self, time: float, voters: Voters) -> dict[NodeId, HeartbeatAnswer]:
        """Return the answers of voters that arrived after ``time``."""
        return {
            peer: answered.answer
            for peer, answered in self.answers.items()
            if answered.at > time and voters.has(peer, answered.incarnation)
        }

    def working_after(self, time: float, voters: Voters) -> list[NodeId]:
        """Return the voters that answered after ``time`` and have working disks."""
        return [peer for peer, answer in self.after(time, voters).items() if answer.disk_answers]

    def knows_more(self, decided: Slot, time: float, voters: Voters) -> bool:
        """Return whether a working voter that answered after ``time`` knows decided slots above ``decided``."""
        return any(self.answers[peer].answer.decided > decided for peer in self.working_after(time, voters))

    def answered_after(self, time: float, among: Iterable[NodeId]) -> list[NodeId]:
        """Return which of ``among`` answered after ``time``."""
        return [peer for peer in among if peer in self.answers and self.answers[peer].at > time]
