"""Rehearsals: what their plans say, and that each reaches what it is told for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import count, islice

import pytest

from paxospp.testing.simulation.faults.profiles import draw_drill
from paxospp.testing.simulation.faults.scripted_profiles import SCRIPTED_PROFILES, SHARE, draw_rehearsal
from paxospp.testing.simulation.faults.targeted_profiles import draw_ambush
from paxospp.testing.simulation.machines import Ledger, ledger_calls
from paxospp.testing.simulation.phases import SimulationRun
from paxospp.testing.simulation.plan import Overrides, RunPlan

TOLD_FOR = {
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


def draw(seed: int, **overrides: object) -> RunPlan:
    return RunPlan.draw(seed, machine=Ledger, workload=ledger_calls, overrides=Overrides(**overrides))  # type: ignore[arg-type]


def seeds_of(rehearsal: str) -> Iterator[int]:
    return (seed for seed in count() if draw_rehearsal(seed) == rehearsal and draw(seed).drill == rehearsal)


def test_every_rehearsal_is_drawn_about_as_often_and_only_where_nothing_else_is() -> None:
    seeds = [seed for seed in range(6_000) if not draw_drill(seed) and not draw_ambush(seed)]
    drawn = Counter(draw_rehearsal(seed) for seed in seeds)
    rehearsals = sum(drawn.values()) - drawn[""]

    assert 0.7 * SHARE < rehearsals / sum(drawn.values()) < 1.3 * SHARE
    assert all(drawn[rehearsal] > 0.5 * rehearsals / len(SCRIPTED_PROFILES) for rehearsal in SCRIPTED_PROFILES)
    assert not any(
        draw(seed).drill in SCRIPTED_PROFILES for seed in range(300) if draw_drill(seed) or draw_ambush(seed)
    )


@pytest.mark.parametrize("rehearsal", sorted(SCRIPTED_PROFILES))
def test_a_rehearsal_reaches_what_it_is_told_for(rehearsal: str) -> None:
    missing = set(TOLD_FOR[rehearsal])
    for seed in islice(seeds_of(rehearsal), 12):
        run = SimulationRun(draw(seed))
        run.go()
        missing -= run.world.reach.hits.keys() | run.world.coverage.keys()
        if not missing:
            return
    assert not missing


def test_where_the_family_is_switched_off_nothing_is_rehearsed() -> None:
    seed = next(seeds_of("two lead under leases"))
    run = SimulationRun(draw(seed, families=(), seconds=1.0))
    run.go()

    assert not TOLD_FOR["two lead under leases"] & run.world.reach.hits.keys()
