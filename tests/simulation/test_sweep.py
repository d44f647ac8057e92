"""Random runs, as ``paxospp simulate`` makes them: faults everywhere, then a healed majority, then a healed cluster."""

from __future__ import annotations

import secrets
import subprocess
import sys

import pytest

from paxospp.testing import Simulation, SimulationError
from paxospp.testing.simulation.faults.families import FAMILIES, draw_faults, draws_churn
from paxospp.testing.simulation.machines import Ledger
from paxospp.testing.simulation.plan import SIZES, Overrides, RunPlan

FRESH_SEEDS = 600
FRESH_SEEDS_MAX = 3_000
"""Greatest number of seeds that are run, however rare some marker is."""
LEAST_HITS = 20
"""Number of times that a sweep has to hit a marker."""
MISSED_MAX = 10
"""Number of markers and pairs, of some 300, that may be hit less often; 2,400 seeds missed 2 on 2026-11-30."""


@pytest.mark.parametrize("first", [0, *(pytest.param(first, marks=pytest.mark.long) for first in range(6, 36, 6))])
def test_nothing_unsafe_happens_and_a_majority_recovers(first: int) -> None:
    report = Simulation(Ledger).run(range(first, first + 6))

    assert report.seeds == 6
    assert report.calls["answered"] > 0
    assert report.events > 500


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(1002229, id="a read confirmed by the leader of one node, in the event in which it takes the lead"),
        pytest.param(30003732, id="a log kept for a peer that had its snapshot while ours was written"),
        pytest.param(30004296, id="a cluster that cannot go on is not restarted to see whether it does"),
        pytest.param(
            300091, id="a founder asks only the incarnations in the founding that it holds, not a wiped member"
        ),
        pytest.param(500044, id="a read taken in while the next slot was clean, and confirmed after it was decided"),
        pytest.param(483588478, id="a promise to a founder that leaves when a wiped node has learned of the cluster"),
        pytest.param(2354164, id="a catch-up of an earlier boot that is answered in the next one"),
        pytest.param(119039763, id="a wiped founder is told of a founding, and learns by its own proposal who votes"),
        pytest.param(
            86253858, id="a founding value of which one incarnation is wiped and the slot of another is damaged"
        ),
        pytest.param(254800752, id="160 calls of a burst wait when the faults end, and are worked off one by one"),
        pytest.param(1528128955, id="a campaign after a pause, with later answers that name a leader with a quorum"),
        pytest.param(611433144, id="a slot chosen under a successor's ballot before the leader's own write returned"),
        pytest.param(1343196323, id="a write that a slow disk began before the faults ended, and that takes seconds"),
        pytest.param(869682819, id="a wiped node promises a founder that nobody told of the cluster, under a lease"),
        pytest.param(70000033, id="a read below what was chosen behind a gap, for which nobody was answered"),
        pytest.param(
            795518941,
            id="100 calls of a burst, one after another, each behind a write of 10 ms",
            marks=pytest.mark.long,
        ),
        pytest.param(722102515, id="a founding that ends without a node that was wiped, after it counted as healed"),
        pytest.param(114624368, id="a slot that is damaged above an open end, and cannot be read any more"),
        pytest.param(39519851, id="a node of the core whose snapshot is damaged, and the source of another one dies"),
        pytest.param(1290204508, id="a damaged slot that is learned again in a write that a crash interrupts"),
        pytest.param(398624489, id="a damaged slot, learned again in a write that a crash left, and two restarts"),
        pytest.param(20283492, id="a write that a slow disk began before the faults ended, and that fails"),
        pytest.param(1246837859, id="a node without a vote that has forgotten who is a member, and promises"),
    ],
)
def test_runs_that_a_check_once_rejected_wrongly_pass(seed: int) -> None:
    assert Simulation(Ledger).run([seed]).seeds == 1


def test_a_slot_that_is_gone_from_a_log_is_sent_as_a_snapshot() -> None:
    """The slot was applied; a peer that asked for it got neither the value nor word of a snapshot."""
    assert Simulation(Ledger).run([1234671]).seeds == 1


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(3457351, id="what its snapshot covered"),
        pytest.param(212383056, id="a slot behind what its snapshot covered"),
        pytest.param(2116404797, id="twenty slots, of which two are accepted again at once"),
    ],
)
def test_what_only_a_leader_knows_decided_and_has_lost_is_accepted_again(seed: int) -> None:
    """No peer had the slots as entries or as a snapshot, so nothing was applied any more."""
    assert Simulation(Ledger).run([seed]).seeds == 1


def test_a_watcher_that_meets_damage_which_a_snapshot_covers_is_told_where_the_log_begins() -> None:
    """Only the watcher was told of the damage, and it read the slot again and again."""
    assert Simulation(Ledger).run([465568239]).seeds == 1


def test_a_call_that_is_lost_after_a_long_silence_has_ended_is_soon_sent_again() -> None:
    """The next check had been put off by up to five seconds, and an answer did not bring it forward."""
    assert Simulation(Ledger).run([1213115941]).seeds == 1


def test_a_call_that_a_new_leader_has_no_room_for_is_soon_sent_again() -> None:
    """Under the former leader, its caller had learned to wait for seconds."""
    assert Simulation(Ledger).run([689315220]).seeds == 1


def test_a_snapshot_never_replaces_a_damaged_one_of_a_later_slot() -> None:
    """A node that replayed its log took a snapshot on the way, which storages refuse, so it stopped at every start."""
    assert Simulation(Ledger).run([1920805916]).seeds == 1


def test_an_empty_slot_is_not_damaged_because_one_above_it_is() -> None:
    """Its node could not report *none* of the slot, and one of the other two nodes had lost it."""
    assert Simulation(Ledger).run([986891575]).seeds == 1


def test_a_node_that_is_bounded_to_a_byte_takes_more_than_one_value_before_its_write_returns() -> None:
    """It filled fifteen slots one at a time, each only when it was sent again, at growing intervals."""
    assert Simulation(Ledger).run([112258487]).seeds == 1


def test_a_query_does_not_wait_for_a_slot_that_its_leader_recovered_and_the_next_one_never_heard_of() -> None:
    """No client wrote any more, so the slot was never decided, and the query waited until its deadline."""
    assert Simulation(Ledger).run([469410081]).seeds == 1


def test_two_nodes_without_a_snapshot_do_not_ask_each_other_for_ever() -> None:
    """A third one had it; whenever it was named, both had just begun to ask each other once more."""
    assert Simulation(Ledger).run([827078815]).seeds == 1


def test_every_size_and_every_family_is_drawn_and_most_seeds_have_few() -> None:
    plans = [RunPlan.draw(seed, machine=Ledger, workload=lambda random: ()) for seed in range(400)]

    assert {plan.nodes for plan in plans} == set(SIZES) == {1, 2, 3, 4, 5, 6, 7}
    assert {family for plan in plans for family in plan.faults.families} == set(FAMILIES)
    calm = [seed for seed in range(400) if not draws_churn(seed)]
    few = sum(len(draw_faults(seed).families) < len(FAMILIES) / 4 for seed in calm)
    assert 0.5 < few / 400 < 0.75


def test_in_a_seventh_of_all_seeds_one_leader_after_another_is_lost() -> None:
    churning = [
        RunPlan.draw(seed, machine=Ledger, workload=lambda random: ()) for seed in range(400) if draws_churn(seed)
    ]

    assert 0.1 < len(churning) / 400 < 0.2
    assert all(plan.faults.depose_s > 0 for plan in churning if not plan.profile)
    assert all(plan.clients >= 5 for plan in churning if not plan.profile)


def test_switching_a_family_off_leaves_the_draws_of_the_others() -> None:
    faults = draw_faults(7)
    assert len(faults.families) > 3
    for family in faults.families:
        rest = faults.without(family)
        assert rest.families == tuple(other for other in faults.families if other != family)
        assert rest == faults.only(rest.families)


def test_a_broken_rule_is_found_and_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Votes are counted before they are on disk, which any seed with more than one node shows."""
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


def test_a_fault_that_is_switched_off_does_not_happen() -> None:
    simulation = Simulation(Ledger, overrides=Overrides(families=(), nodes=1, seconds=0.5))

    report = simulation.run([3])

    assert not report.coverage["killed"]
    assert report.hashes[3] == simulation.run([3]).hashes[3]


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_fresh_seeds_find_nothing_and_reach_what_they_should() -> None:
    """One sweep for both: seeds that were never run, picked for markers that are rare so far."""
    first = secrets.randbits(31)
    command = ["-m", "paxospp", "simulate", "--seed", str(first), "--seeds", str(FRESH_SEEDS)]
    command += ["--seeds-max", str(FRESH_SEEDS_MAX), "--require-markers", str(LEAST_HITS), "--markers", "--jobs", "2"]
    command += ["--missed-max", str(MISSED_MAX)]
    print("\npython", *command, flush=True)
    assert subprocess.run([sys.executable, *command], check=False).returncode == 0
