"""The threads of a trace and their tables of descriptors, as the kernel keeps them.

A thread shares the table of the thread that created it. A forked child gets a copy of the table, whose entries share
their file positions with the original. A child may make calls before the call that created it returns.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from paxospp.testing.power_cut.trace import FORKS, SystemCall

_FIRST = re.compile(rb"\w+")


@dataclass(slots=True)
class OpenFile:
    """An open file, which several descriptors may share; ``inode`` is None for a file outside the directory."""

    inode: int | None
    append: bool = False
    synced: bool = False
    """Opened with O_SYNC or O_DSYNC."""
    position: int = 0


class Processes:
    """All threads of one trace."""

    def __init__(self, working_directory: str) -> None:
        self._home = working_directory
        self._tables: dict[int, dict[int, OpenFile]] = {}
        self._working: dict[int, str] = {}
        self._forking: list[SystemCall] = []

    def table(self, call: SystemCall) -> dict[int, OpenFile]:
        """Return the table of descriptors of the thread that made the call."""
        return self._tables[call.thread]

    def see(self, call: SystemCall) -> None:
        """Register the thread, and apply what the call does to threads, descriptors and file positions."""
        if call.thread not in self._tables:
            if self._forking:  # the child of a call that has not returned yet
                self._child(self._forking[-1], call.thread)
            else:
                self._tables[call.thread], self._working[call.thread] = {}, self._home
        if call.name in FORKS:
            self._fork(call)
        elif call.failed or call.result is None:
            return
        elif call.name == "chdir":
            self._working[call.thread] = self.absolute(call, call.strings[0])
        elif call.name == "fchdir":
            self._working[call.thread] = call.descriptor.path
        elif call.name in ("dup", "dup2", "dup3") or (call.name == "fcntl" and b"F_DUPFD" in call.arguments):
            self.table(call)[call.result] = self._first(call) or OpenFile(None)
        elif call.name in ("read", "readv", "lseek") and (file := self._first(call)) is not None:
            file.position = call.result if call.name == "lseek" else file.position + call.result

    def absolute(self, call: SystemCall, path: bytes, base: str | None = None) -> str:
        """Return ``path`` as an absolute path, with symbolic links resolved in all but the last part, as in a trace."""
        start = base if base is not None else self._working[call.thread]
        head, _, name = os.path.normpath(os.path.join(start, os.fsdecode(path))).rpartition("/")
        return f"{os.path.realpath(head or '/')}/{name}"

    def _first(self, call: SystemCall) -> OpenFile | None:
        match = _FIRST.match(call.arguments)
        return self.table(call).get(int(match[0], 0)) if match is not None else None

    def _fork(self, call: SystemCall) -> None:
        if call.result is None:
            self._forking.append(call)
            return
        self._forking = [c for c in self._forking if c.thread != call.thread]
        if not call.failed and call.result not in self._tables:
            self._child(call, call.result)

    def _child(self, call: SystemCall, child: int) -> None:
        table = self.table(call)
        self._tables[child] = table if b"CLONE_FILES" in call.arguments else dict(table)
        self._working[child] = self._working[call.thread]
