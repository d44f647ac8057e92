"""One call of the replica: what it sends and writes, collected until the call returns.

Also keeps count of the writes that are out and of what waits for them, because a turn is where
a write gets its number. What waits is a value and not a callback, so that the state of a replica
can be copied and compared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from paxospp.engine.acceptor import NOTHING
from paxospp.engine.output import Output, merge
from paxospp.messages import Accept, Accepted, ProtocolMessage
from paxospp.model import Ballot, NodeId, Slot
from paxospp.storage.contract import WriteBatch


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


class Turn:
    """``now`` is active time, see ``clock``; ``boot_time`` goes on while this replica does not run, see ``lease``."""

    def __init__(self, now: float, boot_clock: Callable[[float], float] | None = None, driver_now: float = 0.0) -> None:
        """``boot_clock`` makes boot time of ``driver_now``, which is that itself without one; few turns ask for it."""
        self.now = now
        self._boot_clock = boot_clock
        self._driver_now = driver_now
        self.output = Output()
        self.sent_accept = False
        self._batches: list[WriteBatch] = []
        self._then: list[Durable] = []

    def send(self, to: NodeId, message: ProtocolMessage) -> None:
        """Queue ``message``; whether it waits for the writes of this turn is not for us to say."""
        if isinstance(message, Accept):
            self.sent_accept = True
        self.output.send(to, message)

    def send_all(self, to: Iterable[NodeId], message: ProtocolMessage) -> None:
        for peer in to:
            self.send(peer, message)

    def write(self, batch: WriteBatch, then: Durable | None = None) -> None:
        """Hand ``batch`` to the storage; the replica is told ``then`` when it and all earlier ones are durable."""
        if batch is not NOTHING:
            self._batches.append(batch)
            if then is not None:
                self._then.append(then)

    def finish(self, writes: Writes, decided: Slot | None) -> Output:
        """The output, with one merged write; ``decided`` rides along with it if there is one."""
        batches = self._batches
        if batches:
            if decided is not None:
                batches.append(WriteBatch(decided=decided, sync=False))
            self.output.persist = merge(batches)
            writes.hand_out(self.now, self._then)
        self.output.token = writes.last_token
        return self.output

    @property
    def boot_time(self) -> float:
        """As of the call: no earlier than the turn began, and before anything of it leaves."""
        return self._driver_now if self._boot_clock is None else self._boot_clock(self._driver_now)

    @property
    def writes(self) -> bool:
        """Whether anything is to be written."""
        return bool(self._batches)


@dataclass(slots=True)
class _Write:
    token: int
    since: float
    then: list[Durable]


class Writes:
    """Numbers writes from 1, and knows what each was for until it returned."""

    def __init__(self) -> None:
        self.last_token = 0
        self._out: deque[_Write] = deque()

    def hand_out(self, now: float, then: list[Durable]) -> None:
        """A write leaves now and gets the next number; ``returned`` yields ``then`` when it has returned."""
        self.last_token += 1
        self._out.append(_Write(self.last_token, now, then))

    def returned(self, token: int) -> Iterator[Durable]:
        """What was waiting for the writes up to ``token``."""
        while self._out and self._out[0].token <= token:
            yield from self._out.popleft().then

    @property
    def out(self) -> Sequence[object]:
        """The writes that are out, oldest first."""
        return self._out

    def oldest_age(self, now: float) -> float:
        """Seconds since the oldest write that is out was handed out; 0 when none is."""
        return now - self._out[0].since if self._out else 0.0
