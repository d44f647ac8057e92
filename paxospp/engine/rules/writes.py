"""Outstanding writes: since when they are under way, how large they are, and what waits for them.

What waits is a value and not a callback, so that the state of a replica can be copied and compared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from paxospp.messages import Accepted
from paxospp.model import Ballot

BYTES_MIN = 1 << 10
"""The smallest limit. With less, a node would accept one value at a time, and the next only when it is sent again."""


@dataclass(slots=True, frozen=True)
class PromiseDurable:
    """The promise of this replica to its own campaign under ``ballot`` is on disk."""

    ballot: Ballot


@dataclass(slots=True, frozen=True)
class AcceptanceDurable:
    """The acceptance of this replica's own proposal is on disk."""

    accepted: Accepted


@dataclass(slots=True, frozen=True)
class LeaseDurable:
    """The length of leases, in microseconds, is on disk."""

    duration_us: int


Durable = PromiseDurable | AcceptanceDurable | LeaseDurable
"""The reason why the replica waits for a write to return."""


@dataclass(slots=True)
class _OutstandingWrite:
    token: int
    since: float
    then: list[Durable]
    bytes: int
    """Total size of the values in it."""


class Writes:
    """The writes that were handed to the storage and have not returned, numbered from 1."""

    def __init__(self, bytes_max: int) -> None:
        self.last_token = 0
        self.bytes = 0
        """Total size of the values that wait in memory for the disk."""
        self.bytes_max = 2 * max(bytes_max, BYTES_MIN)
        """The size beyond which ``is_behind`` is true."""
        self._out: deque[_OutstandingWrite] = deque()

    def hand_out(self, now: float, then: list[Durable], bytes: int) -> None:
        """Add a write with the next number; ``returned`` yields ``then`` once it has returned."""
        self.last_token += 1
        self.bytes += bytes
        self._out.append(_OutstandingWrite(self.last_token, now, then, bytes))

    def returned(self, token: int) -> Iterator[Durable]:
        """Remove the writes up to ``token``, and yield what waited for them."""
        while self._out and self._out[0].token <= token:
            write = self._out.popleft()
            self.bytes -= write.bytes
            yield from write.then

    @property
    def is_behind(self) -> bool:
        """Whether too much waits for the disk, so that nothing new is accepted, proposed or fetched for now.

        The log's own limit is not enough: it evicts decided entries, which the outstanding writes still hold.
        """
        return self.bytes > self.bytes_max

    @property
    def out(self) -> Sequence[object]:
        """The outstanding writes, oldest first."""
        return self._out

    def oldest_age(self, now: float) -> float:
        """Return the age of the oldest outstanding write in seconds; 0 without one."""
        return now - self._out[0].since if self._out else 0.0
