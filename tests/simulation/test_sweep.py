"""Random runs: everything goes wrong, then a majority is well again, then everybody; see ``paxospp simulate``."""

from __future__ import annotations

import secrets
import subprocess
import sys

import pytest

from paxospp.testing import Simulation, SimulationError
from paxospp.testing.simulation.faults import FAMILIES, draw_faults, draws_churn
from paxospp.testing.simulation.machines import Ledger
from paxospp.testing.simulation.plan import SIZES, Overrides, Plan

FRESH_SEEDS = 600


@pytest.mark.parametrize("first", range(0, 36, 6))
def test_nothing_unsafe_happens_and_a_majority_recovers(first: int) -> None:
    report = Simulation(Ledger).run(range(first, first + 6))

    assert report.seeds == 6
    assert report.calls["answered"] > 0
    assert report.events > 500


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(1002229, id="a read confirmed by one that leads alone, as it takes the lead"),
        pytest.param(30003732, id="a log kept for a peer that had its snapshot while ours was written"),
        pytest.param(30004296, id="a cluster that cannot go on is not started anew to see whether it does"),
        pytest.param(40000626, id="a node alone that lost a decided value with the end of its log"),
        pytest.param(70000033, id="a read below what was chosen behind a gap, for which nobody was answered"),
    ],
)
def test_what_was_called_broken_and_is_right(seed: int) -> None:
    assert Simulation(Ledger).run([seed]).seeds == 1


@pytest.mark.parametrize("seed", [60003213, 60003294])
def test_a_slot_damaged_everywhere_is_not_missed_where_a_snapshot_holds_it(seed: int) -> None:
    """The story: ``tests/engine/scenarios/damage_under_a_snapshot_is_trimmed.txt``."""
    assert Simulation(Ledger).run([seed]).seeds == 1


def test_a_wiped_disk_makes_no_slot_clean_for_who_founds_once_more() -> None:
    """The story: ``tests/engine/scenarios/B16_a_wiped_disk_makes_no_slot_clean.txt``."""
    assert Simulation(Ledger).run([110002093]).seeds == 1


def test_every_size_and_every_family_is_drawn_and_half_of_all_seeds_have_few() -> None:
    plans = [Plan.draw(seed, machine=Ledger, workload=lambda random: ()) for seed in range(400)]

    assert {plan.nodes for plan in plans} == set(SIZES) == {1, 2, 3, 4, 5, 7}
    assert {family for plan in plans for family in plan.faults.families} == set(FAMILIES)
    calm = [plan for plan in plans if not draws_churn(plan.seed)]
    few = sum(len(plan.faults.families) < len(FAMILIES) / 4 for plan in calm)
    assert 0.4 < few / len(plans) < 0.6


def test_in_a_quarter_of_all_seeds_one_leader_after_another_is_lost() -> None:
    churning = [Plan.draw(seed, machine=Ledger, workload=lambda random: ()) for seed in range(400) if draws_churn(seed)]

    assert 0.2 < len(churning) / 400 < 0.3
    assert all(plan.faults.depose_s > 0 for plan in churning if not plan.rolls_back)
    assert all(plan.clients >= 5 for plan in churning)


def test_switching_a_family_off_leaves_the_draws_of_the_others() -> None:
    faults = draw_faults(7)
    assert len(faults.families) > 3
    for family in faults.families:
        rest = faults.without(family)
        assert rest.families == tuple(other for other in faults.families if other != family)
        assert rest == faults.only(rest.families)


def test_half_a_rule_is_found_and_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Votes that are counted before they are on disk: any seed with more than one node shows it."""
    from paxospp.engine.output import Output

    monkeypatch.setattr(Output, "send", lambda output, to, message: output.send_now.append(_sent(to, message)))

    with pytest.raises(SimulationError) as found:
        Simulation(Ledger, nodes=3).run(range(5))

    assert found.value.rule == "6"
    assert f"paxospp simulate --seed {found.value.seed} --nodes 3" in str(found.value)
    assert found.value.smaller is not None
    assert "--faults none" in found.value.smaller


def _sent(to: object, message: object) -> object:
    from paxospp.engine.output import Send

    return Send(to, message)  # type: ignore[arg-type]


def test_what_is_left_out_is_left_out() -> None:
    simulation = Simulation(Ledger, overrides=Overrides(families=(), nodes=1, seconds=0.5))

    report = simulation.run([3])

    assert not report.coverage["killed"]
    assert report.hashes[3] == simulation.run([3]).hashes[3]


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_fresh_seeds_find_nothing_either() -> None:
    first = secrets.randbits(31)
    print(f"\nseeds from {first}", flush=True)
    command = ("-m", "paxospp", "simulate", "--seed", str(first), "--seeds", str(FRESH_SEEDS))
    assert subprocess.run([sys.executable, *command], check=False).returncode == 0
