"""The rules of sessions, written a second time and as simply as possible: which run takes effect.

Every decided run is judged here and by the session table of each replica, and the two must agree. A session that
revives after it expired, that expires too early, or that uses a number twice shows in the slot where it happens. There
is no bound on sessions or outcomes here; runs do not come near the bounds of the table.

References: invariant 11 of ``paxospp/testing/simulation/README.md``; bugs B34 and B35.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from paxospp.sessions.runs import Run, SessionId
from paxospp.sessions.table import RunStatus


class RunJudgement(NamedTuple):
    """The correct outcome of a run; ``applied`` is the highest number of its session that was applied before.

    ``first`` is the number from which on the run is answered: its caller already has the outcomes below.
    """

    status: RunStatus
    expected: int
    applied: int
    first: int = 0


@dataclass(slots=True)
class _Known:
    applied: int
    seen: int
    acknowledged: int = 0


class SessionRules:
    """The sessions that are alive after the latest value."""

    def __init__(self) -> None:
        self.expired = 0
        """How many sessions have expired."""
        self._log_time = 0
        self._horizon = -1
        self._known: dict[SessionId, _Known] = {}

    @property
    def horizon(self) -> int:
        """Return the log time, in microseconds, up to which every session that was not used since has expired."""
        return self._horizon

    def advance(self, log_time: int, expiry_us: int) -> None:
        """Begin the next value, with this time stamp."""
        if log_time <= self._log_time:
            return
        self._log_time = log_time
        self._horizon = max(self._horizon, log_time - expiry_us)
        silent = [session for session, known in self._known.items() if known.seen <= self._horizon]
        self.expired += len(silent)
        for session in silent:
            del self._known[session]

    def judge(self, run: Run) -> RunJudgement:
        """Return the correct outcome of the next run of that value."""
        known = self._known.get(run.session)
        if known is None:
            if not self._horizon < run.opened <= self._log_time:
                return RunJudgement(RunStatus.EXPIRED, 0, 0)
            if run.first != 1:
                return RunJudgement(RunStatus.GAP, 1, 0)
            known = self._known[run.session] = _Known(0, self._log_time)
        known.seen = self._log_time
        before = known.applied
        known.acknowledged = max(known.acknowledged, min(run.acknowledged, before))
        if run.first > before + 1:
            return RunJudgement(RunStatus.GAP, before + 1, before)
        known.applied = max(before, run.first + len(run.payloads) - 1)
        return RunJudgement(RunStatus.APPLIED, known.applied + 1, before, max(run.first, known.acknowledged + 1))
