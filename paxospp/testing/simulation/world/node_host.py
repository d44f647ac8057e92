"""The view that the parts of a simulated node have of their host, and of the world around it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Protocol

from paxospp.events import Event
from paxospp.messages import Message
from paxospp.model import NodeId
from paxospp.node.observer import NodeObserver
from paxospp.testing.simulation.faults.disk_faults import DiskFaults, DiskHost, DiskWorld
from paxospp.testing.simulation.judges.applied_log import AppliedLog
from paxospp.testing.simulation.judges.call_history import CallHistory
from paxospp.testing.simulation.judges.invariants import Invariants
from paxospp.testing.simulation.judges.observed import (
    ObservedCluster,
    ObservedHost,
    ObservedNetwork,
)
from paxospp.testing.simulation.reach.tally import RunReach
from paxospp.testing.simulation.validation.validator import Validator
from paxospp.testing.simulation.world.virtual_time import VirtualLoop


class NodeNetwork(ObservedNetwork, Protocol):
    """The network, as a node that sends sees it."""

    def send(self, source: ObservedHost, to: NodeId, message: Message) -> None: ...


class CommandFaults(Protocol):
    """Faults that may be injected while a command is executed."""

    def on_command(self) -> None:
        """Raise LocalFaultError if this command fails on this machine."""


class NodeWorld(ObservedCluster, DiskWorld, Protocol):
    """The world, as the parts of a node see it."""

    @property
    def seed(self) -> int: ...

    @property
    def applied_log(self) -> AppliedLog: ...

    @property
    def history(self) -> CallHistory: ...

    @property
    def invariants(self) -> Invariants: ...

    @property
    def validator(self) -> Validator | None: ...

    @property
    def reach(self) -> RunReach: ...

    @property
    def network(self) -> NodeNetwork: ...

    @property
    def injector(self) -> CommandFaults: ...

    def host(self, name: NodeId) -> ObservedHost: ...


class NodeHost(ObservedHost, DiskHost, Protocol):
    """The host, as the parts of its node see it."""

    executed: int

    @property
    def world(self) -> NodeWorld: ...

    @property
    def loop(self) -> VirtualLoop | None:
        """The event loop of the present boot; None while the node is down."""

    @property
    def observer(self) -> NodeObserver: ...

    @property
    def disk_faults(self) -> DiskFaults: ...

    @property
    def random(self) -> Random: ...

    @property
    def reloads(self) -> Random: ...

    @property
    def cause(self) -> Exception | None: ...

    @property
    def killed(self) -> type[BaseException]: ...

    def on_event(self, event: Event) -> None: ...

    def fail(self, cause: Exception) -> None: ...

    def crash(self) -> None: ...

    def unix_time(self) -> int: ...

    def random_bits(self, bits: int) -> int: ...

    def dies_here(self) -> bool: ...

    def on_written(self) -> None: ...

    def waits_for_disk(self, handler: Callable[[Any], None], argument: Any) -> bool: ...

    def take(self, loop: VirtualLoop | None, callback: Callable[..., object], arguments: tuple[Any, ...]) -> None: ...
