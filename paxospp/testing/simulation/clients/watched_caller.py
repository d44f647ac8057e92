"""The caller's side of a session, which reports the numbers of calls to the history.

The numbering is the real one (``paxospp.sessions.caller``); only the random part of a session's id is drawn from the
seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from paxospp.node.environment import RUN_BYTES_MAX, RUN_COMMANDS_MAX
from paxospp.sessions.caller import Caller
from paxospp.sessions.table import RunStatus
from paxospp.testing.simulation.judges.call_history import CallHistory


class WatchedCaller(Caller):
    """Reports the number that each call was given."""

    __slots__ = ("_history",)

    def __init__(self, history: CallHistory, session_random: bytes) -> None:
        self._history = history
        super().__init__(session_random, run_bytes_max=RUN_BYTES_MAX, run_commands_max=RUN_COMMANDS_MAX)

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


class RemoteCaller(WatchedCaller):
    """The caller of a remote client; its session ids come from the seed."""

    __slots__ = ("_seeded",)

    def __init__(self, history: CallHistory, random: Random) -> None:
        self._seeded = random
        super().__init__(history, random.randbytes(16))

    def expire(self, random: bytes) -> list[object]:
        return super().expire(self._seeded.randbytes(16))
