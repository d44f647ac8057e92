"""The base of ``FaultInjector``, with what all injectors share: the switch, random streams, victims and restarts."""

from __future__ import annotations

from random import Random

from paxospp.testing.simulation.faults.families import Faults
from paxospp.testing.simulation.world.disk import SimulatedDisk
from paxospp.testing.simulation.world.host import SimulatedHost
from paxospp.testing.simulation.world.network import KEEP_ALIVE_S
from paxospp.testing.simulation.world.world import SimulatedWorld

RESTART_S = 1.0
"""Mean time after which an operator restarts a node."""
RESTART_SOON_S = 0.1
"""Exact time after which a node restarts once no new faults are injected."""


class InjectorBase:
    """State and actions that the injectors of all families share."""

    def __init__(self, world: SimulatedWorld) -> None:
        self.world = world
        self.faults: Faults = world.plan.faults
        self.is_on = False
        """Whether new faults are injected."""
        self.swapped: list[tuple[SimulatedHost, SimulatedHost]] = []
        """Nodes that have each other's disk now."""
        self._random: dict[str, Random] = {}
        choice = self.stream("who may be damaged").sample(world.hosts, len(world.hosts))
        for host in choice[: (len(choice) - 1) // 2]:
            host.may_be_damaged = True
        self.wipeable = [host for host in choice if host.may_be_damaged]
        """Nodes that may lose their whole disk: a minority."""
        if world.plan.damages_all:
            for host in choice:
                host.may_be_damaged = True

    def stream(self, name: str) -> Random:
        """Return the random stream of one family of faults."""
        random = self._random.get(name)
        if random is None:
            random = self._random[name] = Random(f"{self.world.seed} {name} troubles")
        return random

    def victim(self, random: Random, hosts: list[SimulatedHost]) -> SimulatedHost:
        """Return one of ``hosts``: in half of all cases a leader, because faults of leaders do the most harm."""
        leaders = [host for host in self.world.leaders if host in hosts]
        return random.choice(leaders if leaders and random.random() < 0.5 else hosts)

    def restart_later(self, host: SimulatedHost) -> None:
        """Start the node again after a while, as its operator would; soon, once no new faults are injected.

        A node may stop even then: a slow disk had begun a write before, and that write fails.
        """
        down_s = self.stream("restarts").expovariate(1 / RESTART_S) if self.is_on else RESTART_SOON_S
        self.world.clock.after(down_s, self.restart, host)

    def restart(self, host: SimulatedHost) -> None:
        """Start ``host`` again, if it is down and may be started."""
        if host.loop is not None or not host.wants_up:
            return
        if host.disk.image.unreadable is not None:
            return
        for pair in self.swapped:
            if host in pair:
                return
        self.half_open(host)
        host.start()

    def half_open(self, host: SimulatedHost) -> None:
        """Perhaps make links to a restarted node half-open: their senders do not notice that they are dead (N8)."""
        faults, random = self.faults, self.stream("N8")
        if not faults.half_open or not self.is_on:
            return
        for path in self.world.network.paths:
            if path.target is host and random.random() < faults.half_open:
                path.dead_until = self.world.clock.now + random.random() * KEEP_ALIVE_S

    def wipe(self, host: SimulatedHost) -> None:
        """Kill ``host`` and give it an empty disk."""
        host.crash()
        host.disk = SimulatedDisk()
        host.sender = host.sender._replace(incarnation=0)
        self.world.coverage["a disk was wiped"] += 1
