"""Another interpreter: applies logs to a machine that it loads by itself, and tells what came of them.

Started with two files of ours, pickled: what is asked, and where to put the answer.
Modules are found as the parent found them; those that it has under a name that cannot be imported
here (a test file, ``__main__``) are loaded from their file.
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
from paxospp.testing.machine_checks.elsewhere import moved_clock
from paxospp.testing.machine_checks.log import Log
from paxospp.testing.machine_checks.replica import Replica, Result, Subject


class LoadingEndsError(BaseException):
    """A script came to its ``check_machine`` while its classes were loaded: what stands above is enough."""


@dataclass(slots=True)
class Request:
    """What the parent asks for."""

    path: list[str]
    modules: dict[str, tuple[str | None, list[str] | None]]
    """By name: the file, and where a package looks for its parts."""
    main: str | None
    factory: bytes
    logs: list[Log]
    offset_s: float
    """How far ahead the clock is."""
    random_seed: int
    shows_last: bool
    """Whether to send the state after the last step of each log in full."""


@dataclass(slots=True)
class Observed:
    """One step: the results, the digest, a hash of the state, and the answers to the queries."""

    results: list[Result]
    digest: bytes
    state: bytes
    answers: list[Result]


@dataclass(slots=True)
class Answer:
    """What came of a request; ``failure`` says why nothing did."""

    steps: list[list[Observed]]
    last_states: list[bytes | None]
    dates_moved: bool
    failure: str = ""


def is_loading() -> bool:
    """Whether this interpreter is a child that loads the machine."""
    return _Loading.under_way


class _Loading:
    under_way = False


class _Finder(importlib.abc.MetaPathFinder):
    """Asked last: modules that the parent has and this interpreter cannot find."""

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
    """The factory, unpickled once the modules it names can be found."""
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
    # As multiprocessing does it: under another name, so that `if __name__ == "__main__"` holds back.
    spec = importlib.util.spec_from_file_location("__mp_main__", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    with contextlib.suppress(LoadingEndsError):
        spec.loader.exec_module(module)


def observe(request: Request) -> Answer:
    """Apply all logs, each to a new machine."""
    answer = Answer([], [], dates_moved=False)
    with moved_clock(request.offset_s, dates=bool(request.offset_s)) as answer.dates_moved:
        random.seed(request.random_seed)
        subject = Subject.of(load(request))
        for log in request.logs:
            replica = Replica(subject)
            answer.steps.append(_observe_log(replica, log))
            answer.last_states.append(replica.encoded_state() if request.shows_last else None)
    return answer


def _observe_log(replica: Replica, log: Log) -> list[Observed]:
    observed = []
    for step in log.steps:
        try:
            results = replica.apply(step)
        except ReplicaStoppedError as error:
            observed.append(Observed([Result(b"", f"ReplicaStoppedError: {error}")], b"", b"", []))
            break
        state = blake2b(replica.encoded_state() or b"", digest_size=16).digest()
        answers = [replica.answer(query) for query in step.queries]
        observed.append(Observed(results, replica.executor.digest, state, answers))
    return observed


def main() -> None:
    """Answer the request in the file named first in the file named second."""
    request: Request = pickle.loads(Path(sys.argv[1]).read_bytes())
    try:
        answer = observe(request)
    except BaseException as error:
        traceback.print_exc()
        answer = Answer([], [], dates_moved=False, failure=f"{type(error).__name__}: {error}")
    Path(sys.argv[2]).write_bytes(pickle.dumps(answer))
