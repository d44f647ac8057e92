"""The deterministic simulator: real nodes on virtual time, network and disks, under every kind of fault.

``Simulation`` is what users see. ``plan`` holds what a seed decides, and ``phases`` the course of one run. ``world``
puts the real parts of nodes on virtual time, network and disks; ``faults`` makes things go wrong; ``clients`` make
calls; ``judges`` check everything after every event. ``validation`` compares steps with the executable specification,
and ``reach`` counts what runs reach.
"""

from paxospp.testing.simulation.plan import Overrides
from paxospp.testing.simulation.report import Report, SimulationError
from paxospp.testing.simulation.simulation import Simulation

__all__ = ["Overrides", "Report", "Simulation", "SimulationError"]
