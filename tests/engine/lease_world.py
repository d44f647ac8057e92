"""A small virtual world of replicas without nodes, each with its own clock, to see who leads at the same time.

It has only what leases need: links that lose and delay messages, disks that keep what was synced (meta
included), cut links, crashes, and clocks that run at different rates. Everything else is tested with the
simulator in ``paxospp.testing``.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from paxospp.engine.output import Output, Send, merge
from paxospp.engine.replica import Replica
from paxospp.engine.settings import Identity
from paxospp.messages import Sender
from paxospp.model import Ballot, Entry, NodeId, Slot
from paxospp.storage.contract import DurableState, WriteBatch
from paxospp.testing.engine_settings import engine_settings


@dataclass
class Host:
    """One replica and its disk; the disk survives a crash of the replica."""

    name: NodeId
    rate: float
    incarnation: int
    boot: int = 0
    promised: Ballot | None = None
    decided: Slot = Slot(0)
    entries: dict[Slot, Entry] = field(default_factory=dict)
    meta: dict[str, bytes] = field(default_factory=dict)
    replica: Replica | None = None
    queue: list[tuple[int, WriteBatch]] = field(default_factory=list)
    held: list[tuple[int, list[Send]]] = field(default_factory=list)
    persisted: int = 0
    writing: bool = False
    starts: int = 0
    wake_at: float = float("inf")

    def clock(self, now: float) -> float:
        return now * self.rate

    def store(self, batch: WriteBatch) -> None:
        self.promised = batch.promised or self.promised
        self.decided = max(self.decided, batch.decided or Slot(0))
        self.entries.update((entry.slot, entry) for entry in batch.accepted)
        self.meta.update(batch.meta)


class LeaseWorld:
    """Hosts, their links and the true time."""

    def __init__(self, seed: int, size: int, *, drift: float) -> None:
        self.random = Random(f"{seed} lease world")
        self.now = 100.0
        self.loss = 0.0
        self.slow_s = 0.0
        self.cut: set[tuple[NodeId, NodeId]] = set()
        names = [NodeId(f"n{number}") for number in range(1, size + 1)]
        self.cluster = {name: f"{name}:1" for name in names}
        self.hosts = {
            name: Host(name, self.random.choice([1 - drift, 1 + drift]), self.random.getrandbits(60)) for name in names
        }
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    # Time.

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, event = heapq.heappop(self._events)
            event()
        self.now = end

    def _after(self, host: Host, delay: float, event: Callable[[Replica], None]) -> None:
        starts = host.starts

        def due() -> None:
            if host.starts == starts and host.replica is not None:
                event(host.replica)

        self._count += 1
        heapq.heappush(self._events, (self.now + delay, self._count, due))

    # Starting and crashing.

    def start(self, host: Host) -> None:
        host.starts += 1
        host.boot += 1
        host.queue, host.held, host.persisted, host.writing = [], [], 0, False
        host.wake_at = float("inf")
        identity = Identity(
            name=host.name,
            group=0,
            incarnation=host.incarnation,
            boot=host.boot,
            nonce=self.random.getrandbits(60),
            cluster=self.cluster,
        )
        last = Slot(max(host.entries, default=0))
        state = DurableState(promised=host.promised, decided=host.decided, last=last, meta=dict(host.meta))
        random = Random(self.random.getrandbits(60))
        host.replica = Replica(identity, state, engine_settings(), random, boot_time=host.clock)
        self.honour(host, host.replica.start(self.now))

    def crash(self, host: Host) -> None:
        """Stop the replica; a random prefix of its outstanding writes reaches the disk."""
        host.starts += 1
        host.replica = None
        for _, batch in host.queue[: self.random.randint(0, len(host.queue))]:
            host.store(batch)

    def leaders(self) -> list[Replica]:
        return [host.replica for host in self.hosts.values() if host.replica is not None and host.replica.leading]

    # Carrying out an output.

    def honour(self, host: Host, output: Output) -> None:
        for send in output.send_now:
            self._transmit(host, send)
        if output.persist is not None:
            host.queue.append((output.token, output.persist))
        if output.send_after_persist:
            host.held.append((output.token, output.send_after_persist))
        self._release(host)
        if host.queue and not host.writing:
            host.writing = True
            self._after(host, self.random.expovariate(1 / 0.002), lambda replica: self._written(host, replica))
        for wanted in output.log_reads:
            held = [host.entries[slot] for slot in sorted(host.entries) if wanted.start <= slot < wanted.stop]
            self._after(
                host,
                0.001,
                lambda r, w=wanted, e=held: self.honour(host, r.on_log_read(w.token, e, self.now)),  # type: ignore[misc]
            )
        if output.wake_at < host.wake_at:
            host.wake_at = output.wake_at
            self._after(host, max(output.wake_at - self.now, 0.001), lambda replica: self._tick(host, replica))

    def _tick(self, host: Host, replica: Replica) -> None:
        if host.wake_at <= self.now:
            host.wake_at = float("inf")
            self.honour(host, replica.on_tick(self.now))

    def _written(self, host: Host, replica: Replica) -> None:
        host.writing = False
        taken, host.queue = host.queue, []
        host.store(merge([batch for _, batch in taken]))
        host.persisted = taken[-1][0]
        self._release(host)
        self.honour(host, replica.on_persisted(host.persisted, self.now))

    def _release(self, host: Host) -> None:
        while host.held and host.held[0][0] <= host.persisted:
            for send in host.held.pop(0)[1]:
                self._transmit(host, send)

    def _transmit(self, host: Host, send: Send) -> None:
        assert host.replica is not None
        sender: Sender = host.replica.sender
        to = self.hosts[send.to]
        if (host.name, send.to) in self.cut or self.random.random() < self.loss:
            return
        delay = self.random.expovariate(1 / 0.002)
        if self.random.random() < 0.02:
            delay += self.random.random() * self.slow_s
        message: Any = send.message
        self._after(to, delay, lambda replica: self._arrive(to, replica, sender, message))

    def _arrive(self, host: Host, replica: Replica, sender: Sender, message: Any) -> None:
        if (sender.node, host.name) not in self.cut:
            self.honour(host, replica.on_message(sender, message, self.now))
