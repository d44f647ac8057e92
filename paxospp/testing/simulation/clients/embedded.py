"""Clients: each makes one call at a time, waits for its end, and tells the history about it.

An *embedded* client lives in the process of a node, as a user's service does: its calls go
through the node's own rooms, and it is gone with the node. Those of ``remote_clients`` live elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING

from paxospp.calls import Consistency
from paxospp.errors import CallError, CommandError, OverloadedError, RejectedError, UnavailableError
from paxospp.messages import ForwardRuns
from paxospp.sessions.runs import Run, encode_run
from paxospp.testing.simulation.clients.drawn_calls import CallDrawer, Drawn
from paxospp.testing.simulation.clients.remote import RemoteClient
from paxospp.testing.simulation.judges.call_history import TrackedCall
from paxospp.testing.simulation.rule_broken import RuleBroken
from paxospp.testing.simulation.world.host import SimulatedHost
from paxospp.testing.simulation.world.virtual_time import VirtualLoop

if TYPE_CHECKING:
    from paxospp.testing.simulation.world.world import SimulatedWorld

REMOTE = 0.4
"""How many of all clients live elsewhere."""


class EmbeddedClient:
    """One caller of ``Node.execute`` and ``Node.query``."""

    def __init__(self, clients: Clients, number: int) -> None:
        self.world = clients.world
        self.clients = clients
        self.name = f"client {number}"
        self.home: SimulatedHost = clients.random.choice(self.world.hosts)
        self.is_single = False
        """Whether it makes one call and no more."""
        self.operation: TrackedCall | None = None
        self.life: VirtualLoop | None = None

    def rest(self) -> None:
        """Make the next call in a while."""
        if self.clients.on and not self.is_single:
            self.world.clock.after(self.clients.random.expovariate(1 / self.world.plan.pace_s), self._step)

    def _step(self, _: object) -> None:
        if self.operation is not None or not self.clients.on:
            return
        if self.home.parts is None or self.clients.random.random() < 0.05:
            self.home = self.clients.random.choice(self.world.hosts)
        if self.home.parts is None:
            self.rest()
            return
        self.world.clock.trace(self.home.index * 256 + 5)
        self.call(self.clients.calls.next(), timeout_s=self.clients.next_timeout_s())

    def call(self, drawn: Drawn, *, timeout_s: float) -> None:
        """Call on the node this client lives with, which is up."""
        assert self.home.loop is not None
        self.life = self.home.loop
        self.operation = self.world.history.begin(
            self.name, drawn.payload, is_read=drawn.is_read, age_s=drawn.age_s if drawn.is_read else None
        )
        self.home.take(self.life, self._call, (self.operation, drawn.consistency, timeout_s))

    def _call(self, operation: TrackedCall, consistency: Consistency, timeout_s: float) -> None:
        parts = self.home.parts
        assert parts is not None
        try:
            if operation.is_read:
                future = parts.queries.ask(operation.payload, timeout_s, consistency)
            else:
                future = parts.local.execute(operation.payload, timeout_s)
                self.world.history.operations[future] = operation
        except (OverloadedError, UnavailableError, RejectedError) as error:
            self._end(operation, "not sent")
            if isinstance(error, RejectedError) and len(operation.payload) <= self.world.plan.config.value_bytes_max:
                raise RuleBroken("a call was refused", f"{operation.payload!r}: {error}") from error
            return
        future.add_done_callback(lambda future: self._on_done(operation, future))

    def _on_done(self, operation: TrackedCall, future: asyncio.Future[bytes]) -> None:
        if future.cancelled():
            return
        self.world.history.operations.pop(future, None)
        error = future.exception()
        match error:
            case None | CommandError():
                outcome = "answered"
                if not operation.answered and operation is self.operation:
                    raise RuleBroken("12", f"{operation.client} has an answer that nobody gave")
                parts = self.home.parts
                if parts is not None and operation.index > parts.executor.applied:
                    raise RuleBroken(
                        "12", f"{self.home.name} answers from slot {operation.index}, not yet applied there"
                    )
            case UnavailableError() | OverloadedError():
                outcome = "refused" if operation.is_read else "not sent"
            case RejectedError():
                outcome = "rejected"
            case CallError():
                outcome = "unknown"
            case _:
                raise RuleBroken("a call ended badly", repr(error)) from error
        self._end(operation, outcome)

    def _end(self, operation: TrackedCall, outcome: str) -> None:
        if outcome != "answered":
            self.world.history.give_up(operation, outcome)
        if operation is self.operation:
            self.operation = None
            self.rest()

    def on_down(self, host: SimulatedHost) -> None:
        """Its process died."""
        operation = self.operation
        if operation is not None and host is self.home:
            self._end(operation, "unknown")


class Probe(EmbeddedClient):
    """Calls on one node until it is answered."""

    def __init__(self, clients: Clients, host: SimulatedHost) -> None:
        super().__init__(clients, -1 - host.index)
        self.home = host
        self.is_done = False
        self._try()

    def _try(self, _: object = None) -> None:
        if self.home.parts is None:
            self.world.clock.after(0.05, self._try)
            return
        self.call(self.clients.calls.next(), timeout_s=30.0)

    def _end(self, operation: TrackedCall, outcome: str) -> None:
        if outcome != "answered":
            self.world.history.give_up(operation, outcome)
        self.operation = None
        self.is_done = outcome == "answered"
        if not self.is_done:
            self.world.clock.after(0.05, self._try)


class Clients:
    """All clients of a run."""

    def __init__(self, world: SimulatedWorld) -> None:
        self.world = world
        self.random = Random(f"{world.seed} clients")
        self.calls = CallDrawer(world.plan, type(world.history.reference.machine))
        self.on = False
        self.harm = Random(f"{world.seed} K2 K3 K4")
        self.everyone: list[EmbeddedClient | RemoteClient] = [
            RemoteClient(self, number) if self.random.random() < REMOTE else EmbeddedClient(self, number)
            for number in range(world.plan.clients)
        ]
        self.probes: list[Probe] = []
        self.bursts: list[EmbeddedClient] = []
        self._impatience = Random(f"{world.seed} K1")

    def begin(self) -> None:
        self.on = True
        for client in self.everyone:
            client.rest()
        faults = self.world.plan.faults
        for rate, strike in (
            (faults.client_crash_rate, self._crash_one),
            (faults.burst_rate, self._burst),
            (faults.hostile_rate, self._be_hostile),
        ):
            if rate:
                self._again((rate, strike))

    def _again(self, what: tuple[float, Callable[[], None]]) -> None:
        self.world.clock.after(self.harm.expovariate(what[0]), self._strike, what)

    def _strike(self, what: tuple[float, Callable[[], None]]) -> None:
        if self.on:
            what[1]()
            self._again(what)

    def _crash_one(self) -> None:
        """K2: a client is gone, with what it was waiting for."""
        remote = [client for client in self.everyone if isinstance(client, RemoteClient)]
        if remote:
            self.harm.choice(remote).crash()
            self.world.coverage["a client was killed"] += 1

    def _burst(self) -> None:
        """K3: many calls at once on one node; what it has no room for is refused and never applied."""
        host = self.harm.choice(self.world.hosts)
        if host.parts is None or host.asleep:
            return
        self.call_at_once(host, self.harm.randint(20, 200))
        self.world.coverage["many calls came at once"] += 1

    def call_at_once(self, host: SimulatedHost, count: int, *, writes: bool = False) -> None:
        """So many calls on one node, each by a client of its own, as far as that node takes them; perhaps no reads."""
        for _ in range(count):
            if host.parts is None or host.asleep:
                break
            drawn = self.calls.next()
            while writes and drawn.is_read:
                drawn = self.calls.next()
            self._call_once(host, drawn)
        self.bursts = [burst for burst in self.bursts if burst.operation is not None]

    def set_lease(self, host: SimulatedHost, duration_us: int) -> None:
        """Make leases so long, by a call on ``host``; 0: there are none."""
        if host.parts is not None and not host.asleep:
            self._call_once(host, self.calls.set_lease(duration_us))

    def _call_once(self, host: SimulatedHost, drawn: Drawn) -> None:
        burst = EmbeddedClient(self, 1000 + len(self.bursts))
        burst.home = host
        burst.is_single = True
        self.bursts.append(burst)
        burst.call(drawn, timeout_s=3.0)

    def _be_hostile(self) -> None:
        """K4: what is too large or makes no sense is refused before anybody proposes it."""
        host = self.harm.choice(self.world.hosts)
        if host.parts is None or host.asleep:
            return
        harm = self.harm
        large = bytes([3]) + b"add" + harm.randbytes(self.world.plan.config.value_bytes_max)
        nonsense = bytes([harm.randint(1, 255)]) + harm.randbytes(harm.randint(0, 40))
        payload = harm.choice((large, nonsense, bytes([200]) + b"no such name"))
        assert host.loop is not None
        host.take(host.loop, self._call_badly, (host, payload))
        self.world.coverage["a call made no sense"] += 1

    def _call_badly(self, host: SimulatedHost, payload: bytes) -> None:
        parts = host.parts
        assert parts is not None
        if self.harm.random() < 0.5:
            with suppress(RejectedError, OverloadedError):
                parts.local.execute(payload, 1.0)
                raise RuleBroken("K4", f"{host.name} took {payload[:40]!r} for a command")
            return
        # From a peer, past that peer's own front door.
        runs = (payload, encode_run(Run(0, self.harm.randbytes(16), 1, 0, [payload])))
        sender = self.harm.choice(self.world.hosts).sender
        parts.hear(sender, (ForwardRuns(runs=runs),))

    def end(self) -> None:
        """No new calls."""
        self.on = False

    def next_timeout_s(self) -> float:
        chance = self.world.plan.faults.impatience
        if chance and self._impatience.random() < chance:
            return 0.001 + 0.1 * self._impatience.random()
        return 3.0

    def probe(self, host: SimulatedHost) -> Probe:
        """A call on ``host`` that has to be answered."""
        probe = Probe(self, host)
        self.probes.append(probe)
        return probe

    def on_down(self, host: SimulatedHost) -> None:
        for client in (*self.everyone, *self.probes, *self.bursts):
            client.on_down(host)

    @property
    def waiting(self) -> list[EmbeddedClient | RemoteClient]:
        """Those whose call has not ended."""
        return [client for client in (*self.everyone, *self.bursts) if client.operation is not None]
