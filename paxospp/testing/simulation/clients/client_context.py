"""The context that the clients of a run share."""

from __future__ import annotations

from random import Random

from paxospp.testing.simulation.clients.drawn_calls import CallDrawer
from paxospp.testing.simulation.world.world import SimulatedWorld


class ClientContext:
    """The world that clients call on, the calls that they make, and how long they wait."""

    def __init__(self, world: SimulatedWorld) -> None:
        self.world = world
        self.random = Random(f"{world.seed} clients")
        self.calls = CallDrawer(world.plan, type(world.applied_log.reference.machine))
        self.on = False
        """Whether clients make new calls."""
        self._impatience = Random(f"{world.seed} K1")

    def next_timeout_s(self) -> float:
        chance = self.world.plan.faults.impatience
        if chance and self._impatience.random() < chance:
            return 0.001 + 0.1 * self._impatience.random()
        return 3.0
