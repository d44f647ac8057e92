"""The view that judges have of a run: protocols of hosts, of the cluster around them, and of its links.

Judges read these and change nothing but ``LastSeen``, in which they note what they saw last of one boot of a host.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from paxospp.messages import Sender
from paxospp.model import Ballot, NodeId, Slot
from paxospp.node.runtime import Runtime
from paxospp.testing.simulation.plan import RunPlan
from paxospp.testing.simulation.world.disk import SimulatedDisk
from paxospp.testing.simulation.world.virtual_time import Clock


@dataclass(slots=True)
class LastSeen:
    """The latest state of one boot of a host that the judges saw; a start of the host begins a new record."""

    promised: Ballot | None = None
    decided: int = 0
    applied: Slot = Slot(0)
    role: object = None
    round: int = 0
    """The latest round of heartbeats that the node began."""


class ObservedHost(Protocol):
    """One node, up or down, with its disk."""

    @property
    def name(self) -> NodeId: ...

    @property
    def index(self) -> int:
        """The place of the node among the nodes of the run, from 0."""

    @property
    def world(self) -> ObservedCluster: ...

    @property
    def disk(self) -> SimulatedDisk: ...

    @property
    def runtime(self) -> Runtime | None:
        """The running node; None while it is down or loading."""

    @property
    def sender(self) -> Sender:
        """The identity under which the node speaks; the last one while it is down."""

    @property
    def record(self) -> LastSeen: ...

    @property
    def began_at(self) -> float:
        """The time of the world at which this boot of the node began to take part."""

    @property
    def executed(self) -> int:
        """How many commands of the entry applied last were executed."""

    @property
    def has_vote(self) -> bool:
        """Whether the present incarnation votes, as far as that is settled."""

    @property
    def is_made_to_campaign(self) -> bool:
        """Whether the simulation makes the node campaign now, although its own rules might not let it."""

    def boot_time(self) -> float:
        """Return the boot time of the node, in seconds: a clock that never stops."""

    def world_time_of(self, boot_time: float) -> float:
        """Return the time of the world, in seconds, at which the boot time of the node is ``boot_time``."""

    def finds_faulty(self, slot: Slot) -> bool:
        """Return whether the running node considers ``slot`` damaged."""


class ObservedPath(Protocol):
    """The link from one host to another."""

    @property
    def source(self) -> ObservedHost: ...

    @property
    def target(self) -> ObservedHost: ...

    @property
    def cut(self) -> bool: ...


class ObservedNetwork(Protocol):
    """All links of a run."""

    @property
    def paths(self) -> Iterable[ObservedPath]: ...


class ObservedCluster(Protocol):
    """The hosts of a run, and what they have in common."""

    @property
    def clock(self) -> Clock: ...

    @property
    def plan(self) -> RunPlan: ...

    @property
    def hosts(self) -> Sequence[ObservedHost]: ...

    @property
    def leaders(self) -> Sequence[ObservedHost]:
        """The hosts that believe now that they lead."""

    @property
    def network(self) -> ObservedNetwork: ...
