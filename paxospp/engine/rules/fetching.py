"""Catch-up: which peer to ask for decided slots that this replica missed, and when (rule 4).

One request is outstanding at a time. An answer that brought new entries is followed by the next request at once; a
request that is not answered goes to another peer, with back-off, even if no other traffic arrives.

Reference: Liskov and Cowling, "Viewstamped Replication Revisited", 5.2: state transfer.
"""

from __future__ import annotations

from dataclasses import dataclass

from paxospp.engine.rules.observer import NO_OBSERVER, Observer
from paxospp.messages import CatchUp
from paxospp.model import NodeId, Slot

_REQUEST_SLOTS_MAX = 4096


@dataclass(slots=True)
class _Request:
    peer: NodeId
    expires_at: float


class Fetching:
    """Decides which peer to ask for a hole, and when."""

    def __init__(
        self, *, grace_s: float, resend_s: float, resend_max_s: float, observer: Observer = NO_OBSERVER
    ) -> None:
        self._observer = observer
        self.due_at: float | None = None
        """The time at which to call ``ask`` again; None while nothing is missing."""
        self._grace_s = grace_s
        self._resend_s = resend_s
        self._resend_max_s = resend_max_s
        self._pause_s = resend_s
        self._decided_at: dict[NodeId, Slot] = {}
        self._request: _Request | None = None
        self._useless: set[NodeId] = set()
        """Peers that answered a request for the current hole with nothing, or not in time."""
        self._helpful: NodeId | None = None
        """The peer that last sent new entries; others may have trimmed what this one still holds."""

    def heard(self, peer: NodeId, decided: Slot) -> None:
        """Note that ``peer`` can be asked for slots up to ``decided``."""
        self._decided_at[peer] = max(decided, self._decided_at.get(peer, Slot(0)))

    def on_answer(self, peer: NodeId, progress: bool) -> None:
        """Handle an answer of ``peer``; if it brought new entries (``progress``), the next request is due at once."""
        self._request = None
        if not progress:
            self._useless.add(peer)
        else:
            self._helpful = peer
            self._useless.clear()
            self._pause_s = self._resend_s
            self.due_at = 0.0

    def forget_progress(self) -> None:
        """Forget the request and its history, because nothing is missing any more."""
        self.due_at = None
        self._request = None
        self._useless.clear()
        self._helpful = None
        self._pause_s = self._resend_s

    def wait(self, now: float) -> None:
        """Put off the next request by one resend interval."""
        self.due_at = max(now + self._resend_s, self.due_at or 0.0)

    def ask(self, hole: range, leader: NodeId | None, now: float) -> tuple[NodeId, CatchUp] | None:
        """Return the request for ``hole`` and the peer to send it to, if one is due now."""
        start = Slot(hole.start)
        if self.due_at is None:
            # An Accept that was delayed on its way may fill the hole in a moment.
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
        """Pick a peer: the last one that helped, then the leader, then the one with the highest decided slot."""
        able = [peer for peer, decided in self._decided_at.items() if decided >= start]
        others = [peer for peer in able if peer not in self._useless]
        if not others:
            # All were asked without success: begin again. A peer that trimmed the slots at least has a snapshot.
            self._observer.reached("catch-up: all peers were asked, and it begins again")
            self._useless.clear()
            others = [peer for peer in able if peer != late] or able
        if not others:
            return None
        for preferred in (self._helpful, leader):
            if preferred in others:
                return preferred
        return max(others, key=lambda peer: (self._decided_at[peer], peer))
