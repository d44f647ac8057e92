"""Which run takes effect, judged a second time: the rules of sessions, written down anew and as plainly as they go.

Every decided run is judged here as well as by each replica's own table, and the two must agree:
a session that was born again after it expired, expired too early, or took a number twice, shows
in the slot where it happens. There is no bound on sessions or replies here; a run never comes near
those of the table.

References: DESIGN section 7; FAULTS (e), 11, and B34, B35.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from paxospp.sessions.runs import Run, SessionId
from paxospp.sessions.table import RunStatus


class RunJudgement(NamedTuple):
    """What a run has to come to; ``applied`` is how far its session was before it.

    ``first`` is the number from which on it is answered: its caller has the replies below.
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
    """Every session that lives after the value looked at last."""

    def __init__(self) -> None:
        self.expired = 0
        """How many sessions were dropped."""
        self._log_time = 0
        self._horizon = -1
        self._known: dict[SessionId, _Known] = {}

    @property
    def horizon(self) -> int:
        """Nobody lives who was silent since this time of the log, or was opened before it."""
        return self._horizon

    def advance(self, log_time: int, expiry_us: int) -> None:
        """A value with this stamp comes next."""
        if log_time <= self._log_time:
            return
        self._log_time = log_time
        self._horizon = max(self._horizon, log_time - expiry_us)
        silent = [session for session, known in self._known.items() if known.seen <= self._horizon]
        self.expired += len(silent)
        for session in silent:
            del self._known[session]

    def judge(self, run: Run) -> RunJudgement:
        """What becomes of the next run of that value."""
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
