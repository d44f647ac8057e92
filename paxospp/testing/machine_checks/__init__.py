"""``check_machine``: whether a state machine can be replicated, found out before anybody relies on it.

It makes logs as a cluster might have decided them and applies each to several replicas, the real
executor with its sessions, snapshots and digests around the machine, in this process
(``lockstep``) and in two other interpreters (``interpreters``). It looks for what a unit test
does not show: commands that look at a clock, at global chance or at the order of a set, and state
that does not survive a snapshot. No cluster, no network and no faults: those are the simulator's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any, NoReturn, TypeVar

from paxospp.errors import ConfigError
from paxospp.state_machine import StateMachine
from paxospp.testing.machine_checks.child import LoadingEndsError, is_loading
from paxospp.testing.machine_checks.interpreters import NotCheckedError, check_interpreters
from paxospp.testing.machine_checks.lockstep import Course, Found, suspects_at
from paxospp.testing.machine_checks.log import Log, draw_log
from paxospp.testing.machine_checks.replaying import replay_line
from paxospp.testing.machine_checks.replica import Subject
from paxospp.testing.machine_checks.verdict import MachineCheckError, MachineReport
from paxospp.testing.workload import Workload, workload_of

__all__ = ["MachineCheckError", "MachineReport", "check_machine"]

M = TypeVar("M", bound=StateMachine)

SEEDS = 40
CALLS = 60


def check_machine(
    machine: Callable[[], M],
    *,
    workload: Workload | None = None,
    invariant: Callable[[M], None] | None = None,
    seeds: Iterable[int] = range(SEEDS),
    calls: int = CALLS,
) -> MachineReport:
    """Apply drawn logs to several replicas of ``machine`` and raise for the first thing that is not equal.

    ::

        def test_the_bank_can_be_replicated() -> None:
            paxospp.testing.check_machine(Bank, invariant=no_money_appears)

    Checked for every seed: two new replicas come to the same results and the same state; one that
    is restored from a snapshot, taken at a random slot, goes on like the one it was taken of; the
    state survives a snapshot as it is, types included; queries change nothing and are answered
    alike; results are what they are annotated to be; two interpreters agree that differ in
    PYTHONHASHSEED, wall clock, time zone and the global generator's seed.

    Args:
        machine: a class, or a function that makes a new machine. What is local to a function
            cannot be loaded by another interpreter, and the report says so.
        workload: draws the next call: ``lambda random: (Bank.transfer, "a", "b", random.randint(1, 9))``.
            Without one, arguments are drawn from the annotations over a small domain.
        invariant: called with every replica after every slot; raises what it finds (``assert``).
        seeds: one log each.
        calls: how many calls a log has.

    Returns:
        What was tried, and what could not be checked here.

    Raises:
        MachineCheckError: the method, the slot, what differs, and the line that shows it again.
        ConfigError: no node would start with this machine, or the workload is none.
    """
    if is_loading():
        raise LoadingEndsError
    check = _Check(machine, workload, invariant, calls)
    logs = []
    for seed in seeds:
        log = draw_log(check.subject.cls, check.workload, seed, calls)
        logs.append(log)
        check.in_this_process(log)
    check.in_other_interpreters(logs)
    return check.report


class _Check:
    def __init__(
        self,
        machine: Callable[[], StateMachine],
        workload: Workload | None,
        invariant: Callable[[Any], None] | None,
        calls: int,
    ) -> None:
        if isinstance(machine, StateMachine) or not callable(machine):
            raise ConfigError(f"{machine!r}: give the class, or a function that makes a machine")
        self.machine = machine
        self.subject = Subject.of(machine)
        self.workload = workload_of(self.subject.cls) if workload is None else workload
        self.given_workload = workload
        self.invariant = invariant
        self.calls = calls
        self.name = self.subject.cls.__qualname__.rpartition("<locals>.")[2]
        self.report = MachineReport(self.name)

    def in_this_process(self, log: Log) -> None:
        course = self._course(log, self.report)
        try:
            course.run()
        except Found as found:
            self._fail(course, found)
        self.report.seeds += 1

    def in_other_interpreters(self, logs: Sequence[Log]) -> None:
        try:
            result = check_interpreters(self.subject, logs)
        except NotCheckedError as error:
            self.report.not_checked.append(f"two values of PYTHONHASHSEED: {error}")
            self._with_moved_clock(logs)
            return
        if not isinstance(result, bool):
            log, found = result
            self._fail(self._course(log, MachineReport(self.name)), found)
        if not result:
            self.report.not_checked.append("dates of datetime.now(): this Python does not let them be moved")
        self.report.interpreters += len(logs)

    def _with_moved_clock(self, logs: Sequence[Log]) -> None:
        """What can be had of the other clock in this process."""
        for log in logs:
            course = self._course(log, MachineReport(self.name), moves_clock=True)
            try:
                course.run()
            except Found as found:
                found.causes.append("the wall clock shows: take the time from self.context.time")
                self._fail(course, found)

    def _course(self, log: Log, report: MachineReport, *, moves_clock: bool = False) -> Course:
        return Course(
            subject=self.subject,
            log=log,
            invariant=self.invariant,
            report=report,
            modules=_modules_of(self.subject.cls),
            moves_clock=moves_clock,
        )

    def _fail(self, course: Course, found: Found) -> NoReturn:
        step = course.log.steps[found.index]
        call = found.call or (step.commands[0] if len(step.commands) == 1 else None)
        causes = list(found.causes)
        if found.compares:
            causes += suspects_at(course, found.index)
        raise MachineCheckError(
            machine=self.name,
            found=found.what,
            seed=course.log.seed,
            slot=step.slot,
            calls=[found.call.text] if found.call is not None else [each.text for each in step.commands],
            operation=None if call is None else self.subject.method_of(call),
            differs=found.differs,
            causes=causes,
            replay=replay_line(self.machine, self.given_workload, self.invariant, course.log.seed, self.calls),
        ) from found.__cause__


def _modules_of(cls: type) -> list[ModuleType]:
    """The modules in which the class and its bases stand, paxospp's own apart."""
    names = {base.__module__ for base in cls.__mro__}
    return [
        sys.modules[name]
        for name in sorted(names)
        if name in sys.modules and not name.startswith("paxospp.") and name != "builtins"
    ]
