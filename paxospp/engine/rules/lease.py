"""Leases: followers refuse other candidates for a while, so that a leader may answer reads by itself (rule 6).

An entry in the log switches leases on or off for all replicas. While they are on, a follower that answers its leader's
heartbeat *grants* a lease of length D: until D has passed, it answers no other candidate's Prepare and does not
campaign. The leader counts a grant for D less the drift bound, starting *before it sent* the round that was answered,
and holds the lease while it and the nodes whose grants it counts are a quorum. Any quorum that could elect another
leader contains one of these nodes, so no other leader is elected before that node's grant has ended; by then, if
clocks run evenly, the leader has stopped counting the grant.

A replica that restarts has forgotten its grants, and perhaps the ballot of the leader it granted to, because the
promise that came with a grant need not have been on disk. The length of leases is therefore on its disk before it
grants the first one. After a start it waits for that long before it promises or grants anything: the next leader it
hears may be older than the leader it is bound to.

Only Prepare and campaigns are held back. An Accept or a heartbeat under a higher ballot may raise the promise at any
time: that ballot was promised by a quorum, so the lease had ended.

Times are those of a clock that keeps running while a process is stopped or a machine sleeps (CLOCK_BOOTTIME), never
the active time of ``clock``. **Leases are unsafe if the rates of two clocks differ by more than ``DRIFT_BOUND``**,
which is why they are off by default.

References: Gray and Cheriton, "Leases" (1989); Ongaro's thesis (2014), 6.4.1.
"""

from __future__ import annotations

import math
from collections import deque

from paxospp.engine.rules.observer import NO_OBSERVER, Observer
from paxospp.engine.rules.voters import Voters
from paxospp.model import Ballot, NodeId
from paxospp.storage.contract import WriteBatch

DRIFT_BOUND = 0.02
"""The largest tolerated difference between the rates of two clocks, as a fraction."""
META_KEY = "lease"

_ROUNDS_MAX = 4_096
_SECOND = 1_000_000


class Lease:
    """The lease that one replica has granted, and the grants it counts while it leads; times are boot time."""

    def __init__(self, stored: bytes | None, observer: Observer = NO_OBSERVER) -> None:
        """Take over ``stored``, the value of ``META_KEY`` in the storage's meta."""
        self._observer = observer
        self.duration_us = 0
        """The length of leases that the log decided, as far as it was applied here; 0 if leases are off."""
        self._durable_us = int.from_bytes(stored or b"", "big")
        """The shortest length that the disk may hold now, while some writes are still under way."""
        self._asked_us = self._durable_us
        self._under_way: deque[int] = deque()
        self._bound_to: Ballot | None = None
        self._bound_until = math.inf
        self._rounds: dict[int, float] = {}
        """The time at which each of the latest rounds was sent, except rounds sent while leases were off."""
        self._granted: dict[NodeId, float] = {}

    def start(self, now: float) -> None:
        """Start a boot: wait until the longest lease that an earlier boot may have granted has ended."""
        self._bound_until = now + self._durable_us / _SECOND

    # Switching.

    def wants_stored(self, now: float) -> WriteBatch | None:
        """Return the batch that tells the next boot how long to wait; call ``stored`` when it is durable."""
        wanted = self.duration_us
        if wanted == self._asked_us or (wanted < self._durable_us and now < self._bound_until):
            if wanted != self._asked_us:
                self._observer.reached("lease: the disk remembers a longer one until it is over")
            return None  # a longer grant must have ended before the disk forgets it
        self._asked_us = wanted
        self._under_way.append(wanted)
        self._durable_us = min(self._durable_us, wanted)
        return WriteBatch(meta={META_KEY: wanted.to_bytes(8, "big")})

    def stored(self, duration_us: int) -> None:
        """Allow grants up to this length, which the disk now holds, unless a shorter one is being written."""
        self._under_way.popleft()
        self._durable_us = min((duration_us, *self._under_way))

    @property
    def asked_us(self) -> int:
        """The length that was last given to the storage to write, in microseconds."""
        return self._asked_us

    # As a follower.

    def grant(self, leader: Ballot, now: float) -> int:
        """Bind this replica to the leader whose heartbeat it answers; return for how many microseconds, or 0."""
        duration = self.duration_us
        if duration == 0:
            return 0
        if self._durable_us < duration:
            self._observer.reached("lease: none is granted before the disk knows of it")
            return 0
        if now < self._bound_until and self._bound_to != leader:
            if self._bound_to is None:
                self._observer.reached("lease: none is granted while one of an earlier boot may bind")
                return 0
            self._observer.reached("lease: granted to another leader while one binds")
        # A leader that was promised its ballot in this boot was elected after every earlier lease had ended.
        self._bound_to = leader
        self._bound_until = max(self._bound_until, now + duration / _SECOND)
        return duration

    def forbids(self, ballot: Ballot, now: float) -> bool:
        """Return whether a promise to ``ballot`` has to wait for the end of a lease."""
        if now >= self._bound_until:
            return False
        bound_to = self._bound_to
        if bound_to is None:
            self._observer.reached("lease: one of an earlier boot may still bind")
            return True
        # A node that campaigns again no longer leads under its earlier ballot.
        return (bound_to.node, bound_to.incarnation) != (ballot.node, ballot.incarnation)

    # As a leader.

    def lead(self) -> None:
        """Start to lead, without any grants."""
        self._rounds.clear()
        self._granted.clear()

    def on_round(self, round: int, now: float) -> None:
        """Note when round ``round`` of heartbeats is sent; call this before sending it."""
        if not self.duration_us:
            return
        self._rounds[round] = now
        if len(self._rounds) > _ROUNDS_MAX:
            del self._rounds[next(iter(self._rounds))]

    def on_answer(self, peer: NodeId, round: int, granted_us: int) -> None:
        """Count a grant that ``peer`` gave in its answer to ``round``, under exactly our ballot."""
        if not granted_us:
            return
        sent_at = self._rounds.get(round)
        if sent_at is None:
            self._observer.reached("lease: a grant in answer to a round that is not known counts for nothing")
        else:
            if len(self._rounds) <= round - next(iter(self._rounds)):
                self._observer.reached("lease: a grant is counted while the rounds that are known have a gap")
            until = sent_at + granted_us * (1 - DRIFT_BOUND) / _SECOND
            self._observer.counted_grant(peer, until)
            self._granted[peer] = max(until, self._granted.get(peer, until))

    def is_held(self, me: NodeId, voters: Voters, now: float) -> bool:
        """Return whether no other replica can lead at ``now``."""
        if not self.duration_us:
            return False
        return voters.is_quorum([me, *(peer for peer, until in self._granted.items() if now < until)])
