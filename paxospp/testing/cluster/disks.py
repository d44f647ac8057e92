"""Disks that fail or hang: strace attaches to a node's process and changes the results of system calls.

The process and its files are real; only the named calls return something else, such as EIO from ``fdatasync``. If
strace is not installed, or the system does not allow tracing, ``why_no_disk_faults`` says so and
``DiskFaultsUnavailableError`` is raised; a test never passes without the fault.
"""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from paxospp.errors import PaxosppError

SYNCS = "fsync,fdatasync,sync_file_range,msync"
ATTACH_S = 10.0
END_S = 1.0
_LOOK_S = 0.005


class DiskFaultsUnavailableError(PaxosppError):
    """The system calls of a process cannot be changed here; the text says why."""


class DiskFault:
    """One strace attached to one process; ``end`` detaches it."""

    def __init__(self, pid: int, log: Path, *, calls: str, error: str | None, delay_s: float, when: str) -> None:
        what = "" if error is None else f":error={error}"
        if delay_s:
            what += f":delay_enter={round(delay_s * 1_000_000)}"
        self._log = log
        log.write_text("")
        with log.open("wb") as stderr:
            self._strace = subprocess.Popen(
                ["strace", "-f", "-p", str(pid), "-e", f"trace={calls}", "-e", f"inject={calls}{what}:when={when}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )

    async def attached(self) -> None:
        """Wait until strace is attached.

        Raises:
            DiskFaultsUnavailableError: strace ended instead.
        """
        async with asyncio.timeout(ATTACH_S):
            while " attached" not in (said := self._log.read_text(errors="replace")):
                if self._strace.poll() is not None:
                    raise DiskFaultsUnavailableError(f"strace: {said.strip() or self._strace.returncode}")
                await asyncio.sleep(_LOOK_S)

    async def end(self) -> None:
        """Detach strace: later calls of the process work again."""
        self._strace.terminate()
        deadline = time.monotonic() + END_S
        while self._strace.poll() is None:
            if time.monotonic() > deadline:
                # strace waits for a call that it delays, of a process that has ended. Kill it; the kernel detaches it.
                self._strace.kill()
            await asyncio.sleep(_LOOK_S)


@functools.cache
def why_no_disk_faults() -> str | None:
    """Return why disk faults are not available here; None if they are. Try once, on a small child process."""
    if shutil.which("strace") is None:
        return "strace is not on the PATH"
    command = ["strace", "-f", "-e", "trace=fsync", "-e", "inject=fsync:error=EIO", "--"]
    code = "import os, tempfile; os.fsync(tempfile.TemporaryFile().fileno())"
    try:
        tried = subprocess.run([*command, sys.executable, "-c", code], capture_output=True, text=True, timeout=ATTACH_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"strace cannot be used: {error}"
    if "(INJECTED)" not in tried.stderr:
        return f"strace cannot change the results of calls here: {tried.stderr.strip().splitlines()[-1:]}"
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    if scope.exists() and scope.read_text().strip() != "0" and os.geteuid() != 0:
        return "strace may not attach to a running process here: kernel.yama.ptrace_scope is not 0"
    return None
