"""Runs of the real engine, compared step by step with the executable specification."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from paxospp.testing import Simulation
from paxospp.testing.simulation.machines import Ledger, ledger_calls
from paxospp.testing.simulation.phases import SimulationRun
from paxospp.testing.simulation.plan import Overrides, RunPlan
from paxospp.testing.simulation.rule_broken import RuleBroken
from paxospp.testing.simulation.validation.followed import RULE, Followed
from paxospp.testing.specification import phase_1
from paxospp.testing.specification.messages import ModelPrepare
from paxospp.testing.specification.values import ModelBallot

ROOT = Path(__file__).resolve().parents[2]
VALIDATED = Overrides(validates=True)
FRESH_SEEDS = 30

SEEDS = 60
"""The model notices a mutant within this many seeds from 0 on."""
EVERYDAY = (("half of the members are a quorum", "acceptances from a quorum"),)
"""Each mutant with the guard that its step violates, or how its state differs from the model's."""
OTHERS = (
    ("a Promise leaves before its write", "send: a message about the disk waits for its write"),
    ("an older ballot is promised", "promise: nothing below the promise"),
    ("faulty counts as none", "propose: clean answers from a quorum"),
    ("the window is twice alpha", "propose: at most alpha above decided"),
    ("a leader that meets a higher ballot goes on", "lead: only a candidate"),
    ("an announcement covers what was accepted under older ballots", "learn: accepted under the announcer's ballot"),
    ("learning does not raise the promise", "afterwards it has promised"),
    ("an installed snapshot does not raise the promise", "afterwards it has promised"),
    ("a leader that has not seen the end of the log says where damage ends", "vouch: clean answers from a quorum"),
)


def actions_of(seed: int) -> Counter[str]:
    run = SimulationRun(RunPlan.draw(seed, machine=Ledger, workload=ledger_calls, overrides=VALIDATED))
    run.go()
    if run.plan.rolls_back:
        return Counter()  # the model has no disks that are rolled back
    assert run.world.validator is not None
    return run.world.validator.actions


def test_the_model_allows_what_the_engine_does() -> None:
    taken: Counter[str] = Counter()
    for seed in range(3):
        taken += actions_of(seed)
    assert {"campaigns under", "leads under", "proposes slot", "accepts", "decides slot", "starts"} <= taken.keys()


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(100031, id="slot 1 is damaged in the log, and the membership is known from beside a snapshot"),
        pytest.param(600054, id="a slot other than slot 1 cannot be read while a boot begins"),
        pytest.param(400070, id="a Prepare leaves after its sender has joined a cluster"),
        pytest.param(601632893, id="a leader vouches for a lower bound, and its message arrives after a later one"),
        pytest.param(1729029315, id="the same in heartbeats of two leaders"),
        pytest.param(181498349, id="slot 1 is announced to a node that proposes it again later"),
        pytest.param(119039763, id="a wiped node proposes slot 1 again, and so learns that it has no vote"),
        pytest.param(2005344058, id="one boot cannot read slot 1, and the next one can"),
        pytest.param(7071267, id="the same, and the boot that could not read it wrote nothing"),
        pytest.param(
            376045418,
            id="one boot cannot read an empty slot, and the next one finds it empty",
            marks=pytest.mark.long,
        ),
        pytest.param(1684784707, id="the same for slots below a lost end"),
        pytest.param(2039817617, id="a leader proposes in a slot that the announcement of an older leader opened"),
        pytest.param(
            518710320,
            id="a late answer after two of none, of which one node has lost its end since",
        ),
        pytest.param(872618203, id="the same after a snapshot", marks=pytest.mark.long),
    ],
)
def test_the_model_allows_correct_runs_that_it_once_refused(seed: int) -> None:
    assert actions_of(seed)


@pytest.mark.long
def test_the_model_allows_what_the_engine_does_under_fresh_seeds() -> None:
    first = secrets.randbelow(1 << 31)
    print(f"seeds from {first} on")
    assert Simulation(Ledger, overrides=VALIDATED).run(range(first, first + FRESH_SEEDS)).seeds == FRESH_SEEDS


@pytest.mark.long
def test_every_kind_of_action_is_taken_by_some_run() -> None:
    taken: Counter[str] = Counter()
    for seed in range(40):
        taken += actions_of(seed)
    rare = {"installs", "offers", "counts a late promise of", "takes its damage to end by", "vouches for", "learns"}
    assert rare <= taken.keys()


def test_a_run_takes_the_same_course_whether_or_not_the_model_checks_it() -> None:
    plain = RunPlan.draw(11, machine=Ledger, workload=ledger_calls)
    assert not plain.validates
    runs = [
        SimulationRun(plain),
        SimulationRun(RunPlan.draw(11, machine=Ledger, workload=ledger_calls, overrides=VALIDATED)),
    ]
    for run in runs:
        run.go()
    assert runs[0].world.event_hash == runs[1].world.event_hash


def test_the_model_checks_one_run_in_five_by_default() -> None:
    plans = [RunPlan.draw(seed, machine=Ledger, workload=ledger_calls) for seed in range(400)]
    assert 0.15 < sum(plan.validates for plan in plans) / len(plans) < 0.25


def test_a_step_that_the_model_does_not_allow_names_the_guard_and_the_state() -> None:
    system = Followed(["n1", "n2"])
    system.take(
        "n1", "ticks: campaigns under 2.n1", lambda step: phase_1.campaign(step, ModelBallot(2, "n1", 1)), token=1
    )
    system.on_written("n1", 1)
    prepare = ModelPrepare(ModelBallot(2, "n1", 1), True)
    system.take("n2", "hears: promises 2.n1", lambda step: phase_1.promise(step, "n1", prepare, phase_1.whole))

    with pytest.raises(RuleBroken) as broken:
        system.take("n2", "ticks: campaigns under 1.n2", lambda step: phase_1.campaign(step, ModelBallot(1, "n2", 1)))

    assert broken.value.rule == RULE
    assert "n2 ticks: campaigns under 1.n2, and may not: campaign: above every ballot met" in broken.value.text
    assert "promised ModelBallot(round=2, node='n1', incarnation=1)" in broken.value.text


def last_of(mutant: str, first: int, count: int) -> tuple[int, str]:
    """Return the last seed that was run, and what the model alone says of that run of the mutant."""
    command = [sys.executable, "-m", "tests.specification.only_the_model", mutant, str(first), str(count)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=550, check=True)
    seed, _, said = done.stdout.splitlines()[-1].partition(": ")
    return int(seed), said


def check_that_the_model_notices(mutant: str, lacks: str) -> None:
    seed, said = last_of(mutant, 0, SEEDS)
    assert lacks in said
    assert last_of("-", seed, 1) == (seed, "")


@pytest.mark.parametrize(("mutant", "lacks"), EVERYDAY)
def test_the_model_alone_notices_a_mutant(mutant: str, lacks: str) -> None:
    check_that_the_model_notices(mutant, lacks)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("mutant", "lacks"), OTHERS)
def test_the_model_alone_notices_another_mutant(mutant: str, lacks: str) -> None:
    check_that_the_model_notices(mutant, lacks)
