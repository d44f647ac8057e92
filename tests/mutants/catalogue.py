"""All mutants, by name."""

from __future__ import annotations

from collections.abc import Mapping

from tests.mutants import (
    acceptors,
    around_engine,
    disks,
    identities,
    leaders,
    learners,
    leases,
    machines,
    put_back,
    readers,
)
from tests.mutants.mutant import Mutant

_MODULES = (acceptors, leaders, readers, leases, identities, machines, disks, put_back, learners, around_engine)

MUTANTS: Mapping[str, Mutant] = {mutant.name: mutant for module in _MODULES for mutant in module.MUTANTS}

assert len(MUTANTS) == sum(len(module.MUTANTS) for module in _MODULES), "two mutants have the same name"
