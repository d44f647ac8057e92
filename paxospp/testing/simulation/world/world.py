"""The world of one run: a clock, the hosts, the network between them, and the judges.

It does nothing by itself. The injector causes faults, the clients make calls, and ``phases`` says for how long.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from paxospp.errors import ConfigError, CorruptedError
from paxospp.events import Event, FaultFound, LeaderChanged, SnapshotInstalled
from paxospp.messages import Message
from paxospp.model import NodeId
from paxospp.testing.simulation.faults.disk_faults import InjectedError
from paxospp.testing.simulation.judges.applied_log import AppliedLog
from paxospp.testing.simulation.judges.call_history import CallHistory
from paxospp.testing.simulation.judges.invariants import Invariants
from paxospp.testing.simulation.judges.observed import ObservedHost
from paxospp.testing.simulation.plan import RunPlan
from paxospp.testing.simulation.reach.tally import RunReach
from paxospp.testing.simulation.rule_broken import RuleBroken
from paxospp.testing.simulation.validation.validator import Validator
from paxospp.testing.simulation.world.host import LocalFaultError, SimulatedHost, StartFaults
from paxospp.testing.simulation.world.network import SimulatedNetwork
from paxospp.testing.simulation.world.virtual_time import Clock

_NUMBER = re.compile(r"\d+")


class WorldFaults(StartFaults, Protocol):
    """The injector of faults, as the world sees it."""

    @property
    def swapped(self) -> Sequence[tuple[SimulatedHost, SimulatedHost]]:
        """Nodes that have each other's disk now."""

    def on_leader(self, host: SimulatedHost) -> None:
        """Note that ``host`` leads from now on."""

    def restart_later(self, host: SimulatedHost) -> None:
        """Start ``host`` again after a while."""

    def wall_clock(self, host: SimulatedHost) -> int:
        """Return what the wall clock of ``host`` says, in microseconds since 1970."""


class HostWatcher(Protocol):
    """Something that follows hosts: the clients, or the reader of a change feed."""

    def on_down(self, host: SimulatedHost) -> None:
        """Note that the process of ``host`` is gone."""


class Callers(HostWatcher, Protocol):
    """The clients, as faults see them."""

    def call_at_once(self, host: SimulatedHost, count: int, *, writes: bool = False) -> None:
        """Make ``count`` calls on ``host`` now, each by a client of its own."""

    def set_lease(self, host: SimulatedHost, duration_us: int) -> None:
        """Set the length of leases, by a call on ``host``."""


class SimulatedWorld:
    """Everything that one run consists of.

    ``make_injector`` makes the object that injects faults. The run adds clients and watchers.
    """

    def __init__(self, plan: RunPlan, make_injector: Callable[[SimulatedWorld], WorldFaults]) -> None:
        self.plan = plan
        self.seed = plan.seed
        self.clock = Clock()
        self.coverage: Counter[str] = Counter()
        self.reach = RunReach()
        self.invariants = Invariants(self.coverage)
        self.applied_log = AppliedLog(
            plan.machine(), self.coverage, plan.invariant, self.invariants.step_rules.check_covers
        )
        self.history = CallHistory(self.applied_log, self.coverage, lambda: self.clock.now)
        self.network = SimulatedNetwork(
            str(plan.seed), self.clock, plan.faults, watch=self._on_send, coverage=self.coverage
        )
        names = [NodeId(f"n{number}") for number in range(1, plan.nodes + 1)]
        self.validator = Validator(names, lambda name: self.host(name).boot_time()) if plan.validates else None
        """Compares every step with the executable specification, if the plan says so."""
        self.addresses = {name: f"{name}:1" for name in names}
        self.hosts = [SimulatedHost(self, index, name) for index, name in enumerate(names)]
        self.network.connect(self.hosts)
        self.injector = make_injector(self)
        self.clients: Callers | None = None
        self.watchers: Sequence[HostWatcher] = ()
        self.leader_changes = 0

    # What hosts report.

    def _on_send(self, host: ObservedHost, to: NodeId, message: Message) -> None:
        self.invariants.on_send(host, to, message)
        if self.validator is not None:
            self.validator.on_send(host, message)

    def on_event(self, host: SimulatedHost, event: Event) -> None:
        if isinstance(event, LeaderChanged):
            if event.leader == host.name:
                self.leader_changes += 1
                self.injector.on_leader(host)
        elif isinstance(event, SnapshotInstalled):
            self.coverage["a peer's snapshot was installed"] += 1
        elif isinstance(event, FaultFound):
            if event.peer is not None:
                self.invariants.step_rules.on_accused(host, event.reason)
            self.coverage["a fault was found: " + _NUMBER.sub("#", event.reason.split(":")[0])] += 1

    def on_failed(self, host: SimulatedHost, cause: Exception) -> None:
        """Check that ``host``, which stopped by itself, was given a reason to."""
        if any(isinstance(reason, InjectedError | LocalFaultError) for reason in _chain(cause)):
            self.coverage["a node stopped by itself"] += 1
        elif isinstance(cause, ConfigError) and self.injector.swapped:
            self.coverage["a swapped disk was refused"] += 1
        elif host.disk.image.unreadable is not None:
            self.coverage["a damaged promise was refused"] += 1
        elif len(self.hosts) == 1 and host.disk.image.snapshot_is_damaged and host.disk.image.first > 1:
            self.coverage["a damaged snapshot was refused"] += 1  # nobody has another, and the log below is gone
        elif isinstance(cause, CorruptedError) and host.disk.image.snapshot_is_damaged and host.is_installing:
            self.coverage["a snapshot was damaged before it was restored"] += 1
        else:
            raise RuleBroken("a node stopped", f"{host.name}: {type(cause).__name__}: {cause}") from cause

    def on_down(self, host: SimulatedHost) -> None:
        self.injector.restart_later(host)
        if self.clients is not None:
            self.clients.on_down(host)
        for watcher in self.watchers:
            watcher.on_down(host)

    # What hosts ask.

    def wall_clock(self, host: SimulatedHost) -> int:
        return self.injector.wall_clock(host)

    # What others ask.

    @property
    def event_hash(self) -> str:
        """Return the hash of all events and of everything that was applied."""
        self.clock.trace_bytes(self.applied_log.digests[-1])
        return self.clock.event_hash

    def host(self, name: NodeId) -> SimulatedHost:
        return next(host for host in self.hosts if host.name == name)

    @property
    def leaders(self) -> list[SimulatedHost]:
        return [host for host in self.hosts if host.runtime is not None and host.runtime.replica.leading]


def _chain(cause: BaseException | None) -> Iterator[BaseException]:
    """Yield ``cause`` and the exceptions that it came from."""
    while cause is not None:
        yield cause
        cause = cause.__cause__
