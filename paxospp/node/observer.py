"""The observer of a node: it hears what the replica's observer hears, and what the rooms around it do.

As with ``engine.observer``, an observer is passed in, looks, and never changes anything; without one nothing is
recorded.
"""

from __future__ import annotations

from collections.abc import Sequence

from paxospp.engine.rules.observer import Observer
from paxospp.model import Slot, SnapshotMeta


class NodeObserver(Observer):
    """Every method does nothing; override those you want to hear. Calls come in the middle of a step."""

    def asked(self, requests: Sequence[bytes]) -> None:
        """A caller asks these queries at once."""

    def drew_ticket(self, asked: Sequence[object], *, lease: bool) -> None:
        """A ticket is drawn that these share, to be confirmed by a lease or by a round of heartbeats."""

    def confirmed(self, asked: Sequence[object], *, lease: bool) -> None:
        """The ticket that these share is confirmed: they may be answered."""

    def knows_fresh(self, slot: Slot, begun_at: float) -> None:
        """The node takes it that nothing answered before ``begun_at`` (boot time) lies above ``slot``."""

    def publishes(self, meta: SnapshotMeta, first: Slot) -> None:
        """This node's own snapshot becomes current, and its log is to begin with ``first``."""


UNOBSERVED = NodeObserver()
"""Nobody looks on."""
