"""Apply the same logs in two interpreters with different surroundings, and compare the results.

They differ in PYTHONHASHSEED (the order of sets), wall clock, time zone and the seed of ``random``. If the results
differ, each of the four is changed alone, to name the cause.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from paxospp.state_machine import StateMachine
from paxospp.testing.machine_checks.checked_replica import CheckedMachine, CheckedReplica, first_unlike
from paxospp.testing.machine_checks.drawn_log import DrawnLog
from paxospp.testing.machine_checks.interpreter_main import InterpreterAnswer, Request
from paxospp.testing.machine_checks.lockstep import Finding
from paxospp.testing.machine_checks.state_comparison import states_differ

_TIMEOUT_S = 300
_OFFSET_S = 400 * 86_400.0 + 12_345.6


class NotCheckedError(Exception):
    """The machine could not be run in another interpreter; the text says why."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The surroundings of an interpreter, in which replicas may differ."""

    hash_seed: int = 1
    offset_s: float = 0.0
    zone: str = "PXA+12"
    random_seed: int = 1


_HERE = Surroundings()
_THERE = Surroundings(hash_seed=2, offset_s=_OFFSET_S, zone="PXB-14", random_seed=2)
"""The time zones are 26 hours apart, so the dates always differ."""

_CAUSES: Sequence[tuple[str, str]] = (
    ("offset_s", "the machine depends on the wall clock: use self.context.time"),
    ("hash_seed", "it depends on the order of a set or on hash(), as PYTHONHASHSEED differs: iterate over sorted(…)"),
    ("zone", "the machine depends on the time zone: use self.context.time"),
    ("random_seed", "the machine depends on the global generator of random: use self.context.random"),
)
_INTRINSIC = "two identical runs differ too: it depends on a precise clock, os.urandom, uuid4, id() or the like"


def check_interpreters(subject: CheckedMachine, logs: Sequence[DrawnLog]) -> tuple[DrawnLog, Finding] | bool:
    """Return the first log for which two interpreters disagree, and the finding.

    If they agree, return whether the clock of ``datetime`` differed too.

    Raises:
        NotCheckedError: the machine cannot be loaded in another interpreter.
    """
    request = _request(subject.make, logs)
    with tempfile.TemporaryDirectory(prefix="paxospp-check-") as folder:
        run = _Runs(request, Path(folder))
        here, there = run.both(_HERE, _THERE)
        for number, log in enumerate(logs):
            unlike = first_unlike(here.steps[number], there.steps[number])
            if unlike is not None:
                return log, _explain(subject, log, unlike, run)
        return there.dates_moved


class _Runs:
    """Runs one request in interpreters with different surroundings."""

    def __init__(self, request: Request, folder: Path) -> None:
        self._request = request
        self._folder = folder
        self._number = 0

    def both(self, *places: Surroundings) -> list[InterpreterAnswer]:
        """Return the answers of interpreters with these surroundings, which run at the same time."""
        started = [self._start(place) for place in places]
        try:
            return [self._wait(process, file) for process, file in started]
        finally:
            for process, _ in started:
                if process.poll() is None:
                    process.kill()
                    process.wait()

    def only(self, log: DrawnLog, index: int) -> _Runs:
        """Return the runs of a shorter request: one log up to the step ``index``, with the state at its end."""
        shorter = DrawnLog(log.seed, log.steps[: index + 1])
        runs = _Runs(replace(self._request, logs=[shorter], shows_last=True), self._folder)
        runs._number = self._number + 1000
        return runs

    def _start(self, place: Surroundings) -> tuple[subprocess.Popen[bytes], Path]:
        self._number += 1
        asked, answered = self._folder / f"{self._number}.request", self._folder / f"{self._number}.answer"
        asked.write_bytes(pickle.dumps(replace(self._request, offset_s=place.offset_s, random_seed=place.random_seed)))
        environment = {**os.environ, "PYTHONHASHSEED": str(place.hash_seed), "TZ": place.zone}
        code = (
            f"import sys; sys.path[:] = {self._request.path!r}; "
            "from paxospp.testing.machine_checks.interpreter_main import main; main()"
        )
        with answered.with_suffix(".log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", code, str(asked), str(answered)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )
        return process, answered

    def _wait(self, process: subprocess.Popen[bytes], file: Path) -> InterpreterAnswer:
        try:
            code = process.wait(_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise NotCheckedError(f"it took longer than {_TIMEOUT_S} s") from None
        if not file.exists():
            said = file.with_suffix(".log").read_text(errors="replace").strip().splitlines()
            raise NotCheckedError(f"it exited with code {code}: {said[-1] if said else ''}")
        answer: InterpreterAnswer = pickle.loads(file.read_bytes())
        if answer.failure:
            raise NotCheckedError(f"it cannot load the machine: {answer.failure}")
        return answer


def _request(make: Callable[[], StateMachine], logs: Sequence[DrawnLog]) -> Request:
    try:
        factory = pickle.dumps(make)
    except Exception as error:
        is_local = "<locals>" in getattr(make, "__qualname__", "")
        reason = "the machine is local to a function" if is_local else str(error)
        raise NotCheckedError(f"it cannot load the machine: {reason}") from error
    main = getattr(sys.modules["__main__"], "__file__", None)
    needs_main = b"__main__" in factory
    if needs_main and (main is None or not Path(main).exists()):
        raise NotCheckedError("it cannot load the machine, which is not defined in a file")
    return Request(
        path=[entry or os.getcwd() for entry in sys.path],
        modules=_modules(),
        main=os.path.abspath(main) if needs_main and main is not None else None,
        factory=factory,
        logs=list(logs),
        offset_s=0.0,
        random_seed=0,
        shows_last=False,
    )


def _modules() -> dict[str, tuple[str | None, list[str] | None]]:
    """Return the file and the search path of every module of this process that comes from a file, by name."""
    found: dict[str, tuple[str | None, list[str] | None]] = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        parts = getattr(module, "__path__", None)
        if name != "__main__" and (parts is not None or (isinstance(file, str) and file.endswith(".py"))):
            try:
                found[name] = (file, None if parts is None else [str(part) for part in parts])
            except Exception:  # an object that only looks like a module
                continue
    return found


def _explain(subject: CheckedMachine, log: DrawnLog, index: int, runs: _Runs) -> Finding:
    """Return what differs at the step ``index``, and which of the four surroundings cause it."""
    runs = runs.only(log, index)
    here, again = runs.both(_HERE, _HERE)
    if here.steps != again.steps:
        return _finding(subject, log, index, here, again, [_INTRINSIC])
    for pair in (_CAUSES[:2], _CAUSES[2:]):
        answers = runs.both(*(replace(_HERE, **{name: getattr(_THERE, name)}) for name, _ in pair))
        unlike = [
            (cause, answer) for (_, cause), answer in zip(pair, answers, strict=True) if answer.steps != here.steps
        ]
        if unlike:
            return _finding(subject, log, index, here, unlike[0][1], [cause for cause, _ in unlike])
    (there,) = runs.both(_THERE)
    return _finding(subject, log, index, here, there, [])


def _finding(
    subject: CheckedMachine,
    log: DrawnLog,
    index: int,
    here: InterpreterAnswer,
    there: InterpreterAnswer,
    causes: list[str],
) -> Finding:
    one, other = here.steps[0][-1], there.steps[0][-1]
    step = log.steps[index]
    what = "two interpreters that applied the same log differ"
    for kind, calls, mine, theirs in (
        ("result", step.commands, one.results, other.results),
        ("answer", step.queries, one.answers, other.answers),
    ):
        at = first_unlike(mine, theirs)
        if at is not None and at < min(len(mine), len(theirs)):
            shown = f"{kind}: {mine[at].show()} on one, {theirs[at].show()} on the other"
            call = calls[at] if at < len(calls) else None
            return Finding(what, index, call=call, differs=shown, causes=causes, compares=True)
    differs: Any = None
    if here.last_states[0] and there.last_states[0]:
        replica = CheckedReplica(subject)
        differs = states_differ(replica.decode_state(here.last_states[0]), replica.decode_state(there.last_states[0]))
    return Finding(what, index, differs="" if differs is None else str(differs), causes=causes, compares=True)
