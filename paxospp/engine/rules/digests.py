"""Digests: replicas compare what their state machines computed up to the same slot.

If the digests differ, a replica has diverged. A replica that a majority contradicts with one common digest stops
serving. If no majority agrees, it is unknown which replica is right; all of them report the difference and go on.

Reference: Chandra et al., "Paxos Made Live" (2007), 6.2: checksums that replicas compare.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from paxospp.engine.rules.observer import NO_OBSERVER, Observer
from paxospp.engine.rules.voters import Voters
from paxospp.messages import Checkpoint
from paxospp.model import NodeId, Slot

_SLOTS_MAX = 64
"""The number of latest checkpoints that are kept for comparison."""


class _Computed(NamedTuple):
    incarnation: int
    digest: bytes


class Digests:
    """The digests of all replicas at the latest checkpoints."""

    def __init__(self, me: NodeId, observer: Observer = NO_OBSERVER) -> None:
        self._observer = observer
        self.latest: Checkpoint | None = None
        """This replica's own latest checkpoint."""
        self._me = me
        self._at: dict[Slot, dict[NodeId, _Computed]] = {}
        self._told: set[Slot] = set()

    def add(self, node: NodeId, incarnation: int, checkpoint: Checkpoint) -> None:
        """Add the digest that one incarnation of a node computed."""
        if node == self._me:
            self.latest = checkpoint
        self._at.setdefault(checkpoint.slot, {})[node] = _Computed(incarnation, checkpoint.digest)
        while len(self._at) > _SLOTS_MAX:
            oldest = min(self._at)
            del self._at[oldest]
            self._told.discard(oldest)

    def difference(self, slot: Slot) -> Mapping[NodeId, bytes] | None:
        """Return all digests known at ``slot`` if they differ and this was not reported before; else None."""
        known = {node: computed.digest for node, computed in self._at.get(slot, {}).items()}
        if slot in self._told or self._me not in known or len(set(known.values())) < 2:
            return None
        self._told.add(slot)
        self._observer.reached("digests: two replicas differ")
        return known

    def is_outvoted(self, slot: Slot, voters: Voters) -> bool:
        """Return whether a majority of the voters agrees on a digest at ``slot`` that differs from this replica's."""
        computed = self._at.get(slot, {})
        if self._me not in computed:
            return False
        mine = computed[self._me].digest
        known = {node: other.digest for node, other in computed.items() if voters.has(node, other.incarnation)}
        others = Counter(digest for digest in known.values() if digest != mine)
        if not others:
            return False
        theirs, _ = others.most_common(1)[0]
        return voters.is_quorum([node for node, digest in known.items() if digest == theirs])
