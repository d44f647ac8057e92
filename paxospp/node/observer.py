"""The observer of a node: is told what an observer of the replica is told, and what the other parts of the node do.

As with ``engine.rules.observer``, an observer is passed in, only looks, and never changes anything. The default one
ignores everything.
"""

from __future__ import annotations

from collections.abc import Sequence

from paxospp.engine.rules.observer import Observer
from paxospp.model import Slot, SnapshotMeta


class NodeObserver(Observer):
    """Methods that do nothing; override those of interest. They are called in the middle of a step."""

    def persisted(self, token: int) -> None:
        """Note that all batches up to this token are durable; the replica is told next."""

    def asked(self, requests: Sequence[bytes]) -> None:
        """Note that a caller asks these queries together."""

    def drew_ticket(self, asked: Sequence[object], *, lease: bool) -> None:
        """Note that these batches of queries share a new ticket, a numbered request to have them confirmed.

        ``lease``: a lease may confirm it; otherwise only a round of heartbeats.
        """

    def confirmed(self, asked: Sequence[object], *, lease: bool) -> None:
        """Note that the ticket these batches share is confirmed: they may be answered."""

    def knows_fresh(self, slot: Slot, begun_at: float) -> None:
        """Note that the node relies on this: nothing answered before ``begun_at`` (boot time) lies above ``slot``."""

    def publishes(self, meta: SnapshotMeta, first: Slot) -> None:
        """Note that the node makes its own snapshot current and trims its log to begin with ``first``."""


NO_NODE_OBSERVER = NodeObserver()
"""Ignores everything."""
