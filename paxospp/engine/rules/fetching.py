"""Fetching decided slots that this replica missed, and handing them to others.

One request is out at a time. Each answer that brought something is followed at once by the
next request; one that stays out is repeated to another peer, with back-off, also when traffic
stopped.

Reference: Liskov and Cowling, "Viewstamped Replication Revisited", 5.2: state transfer.
"""

from __future__ import annotations

from dataclasses import dataclass

from paxospp.engine.rules.observer import NOBODY, Observer
from paxospp.messages import CatchUp
from paxospp.model import NodeId, Slot

_REQUEST_SLOTS_MAX = 4096


@dataclass(slots=True)
class _Request:
    peer: NodeId
    expires_at: float


class Fetching:
    """Decides whom to ask for a hole, and when."""

    def __init__(self, *, grace_s: float, resend_s: float, resend_max_s: float, observer: Observer = NOBODY) -> None:
        self._observer = observer
        self.due_at: float | None = None
        """When ``ask`` wants to be called again; None while nothing is missing."""
        self._grace_s = grace_s
        self._resend_s = resend_s
        self._resend_max_s = resend_max_s
        self._pause_s = resend_s
        self._decided_at: dict[NodeId, Slot] = {}
        self._request: _Request | None = None
        self._useless: set[NodeId] = set()
        """Who answered the present hole with nothing, or not in time."""
        self._helpful: NodeId | None = None
        """Who brought something last: others may have trimmed what it keeps."""

    def heard(self, peer: NodeId, decided: Slot) -> None:
        """``peer`` can be asked for slots up to ``decided``."""
        self._decided_at[peer] = max(decided, self._decided_at.get(peer, Slot(0)))

    def on_answer(self, peer: NodeId, progress: bool) -> None:
        """An answer came; one that brought something makes room for the next request at once."""
        self._request = None
        if not progress:
            self._useless.add(peer)
        else:
            self._helpful = peer
            self._useless.clear()
            self._pause_s = self._resend_s
            self.due_at = 0.0

    def forget_progress(self) -> None:
        """Nothing is missing any more."""
        self.due_at = None
        self._request = None
        self._useless.clear()
        self._helpful = None
        self._pause_s = self._resend_s

    def wait(self, now: float) -> None:
        """Ask nobody before a moment is over."""
        self.due_at = max(now + self._resend_s, self.due_at or 0.0)

    def ask(self, hole: range, leader: NodeId | None, now: float) -> tuple[NodeId, CatchUp] | None:
        """The request to send now for ``hole``, if it is time for one."""
        start = Slot(hole.start)
        if self.due_at is None:
            # An Accept that travels another way may fill it in a moment.
            self.due_at = now + self._grace_s
        if now < self.due_at:
            return None
        late = self._request.peer if self._request is not None else None
        if late is not None:
            self._observer.reached("catch-up: a peer does not answer in time")
            self._useless.add(late)
        peer = self._choose(start, leader, late)
        if peer is None:
            self.due_at = now + self._resend_s
            return None
        if late is not None:
            self._pause_s = min(2 * self._pause_s, self._resend_max_s)
        self._request = _Request(peer, now + self._pause_s)
        self.due_at = self._request.expires_at
        return peer, CatchUp(start=start, stop=Slot(min(hole.stop, start + _REQUEST_SLOTS_MAX)))

    def _choose(self, start: Slot, leader: NodeId | None, late: NodeId | None) -> NodeId | None:
        """Who helped last, else the leader, else whoever has most; another one than the one that was late."""
        able = [peer for peer, decided in self._decided_at.items() if decided >= start]
        others = [peer for peer in able if peer not in self._useless]
        if not others:
            # All were asked, and some did not even answer: begin again, with a peer that has a snapshot at least.
            self._observer.reached("catch-up: all peers were asked, and it begins again")
            self._useless.clear()
            others = [peer for peer in able if peer != late] or able
        if not others:
            return None
        for preferred in (self._helpful, leader):
            if preferred in others:
                return preferred
        return max(others, key=lambda peer: (self._decided_at[peer], peer))
