"""Run a child process under ``strace``; only this module knows the options of ``strace``.

``--seccomp-bpf`` lets every call that is not traced run at full speed. ``read`` is traced raw: its effect on the file
position matters, its bytes do not. ``trace_available`` tries once whether tracing works, since containers may forbid
it.
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
"""How long a child may run, in seconds; children that do not hang take a few seconds on two busy cores."""
RAM_BYTES_MIN = 1 << 30
"""The free space, in bytes, that a directory in memory must have: four times what two runs of the kit need."""
BYTES_MAX = 32 << 20
"""The most data of one call, in bytes, that a trace records."""


_STRACE = ["strace", "-f", "--seccomp-bpf", "-qq", "-y", "-xx", "-s", str(BYTES_MAX)]

_LIMIT = """
import os, resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
os.execvp(sys.argv[2], sys.argv[2:])
"""


@dataclass(slots=True, frozen=True, kw_only=True)
class Fault:
    """A fault that ``strace`` injects into a child's system calls: an error, a signal or a delay.

    ``Fault(syscall="fdatasync", error="EIO", when="3")`` makes the third call of each thread return EIO without effect.
    ``Fault(syscall="fdatasync", signal="SIGKILL")`` kills the child where it would have synced.
    """

    syscall: str
    """The name of a system call, or several names joined by commas."""
    error: str | None = None
    signal: str | None = None
    delay_ms: int | None = None
    """How long to delay the call, in milliseconds."""
    when: str = "1"
    """Which calls, as ``strace`` writes it: ``3``, ``3+`` (from the third on), ``3+2`` (every second from there)."""

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
    """The end of a child process."""

    exit_code: int
    """The exit code, or minus the number of the signal that ended the child."""
    marks: tuple[str, ...]
    """The lines that the child wrote by ``mark``, in order."""
    output: str
    """The end of the child's standard output and standard error."""
    said_before_fault: tuple[str, ...] | None = None
    """With ``follow_marks``: the marks before the fault first struck, or None if it never did."""


@cache
def trace_available() -> str | None:
    """Return None if tracing works here, else the reason why not."""
    if not sys.platform.startswith("linux"):
        return f"strace runs on Linux only, and this is {sys.platform}"
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
        return f"strace may not trace here: {(tried.stderr.strip().splitlines() or ['no error message'])[-1]}"
    return None


def limited(command: Sequence[str], file_bytes_max: int) -> list[str]:
    """Return a command line that runs ``command`` with files limited to ``file_bytes_max`` bytes.

    A write across the limit is short, and the next one fails with EFBIG. ``strace`` cannot inject short writes, but the
    kernel makes them.
    """
    return [sys.executable, "-c", _LIMIT, str(file_bytes_max), *command]


def ram_directory() -> str | None:
    """Return a directory in memory, where a sync costs almost nothing; None if there is none with enough space.

    Containers often have one of 64 MiB, which is too small: a store that fills it would seem to fail by itself.
    """
    directory = "/dev/shm"
    if not os.path.ismount(directory) or not os.access(directory, os.W_OK):
        return None
    space = os.statvfs(directory)
    return directory if space.f_bavail * space.f_frsize >= RAM_BYTES_MIN else None


@contextmanager
def fast_directory() -> Iterator[Path]:
    """Make a temporary directory, in memory if possible, because hundreds of stores are opened there."""
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
    """Run ``command`` to its end; yield how it ended, the path of the trace, and the path of the file of marks.

    Args:
        command: the child's command line.
        calls: the names of the system calls to trace.
        paths: if given, trace only calls on these files, and inject the fault only there.
        fault: a fault to inject.
        environment: variables to add to the environment.
        timeout_s: how long the child may run, in seconds.
        follow_marks: whether to trace the writes of marks too.

    Raises:
        RuntimeError: tracing is not possible here, see ``trace_available``.
        subprocess.TimeoutExpired: the child took longer than ``timeout_s`` and was killed.
    """
    if reason := trace_available():
        raise RuntimeError(reason)
    with fast_directory() as directory:
        trace, marks, output = directory / "trace", directory / "marks", directory / "output"
        with open(marks, "wb", buffering=0) as said, open(output, "wb") as written:
            line = [*_STRACE, "-o", str(trace), "-e", "signal=none", "-e", "raw=?read,?readv"]
            traced_calls = {*calls, "write"} if follow_marks else set(calls)
            line += ["-e", "trace=" + ",".join(f"?{name}" for name in sorted(traced_calls))]
            if fault is not None:
                line += ["-e", f"inject={fault}"]
            if fault is not None and fault.signal is not None:
                line.remove("--seccomp-bpf")  # strace delivers a signal only if every call stops the child
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
                with suppress(ProcessLookupError):  # processes that the child left behind
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
    """Run ``command`` and count its calls on these files: for each name, the highest number that one thread made."""
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

    Args:
        command: the child's command line.
        fault: the fault to inject.
        paths: inject only into calls on these files (absolute paths, such as ``Recording.paths`` of a run without
            faults). Needed for calls like ``write``, which are not only made on the store's files.
        environment: variables to add to the environment.
        timeout_s: how long the child may run, in seconds.
        follow_marks: whether to report the marks before the fault; not for faults of ``write``.
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
