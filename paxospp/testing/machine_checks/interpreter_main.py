"""The main program of another interpreter: load the machine, apply logs to it, and report the results.

The interpreter gets the paths of two files: a pickled request, and where to write the pickled answer. It finds modules
where the parent found them. Modules that the parent has under a name that cannot be imported here (a test file,
``__main__``) are loaded from their files.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.util
import pickle
import random
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from paxospp.errors import ReplicaStoppedError
from paxospp.testing.machine_checks.checked_replica import CallResult, CheckedMachine, CheckedReplica
from paxospp.testing.machine_checks.drawn_log import DrawnLog
from paxospp.testing.machine_checks.moved_clock import moved_clock


class LoadingEndsError(BaseException):
    """A script called ``check_machine`` while it was loaded for its classes; what it defined until then is enough."""


@dataclass(slots=True)
class Request:
    """A request of the parent: which machine to load, which logs to apply, and in which surroundings."""

    path: list[str]
    """The parent's ``sys.path``."""
    modules: dict[str, tuple[str | None, list[str] | None]]
    """The file and the search path of each module of the parent, by name."""
    main: str | None
    """The file of the parent's ``__main__``, if the machine is defined there."""
    factory: bytes
    """The pickled callable that makes a machine."""
    logs: list[DrawnLog]
    offset_s: float
    """How many seconds the clock is ahead."""
    random_seed: int
    shows_last: bool
    """Whether the answer has the whole state after the last step of each log."""


@dataclass(slots=True)
class Observed:
    """The outcome of one step: the results, the digest, a hash of the state, and the answers to the queries."""

    results: list[CallResult]
    digest: bytes
    state: bytes
    answers: list[CallResult]


@dataclass(slots=True)
class InterpreterAnswer:
    """The answer to a request."""

    steps: list[list[Observed]]
    """The steps of each log."""
    last_states: list[bytes | None]
    """The encoded state at the end of each log; None where it was not asked for."""
    dates_moved: bool
    """Whether the clock of ``datetime`` was ahead too."""
    failure: str = ""
    """The error that prevented an answer; empty: none."""


def is_loading() -> bool:
    """Whether this interpreter is loading the machine to check."""
    return _Loading.under_way


class _Loading:
    under_way = False


class _Finder(importlib.abc.MetaPathFinder):
    """Finds modules that the parent has and this interpreter does not find otherwise."""

    def __init__(self, request: Request) -> None:
        self._modules = request.modules

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file, parts = self._modules.get(fullname, (None, None))
        if file is not None:
            return importlib.util.spec_from_file_location(fullname, file, submodule_search_locations=parts)
        if parts is None:
            return None
        spec = ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = parts
        return spec


def load(request: Request) -> Any:
    """Make the parent's modules importable, and return the unpickled factory."""
    sys.path[:] = request.path
    sys.meta_path.append(_Finder(request))
    _Loading.under_way = True
    try:
        if request.main is not None:
            _load_main(request.main)
        return pickle.loads(request.factory)
    finally:
        _Loading.under_way = False


def _load_main(file: str) -> None:
    # As in multiprocessing: under another name, so that the body of `if __name__ == "__main__"` does not run.
    spec = importlib.util.spec_from_file_location("__mp_main__", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    with contextlib.suppress(LoadingEndsError):
        spec.loader.exec_module(module)


def observe(request: Request) -> InterpreterAnswer:
    """Apply each log to a new machine, and return what was observed."""
    answer = InterpreterAnswer([], [], dates_moved=False)
    with moved_clock(request.offset_s, dates=bool(request.offset_s)) as answer.dates_moved:
        random.seed(request.random_seed)
        subject = CheckedMachine.of(load(request))
        for log in request.logs:
            replica = CheckedReplica(subject)
            answer.steps.append(_observe_log(replica, log))
            answer.last_states.append(replica.encoded_state() if request.shows_last else None)
    return answer


def _observe_log(replica: CheckedReplica, log: DrawnLog) -> list[Observed]:
    observed = []
    for step in log.steps:
        try:
            results = replica.apply(step)
        except ReplicaStoppedError as error:
            observed.append(Observed([CallResult(b"", f"ReplicaStoppedError: {error}")], b"", b"", []))
            break
        state = blake2b(replica.encoded_state() or b"", digest_size=16).digest()
        answers = [replica.answer(query) for query in step.queries]
        observed.append(Observed(results, replica.executor.digest, state, answers))
    return observed


def main() -> None:
    """Read the request from the first file of the command line, and write the answer to the second."""
    request: Request = pickle.loads(Path(sys.argv[1]).read_bytes())
    try:
        answer = observe(request)
    except BaseException as error:
        traceback.print_exc()
        answer = InterpreterAnswer([], [], dates_moved=False, failure=f"{type(error).__name__}: {error}")
    Path(sys.argv[2]).write_bytes(pickle.dumps(answer))
