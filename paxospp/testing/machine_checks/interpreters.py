"""The same logs in two interpreters that differ in all that replicas may differ in, and nothing else.

PYTHONHASHSEED (the order of sets), the wall clock, the time zone and the seed of the global
generator. When they disagree, each of the four is changed alone, to say which one it was.
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
from paxospp.testing.machine_checks.child import Answer, Request
from paxospp.testing.machine_checks.comparison import states_differ
from paxospp.testing.machine_checks.lockstep import Found
from paxospp.testing.machine_checks.log import Log
from paxospp.testing.machine_checks.replica import Replica, Subject, first_unlike

_TIMEOUT_S = 300
_OFFSET_S = 400 * 86_400.0 + 12_345.6


class NotCheckedError(Exception):
    """Why the machine could not be run in another interpreter."""


@dataclass(frozen=True, slots=True)
class Place:
    """One interpreter's surroundings."""

    hash_seed: int = 1
    offset_s: float = 0.0
    zone: str = "PXA+12"
    random_seed: int = 1


_HERE = Place()
_THERE = Place(hash_seed=2, offset_s=_OFFSET_S, zone="PXB-14", random_seed=2)
"""26 hours apart: never the same day."""

_CAUSES: Sequence[tuple[str, str]] = (
    ("offset_s", "the wall clock shows: take the time from self.context.time"),
    ("hash_seed", "the order of a set shows, or hash(): PYTHONHASHSEED differs; iterate over sorted(…)"),
    ("zone", "the time zone of the machine shows: take the time from self.context.time"),
    ("random_seed", "the global generator of random shows: take chance from self.context.random"),
)
_INTRINSIC = "two equal runs differ too: a fine clock, os.urandom, uuid4, id() or the like shows"


def check_interpreters(subject: Subject, logs: Sequence[Log]) -> tuple[Log, Found] | bool:
    """The first log on which two interpreters disagree, and where; else whether the dates of one were moved too.

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
    """Starts interpreters."""

    def __init__(self, request: Request, folder: Path) -> None:
        self._request = request
        self._folder = folder
        self._number = 0

    def both(self, *places: Place) -> list[Answer]:
        """The answers from interpreters in these places, which run at the same time."""
        started = [self._start(place) for place in places]
        try:
            return [self._wait(process, file) for process, file in started]
        finally:
            for process, _ in started:
                if process.poll() is None:
                    process.kill()
                    process.wait()

    def only(self, log: Log, index: int) -> _Runs:
        """The same for one log up to one of its steps, with the state that it ends in."""
        shorter = Log(log.seed, log.steps[: index + 1])
        runs = _Runs(replace(self._request, logs=[shorter], shows_last=True), self._folder)
        runs._number = self._number + 1000
        return runs

    def _start(self, place: Place) -> tuple[subprocess.Popen[bytes], Path]:
        self._number += 1
        asked, answered = self._folder / f"{self._number}.request", self._folder / f"{self._number}.answer"
        asked.write_bytes(pickle.dumps(replace(self._request, offset_s=place.offset_s, random_seed=place.random_seed)))
        environment = {**os.environ, "PYTHONHASHSEED": str(place.hash_seed), "TZ": place.zone}
        code = (
            f"import sys; sys.path[:] = {self._request.path!r}; "
            "from paxospp.testing.machine_checks.child import main; main()"
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

    def _wait(self, process: subprocess.Popen[bytes], file: Path) -> Answer:
        try:
            code = process.wait(_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise NotCheckedError(f"another interpreter took more than {_TIMEOUT_S} s") from None
        if not file.exists():
            said = file.with_suffix(".log").read_text(errors="replace").strip().splitlines()
            raise NotCheckedError(f"another interpreter ended with {code}: {said[-1] if said else ''}")
        answer: Answer = pickle.loads(file.read_bytes())
        if answer.failure:
            raise NotCheckedError(f"it cannot be loaded in another interpreter: {answer.failure}")
        return answer


def _request(make: Callable[[], StateMachine], logs: Sequence[Log]) -> Request:
    try:
        factory = pickle.dumps(make)
    except Exception as error:
        reason = "it is local to a function" if "<locals>" in getattr(make, "__qualname__", "") else str(error)
        raise NotCheckedError(f"it cannot be loaded in another interpreter: {reason}") from error
    main = getattr(sys.modules["__main__"], "__file__", None)
    needs_main = b"__main__" in factory
    if needs_main and (main is None or not Path(main).exists()):
        raise NotCheckedError("it cannot be loaded in another interpreter: it stands in no file")
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
    """Every module of this process that comes from a file, by name."""
    found: dict[str, tuple[str | None, list[str] | None]] = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        parts = getattr(module, "__path__", None)
        if name != "__main__" and (parts is not None or (isinstance(file, str) and file.endswith(".py"))):
            try:
                found[name] = (file, None if parts is None else [str(part) for part in parts])
            except Exception:  # a module that imitates one
                continue
    return found


def _explain(subject: Subject, log: Log, index: int, runs: _Runs) -> Found:
    """What differs at that step, and which of the four it takes."""
    runs = runs.only(log, index)
    here, again = runs.both(_HERE, _HERE)
    if here.steps != again.steps:
        return _found(subject, log, index, here, again, [_INTRINSIC])
    for pair in (_CAUSES[:2], _CAUSES[2:]):
        answers = runs.both(*(replace(_HERE, **{name: getattr(_THERE, name)}) for name, _ in pair))
        unlike = [
            (cause, answer) for (_, cause), answer in zip(pair, answers, strict=True) if answer.steps != here.steps
        ]
        if unlike:
            return _found(subject, log, index, here, unlike[0][1], [cause for cause, _ in unlike])
    (there,) = runs.both(_THERE)
    return _found(subject, log, index, here, there, [])


def _found(subject: Subject, log: Log, index: int, here: Answer, there: Answer, causes: list[str]) -> Found:
    one, other = here.steps[0][-1], there.steps[0][-1]
    step = log.steps[index]
    what = "two interpreters that applied the same log differ"
    for kind, calls, mine, theirs in (
        ("result", step.commands, one.results, other.results),
        ("answer", step.queries, one.answers, other.answers),
    ):
        at = first_unlike(mine, theirs)
        if at is not None and at < min(len(mine), len(theirs)):
            shown = f"{kind}: {mine[at].show()}, and {theirs[at].show()} on the other"
            call = calls[at] if at < len(calls) else None
            return Found(what, index, call=call, differs=shown, causes=causes, compares=True)
    differs: Any = None
    if here.last_states[0] and there.last_states[0]:
        replica = Replica(subject)
        differs = states_differ(replica.decode_state(here.last_states[0]), replica.decode_state(there.last_states[0]))
    return Found(what, index, differs="" if differs is None else str(differs), causes=causes, compares=True)
