"""What a command may know of its place in the log: slot, position, time, and its own chance.

All four are equal on every replica. The executor makes a context; a machine finds it as
``self.context`` while one of its methods runs.
"""

from __future__ import annotations

from random import Random

from paxospp.model import Slot


class Context:
    """Where in the log the running command stands.

    ``slot``: the slot that is being applied. ``time``: Unix seconds stamped by the leader, never
    going back, equal within a slot. A query has slot and time of the last applied command, and
    neither ``position`` nor ``random``, which only a command can share with its replicas.
    """

    __slots__ = ("_cluster_id", "_position", "_random", "slot", "time")

    def __init__(self, slot: int, position: int, time: float, cluster_id: bytes = b"") -> None:
        self.slot = Slot(slot)
        self.time = time
        self._position: int | None = position
        self._cluster_id = cluster_id
        self._random: Random | None = None

    @classmethod
    def of_query(cls, slot: int, time: float) -> Context:
        """The context in which a query is answered."""
        context = cls(slot, 0, time)
        context._position = None
        return context

    @property
    def position(self) -> int:
        """The command's place in its slot, from 0; slot and position together identify it."""
        if self._position is None:
            raise RuntimeError("a query has no position in the log")
        return self._position

    @property
    def random(self) -> Random:
        """A ``random.Random`` seeded from cluster id, slot and position, made on first use.

        Between Python versions only ``random()`` and ``getrandbits()`` agree.
        """
        if self._random is None:
            # An int seed goes into the generator whole and alike in every version; str and bytes are hashed first.
            seed = self._cluster_id + self.slot.to_bytes(8, "big") + self.position.to_bytes(4, "big")
            self._random = Random(int.from_bytes(b"\x01" + seed, "big"))
        return self._random

    def next(self) -> None:
        """Move on to the next command of the slot: for the executor, which keeps one context per slot."""
        if self._position is not None:
            self._position += 1
        self._random = None

    def __repr__(self) -> str:
        return f"Context(slot={self.slot}, position={self._position}, time={self.time})"
