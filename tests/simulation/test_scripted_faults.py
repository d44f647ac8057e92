"""Scripted faults: what their plans say, and that each script reaches what it is written for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import count, islice

import pytest

from paxospp.testing.simulation.faults.profiles import PROFILES
from paxospp.testing.simulation.faults.scripted_profiles import SCRIPTED_PROFILES
from paxospp.testing.simulation.faults.targeted_profiles import TARGETED_PROFILES
from paxospp.testing.simulation.phases import SimulationRun
from tests.simulation.plans import draw

WRITTEN_FOR = {
    "founders die while they found": {
        "founding: a founding value that was found is proposed again [it restarted lately]",
        "protocol: a founder completes a founding with another alpha than its own",
    },
    "late promises meet damage": {
        "leading: a late promise reports what has to come before new values",
        "promises: a gap is filled with a no-op [the log is damaged]",
    },
    "a write is torn that promises and accepts": {
        "a write that promises and accepts was torn",
    },
    "one hears a quorum and waits for a lost snapshot": {
        "election: a replica that could not decide tries, for nobody who knows more leads",
    },
    "two lead under leases": {
        "lease: a grant is counted while the rounds that are known have a gap [another replica leads too]",
    },
    "what only its leader knew is lost again and again": {
        "leading: what was lost here is decided where it was accepted again",
        "snapshots: a damaged one is to be replaced by itself",
    },
}


def seeds_of(profile: str) -> Iterator[int]:
    return (seed for seed in count() if SCRIPTED_PROFILES.draw(seed) == profile and draw(seed).profile == profile)


def test_every_scripted_profile_is_about_as_frequent_and_never_replaces_another_profile() -> None:
    seeds = [seed for seed in range(6_000) if not PROFILES.draw(seed) and not TARGETED_PROFILES.draw(seed)]
    drawn = Counter(SCRIPTED_PROFILES.draw(seed) for seed in seeds)
    having = sum(drawn.values()) - drawn[""]

    assert 0.7 * SCRIPTED_PROFILES.share < having / sum(drawn.values()) < 1.3 * SCRIPTED_PROFILES.share
    assert all(
        drawn[profile] > 0.5 * having / len(SCRIPTED_PROFILES.profiles) for profile in SCRIPTED_PROFILES.profiles
    )
    assert not any(
        draw(seed).profile in SCRIPTED_PROFILES.profiles
        for seed in range(300)
        if PROFILES.draw(seed) or TARGETED_PROFILES.draw(seed)
    )


SLOW = "one hears a quorum and waits for a lost snapshot"
"""This one takes more runs than the others until it has reached what it is for."""


@pytest.mark.parametrize(
    "profile",
    [pytest.param(name, marks=pytest.mark.long if name == SLOW else ()) for name in sorted(SCRIPTED_PROFILES.profiles)],
)
def test_a_script_reaches_what_it_is_for(profile: str) -> None:
    missing = set(WRITTEN_FOR[profile])
    for seed in islice(seeds_of(profile), 12):
        run = SimulationRun(draw(seed))
        run.go()
        missing -= run.world.reach.hits.keys() | run.world.coverage.keys()
        if not missing:
            return
    assert not missing


def test_no_script_runs_where_the_family_is_switched_off() -> None:
    seed = next(seeds_of("two lead under leases"))
    run = SimulationRun(draw(seed, families=(), seconds=1.0))
    run.go()

    assert not WRITTEN_FOR["two lead under leases"] & run.world.reach.hits.keys()
