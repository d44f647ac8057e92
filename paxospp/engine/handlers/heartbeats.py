"""Heartbeats: they tell the peers about this replica, and show whether it is quorum-connected (rule 5).

The handler keeps the rounds of heartbeats and knows which peers answer. It reads the acceptor's promise and the
learner's progress and changes neither. A replica whose disk hangs says so, and does not count for a quorum meanwhile.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from paxospp.engine.handlers.learning import LearningHandler
from paxospp.engine.output import OutputBuilder
from paxospp.engine.rules.acceptor import Acceptor
from paxospp.engine.rules.digests import Digests
from paxospp.engine.rules.election import Election
from paxospp.engine.rules.heartbeat_rounds import ANNOUNCEMENT, HeartbeatRounds
from paxospp.engine.rules.leader import Leading
from paxospp.engine.rules.observer import Observer
from paxospp.engine.rules.voters import ClusterView
from paxospp.engine.rules.writes import Writes
from paxospp.engine.settings import Identity, Settings
from paxospp.events import Diverged
from paxospp.messages import Checkpoint, Heartbeat, HeartbeatAnswer
from paxospp.model import NodeId, Slot
from paxospp.storage.contract import DurableState


class HeartbeatHandler:
    """Builds the heartbeats and answers of one replica."""

    def __init__(
        self,
        identity: Identity,
        state: DurableState,
        settings: Settings,
        writes: Writes,
        cluster: ClusterView,
        acceptor: Acceptor,
        learning: LearningHandler,
        election: Election,
        observer: Observer,
    ) -> None:
        self.rounds = HeartbeatRounds(settings.heartbeat_interval_s)
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
        """Return the heartbeat of round ``round``; a leader's also says what is decided under its ballot."""
        return Heartbeat(
            round=round,
            leading=leading.ballot if leading is not None else None,
            quorum_connected=leading is not None and self.is_quorum_connected(leading, now),
            decided_up_to=self._learning.decided,
            promised=self._acceptor.promised,
            remembered=self._remembered,
            booted_with=self._booted_with,
            checkpoint=self.digests.latest,
            vouched_up_to=self._vouched_up_to(leading),
        )

    def announce(self, leading: Leading, out: OutputBuilder) -> None:
        """Announce to all peers what is decided; they do not answer."""
        leading.announcement.on_sent()
        out.send_all(self._cluster.others, self.heartbeat(ANNOUNCEMENT, leading, out.now))

    def answer(
        self, nonce: int, round: int, leading: Leading | None, leader: NodeId | None, now: float, *, lease: int = 0
    ) -> HeartbeatAnswer:
        """Return the answer to a peer's round; ``lease`` is the length of a granted lease in microseconds, or 0."""
        return HeartbeatAnswer(
            nonce=nonce,
            round=round,
            promised=self._acceptor.promised,
            decided=self._learning.decided,
            disk_answers=self.disk_answers(now),
            quorum_connected=self.is_quorum_connected(leading, now),
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

    def is_quorum_connected(self, leading: Leading | None, now: float) -> bool:
        """Return whether this replica leads and a quorum answers it, or hears such a leader directly."""
        if leading is None:
            return self._election.hears_quorum_connected_leader(now)
        if now - leading.since < self._window_s:
            return True  # a quorum has just promised
        return self.hears_quorum(now - self._window_s, now)

    def hears_quorum(self, since: float, now: float) -> bool:
        """Return whether this replica and the voters that answered after ``since`` are a quorum with working disks."""
        voters = self._cluster.voters
        working = self.rounds.working_after(since, voters)
        if self._cluster.votes and self.disk_answers(now):
            working.append(self._name)
        return voters.is_quorum(working)

    def answered_after(self, since: float) -> Iterable[NodeId]:
        """Return the peers that answered after ``since``."""
        return self.rounds.answered_after(since, self._cluster.others)

    def compare_digests(self, node: NodeId, incarnation: int, checkpoint: Checkpoint, out: OutputBuilder) -> None:
        """Add a replica's digest, and report it if two digests of one slot differ."""
        self.digests.add(node, incarnation, checkpoint)
        if (known := self.digests.difference(checkpoint.slot)) is not None:
            pairs = tuple(sorted((other, digest.hex()) for other, digest in known.items()))
            out.output.events.append(Diverged(node=self._name, slot=checkpoint.slot, digests=pairs))
        if self.digests.is_outvoted(checkpoint.slot, self._cluster.voters):
            out.output.diverged_at = checkpoint.slot

    def disk_answers(self, now: float) -> bool:
        """Return whether no write has been outstanding for longer than a window."""
        return self.writes.oldest_age(now) <= self._window_s

    def disk_hangs(self, now: float) -> bool:
        """Return whether a write has been outstanding for longer than two windows."""
        return self.writes.oldest_age(now) > 2 * self._window_s


def _highest_remembered(state: DurableState) -> Slot:
    """Return the highest slot that this storage holds, or may have held where it is damaged."""
    ends = [slots.stop - 1 for slots in state.faulty]
    return Slot(min(max([state.last, *ends]), sys.maxsize - 1))
