"""All clients of a run: those that call from time to time, bursts of calls, and calls that make no sense."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from random import Random

from paxospp.errors import OverloadedError, RejectedError
from paxospp.messages import ForwardRuns
from paxospp.sessions.runs import Run, encode_run
from paxospp.testing.simulation.clients.client_context import ClientContext
from paxospp.testing.simulation.clients.drawn_calls import Drawn
from paxospp.testing.simulation.clients.embedded_clients import EmbeddedClient, Probe
from paxospp.testing.simulation.clients.remote_clients import RemoteClient
from paxospp.testing.simulation.rule_broken import RuleBroken
from paxospp.testing.simulation.world.host import SimulatedHost
from paxospp.testing.simulation.world.world import SimulatedWorld

REMOTE = 0.4
"""Share of the clients that are remote."""


class Clients(ClientContext):
    """Makes the clients of a run, and begins and ends their calls."""

    def __init__(self, world: SimulatedWorld) -> None:
        super().__init__(world)
        self.harm = Random(f"{world.seed} K2 K3 K4")
        self.everyone: list[EmbeddedClient | RemoteClient] = [
            RemoteClient(self, number) if self.random.random() < REMOTE else EmbeddedClient(self, number)
            for number in range(world.plan.clients)
        ]
        self.probes: list[Probe] = []
        self.bursts: list[EmbeddedClient] = []

    def begin(self) -> None:
        self.on = True
        for client in self.everyone:
            client.rest()
        faults = self.world.plan.faults
        for rate, act in (
            (faults.client_crash_rate, self._crash_one),
            (faults.burst_rate, self._burst),
            (faults.hostile_rate, self._be_hostile),
        ):
            if rate:
                self._harm_later((rate, act))

    def _harm_later(self, what: tuple[float, Callable[[], None]]) -> None:
        self.world.clock.after(self.harm.expovariate(what[0]), self._harm, what)

    def _harm(self, what: tuple[float, Callable[[], None]]) -> None:
        if self.on:
            what[1]()
            self._harm_later(what)

    def _crash_one(self) -> None:
        """Kill a remote client, with the call it is waiting for (K2)."""
        remote = [client for client in self.everyone if isinstance(client, RemoteClient)]
        if remote:
            self.harm.choice(remote).crash()
            self.world.coverage["a client was killed"] += 1

    def _burst(self) -> None:
        """Make many calls at once on one node (K3); calls that it has no room for are refused and never applied."""
        host = self.harm.choice(self.world.hosts)
        if host.runtime is None or host.asleep:
            return
        self.call_at_once(host, self.harm.randint(20, 200))
        self.world.coverage["many calls came at once"] += 1

    def call_at_once(self, host: SimulatedHost, count: int, *, writes: bool = False) -> None:
        """Make ``count`` calls on ``host`` now, each by a client of its own, as long as the node runs."""
        for _ in range(count):
            if host.runtime is None or host.asleep:
                break
            drawn = self.calls.next()
            while writes and drawn.is_read:
                drawn = self.calls.next()
            self._call_once(host, drawn)
        self.bursts = [burst for burst in self.bursts if burst.operation is not None]

    def set_lease(self, host: SimulatedHost, duration_us: int) -> None:
        """Set the length of leases by a call on ``host``; 0: no leases."""
        if host.runtime is not None and not host.asleep:
            self._call_once(host, self.calls.set_lease(duration_us))

    def _call_once(self, host: SimulatedHost, drawn: Drawn) -> None:
        burst = EmbeddedClient(self, 1000 + len(self.bursts))
        burst.home = host
        burst.is_single = True
        self.bursts.append(burst)
        burst.call(drawn, timeout_s=3.0)

    def _be_hostile(self) -> None:
        """Make a call that is too large or makes no sense (K4); it is refused before it is proposed."""
        host = self.harm.choice(self.world.hosts)
        if host.runtime is None or host.asleep:
            return
        harm = self.harm
        large = bytes([3]) + b"add" + harm.randbytes(self.world.plan.config.value_bytes_max)
        nonsense = bytes([harm.randint(1, 255)]) + harm.randbytes(harm.randint(0, 40))
        payload = harm.choice((large, nonsense, bytes([200]) + b"no such name"))
        assert host.loop is not None
        host.take(host.loop, self._call_badly, (host, payload))
        self.world.coverage["a call made no sense"] += 1

    def _call_badly(self, host: SimulatedHost, payload: bytes) -> None:
        runtime = host.runtime
        assert runtime is not None
        if self.harm.random() < 0.5:
            with suppress(RejectedError, OverloadedError):
                runtime.local.execute(payload, 1.0)
                raise RuleBroken("K4", f"{host.name} took {payload[:40]!r} for a command")
            return
        # A peer forwards it, and does not check it first.
        runs = (payload, encode_run(Run(0, self.harm.randbytes(16), 1, 0, [payload])))
        sender = self.harm.choice(self.world.hosts).sender
        runtime.receive(sender, (ForwardRuns(runs=runs),))

    def end(self) -> None:
        """Make no new calls."""
        self.on = False

    def probe(self, host: SimulatedHost) -> Probe:
        """Return a client that calls ``host`` until it is answered."""
        probe = Probe(self, host)
        self.probes.append(probe)
        return probe

    def on_down(self, host: SimulatedHost) -> None:
        for client in (*self.everyone, *self.probes, *self.bursts):
            client.on_down(host)

    @property
    def waiting(self) -> list[EmbeddedClient | RemoteClient]:
        """Return the clients whose call has not ended."""
        return [client for client in (*self.everyone, *self.bursts) if client.operation is not None]
