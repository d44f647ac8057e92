"""Leases: a promise to promise nobody else for a while, so that a leader may answer reads by itself.

Switched on and off for all replicas by an entry in the log. A follower that answers its leader's
heartbeat then *grants* for D from receipt: until D is over it answers nobody else's Prepare and
does not campaign itself. The leader counts a grant for D less the drift bound from the moment
*before it sent* that round, and holds the lease while its grants and itself are a quorum. As any
quorum that could elect another leader meets one of these, nobody else leads before the last of
them is over; by then, as long as clocks run evenly, the leader has stopped counting it.

A replica that starts has forgotten what it granted, and perhaps under which ballot: the promise that came
with a grant need not have been on disk. How long a grant may last is therefore on its disk before the first
is given, and it waits that long before it promises anybody anything, or grants anything: the leader whose
heartbeat it hears next may be an older one than the lease binds it to.

Only Prepare and campaigns are held back. An Accept or a heartbeat under a higher ballot may raise
the promise at any time, because a quorum of promises, and so the end of the lease, came before it.

Time is that of a clock which goes on while a process is stopped or a machine sleeps
(CLOCK_BOOTTIME), never the active time of ``clock``. **Unsafe if two clocks' rates differ by more
than ``DRIFT_BOUND``**, which is why leases are off until somebody wants them.

References: Gray and Cheriton, "Leases" (1989); Ongaro's thesis (2014), 6.4.1.
"""

from __future__ import annotations

import math
from collections import deque

from paxospp.engine.rules.observer import NOBODY, Observer
from paxospp.engine.rules.voters import Voters
from paxospp.model import Ballot, NodeId
from paxospp.storage.contract import WriteBatch

DRIFT_BOUND = 0.02
"""By how much the rates of two clocks may differ, as a share."""
META_KEY = "lease"

_ROUNDS_MAX = 4_096
_SECOND = 1_000_000


class Lease:
    """What one replica granted, and what it holds while it leads; times are of the clock that never stops."""

    def __init__(self, stored: bytes | None, observer: Observer = NOBODY) -> None:
        """``stored`` is what the disk says under ``META_KEY``."""
        self._observer = observer
        self.duration_us = 0
        """As the log says, as far as it was applied here; 0: leases are off."""
        self._durable_us = int.from_bytes(stored or b"", "big")
        """The least that the disk may say now, whichever of the writes under way are there already."""
        self._asked_us = self._durable_us
        self._under_way: deque[int] = deque()
        self._bound_to: Ballot | None = None
        self._bound_until = math.inf
        self._rounds: dict[int, float] = {}
        """When each of the latest rounds was sent, except those sent while leases were off."""
        self._granted: dict[NodeId, float] = {}

    def start(self, now: float) -> None:
        """A boot begins: whatever an earlier one granted is over once the longest of it is."""
        self._bound_until = now + self._durable_us / _SECOND

    # Switching.

    def wants_stored(self, now: float) -> WriteBatch | None:
        """What is to be written now, so that a next boot waits as long as it must; ``stored`` when it is durable."""
        wanted = self.duration_us
        if wanted == self._asked_us or (wanted < self._durable_us and now < self._bound_until):
            if wanted != self._asked_us:
                self._observer.reached("lease: the disk remembers a longer one until it is over")
            return None  # what was granted for longer must be over before the disk forgets it
        self._asked_us = wanted
        self._under_way.append(wanted)
        self._durable_us = min(self._durable_us, wanted)
        return WriteBatch(meta={META_KEY: wanted.to_bytes(8, "big")})

    def stored(self, duration_us: int) -> None:
        """The disk knows: grants of that length may be given, unless a shorter one is on its way there."""
        self._under_way.popleft()
        self._durable_us = min((duration_us, *self._under_way))

    @property
    def asked_us(self) -> int:
        """What was handed to the disk last."""
        return self._asked_us

    # As a follower.

    def grant(self, leader: Ballot, now: float) -> int:
        """Bind this replica to the leader whose heartbeat it answers; for how many microseconds, 0 if not at all."""
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
        # Within one boot, a leader whose ballot was promised here was elected after every earlier lease had ended.
        self._bound_to = leader
        self._bound_until = max(self._bound_until, now + duration / _SECOND)
        return duration

    def forbids(self, ballot: Ballot, now: float) -> bool:
        """Whether a promise to ``ballot`` has to wait."""
        if now >= self._bound_until:
            return False
        bound_to = self._bound_to
        if bound_to is None:
            self._observer.reached("lease: one of an earlier boot may still bind")
            return True
        # A node that asks again has given up what it led before.
        return (bound_to.node, bound_to.incarnation) != (ballot.node, ballot.incarnation)

    # As a leader.

    def lead(self) -> None:
        """This replica leads from now on, and holds nothing yet."""
        self._rounds.clear()
        self._granted.clear()

    def on_round(self, round: int, now: float) -> None:
        """Round ``round`` of heartbeats is about to be sent."""
        if not self.duration_us:
            return
        self._rounds[round] = now
        if len(self._rounds) > _ROUNDS_MAX:
            del self._rounds[next(iter(self._rounds))]

    def on_answer(self, peer: NodeId, round: int, granted_us: int) -> None:
        """``peer`` answered ``round`` under exactly our ballot, with that grant."""
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
        """Whether nobody else can lead at ``now``."""
        if not self.duration_us:
            return False
        return voters.is_quorum([me, *(peer for peer, until in self._granted.items() if now < until)])
