"""Suspects: calls within a command whose results differ between replicas, with the line that makes them.

Used only after a difference was found, to suggest its cause. Calling a clock is not a fault by itself: a log line does.
"""

from __future__ import annotations

import builtins
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from types import FrameType
from typing import Any

_TIME = "use self.context.time"
_RANDOM = "use self.context.random"
_HOME = Path(__file__).resolve().parents[2]
_LIBRARY = Path(os.__file__).resolve().parent

_CLOCKS = frozenset(
    {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time", "localtime",
     "gmtime", "ctime", "strftime"}
)  # fmt: skip
_MACHINE = frozenset({"getpid", "getppid", "uname", "gethostname", "cpu_count", "getcwd"})


@contextmanager
def watched() -> Iterator[list[str]]:
    """Within the block, collect calls of clocks, random generators, id() and hash() as ``file:line calls …``."""
    found: list[str] = []

    def profile(frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call":
            suspect = _suspect(function)
            if suspect is not None:
                line = f"{_where(frame)} calls {suspect[0]}: {suspect[1]}"
                if line not in found:
                    found.append(line)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield found
    finally:
        sys.setprofile(before)


def _suspect(function: Callable[..., Any]) -> tuple[str, str] | None:
    """Return what was called, and why that is a problem or what to use; None if every replica gets the same result."""
    name = getattr(function, "__name__", "")
    module = getattr(function, "__module__", None)
    owner = getattr(function, "__self__", None)
    if module == "time" and name in _CLOCKS:
        return f"time.{name}", _TIME
    if name in ("now", "utcnow", "today") and isinstance(owner, type) and issubclass(owner, (date, datetime)):
        return f"{owner.__name__}.{name}", _TIME
    if isinstance(owner, random.Random) and owner is getattr(random, "_inst", None):
        return f"the global generator of random ({name})", _RANDOM
    if name == "urandom":
        return "os.urandom, as uuid4, secrets and SystemRandom do", _RANDOM
    if function is builtins.id:
        return "id()", "an address differs on every replica"
    if function is builtins.hash:
        return "hash()", "the hash of a str differs in every process"
    if name in _MACHINE and module in ("posix", "nt", "_socket"):
        return name, "its result differs on every machine"
    return None


def _where(frame: FrameType) -> str:
    """Return the nearest line outside the standard library and paxospp."""
    nearest = frame
    at: FrameType | None = frame
    while at is not None:
        path = Path(at.f_code.co_filename)
        own = _HOME in path.parents and "machines" not in path.parts
        if not own and not (_LIBRARY in path.parents and "site-packages" not in path.parts) and path.is_absolute():
            nearest = at
            break
        at = at.f_back
    return f"{Path(nearest.f_code.co_filename).name}:{nearest.f_lineno}"
