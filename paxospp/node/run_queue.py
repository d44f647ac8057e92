"""Runs on their way to the log, oldest first, with how much they are in all."""

from __future__ import annotations

from collections import deque


class RunQueue:
    """Encoded runs, each with how many commands are in it, more or less."""

    def __init__(self) -> None:
        self._runs: deque[tuple[bytes, int]] = deque()
        self.bytes = 0
        self.commands = 0

    def __len__(self) -> int:
        return len(self._runs)

    def put(self, run: bytes, commands: int) -> None:
        self._runs.append((run, commands))
        self.bytes += len(run)
        self.commands += commands

    def fits(self, bytes_left: int, commands_left: int) -> bool:
        """Whether there is a next run, and it is within these bounds."""
        if not self._runs:
            return False
        run, commands = self._runs[0]
        return len(run) <= bytes_left and commands <= commands_left

    def take(self) -> tuple[bytes, int]:
        run, commands = self._runs.popleft()
        self.bytes -= len(run)
        self.commands -= commands
        return run, commands

    def clear(self) -> None:
        self._runs.clear()
        self.bytes = 0
        self.commands = 0
