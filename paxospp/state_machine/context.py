"""The place of a command in the log, as the command sees it: slot, position, time, and a random generator.

All four are equal on every replica. The executor makes the context, and a machine finds it as
``self.context`` while one of its methods runs.
"""

from __future__ import annotations

from random import Random

from paxospp.model import Slot


class Context:
    """The place in the log of the running command.

    ``slot``: the slot that is being applied. ``position``: the command's index in its slot, from 0;
    slot and position together identify the command. ``time``: Unix seconds from the leader's clock,
    never decreasing, equal within a slot. A query has the slot and time of the last applied command.
    It has neither ``position`` nor ``random``, because only one replica answers it.
    """

    __slots__ = ("_cluster_id", "_random", "_random_of", "position", "slot", "time")

    def __init__(self, slot: int, position: int, time: float, cluster_id: bytes = b"") -> None:
        self.slot = Slot(slot)
        self.position = position
        """The executor keeps one context per run and increments this directly: ``next`` costs a tenth of a command."""
        self.time = time
        self._cluster_id = cluster_id
        self._random: Random | None = None
        self._random_of = position

    @staticmethod
    def of_query(slot: int, time: float) -> Context:
        """Return the context for a query."""
        return _QueryContext(slot, time)

    @property
    def random(self) -> Random:
        """A ``random.Random`` seeded from cluster id, slot and position, made on first use.

        Only ``random()`` and ``getrandbits()`` return the same in every Python version.
        """
        if self._random is None or self._random_of != self.position:
            # An int is used as the seed unchanged in every Python version; str and bytes would be hashed first.
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
    """The context of a query: slot and time only."""

    __slots__ = ()

    def __init__(self, slot: int, time: float) -> None:
        self.slot = Slot(slot)
        self.time = time

    @property
    def position(self) -> int:  # type: ignore[override]
        raise RuntimeError("a query has no position in the log")

    @property
    def random(self) -> Random:
        raise RuntimeError("a query has no position in the log, so it has no random generator")

    def __repr__(self) -> str:
        return f"Context(slot={self.slot}, position=None, time={self.time})"
