"""Ambushes: what their plans say, and that nodes are caught in the state that is waited for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import count, islice

import pytest

from paxospp.testing.simulation.faults.profiles import draw_drill
from paxospp.testing.simulation.faults.targeted_profiles import SHARE, TARGETED_PROFILES, draw_ambush
from paxospp.testing.simulation.machines import Ledger, ledger_calls
from paxospp.testing.simulation.phases import SimulationRun
from paxospp.testing.simulation.plan import Overrides, RunPlan
from paxospp.testing.simulation.reach.states import STATES


def draw(seed: int, **overrides: object) -> RunPlan:
    return RunPlan.draw(seed, machine=Ledger, workload=ledger_calls, overrides=Overrides(**overrides))  # type: ignore[arg-type]


def seeds_of(ambush: str) -> Iterator[int]:
    return (seed for seed in count() if draw_ambush(seed) == ambush and draw(seed).drill == ambush)


def caught_in(plan: RunPlan) -> int:
    run = SimulationRun(plan)
    run.go()
    return run.world.coverage["a node was caught in a state that was waited for"]


def test_every_ambush_is_drawn_about_as_often_and_never_instead_of_a_drill() -> None:
    drawn = Counter(draw_ambush(seed) for seed in range(4_000) if not draw_drill(seed))
    ambushes = sum(drawn.values()) - drawn[""]

    assert 0.7 * SHARE < ambushes / sum(drawn.values()) < 1.3 * SHARE
    assert all(drawn[ambush] > 0.4 * ambushes / len(TARGETED_PROFILES) for ambush in TARGETED_PROFILES)
    plans = [draw(seed) for seed in range(300) if draw_drill(seed)]
    assert all(plan.drill == draw_drill(plan.seed) for plan in plans if not plan.rolls_back)


@pytest.mark.parametrize("ambush", sorted(TARGETED_PROFILES))
def test_a_node_is_caught_in_the_state_that_is_waited_for(ambush: str) -> None:
    plans = [draw(seed) for seed in islice(seeds_of(ambush), 3)]

    assert all(plan.ambush in STATES for plan in plans)
    assert any(caught_in(plan) for plan in plans)


def test_where_the_family_is_switched_off_nobody_lies_in_ambush() -> None:
    assert not caught_in(draw(next(seeds_of("an ambush on busy machines")), families=(), seconds=1.0))
