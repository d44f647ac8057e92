"""When to campaign: only a replica that a quorum hears, and whom no served leader reaches.

A leader is *served* while a quorum answers it. A replica that misses such a leader for a window
asks its peers in a whole round of heartbeats; if a quorum with working disks answers and nobody
is served, it campaigns. A replica whose peer is served keeps still and learns from that peer, so
that links that work for some only do not make leaders depose each other.

Reference: Ng, Haridi, Carbone, "OmniPaxos" (2023), section 5: ballot leader election among
quorum-connected servers. The refusal to campaign beside a served leader follows Ongaro's
thesis, 4.2.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from random import Random

from paxospp.engine.rules.heartbeat_rounds import HeartbeatRounds
from paxospp.engine.rules.observer import NOBODY, Observer
from paxospp.engine.rules.voters import Voters
from paxospp.messages import HeartbeatAnswer
from paxospp.model import Ballot, NodeId, Slot

_JITTER = 0.5
"""A window is stretched by up to this share of itself."""
_PATIENCE = 4
"""So many windows one that could not decide leaves it to voters that know more; they may be no better off."""
_BLANK = 0.25
"""Before a cluster exists there is no leader to be patient with: this share of a window keeps candidates apart."""


class Verdict(Enum):
    """What a replica does about the silence of its leader."""

    WAIT = auto()
    PROBE = auto()
    CAMPAIGN = auto()


class Election:
    """The window of one replica that does not lead, and the leader it hears."""

    def __init__(self, window_s: float, random: Random, observer: Observer = NOBODY) -> None:
        self._observer = observer
        self.window_s = window_s
        self.leader: Ballot | None = None
        """The ballot of the leader heard last, while no higher one is known."""
        self._leader_is_quorum_connected = False
        self._heard_at = float("-inf")
        self._quorum_connected_at = float("-inf")
        self._expires_at = 0.0
        self._probe_round: int | None = None
        self._probe_ends_at = 0.0
        self._was_patient = False
        self._left_to_others = 0
        """For how many windows it has not campaigned, because it could not decide and others know more."""
        self._random = random

    def begin(self, now: float, *, alone: bool, founded: bool) -> None:
        """The first window: none without peers, a part of one before a cluster exists."""
        if alone:
            self._expires_at = now
        elif not founded:
            self._expires_at = now + self._random.random() * _BLANK * self.window_s
        else:
            self.restart(now)

    def restart(self, now: float) -> None:
        """A new window with fresh jitter."""
        self._expires_at = now + self.window_s * (1 + _JITTER * self._random.random())
        self._probe_round = None
        self._was_patient = False

    def let_others_go_first(self, now: float) -> None:
        """A new window that outlasts every other replica's: this one has led, and others may do better."""
        self.restart(now)
        self._expires_at += self.window_s * (1 + _JITTER)

    def on_leader_heartbeat(self, ballot: Ballot, quorum_connected: bool, now: float) -> bool:
        """A leader said that it leads; True if it is another one than before."""
        changed = self.leader != ballot
        self.leader = ballot
        self._heard_at = now
        self._leader_is_quorum_connected = quorum_connected
        if quorum_connected:
            self._hear(now)
        return changed

    def on_leader_message(self, ballot: Ballot, now: float) -> bool:
        """Any message of the leader counts as its heartbeat; True if it is another leader."""
        self._heard_at = now
        if self.leader != ballot:
            self._leader_is_quorum_connected = True  # a quorum promised a moment ago, or it could not propose
            self.leader = ballot
            self._hear(now)
            return True
        if self._leader_is_quorum_connected:
            self._hear(now)
        return False

    def forget_leader(self) -> bool:
        """A higher ballot is known; True if there was a leader to forget."""
        had_one = self.leader is not None
        self.leader = None
        self._leader_is_quorum_connected = False
        self._quorum_connected_at = float("-inf")
        return had_one

    def has_lost_leader(self, now: float) -> bool:
        """Whether the leader it knows of, served or not, has been silent for a window."""
        return self.leader is not None and now - self._heard_at > self.window_s

    def hears_quorum_connected_leader(self, now: float) -> bool:
        """Whether a served leader was heard directly within a window."""
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
    ) -> Verdict:
        """What to do now. PROBE means: begin a round, and tell its number to ``probing``.

        ``is_stuck``: it could not decide anything soon if it led. Then it does not campaign for some windows while a
        working voter knows more, which can lead instead. After that it tries: who knows more may be no better off.
        """
        if now < self._expires_at:
            return Verdict.WAIT
        if self._probe_round is None:
            return Verdict.PROBE
        # A probe that found no quorum goes on. What was said before the latest window is not so any more.
        answers = heartbeats.since(self._probe_round, now - self.window_s, voters)
        if any(answer.quorum_connected for answer in answers.values()):
            self._observer.reached("election: a replica whose peer is served keeps still")
            self.restart(now)
            return Verdict.WAIT
        reachable = heartbeats.after(now - self.window_s, voters)
        if now < self._probe_ends_at and any(peer not in answers for peer in reachable):
            return Verdict.WAIT
        working = {peer: answer for peer, answer in answers.items() if answer.disk_answers}
        if not voters.is_quorum([me, *working]):
            if voters.is_quorum([me, *heartbeats.answered_after(now - self.window_s, heartbeats.answers)]):
                self._observer.reached("election: of those who answer too few are voters with working disks")
            return Verdict.WAIT
        if is_stuck and any(answer.decided > decided for answer in working.values()):
            if self._left_to_others < _PATIENCE:
                self._observer.reached("election: a replica that could not decide leaves it to a voter that knows more")
                self._left_to_others += 1
                self.restart(now)
                return Verdict.WAIT
            self._observer.reached("election: a replica that could not decide tries, for nobody who knows more leads")
        if not is_stuck:
            self._left_to_others = 0
        if not self._was_patient and self._is_far_behind(answers, decided, far_ahead_slots):
            self._observer.reached("election: a replica that is far behind waits a window more")
            self._expires_at = now + self.window_s
            self._probe_round = None
            self._was_patient = True
            return Verdict.WAIT
        self._left_to_others = 0
        return Verdict.CAMPAIGN

    def probing(self, round: int, ends_at: float) -> None:
        """The round that was begun because the window ran out."""
        self._probe_round = round
        self._probe_ends_at = ends_at

    @property
    def probe_round(self) -> int | None:
        """The round of heartbeats that has to say whether a campaign is right; None while none is under way."""
        return self._probe_round

    @property
    def next_at(self) -> float:
        """When the window or the probe runs out."""
        return self._probe_ends_at if self._probe_round is not None else self._expires_at

    def _hear(self, now: float) -> None:
        self._quorum_connected_at = now
        self.restart(now)

    @staticmethod
    def _is_far_behind(answers: Mapping[NodeId, HeartbeatAnswer], decided: Slot, far_ahead_slots: int) -> bool:
        return any(answer.decided > decided + far_ahead_slots for answer in answers.values())
