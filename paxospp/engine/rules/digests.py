"""Digests of replicas at the same slot: equal, or somebody diverged.

The one who is outvoted by a majority with one other digest stops serving; where no majority
agrees, nobody can say who is right, and everybody goes on after having said so.

Reference: Chandra et al., "Paxos Made Live" (2007), 6.2: checksums that replicas compare.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from paxospp.engine.rules.observer import NOBODY, Observer
from paxospp.engine.rules.voters import Voters
from paxospp.messages import Checkpoint
from paxospp.model import NodeId, Slot

_SLOTS_MAX = 64
"""How many of the latest checkpoints are kept to be compared."""


class _Computed(NamedTuple):
    incarnation: int
    digest: bytes


class Digests:
    """Who had which digest where."""

    def __init__(self, me: NodeId, observer: Observer = NOBODY) -> None:
        self._observer = observer
        self.latest: Checkpoint | None = None
        """This replica's own latest."""
        self._me = me
        self._at: dict[Slot, dict[NodeId, _Computed]] = {}
        self._told: set[Slot] = set()

    def add(self, node: NodeId, incarnation: int, checkpoint: Checkpoint) -> None:
        """Take the digest that one incarnation of one node computed."""
        if node == self._me:
            self.latest = checkpoint
        self._at.setdefault(checkpoint.slot, {})[node] = _Computed(incarnation, checkpoint.digest)
        while len(self._at) > _SLOTS_MAX:
            oldest = min(self._at)
            del self._at[oldest]
            self._told.discard(oldest)

    def difference(self, slot: Slot) -> Mapping[NodeId, bytes] | None:
        """All digests known at ``slot`` if they differ and nobody was told before."""
        known = {node: computed.digest for node, computed in self._at.get(slot, {}).items()}
        if slot in self._told or self._me not in known or len(set(known.values())) < 2:
            return None
        self._told.add(slot)
        self._observer.reached("digests: two replicas differ")
        return known

    def is_outvoted(self, slot: Slot, voters: Voters) -> bool:
        """Whether a majority of the voters agrees on another digest at ``slot`` than this replica's."""
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
