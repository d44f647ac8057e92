"""Profiles: what they replace in a plan, what stays, and that steering tries them all."""

from __future__ import annotations

from collections import Counter

from paxospp.testing.simulation.faults.profiles import PROFILES
from paxospp.testing.simulation.machines import Ledger, ledger_calls
from paxospp.testing.simulation.plan import Overrides, RunPlan
from paxospp.testing.simulation.reach.steering import ROUND, Steering
from paxospp.testing.simulation.report import Reached
from tests.simulation.plans import draw


def first(profile: str) -> int:
    return next(seed for seed in range(100_000) if PROFILES.draw(seed) == profile and not draw(seed).rolls_back)


def test_three_seeds_in_ten_have_a_profile_and_each_profile_is_about_as_frequent() -> None:
    drawn = Counter(PROFILES.draw(seed) for seed in range(4_000))
    having = sum(drawn.values()) - drawn[""]

    assert 0.27 < having / 4_000 < 0.33
    assert drawn.keys() - {""} == PROFILES.profiles.keys()
    assert all(drawn[profile] > 0.4 * having / len(PROFILES.profiles) for profile in PROFILES.profiles)


def test_what_a_profile_says_of_nodes_and_faults_holds_in_the_plan() -> None:
    for name, profile in PROFILES.profiles.items():
        seed = first(name)
        plan = draw(seed)
        assert plan.profile == name
        assert {field for field in profile.plan if getattr(plan, field) != profile.plan_of(seed)[field]} == set()
        for index in range(plan.nodes):
            config = plan.config_of(index)
            for field, value in profile.settings_of(seed, index).items():
                assert getattr(config, field) == value, (name, field)
        said = profile.faults_of(seed, plan.faults)
        assert {field for field in profile.faults if getattr(said, field) != getattr(plan.faults, field)} == set()


def test_options_win_over_the_profile() -> None:
    seed = first("founders lose their disks")
    overrides = Overrides(families=("N1",), nodes=4, seconds=0.5)
    plan = RunPlan.draw(seed, machine=Ledger, workload=ledger_calls, overrides=overrides)

    assert (plan.nodes, plan.safety_s) == (4, 0.5)
    assert set(plan.faults.families) <= {"N1"}
    assert not plan.founds_first, "the rest of the profile stays"


NEVER = "a marker that nothing reaches"


def test_while_a_marker_was_never_reached_every_profile_is_tried() -> None:
    steering = Steering(0, 3 * ROUND, [NEVER, "rare"], 1_000, draw)
    tried: Counter[str] = Counter()
    for seeds in steering.rounds():
        for seed in seeds:
            tried[draw(seed).profile] += 1
            steering.learn(seed, Reached({"rare": 1}, 100))

    assert all(tried[profile] >= 2 for profile in PROFILES.profiles)
    assert tried[""] > ROUND, "most runs have no profile"


def test_runs_go_on_until_everything_was_reached_often_enough_or_there_are_too_many() -> None:
    def runs(least: int) -> int:
        steering = Steering(0, ROUND, ["common"], least, draw, total_max=3 * ROUND + 5)
        count = 0
        for seeds in steering.rounds():
            for seed in seeds:
                count += 1
                steering.learn(seed, Reached({"common": 1}, 100))
        return count

    assert runs(least=1) == ROUND
    assert runs(least=ROUND + 1) == 2 * ROUND
    assert runs(least=1_000_000) == 3 * ROUND + 5
