"""What this replica tells the others about itself, over and over: its heartbeats and answers.

Holds the rounds and knows who answers, whether a leader here is served, and whether the disk
answers. Reads the acceptor's promise and the learner's progress; changes neither.

A replica whose disk hangs says so, and does not count for a quorum while it does (rule 5).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from paxospp.engine.acceptor import Acceptor
from paxospp.engine.cluster import Cluster
from paxospp.engine.digests import Digests
from paxospp.engine.election import Election
from paxospp.engine.heartbeats import ANNOUNCEMENT, Heartbeats
from paxospp.engine.leading import Leading
from paxospp.engine.learning import Learning
from paxospp.engine.observer import Observer
from paxospp.engine.settings import Identity, Settings
from paxospp.engine.turn import Turn
from paxospp.engine.writes import Writes
from paxospp.events import Diverged
from paxospp.messages import Checkpoint, Heartbeat, HeartbeatAnswer
from paxospp.model import NodeId, Slot
from paxospp.storage.contract import DurableState


class Pulse:
    """Composes heartbeats and answers from the parts of one replica."""

    def __init__(
        self,
        identity: Identity,
        state: DurableState,
        settings: Settings,
        writes: Writes,
        cluster: Cluster,
        acceptor: Acceptor,
        learning: Learning,
        election: Election,
        observer: Observer,
    ) -> None:
        self.heartbeats = Heartbeats(settings.heartbeat_interval_s)
        self.writes = writes
        self.digests = Digests(identity.name, observer)
        self._name = identity.name
        self._window_s = settings.election_timeout_s
        self._cluster = cluster
        self._acceptor = acceptor
        self._learning = learning
        self._election = election
        self._booted_with = state.promised
        self._remembered = _highest_remembered(state)

    def heartbeat(self, round: int, leading: Leading | None, now: float) -> Heartbeat:
        """Round ``round``; while leading also what is decided under our ballot."""
        return Heartbeat(
            round=round,
            leading=leading.ballot if leading is not None else None,
            served=leading is not None and self.is_served(leading, now),
            decided_up_to=self._learning.decided,
            promised=self._acceptor.promised,
            remembered=self._remembered,
            booted_with=self._booted_with,
            checkpoint=self.digests.latest,
            vouched_up_to=self._vouched_up_to(leading),
        )

    def announce(self, leading: Leading, turn: Turn) -> None:
        """Tell everybody what is decided, and want no answer."""
        leading.news.told()
        turn.send_all(self._cluster.others, self.heartbeat(ANNOUNCEMENT, leading, turn.now))

    def answer(
        self, nonce: int, round: int, leading: Leading | None, leader: NodeId | None, now: float, *, lease: int = 0
    ) -> HeartbeatAnswer:
        """The answer to a peer's round; with ``lease``, it was granted one."""
        return HeartbeatAnswer(
            nonce=nonce,
            round=round,
            promised=self._acceptor.promised,
            decided=self._learning.decided,
            disk_answers=self.disk_answers(now),
            served=self.is_served(leading, now),
            leader=leader,
            remembered=self._remembered,
            booted_with=self._booted_with,
            lease=lease,
            vouched_up_to=self._vouched_up_to(leading),
        )

    def _vouched_up_to(self, leading: Leading | None) -> Slot:
        if leading is None or self._cluster.membership is None:
            return Slot(0)
        return leading.vouched_up_to(self._learning.decided, self._cluster.voters)

    def is_served(self, leading: Leading | None, now: float) -> bool:
        """It leads and a quorum answers it, or it hears such a leader directly."""
        if leading is None:
            return self._election.hears_served_leader(now)
        if now - leading.since < self._window_s:
            return True  # a quorum promised a moment ago
        return self.hears_quorum(now - self._window_s, now)

    def hears_quorum(self, since: float, now: float) -> bool:
        """Whether the voters with working disks that answered after ``since``, this one included, are a quorum."""
        voters = self._cluster.voters
        working = self.heartbeats.working_after(since, voters)
        if self._cluster.votes and self.disk_answers(now):
            working.append(self._name)
        return voters.is_quorum(working)

    def answered_after(self, since: float) -> Iterable[NodeId]:
        """Which peers answered after ``since``."""
        return self.heartbeats.answered_after(since, self._cluster.others)

    def compare_digests(self, node: NodeId, incarnation: int, checkpoint: Checkpoint, turn: Turn) -> None:
        """Take a replica's digest, and say so if two differ at one slot."""
        self.digests.add(node, incarnation, checkpoint)
        if (known := self.digests.difference(checkpoint.slot)) is not None:
            pairs = tuple(sorted((other, digest.hex()) for other, digest in known.items()))
            turn.output.events.append(Diverged(node=self._name, slot=checkpoint.slot, digests=pairs))
        if self.digests.is_outvoted(checkpoint.slot, self._cluster.voters):
            turn.output.diverged_at = checkpoint.slot

    def disk_answers(self, now: float) -> bool:
        """Whether no write has been out for a window."""
        return self.writes.oldest_age(now) <= self._window_s

    def disk_hangs(self, now: float) -> bool:
        """Whether a write has been out for two windows."""
        return self.writes.oldest_age(now) > 2 * self._window_s


def _highest_remembered(state: DurableState) -> Slot:
    """The highest slot this storage holds or, where it is damaged, may have held."""
    ends = [slots.stop - 1 for slots in state.faulty]
    return Slot(min(max([state.last, *ends]), sys.maxsize - 1))
