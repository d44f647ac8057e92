"""Clients in the process of a node, as a user's service is: each makes one call at a time, and waits for its end.

Their calls go through the node's own parts, and the clients end with the node. Remote clients are in
``remote_clients``.
"""

from __future__ import annotations

import asyncio

from paxospp.calls import Consistency
from paxospp.errors import CallError, CommandError, OverloadedError, RejectedError, UnavailableError
from paxospp.testing.simulation.clients.client_context import ClientContext
from paxospp.testing.simulation.clients.drawn_calls import Drawn
from paxospp.testing.simulation.judges.call_history import TrackedCall
from paxospp.testing.simulation.rule_broken import RuleBroken
from paxospp.testing.simulation.world.host import SimulatedHost
from paxospp.testing.simulation.world.virtual_time import VirtualLoop


class EmbeddedClient:
    """One caller of ``Node.execute`` and ``Node.query``; it reports its calls to the history."""

    def __init__(self, clients: ClientContext, number: int) -> None:
        self.world = clients.world
        self.clients = clients
        self.name = f"client {number}"
        self.home: SimulatedHost = clients.random.choice(self.world.hosts)
        self.is_single = False
        """Whether it makes one call only."""
        self.operation: TrackedCall | None = None
        self.loop: VirtualLoop | None = None

    def rest(self) -> None:
        """Schedule the next call."""
        if self.clients.on and not self.is_single:
            self.world.clock.after(self.clients.random.expovariate(1 / self.world.plan.pace_s), self._step)

    def _step(self, _: object) -> None:
        if self.operation is not None or not self.clients.on:
            return
        if self.home.runtime is None or self.clients.random.random() < 0.05:
            self.home = self.clients.random.choice(self.world.hosts)
        if self.home.runtime is None:
            self.rest()
            return
        self.world.clock.trace(self.home.index * 256 + 5)
        self.call(self.clients.calls.next(), timeout_s=self.clients.next_timeout_s())

    def call(self, drawn: Drawn, *, timeout_s: float) -> None:
        """Call the node of this client, which is up."""
        assert self.home.loop is not None
        self.loop = self.home.loop
        self.operation = self.world.history.begin(
            self.name, drawn.payload, is_read=drawn.is_read, age_s=drawn.age_s if drawn.is_read else None
        )
        self.home.take(self.loop, self._call, (self.operation, drawn.consistency, timeout_s))

    def _call(self, operation: TrackedCall, consistency: Consistency, timeout_s: float) -> None:
        runtime = self.home.runtime
        assert runtime is not None
        try:
            if operation.is_read:
                future = runtime.queries.ask(operation.payload, timeout_s, consistency)
            else:
                future = runtime.local.execute(operation.payload, timeout_s)
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
                    raise RuleBroken("12", f"{operation.client} has an answer that no node gave")
                runtime = self.home.runtime
                if runtime is not None and operation.index > runtime.executor.applied:
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
        """End the call, if the process of this client died."""
        operation = self.operation
        if operation is not None and host is self.home:
            self._end(operation, "unknown")


class Probe(EmbeddedClient):
    """A client that calls one node until it is answered."""

    def __init__(self, clients: ClientContext, host: SimulatedHost) -> None:
        super().__init__(clients, -1 - host.index)
        self.home = host
        self.is_done = False
        self._try()

    def _try(self, _: object = None) -> None:
        if self.home.runtime is None:
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
