"""Digests of replicas at the same slot: equal, or somebody diverged.

The one who is outvoted by a majority with one other digest stops serving; where no majority
agrees, nobody can say who is right, and everybody goes on after having said so.

Reference: FAULTS B44 (non-deterministic apply), invariant 14.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from paxospp.engine.quorum import Voters
from paxospp.messages import Checkpoint
from paxospp.model import NodeId, Slot

_SLOTS_MAX = 64
"""How many of the latest checkpoints are kept to be compared."""


class Digests:
    """Who had which digest where."""

    def __init__(self, me: NodeId) -> None:
        self.latest: Checkpoint | None = None
        """This replica's own latest."""
        self._me = me
        self._at: dict[Slot, dict[NodeId, bytes]] = {}
        self._told: set[Slot] = set()

    def add(self, node: NodeId, checkpoint: Checkpoint) -> None:
        """Take one replica's digest."""
        if node == self._me:
            self.latest = checkpoint
        self._at.setdefault(checkpoint.slot, {})[node] = checkpoint.digest
        while len(self._at) > _SLOTS_MAX:
            oldest = min(self._at)
            del self._at[oldest]
            self._told.discard(oldest)

    def difference(self, slot: Slot) -> Mapping[NodeId, bytes] | None:
        """All digests known at ``slot`` if they differ and nobody was told before."""
        known = self._at.get(slot, {})
        if slot in self._told or self._me not in known or len(set(known.values())) < 2:
            return None
        self._told.add(slot)
        return known

    def is_outvoted(self, slot: Slot, voters: Voters) -> bool:
        """Whether a majority agrees on another digest at ``slot`` than this replica's."""
        known = self._at.get(slot, {})
        mine = known.get(self._me)
        if mine is None:
            return False
        others = Counter(digest for node, digest in known.items() if digest != mine)
        if not others:
            return False
        theirs, _ = others.most_common(1)[0]
        return voters.is_quorum([node for node, digest in known.items() if digest == theirs])
