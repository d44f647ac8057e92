"""The writes that are out: what waits for them, since when, and how much.

What waits is a value and not a callback, so that the state of a replica can be copied and compared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from paxospp.messages import Accepted
from paxospp.model import Ballot

BYTES_MIN = 1 << 10
"""No node is bounded to less: it would take one value at a time, and the next when that is sent again."""


@dataclass(slots=True, frozen=True)
class PromiseDurable:
    """This replica's promise to its own campaign under ``ballot`` is on disk."""

    ballot: Ballot


@dataclass(slots=True, frozen=True)
class AcceptanceDurable:
    """This replica's acceptance of its own proposal is on disk."""

    accepted: Accepted


@dataclass(slots=True, frozen=True)
class LeaseDurable:
    """The disk says that grants may last for ``duration_us`` microseconds."""

    duration_us: int


Durable = PromiseDurable | AcceptanceDurable | LeaseDurable
"""What a write was for, if the replica goes on with something when it has returned."""


@dataclass(slots=True)
class _Write:
    token: int
    since: float
    then: list[Durable]
    bytes: int
    """Of the values in it."""


class Writes:
    """Numbers writes from 1, and knows what each was for until it returned."""

    def __init__(self, bytes_max: int) -> None:
        self.last_token = 0
        self.bytes = 0
        """Of the values that are out: they wait in memory for a disk that is slow, or hangs."""
        self.bytes_max = 2 * max(bytes_max, BYTES_MIN)
        """Beyond this nothing new is handed out."""
        self._out: deque[_Write] = deque()

    def hand_out(self, now: float, then: list[Durable], bytes: int) -> None:
        """A write leaves now and gets the next number; ``returned`` yields ``then`` when it has returned."""
        self.last_token += 1
        self.bytes += bytes
        self._out.append(_Write(self.last_token, now, then, bytes))

    def returned(self, token: int) -> Iterator[Durable]:
        """What was waiting for the writes up to ``token``."""
        while self._out and self._out[0].token <= token:
            write = self._out.popleft()
            self.bytes -= write.bytes
            yield from write.then

    @property
    def is_full(self) -> bool:
        """Whether so much waits for the disk that nothing new is accepted, proposed or fetched before a write returns.

        What is decided without this replica is let go of by its log, and is still here.
        """
        return self.bytes > self.bytes_max

    @property
    def out(self) -> Sequence[object]:
        """The writes that are out, oldest first."""
        return self._out

    def oldest_age(self, now: float) -> float:
        """Seconds since the oldest write that is out was handed out; 0 when none is."""
        return now - self._out[0].since if self._out else 0.0
