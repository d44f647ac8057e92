"""Rounds of heartbeats: every replica asks every peer, and remembers who answered which round.

Answers carry no vote. They say who is reachable in both directions, which is what elections,
the step-down of a lonely leader and the confirmation of reads are decided on. Where a quorum is asked
for, only voters whose disks answer count, each in the incarnation that votes: a wiped disk, or one that
hangs, decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from paxospp.engine.rules.voters import Voters
from paxospp.messages import HeartbeatAnswer, Sender
from paxospp.model import NodeId, Slot

ANNOUNCEMENT = 0
"""The round of a heartbeat that wants no answer."""


@dataclass(slots=True, frozen=True)
class Answered:
    """The latest answer of one peer."""

    answer: HeartbeatAnswer
    at: float
    incarnation: int


class HeartbeatRounds:
    """Which round is out, when the next is due, and the latest answer of each peer."""

    def __init__(self, interval_s: float) -> None:
        self.round = 0
        self.next_at = 0.0
        self.answers: dict[NodeId, Answered] = {}
        self._interval_s = interval_s

    def begin(self, now: float) -> int:
        """The number of a new round, which is sent now."""
        self.round += 1
        self.next_at = now + self._interval_s
        return self.round

    def is_nearly_due(self, now: float) -> bool:
        """Whether more than half of the interval has passed since the last round."""
        return now > self.next_at - self._interval_s / 2

    def on_answer(self, sender: Sender, answer: HeartbeatAnswer, now: float) -> bool:
        """Take an answer; False for one that is older than another we had."""
        former = self.answers.get(sender.node)
        if former is not None and answer.round < former.answer.round:
            return False
        self.answers[sender.node] = Answered(answer, now, sender.incarnation)
        return True

    def since(self, round: int, time: float, voters: Voters) -> dict[NodeId, HeartbeatAnswer]:
        """Answers of voters to ``round`` or a later one that came after ``time``."""
        return {peer: answer for peer, answer in self.after(time, voters).items() if answer.round >= round}

    def after(self, time: float, voters: Voters) -> dict[NodeId, HeartbeatAnswer]:
        """Answers of voters that came after ``time``."""
        return {
            peer: answered.answer
            for peer, answered in self.answers.items()
            if answered.at > time and voters.has(peer, answered.incarnation)
        }

    def working_after(self, time: float, voters: Voters) -> list[NodeId]:
        """Which voters answered after ``time``, and said that their disks answer."""
        return [peer for peer, answer in self.after(time, voters).items() if answer.disk_answers]

    def knows_more(self, decided: Slot, time: float, voters: Voters) -> bool:
        """Whether a working voter that answered after ``time`` knows more decided than ``decided``."""
        return any(self.answers[peer].answer.decided > decided for peer in self.working_after(time, voters))

    def answered_after(self, time: float, among: Iterable[NodeId]) -> list[NodeId]:
        """Who of ``among`` answered after ``time``."""
        return [peer for peer in among if peer in self.answers and self.answers[peer].at > time]
