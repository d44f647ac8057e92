"""Plans of simulated runs of the ``Ledger``, as the tests of the simulator draw them."""

from __future__ import annotations

from functools import cache

from paxospp.testing.simulation.machines import Ledger, ledger_calls
from paxospp.testing.simulation.plan import Overrides, RunPlan


@cache
def draw(seed: int, **overrides: object) -> RunPlan:
    """Return the plan that ``seed`` draws; ``overrides`` replace some of its decisions, see ``Overrides``."""
    return RunPlan.draw(seed, machine=Ledger, workload=ledger_calls, overrides=Overrides(**overrides))  # type: ignore[arg-type]
