"""``check_machine``: test whether a state machine can be replicated.

It draws logs as a cluster might decide them, and applies each to several replicas of the machine, in this process
(``lockstep``) and in two other interpreters (``interpreters``). A replica is the machine inside the real executor, with
its sessions, snapshots and digests. The check finds what a unit test does not show: commands that depend on a clock, on
the global random generator or on the order of a set, and state that does not survive a snapshot. It uses no cluster, no
network and no faults; the simulator does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any, NoReturn, TypeVar

from paxospp.errors import ConfigError
from paxospp.state_machine import StateMachine
from paxospp.testing.machine_checks.checked_replica import CheckedMachine
from paxospp.testing.machine_checks.drawn_log import DrawnLog, draw_log
from paxospp.testing.machine_checks.interpreter_main import LoadingEndsError, is_loading
from paxospp.testing.machine_checks.interpreters import NotCheckedError, check_interpreters
from paxospp.testing.machine_checks.lockstep import Finding, LogCheck, suspects_at
from paxospp.testing.machine_checks.machine_report import MachineCheckError, MachineReport
from paxospp.testing.machine_checks.replaying import replay_line
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
    """Apply random logs to several replicas of ``machine``, and raise at the first difference between them.

    ::

        def test_the_bank_can_be_replicated() -> None:
            paxospp.testing.check_machine(Bank, invariant=no_money_appears)

    For every seed it checks that

    - two new replicas have the same results and the same state after each slot;
    - a replica that is restored from a snapshot, taken at a random slot, continues like the one it was taken from;
    - the state survives a snapshot exactly, including its types;
    - queries change nothing, and all replicas answer them alike;
    - results match their annotations;
    - two interpreters agree that differ in PYTHONHASHSEED, wall clock, time zone and the seed of ``random``.

    Args:
        machine: a class, or a function that makes a new machine. Another interpreter cannot load a class or function
            that is local to a function; the report then says what was not checked.
        workload: draws the next call: ``lambda random: (Bank.transfer, "a", "b", random.randint(1, 9))``.
            Without one, arguments are drawn from the annotations over a small domain.
        invariant: called with every replica after every slot; it raises if something is wrong (``assert``).
        seeds: the seeds to check; each gives one log.
        calls: the number of calls in a log.

    Returns:
        What was checked, and what could not be checked here.

    Raises:
        MachineCheckError: a difference was found; the text names the method, the slot, what differs, and a command
            that repeats the check.
        ConfigError: no node would start with this machine, or the workload does not fit it.
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
            raise ConfigError(f"{machine!r} is not a machine to check: pass the class, or a function that makes one")
        self.machine = machine
        self.subject = CheckedMachine.of(machine)
        self.workload = workload_of(self.subject.cls) if workload is None else workload
        self.given_workload = workload
        self.invariant = invariant
        self.calls = calls
        self.name = self.subject.cls.__qualname__.rpartition("<locals>.")[2]
        self.report = MachineReport(self.name)

    def in_this_process(self, log: DrawnLog) -> None:
        log_check = self._log_check(log, self.report)
        try:
            log_check.run()
        except Finding as found:
            self._fail(log_check, found)
        self.report.seeds += 1

    def in_other_interpreters(self, logs: Sequence[DrawnLog]) -> None:
        try:
            result = check_interpreters(self.subject, logs)
        except NotCheckedError as error:
            self.report.not_checked.append(f"another interpreter, with another PYTHONHASHSEED: {error}")
            self._with_moved_clock(logs)
            return
        if not isinstance(result, bool):
            log, found = result
            self._fail(self._log_check(log, MachineReport(self.name)), found)
        if not result:
            self.report.not_checked.append("the dates of datetime.now(): this Python does not let them be changed")
        self.report.interpreters += len(logs)

    def _with_moved_clock(self, logs: Sequence[DrawnLog]) -> None:
        """Check with a second clock in this process, as far as that is possible."""
        for log in logs:
            log_check = self._log_check(log, MachineReport(self.name), moves_clock=True)
            try:
                log_check.run()
            except Finding as found:
                found.causes.append("the machine depends on the wall clock: use self.context.time")
                self._fail(log_check, found)

    def _log_check(self, log: DrawnLog, report: MachineReport, *, moves_clock: bool = False) -> LogCheck:
        return LogCheck(
            subject=self.subject,
            log=log,
            invariant=self.invariant,
            report=report,
            modules=_modules_of(self.subject.cls),
            moves_clock=moves_clock,
        )

    def _fail(self, log_check: LogCheck, found: Finding) -> NoReturn:
        step = log_check.log.steps[found.index]
        call = found.call or (step.commands[0] if len(step.commands) == 1 else None)
        causes = list(found.causes)
        if found.compares:
            causes += suspects_at(log_check, found.index)
        raise MachineCheckError(
            machine=self.name,
            found=found.what,
            seed=log_check.log.seed,
            slot=step.slot,
            calls=[found.call.text] if found.call is not None else [each.text for each in step.commands],
            operation=None if call is None else self.subject.method_of(call),
            differs=found.differs,
            causes=causes,
            replay=replay_line(self.machine, self.given_workload, self.invariant, log_check.log.seed, self.calls),
        ) from found.__cause__


def _modules_of(cls: type) -> list[ModuleType]:
    """Return the modules of the class and its bases, without those of paxospp."""
    names = {base.__module__ for base in cls.__mro__}
    return [
        sys.modules[name]
        for name in sorted(names)
        if name in sys.modules and not name.startswith("paxospp.") and name != "builtins"
    ]
