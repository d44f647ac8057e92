"""One call of the replica: what it sends and writes, collected until the call returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from paxospp.engine.acceptor import NOTHING
from paxospp.engine.output import Output, merge, value_bytes
from paxospp.engine.writes import Durable, Writes
from paxospp.messages import Accept, ProtocolMessage
from paxospp.model import NodeId, Slot
from paxospp.storage.contract import WriteBatch


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
            batch = self.output.persist = merge(batches)
            writes.hand_out(self.now, self._then, value_bytes(batch))
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
