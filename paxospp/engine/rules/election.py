"""Elections: when a replica campaigns (rule 5).

A replica is *quorum-connected* if it leads and a quorum answers it, or if it hears such a leader directly. A replica
that hears no quorum-connected leader for a window asks its peers in a whole round of heartbeats. It campaigns if a
quorum with working disks answers and none of them is quorum-connected. A replica whose peer is quorum-connected does
not campaign and learns from that peer, so that partial partitions do not make leaders depose each other.

A *window* is the election timeout, plus jitter.

References: Ng, Haridi, Carbone, "OmniPaxos" (2023), section 5: ballot leader election among quorum-connected servers;
Ongaro's thesis, 4.2.3: a server that hears a leader refuses to help to replace it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from random import Random

from paxospp.engine.rules.heartbeat_rounds import HeartbeatRounds
from paxospp.engine.rules.observer import NO_OBSERVER, Observer
from paxospp.engine.rules.voters import Voters
from paxospp.messages import HeartbeatAnswer
from paxospp.model import Ballot, NodeId, Slot

_JITTER = 0.5
"""The largest jitter of a window, as a fraction of it."""
_WINDOWS_FOR_OTHERS = 4
"""The number of windows for which a replica that could not decide anything lets voters that know more go first.

After that it campaigns itself, because those voters may be no better off.
"""
_FIRST_WINDOW = 0.25
"""The longest first window before a cluster exists, as a fraction of a window.

No leader can exist yet, so this wait only keeps candidates apart.
"""


class ElectionStep(Enum):
    """The next step of a replica whose leader is silent."""

    WAIT = auto()
    PROBE = auto()
    CAMPAIGN = auto()


class Election:
    """The election timer of one replica that does not lead, and the leader it hears."""

    def __init__(self, window_s: float, random: Random, observer: Observer = NO_OBSERVER) -> None:
        self._observer = observer
        self.window_s = window_s
        self.leader: Ballot | None = None
        """The ballot of the leader heard last; None once a higher ballot is known."""
        self._leader_is_quorum_connected = False
        self._heard_at = float("-inf")
        self._quorum_connected_at = float("-inf")
        self._expires_at = 0.0
        self._probe_round: int | None = None
        self._probe_ends_at = 0.0
        self._waited_for_those_ahead = False
        self._left_to_others = 0
        """The number of windows for which this replica has let voters that know more go first."""
        self._random = random

    def begin(self, now: float, *, alone: bool, founded: bool) -> None:
        """Start the first window: none for a node without peers, a short one before a cluster exists."""
        if alone:
            self._expires_at = now
        elif not founded:
            self._expires_at = now + self._random.random() * _FIRST_WINDOW * self.window_s
        else:
            self.restart(now)

    def restart(self, now: float) -> None:
        """Start a new window with new jitter."""
        self._expires_at = now + self.window_s * (1 + _JITTER * self._random.random())
        self._probe_round = None
        self._waited_for_those_ahead = False

    def let_others_go_first(self, now: float) -> None:
        """Start a window that is longer than any other replica's, so that another one campaigns first."""
        self.restart(now)
        self._expires_at += self.window_s * (1 + _JITTER)

    def on_leader_heartbeat(self, ballot: Ballot, quorum_connected: bool, now: float) -> bool:
        """Handle a leader's heartbeat, and return whether the leader changed."""
        changed = self.leader != ballot
        self.leader = ballot
        self._heard_at = now
        self._leader_is_quorum_connected = quorum_connected
        if quorum_connected:
            self._hear(now)
        return changed

    def on_leader_message(self, ballot: Ballot, now: float) -> bool:
        """Handle another message of a leader, which counts as a heartbeat; return whether the leader changed."""
        self._heard_at = now
        if self.leader != ballot:
            self._leader_is_quorum_connected = True  # it proposes, so a quorum has just promised its ballot
            self.leader = ballot
            self._hear(now)
            return True
        if self._leader_is_quorum_connected:
            self._hear(now)
        return False

    def forget_leader(self) -> bool:
        """Forget the leader, because a higher ballot is known; return whether one was known."""
        had_one = self.leader is not None
        self.leader = None
        self._leader_is_quorum_connected = False
        self._quorum_connected_at = float("-inf")
        return had_one

    def has_lost_leader(self, now: float) -> bool:
        """Return whether the known leader, quorum-connected or not, has been silent for a window."""
        return self.leader is not None and now - self._heard_at > self.window_s

    def hears_quorum_connected_leader(self, now: float) -> bool:
        """Return whether a quorum-connected leader was heard directly within the last window."""
        return now - self._quorum_connected_at < self.window_s

    def decide(
        self,
        now: float,
        heartbeats: HeartbeatRounds,
        *,
        me: NodeId,
        voters: Voters,
        decided: Slot,
        far_ahead_slots: int,
        is_stuck: bool,
    ) -> ElectionStep:
        """Return what to do now. PROBE means: begin a round of heartbeats and pass its number to ``probing``.

        Args:
            is_stuck: this replica could not decide anything soon if it led. It then does not campaign for
                ``_WINDOWS_FOR_OTHERS`` windows while a working voter knows more, because that voter can lead instead.
        """
        if now < self._expires_at:
            return ElectionStep.WAIT
        if self._probe_round is None:
            return ElectionStep.PROBE
        # A probe that found no quorum goes on. Answers from before the last window are out of date.
        answers = heartbeats.since(self._probe_round, now - self.window_s, voters)
        if any(answer.quorum_connected for answer in answers.values()):
            self._observer.reached("election: a replica whose peer is quorum-connected does not campaign")
            self.restart(now)
            return ElectionStep.WAIT
        reachable = heartbeats.after(now - self.window_s, voters)
        if now < self._probe_ends_at and any(peer not in answers for peer in reachable):
            return ElectionStep.WAIT
        working = {peer: answer for peer, answer in answers.items() if answer.disk_answers}
        if not voters.is_quorum([me, *working]):
            if voters.is_quorum([me, *heartbeats.answered_after(now - self.window_s, heartbeats.answers)]):
                self._observer.reached("election: of those who answer too few are voters with working disks")
            return ElectionStep.WAIT
        if is_stuck and any(answer.decided > decided for answer in working.values()):
            if self._left_to_others < _WINDOWS_FOR_OTHERS:
                self._observer.reached("election: a replica that could not decide leaves it to a voter that knows more")
                self._left_to_others += 1
                self.restart(now)
                return ElectionStep.WAIT
            self._observer.reached("election: a replica that could not decide tries, for nobody who knows more leads")
        if not is_stuck:
            self._left_to_others = 0
        if not self._waited_for_those_ahead and self._is_far_behind(answers, decided, far_ahead_slots):
            self._observer.reached("election: a replica that is far behind waits a window more")
            self._expires_at = now + self.window_s
            self._probe_round = None
            self._waited_for_those_ahead = True
            return ElectionStep.WAIT
        self._left_to_others = 0
        return ElectionStep.CAMPAIGN

    def probing(self, round: int, ends_at: float) -> None:
        """Note the round of heartbeats that was begun because the window ran out."""
        self._probe_round = round
        self._probe_ends_at = ends_at

    @property
    def probe_round(self) -> int | None:
        """The round whose answers decide whether to campaign; None if no probe is under way."""
        return self._probe_round

    @property
    def next_at(self) -> float:
        """When the window or the probe ends."""
        return self._probe_ends_at if self._probe_round is not None else self._expires_at

    def _hear(self, now: float) -> None:
        self._quorum_connected_at = now
        self.restart(now)

    @staticmethod
    def _is_far_behind(answers: Mapping[NodeId, HeartbeatAnswer], decided: Slot, far_ahead_slots: int) -> bool:
        return any(answer.decided > decided + far_ahead_slots for answer in answers.values())
