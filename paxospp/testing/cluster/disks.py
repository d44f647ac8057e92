"""Disks that fail or hang, by strace: it holds a node's process and tampers with its calls.

Everything of the process is real but what the kernel answers to the calls that are named, such as
EIO from ``fdatasync``. Where there is no strace, or the system lets nobody trace, that is said by
``why_no_disk_faults`` and raised as ``DiskFaultsUnavailableError``, never passed over.
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
    """The calls of a process cannot be tampered with here; the text says why."""


class DiskFault:
    """One strace that holds one process; ``end`` lets go of it."""

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

    @property
    def injected(self) -> int:
        """How many calls were tampered with so far."""
        said = self._log.read_text(errors="replace")
        return said.count("(INJECTED)") + said.count("(DELAYED)")

    async def attached(self) -> None:
        """Wait until every thread is held."""
        async with asyncio.timeout(ATTACH_S):
            while " attached" not in (said := self._log.read_text(errors="replace")):
                if self._strace.poll() is not None:
                    raise DiskFaultsUnavailableError(f"strace: {said.strip() or self._strace.returncode}")
                await asyncio.sleep(_LOOK_S)

    async def end(self) -> None:
        """Let go: the disk works again, for calls yet to come."""
        self._strace.terminate()
        deadline = time.monotonic() + END_S
        while self._strace.poll() is None:
            if time.monotonic() > deadline:
                # It waits for a call that it holds up itself, of a process that is gone. The kernel lets go for it.
                self._strace.kill()
            await asyncio.sleep(_LOOK_S)


@functools.cache
def why_no_disk_faults() -> str | None:
    """Why calls cannot be tampered with here; None if they can. Tried once, on a child that does nothing."""
    if shutil.which("strace") is None:
        return "there is no strace on the PATH"
    command = ["strace", "-f", "-e", "trace=fsync", "-e", "inject=fsync:error=EIO", "--"]
    code = "import os, tempfile; os.fsync(tempfile.TemporaryFile().fileno())"
    try:
        tried = subprocess.run([*command, sys.executable, "-c", code], capture_output=True, text=True, timeout=ATTACH_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"strace cannot be used: {error}"
    if "(INJECTED)" not in tried.stderr:
        return f"strace cannot tamper with calls here: {tried.stderr.strip().splitlines()[-1:]}"
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    if scope.exists() and scope.read_text().strip() != "0" and os.geteuid() != 0:
        return "strace may not attach to a running process here (kernel.yama.ptrace_scope)"
    return None
