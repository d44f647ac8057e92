"""All mutants, by name."""

from __future__ import annotations

from collections.abc import Mapping

from tests.mutants import acceptors, disks, identities, leaders, learners, leases, machines, put_back, readers, rooms
from tests.mutants.mutant import Mutant

_ROOMS = (acceptors, leaders, readers, leases, identities, machines, disks, put_back, learners, rooms)

MUTANTS: Mapping[str, Mutant] = {mutant.name: mutant for room in _ROOMS for mutant in room.MUTANTS}

assert len(MUTANTS) == sum(len(room.MUTANTS) for room in _ROOMS), "two mutants have one name"
