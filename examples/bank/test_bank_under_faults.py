"""The three banks in simulated clusters, in which messages are lost, disks fail and nodes are killed."""

from __future__ import annotations

import pytest
from bank import Bank, all_money_is_accounted_for, calls
from leaky_bank import LeakyBank
from unfair_bank import UnfairBank

from paxospp.testing import Simulation, SimulationError

SEEDS = range(50)


def test_the_bank_survives() -> None:
    Simulation(Bank, workload=calls, invariant=all_money_is_accounted_for).run(range(5))


def test_the_leak_breaks_the_invariant() -> None:
    with pytest.raises(SimulationError, match=r"is held, .* was paid in"):
        Simulation(LeakyBank, workload=calls, invariant=all_money_is_accounted_for).run(SEEDS)


def test_the_order_of_a_set_makes_replicas_diverge() -> None:
    with pytest.raises(SimulationError, match="divergence"):
        Simulation(UnfairBank, workload=calls, invariant=all_money_is_accounted_for).run(SEEDS)
