"""The deterministic simulator: real nodes on virtual time, networks and disks, under every fault we know.

``Simulation`` is the face; ``plan`` what a seed decides, ``phases`` the course of one run,
``world`` everything there is in it. ``virtual_time``, ``network``, ``disk`` and ``writing`` stand
in for what a node has around it, ``host`` puts the real rooms of a node on them. ``troubles`` and
``faults`` make things go wrong, ``duels`` decides in many runs who campaigns when, ``drills`` make one
situation each likely, ``ambush`` waits for one, and ``rehearsals`` tell one story again and again;
``clients`` call; ``invariants`` and ``history`` look on and tell."""

from paxospp.testing.simulation.plan import Overrides
from paxospp.testing.simulation.report import Report, SimulationError
from paxospp.testing.simulation.simulation import Simulation

__all__ = ["Overrides", "Report", "Simulation", "SimulationError"]
