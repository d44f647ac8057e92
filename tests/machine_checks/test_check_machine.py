"""``check_machine`` finds every bad machine and says where, and finds nothing in good ones."""

from __future__ import annotations

import functools
import os
import random
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

import paxospp
from paxospp.machines import KeyValue
from paxospp.testing import MachineCheckError, MachineReport, check_machine
from tests.machine_checks import bad_machines as bad
from tests.machine_checks import good_machines as good

ROOT = Path(__file__).resolve().parents[2]
SLOW = pytest.mark.long  # starts nine interpreters; another case covers the same kind of fault

BAD: list[Any] = [
    (
        bad.FineClock,
        "same log differ",
        r"bad_machines\.py:\d+ calls time\.time: use self\.context\.time",
    ),
    pytest.param(bad.CoarseClock, "same log differ", "depends on the wall clock: use self.context.time", marks=SLOW),
    pytest.param(bad.Today, "same log differ", "date.today", marks=SLOW),
    pytest.param(bad.UtcDate, "same log differ", "depends on the wall clock", marks=SLOW),
    pytest.param(bad.Zone, "same log differ", "depends on the time zone", marks=SLOW),
    (bad.GlobalRandom, "", r"calls the global generator of random"),
    (bad.OwnIds, "same log differ", "os.urandom, as uuid4"),
    pytest.param(bad.ProcessId, "same log differ", "getpid", marks=SLOW),
    pytest.param(bad.TextHash, "same log differ", r"PYTHONHASHSEED", marks=SLOW),
    (bad.SetOrder, "restored from a snapshot does not continue", "the set self.names has another order"),
    pytest.param(bad.SetOrderOfArgument, "same log differ", "PYTHONHASHSEED differs: iterate over sorted", marks=SLOW),
    (bad.ModuleState, "same log differ", r"self\.last: \d+ on one, \d+ on the other"),
    (bad.Subclass, "does not survive a snapshot", r"of type Dog before, .* of type Animal once restored"),
    (bad.SharedAttribute, "two attributes share an object", r"self\.orders\['.*'\] and self\.latest are the same list"),
    (bad.SharedInside, "does not continue like the one the snapshot was taken from", r"differs +(result|self\.groups)"),
    (bad.NotInInit, "does not survive a snapshot", r"self\.accounts\['.*'\]\.changes: [1-9] before, 0 once restored"),
    (bad.Unannotated, "no snapshot can be taken", "`cache: int`"),
    (bad.TooBig, "no snapshot can be taken", r"total cannot be encoded"),
    (bad.LooseType, "does not survive a snapshot", r"self\.last\[0\]: .* of type list before, .* of type tuple"),
    (
        bad.MutableDefault,
        "two new machines share part of their state",
        r"self\.totals and self\.totals are the same dict",
    ),
    (bad.OwnSnapshot, "does not continue like the one the snapshot was taken from", "result: "),
    (bad.LateSnapshot, "does not continue like the one the snapshot was taken from", "result: "),
    (bad.WritingQuery, "a query changes the state", "only one replica runs a query"),
    (bad.UnsortedAnswer, "two replicas with the same state answer differently", r"answer: \["),
    (bad.WrongResult, "a result does not match its annotation", "bad was run, but its result"),
    (bad.Stops, "a command stops the replica", "FileNotFoundError"),
]


@pytest.mark.parametrize(("machine", "found", "says"), BAD, ids=lambda each: getattr(each, "__name__", None))
def test_a_bad_machine_is_found_and_the_text_says_where(
    machine: type[paxospp.StateMachine], found: str, says: str
) -> None:
    with pytest.raises(MachineCheckError) as caught:
        check_machine(machine, seeds=range(12))

    text = str(caught.value)
    assert found in text
    assert re.search(says, text), text
    assert re.match(rf"{machine.__name__}(\.\w+)?: .* \(seed \d+, slot \d+\)\n", text), text
    assert "  repeat   python -m paxospp.testing.machine_checks" in text
    if caught.value.operation is not None and machine not in (bad.SharedAttribute, bad.OwnSnapshot):
        assert caught.value.operation == "bad"


@pytest.mark.parametrize("seed", range(6))
def test_a_restored_replica_that_differs_while_it_catches_up_is_found_at_that_command(seed: int) -> None:
    """With ``PYTHONHASHSEED=0`` and seed 1 it named a later command: it compared states only after the last one."""
    code = (
        "from paxospp.testing.machine_checks import check_machine\n"
        "from tests.machine_checks.bad_machines import SetOrder\n"
        f"check_machine(SetOrder, seeds=[{seed}])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 1
    (calls,) = re.findall(r"^  calls +(.*?)^  differs ", ran.stderr, re.MULTILINE | re.DOTALL)
    assert "bad()" in calls


def test_a_machine_may_use_clocks_and_sets_as_long_as_no_state_or_result_depends_on_them() -> None:
    report = check_machine(good.Everything, seeds=range(5))

    assert report.not_checked == []
    assert report.restored > 20
    assert report.interpreters == report.seeds == 5
    assert report.raised["drop", "KeyError"] > 0
    assert set(report.calls) == {"add", "paint", "first", "drop", "draw", "all_members", "last"}


@pytest.mark.parametrize("machine", [KeyValue, good.Chatty, good.LargeState])
def test_nothing_is_found_in_a_good_machine(machine: type[paxospp.StateMachine]) -> None:
    assert check_machine(machine, seeds=range(4)).not_checked == []


def raw_calls(random: Random) -> tuple[Any, ...]:
    return (random.choice(["execute", "execute", "query"]), random.choice([b"a", b"b"]))


def test_a_machine_in_full_control_is_checked_with_a_workload() -> None:
    report = check_machine(good.Raw, workload=raw_calls, seeds=range(4))

    assert report.restored > 20
    with pytest.raises(paxospp.ConfigError, match="Raw takes raw bytes: pass a workload"):
        check_machine(good.Raw)


def test_a_machine_in_full_control_that_forgets_is_found() -> None:
    with pytest.raises(MachineCheckError, match=r"(?s)does not continue like.*--workload tests/machine_checks/test_"):
        check_machine(bad.RawBytes, workload=raw_calls, seeds=range(4))


# ----------------------------------------------------------------------------- workloads, invariants, factories


def small_sum(machine: good.Chatty) -> None:
    assert machine.total < 15, "the sum is too large"


def test_an_invariant_is_called_after_every_slot_and_its_error_is_reported() -> None:
    with pytest.raises(MachineCheckError) as caught:
        check_machine(good.Chatty, workload=lambda random: (good.Chatty.add, 4), invariant=small_sum)

    assert (caught.value.operation, caught.value.slot) == ("add", 5)
    assert "Chatty.add: the invariant does not hold" in str(caught.value)
    assert "AssertionError: the sum is too large" in caught.value.differs
    assert caught.value.replay.startswith("check_machine(Chatty, workload=<lambda>, invariant=small_sum, seeds=[0]")
    assert isinstance(caught.value.__cause__, AssertionError)


def test_a_workload_whose_arguments_do_not_fit_is_refused() -> None:
    with pytest.raises(paxospp.ConfigError, match=r"returned \(<command Chatty.add>, 'a'\), whose arguments do not"):
        check_machine(good.Chatty, workload=lambda random: (good.Chatty.add, "a"))


def test_a_machine_that_no_node_would_start_with_is_refused_with_the_annotation_to_add() -> None:
    class Bad(paxospp.StateMachine):
        def __init__(self) -> None:
            self.total = 0

        @paxospp.command
        def add(self, n: int) -> None:
            self.total += n

    with pytest.raises(paxospp.ConfigError, match="total: int"):
        check_machine(Bad)


def test_an_instance_is_refused_and_a_factory_that_returns_one_machine_twice_is_found() -> None:
    machine = good.Chatty()

    with pytest.raises(paxospp.ConfigError, match="pass the class, or a function that makes one"):
        check_machine(machine)  # type: ignore[arg-type]
    with pytest.raises(MachineCheckError, match="the same machine twice"):
        check_machine(lambda: machine)


def test_a_factory_that_can_be_pickled_runs_in_other_interpreters_too() -> None:
    assert check_machine(functools.partial(good.Bounded, 3), seeds=range(2)).interpreters == 2


# ----------------------------------------------------------------------------- what cannot be checked is reported


def test_a_local_class_is_checked_in_this_process_and_the_report_says_what_was_not_checked() -> None:
    class Local(paxospp.StateMachine):
        total: int = 0

        @paxospp.command
        def add(self, n: int) -> int:
            self.total += n
            return self.total

    report = check_machine(Local, seeds=range(4))

    (reason,) = report.not_checked
    assert "PYTHONHASHSEED" in reason
    assert "local to a function" in reason
    assert f"not checked: {reason}" in str(report)


def test_a_coarse_clock_in_a_local_class_is_found_without_another_interpreter() -> None:
    class Local(bad.CoarseClock):
        @paxospp.command
        def worse(self) -> None:
            self.days.append(int(time.time()) // 86_400)

    with pytest.raises(MachineCheckError, match=r"(?s)same log differ.*depends on the wall clock") as caught:
        check_machine(Local, seeds=range(4))

    assert caught.value.replay == f"check_machine(Local, seeds=[{caught.value.seed}], calls=60)"


def test_the_clock_and_the_global_generator_are_restored() -> None:
    class Local(good.Chatty):
        pass

    functions = (time.time, time.time_ns, time.localtime, time.strftime)
    state = random.getstate()

    check_machine(Local, seeds=range(2))

    assert random.getstate() == state
    assert (time.time, time.time_ns, time.localtime, time.strftime) == functions


# ----------------------------------------------------------------------------- repeating a check


def run(*arguments: str, cwd: Path = ROOT, code: int = 0) -> str:
    result = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, timeout=100, check=False
    )
    assert result.returncode == code, result.stdout + result.stderr
    return result.stdout


def test_the_line_in_the_text_repeats_the_check() -> None:
    with pytest.raises(MachineCheckError) as caught:
        check_machine(bad.SharedInside, invariant=no_invariant)

    words = shlex.split(caught.value.replay)  # a checkout may stand in a path with a space
    line = [str(ROOT / word) if word.startswith("tests/") else word for word in words]
    assert line[:3] == ["python", "-m", "paxospp.testing.machine_checks"]
    again = run(*line[1:], code=1)
    assert again.splitlines()[:3] == str(caught.value).splitlines()[:3]


@pytest.mark.parametrize("flag", ["--seeds", "--calls"])
def test_a_check_of_nothing_is_refused(flag: str) -> None:
    command = [sys.executable, "-m", "paxospp.testing.machine_checks", "bank.py:Bank", flag, "0"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert f"argument {flag}: '0' is not a number of 1 or more" in ended.stderr


def no_invariant(machine: paxospp.StateMachine) -> None: ...


SCRIPT = """
import paxospp
from paxospp.testing import check_machine

class Lottery(paxospp.StateMachine):
    tickets: dict[str, str]

    def __init__(self) -> None:
        self.tickets = {}

    @paxospp.command
    def buy(self, names: set[str]) -> None:
        self.tickets = dict.fromkeys(names, "")

print(check_machine(Lottery, seeds=range(4)))
"""


def test_a_script_may_check_its_own_class(tmp_path: Path) -> None:
    (tmp_path / "lottery.py").write_text(SCRIPT)
    result = subprocess.run(
        [sys.executable, "lottery.py"], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )

    assert "Lottery.buy: two interpreters that applied the same log differ" in result.stderr
    assert "PYTHONHASHSEED differs" in result.stderr
    assert result.returncode == 1


TEST = """
from store import Store

def test_store(paxospp_check_machine):
    paxospp_check_machine(Store, calls=10)
"""
STORE = """
import paxospp

class Store(paxospp.StateMachine):
    total: int = 0

    @paxospp.command
    def add(self, n: int) -> int:
        self.total += n
        return self.total
"""


def test_the_fixture_checks_and_shows_its_report(tmp_path: Path) -> None:
    (tmp_path / "test_store.py").write_text(TEST)
    (tmp_path / "store.py").write_text(STORE)

    output = run("-m", "pytest", "-rP", "--paxospp-seed", "7", "-p", "no:cacheprovider", ".", cwd=tmp_path)

    assert "Store: its replicas agree" in output
    assert "1 logs, 10 calls" in output


def test_the_fixture_checks_like_the_function(paxospp_check_machine: Callable[..., MachineReport]) -> None:
    assert paxospp_check_machine(KeyValue, seeds=[1], calls=20).seeds == 1
