"""What a command may know of its place in the log: slot, position, time, and its own chance.

All four are equal on every replica. The executor makes a context; a machine finds it as
``self.context`` while one of its methods runs.
"""

from __future__ import annotations

from random import Random

from paxospp.model import Slot


class Context:
    """Where in the log the running command stands.

    ``slot``: the slot that is being applied. ``position``: the command's place in its slot, from 0;
    the two together identify it. ``time``: Unix seconds stamped by the leader, never going back,
    equal within a slot. A query has slot and time of the last applied command, and neither
    ``position`` nor ``random``, which only a command can share with its replicas.
    """

    __slots__ = ("_cluster_id", "_random", "_random_of", "position", "slot", "time")

    def __init__(self, slot: int, position: int, time: float, cluster_id: bytes = b"") -> None:
        self.slot = Slot(slot)
        self.position = position
        """The executor keeps one context per run, and moves this on itself: a call would be a tenth of a command."""
        self.time = time
        self._cluster_id = cluster_id
        self._random: Random | None = None
        self._random_of = position

    @staticmethod
    def of_query(slot: int, time: float) -> Context:
        """The context in which a query is answered."""
        return _QueryContext(slot, time)

    @property
    def random(self) -> Random:
        """A ``random.Random`` seeded from cluster id, slot and position, made on first use.

        Between Python versions only ``random()`` and ``getrandbits()`` agree.
        """
        if self._random is None or self._random_of != self.position:
            # An int seed goes into the generator whole and alike in every version; str and bytes are hashed first.
            seed = self._cluster_id + self.slot.to_bytes(8, "big") + self.position.to_bytes(4, "big")
            self._random = Random(int.from_bytes(b"\x01" + seed, "big"))
            self._random_of = self.position
        return self._random

    def next(self) -> None:
        """Move on to the next command of the slot."""
        self.position += 1

    def __repr__(self) -> str:
        return f"Context(slot={self.slot}, position={self.position}, time={self.time})"


class _QueryContext(Context):
    """Slot and time, and nothing that only a command has."""

    __slots__ = ()

    def __init__(self, slot: int, time: float) -> None:
        self.slot = Slot(slot)
        self.time = time

    @property
    def position(self) -> int:  # type: ignore[override]
        raise RuntimeError("a query has no position in the log")

    @property
    def random(self) -> Random:
        raise RuntimeError("a query has no position in the log, and no chance of its own")

    def __repr__(self) -> str:
        return f"Context(slot={self.slot}, position=None, time={self.time})"
