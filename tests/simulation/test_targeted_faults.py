"""Targeted faults: what their plans say, and that nodes are hit in the state that the plan names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import count, islice

import pytest

from paxospp.testing.simulation.faults.profiles import PROFILES
from paxospp.testing.simulation.faults.targeted_profiles import TARGETED_PROFILES
from paxospp.testing.simulation.phases import SimulationRun
from paxospp.testing.simulation.plan import RunPlan
from paxospp.testing.simulation.reach.states import STATES
from tests.simulation.plans import draw


def seeds_of(profile: str) -> Iterator[int]:
    return (seed for seed in count() if TARGETED_PROFILES.draw(seed) == profile and draw(seed).profile == profile)


def caught_in(plan: RunPlan) -> int:
    run = SimulationRun(plan)
    run.go()
    return run.world.coverage["a node was caught in a state that was waited for"]


def test_every_targeted_profile_is_about_as_frequent_and_never_replaces_another_profile() -> None:
    drawn = Counter(TARGETED_PROFILES.draw(seed) for seed in range(4_000) if not PROFILES.draw(seed))
    having = sum(drawn.values()) - drawn[""]

    assert 0.7 * TARGETED_PROFILES.share < having / sum(drawn.values()) < 1.3 * TARGETED_PROFILES.share
    assert all(
        drawn[profile] > 0.4 * having / len(TARGETED_PROFILES.profiles) for profile in TARGETED_PROFILES.profiles
    )
    plans = [draw(seed) for seed in range(300) if PROFILES.draw(seed)]
    assert all(plan.profile == PROFILES.draw(plan.seed) for plan in plans if not plan.rolls_back)


@pytest.mark.parametrize("profile", sorted(TARGETED_PROFILES.profiles))
def test_a_node_is_caught_in_the_state_that_is_waited_for(profile: str) -> None:
    plans = [draw(seed) for seed in islice(seeds_of(profile), 3)]

    assert all(plan.targeted_state in STATES for plan in plans)
    assert any(caught_in(plan) for plan in plans)


def test_no_fault_is_targeted_where_the_family_is_switched_off() -> None:
    assert not caught_in(draw(next(seeds_of("faults aimed at busy machines")), families=(), seconds=1.0))
