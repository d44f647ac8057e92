"""Running a child under ``strace``: the one room that knows its options.

``--seccomp-bpf`` lets every call that is not traced run at full speed. ``read`` is traced raw, for it
moves a position but its bytes are of no interest. Whether all this is to be had here is tried out
once, for a container may forbid it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from paxospp.testing.power_cut.marks import DESCRIPTOR

TIMEOUT_S = 240.0
"""How long a child may run that hangs; the longest that does not takes seconds on two busy cores."""
RAM_BYTES_MIN = 1 << 30
"""What has to be free in a directory in memory: two runs of the kit side by side take a quarter of it."""
BYTES_MAX = 32 << 20
"""The longest piece of data of one call that a trace holds whole."""


_STRACE = ["strace", "-f", "--seccomp-bpf", "-qq", "-y", "-xx", "-s", str(BYTES_MAX)]

_LIMIT = """
import os, resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
os.execvp(sys.argv[2], sys.argv[2:])
"""


@dataclass(slots=True, frozen=True, kw_only=True)
class Fault:
    """What ``strace`` does to a child's system calls.

    ``Fault(syscall="fdatasync", error="EIO", when="3")``: the third one of each thread is not done and
    returns EIO. ``when`` is ``strace``'s: ``3``, ``3+`` (from the third on), ``3+2`` (every second from there).
    ``Fault(syscall="fdatasync", signal="SIGKILL")`` kills the child where it would have synced.
    """

    syscall: str
    """One or several, joined by commas."""
    error: str | None = None
    signal: str | None = None
    delay_ms: int | None = None
    """The call is made, so many milliseconds later."""
    when: str = "1"

    def __post_init__(self) -> None:
        if sum(what is not None for what in (self.error, self.signal, self.delay_ms)) != 1:
            raise ValueError("a fault is either an error or a signal or a delay")

    def __str__(self) -> str:
        what = f"error={self.error}" if self.error is not None else f"signal={self.signal}"
        if self.delay_ms is not None:
            what = f"delay_enter={self.delay_ms * 1000}"
        names = ",".join(f"?{name}" for name in self.syscall.split(","))
        return f"{names}:{what}:when={self.when}"


@dataclass(slots=True, frozen=True)
class Ended:
    """How a child ended."""

    exit_code: int
    """Minus the number of the signal that ended it."""
    marks: tuple[str, ...]
    """The lines it said by ``mark``, in order."""
    output: str
    """The end of what it wrote to standard output and standard error."""
    said_before_fault: tuple[str, ...] | None = None
    """With ``follow_marks``: the marks said before the fault first struck, or None if it never did."""


@cache
def trace_available() -> str | None:
    """Why nothing can be traced here, in words; None: it can."""
    if not sys.platform.startswith("linux"):
        return f"strace is for Linux, and this is {sys.platform}"
    if shutil.which("strace") is None:
        return "strace is not installed"
    try:
        tried = subprocess.run(
            [*_STRACE, "-e", "trace=?fsync", "-o", os.devnull, "true"],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"strace cannot be run: {error}"
    if tried.returncode:
        return f"strace is refused: {(tried.stderr.strip().splitlines() or ['it says nothing'])[-1]}"
    return None


def limited(command: Sequence[str], file_bytes_max: int) -> list[str]:
    """``command`` in a process whose files must not grow beyond so many bytes.

    A write across that bound is a short one, and the next fails with EFBIG: what ``strace`` cannot
    do is done by the kernel itself.
    """
    return [sys.executable, "-c", _LIMIT, str(file_bytes_max), *command]


def ram_directory() -> str | None:
    """A directory in memory with room for large stores, if there is one: a sync there costs next to nothing.

    Containers often have one of 64 MiB, and a store that grows past that would seem to fail by itself.
    """
    directory = "/dev/shm"
    if not os.path.ismount(directory) or not os.access(directory, os.W_OK):
        return None
    space = os.statvfs(directory)
    return directory if space.f_bavail * space.f_frsize >= RAM_BYTES_MIN else None


@contextmanager
def fast_directory() -> Iterator[Path]:
    """A fresh directory, in memory where there is one: hundreds of stores are opened, and nothing need last."""
    with tempfile.TemporaryDirectory(prefix="paxospp-", dir=ram_directory()) as directory:
        yield Path(os.path.realpath(directory))


@contextmanager
def traced(
    command: Sequence[str],
    *,
    calls: Collection[str],
    paths: Collection[str] = (),
    fault: Fault | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
    follow_marks: bool = False,
) -> Iterator[tuple[Ended, Path, Path]]:
    """Run ``command`` to its end; how it ended, the trace, and the file of its marks.

    With ``paths`` only calls that mean one of these files are traced, and given the fault. With ``follow_marks`` the
    writes of its marks are in the trace, too.

    Raises:
        RuntimeError: nothing can be traced here; ``trace_available`` says why.
        subprocess.TimeoutExpired: it took longer than ``timeout_s``, and was killed.
    """
    if reason := trace_available():
        raise RuntimeError(reason)
    with fast_directory() as room:
        trace, marks, output = room / "trace", room / "marks", room / "output"
        with open(marks, "wb", buffering=0) as said, open(output, "wb") as written:
            line = [*_STRACE, "-o", str(trace), "-e", "signal=none", "-e", "raw=?read,?readv"]
            traced_calls = {*calls, "write"} if follow_marks else set(calls)
            line += ["-e", "trace=" + ",".join(f"?{name}" for name in sorted(traced_calls))]
            if fault is not None:
                line += ["-e", f"inject={fault}"]
            if fault is not None and fault.signal is not None:
                line.remove("--seccomp-bpf")  # a signal arrives only where each call stops the child
            line += [word for path in (*paths, *([str(marks)] if follow_marks else [])) for word in ("-P", path)]
            child = subprocess.Popen(
                [*line, "--", *command],
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {}), DESCRIPTOR: str(said.fileno())},
                pass_fds=[said.fileno()],
                start_new_session=True,
            )
            try:
                exit_code = child.wait(timeout_s)
            finally:
                with suppress(ProcessLookupError):  # whatever it left behind
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        lines = marks.read_text(errors="replace").splitlines()
        tail = output.read_bytes()[-4096:].decode(errors="replace")
        yield Ended(exit_code, tuple(lines), tail), trace, marks


def count_calls(
    command: Sequence[str],
    calls: Collection[str],
    *,
    paths: Collection[str] = (),
    environment: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> tuple[Ended, Counter[str]]:
    """How often each of these calls was made to these files, in the thread that made most of them."""
    with traced(
        command,
        calls=calls,
        paths=[os.path.realpath(path) for path in paths],
        environment=environment,
        timeout_s=timeout_s,
    ) as (ended, trace, _):
        found = [line.split(b"(", 1)[0].split() for line in trace.read_bytes().splitlines()]
        made = Counter((words[0], words[1].decode()) for words in found if len(words) == 2)
    most: Counter[str] = Counter()
    for (_, name), count in made.items():
        most[name] = max(most[name], count)
    return ended, most


def inject(
    command: Sequence[str],
    fault: Fault,
    *,
    paths: Collection[str] = (),
    environment: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
    follow_marks: bool = False,
) -> Ended:
    """Run ``command`` with a fault in its system calls.

    Give ``paths`` (whole paths; ``Recording.paths`` of a run without faults knows them) for faults of
    calls that are not only made to the store, such as ``write``. ``follow_marks``, which is not for faults of
    ``write``, tells how far the child was when the fault struck.
    """
    with traced(
        command,
        calls=fault.syscall.split(","),
        paths=[os.path.realpath(path) for path in paths],
        fault=fault,
        environment=environment,
        timeout_s=timeout_s,
        follow_marks=follow_marks,
    ) as (ended, trace, marks):
        said = _said_before_fault(trace, marks, ended.marks) if follow_marks else None
        return replace(ended, said_before_fault=said)


def _said_before_fault(trace: Path, file: Path, marks: Sequence[str]) -> tuple[str, ...] | None:
    said, path = 0, "".join(f"\\x{byte:02x}" for byte in os.fsencode(file)).encode()
    for line in trace.read_bytes().splitlines():
        if line.endswith(b"(INJECTED)"):
            return tuple(marks[:said])
        said += b" write(" in line and path in line
    return None
