"""The caller's side of a session, which reports the numbers of calls to the history.

The numbering is the real one (``paxospp.sessions.caller``); only the random part of a session's id is drawn from the
seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from paxospp.sessions.caller import Caller
from paxospp.sessions.table import RunStatus
from paxospp.testing.simulation.judges.call_history import CallHistory

_RUN_BYTES_MAX = 1 << 20
_RUN_COMMANDS_MAX = 1024


class WatchedCaller(Caller):
    """Reports the number that each call was given."""

    __slots__ = ("_history", "_seeded")

    def __init__(self, history: CallHistory, random: Random) -> None:
        self._history = history
        self._seeded = random
        super().__init__(random.randbytes(16), run_bytes_max=_RUN_BYTES_MAX, run_commands_max=_RUN_COMMANDS_MAX)

    def expire(self, random: bytes) -> list[object]:
        return super().expire(self._seeded.randbytes(16))

    def next_runs(self) -> list[bytes]:
        first = self._base + len(self._payloads)
        runs = super().next_runs()
        calls = self._calls[first - self._base :]
        if calls:
            self._history.on_numbered(self._random, first, calls, self._payloads[first - self._base :])
        return runs

    def on_answer(
        self, first: int, status: RunStatus | int, expected: int, outcomes: Sequence[bytes]
    ) -> tuple[list[tuple[object, bytes]], bool]:
        answered, resend = super().on_answer(first, status, expected, outcomes)
        for call, outcome in answered:
            self._history.on_answered(call, outcome)
        return answered, resend
