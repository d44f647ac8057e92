"""The session table: it makes every numbered call take effect exactly once.

For each session it keeps the last number applied and the outcomes that the caller has not acknowledged; for all of them
the log's time and the *horizon*, which is the time up to which silent sessions have expired. It decides which calls of
a run are new and keeps outcomes. It executes nothing and reads no clock: time comes from the log, so every replica
drops the same sessions in the same slot.

Its rules:

* A run opens a session if its first number is 1 and the session's id was requested at a log time ``opened`` with
  ``horizon < opened <= log_time``. A session that has been silent since ``horizon`` is dropped. The horizon never moves
  back and ``opened`` is no later than the session's last run, so a dropped session can never be opened again, however
  late a copy of its first run arrives.
* A number that was applied is not applied again; the answer has the outcome that was kept, and numbers that the
  caller acknowledged are left out. A run that begins above the next number has no effect; its answer names the expected
  number.
* A session has at most ``UNACKNOWLEDGED_MAX`` unacknowledged numbers. Callers keep to that limit; a run that would
  exceed it is answered like a gap.
* A full table opens no session and never drops a live one. A run that finds no room is answered *gap, expected 1* and
  not *expired*: no call of the run was applied, so its calls may wait for room under the same session id until the
  horizon passes that id. If a run begins at the expected number, a gap as the answer means "not now".

References: Liskov and Cowling, "Viewstamped Replication Revisited" (2012), section 4 (the client
table); Ongaro's thesis (2014), 6.3 (sessions, and expiry by the log's own time).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum

import msgspec

from paxospp.errors import CorruptedError, OverloadedError
from paxospp.markers import NO_MARKERS, Markers
from paxospp.sessions.runs import Run, SessionId

UNACKNOWLEDGED_MAX = 16_384
"""How many outcomes of one session are kept. It must be equal on every replica, so it is not a setting."""

SESSIONS_MAX = 100_000
"""How many sessions the table holds. It must be equal on every replica, so it is not a setting."""

FULL_RETRY_S = 1.0
"""How many seconds a caller should wait before it retries if the table has no room for its session."""

_RANDOM_BYTES = 16
_SESSIONS_PER_PIECE = 1024


class RunStatus(IntEnum):
    """The outcome of a run as a whole; the numbers are those on the wire."""

    APPLIED = 1
    GAP = 2
    EXPIRED = 3


class RunAnswer(msgspec.Struct, frozen=True):
    """The answer to a run, equal on every replica.

    If the status is APPLIED, ``outcomes`` are those of the numbers from ``first`` to the run's last one. Numbers that
    the caller acknowledged are left out, so ``first`` may be higher than the run's, and ``outcomes`` may be empty. GAP:
    the run had no effect; ``expected`` is the session's next number. EXPIRED: the run has no effect and never will.
    """

    session: SessionId
    first: int
    status: RunStatus
    expected: int
    outcomes: Sequence[bytes]


class Session(msgspec.Struct, array_like=True, gc=False):
    """The state of one session. Snapshots hold it as a MessagePack array."""

    id: SessionId
    applied: int
    """The highest number applied."""
    acknowledged: int
    """The number up to which the caller has its outcomes; at most ``applied``."""
    seen: int
    """The log's time when the latest run of this session was applied."""
    outcomes: list[bytes]
    """The outcomes of the numbers from ``acknowledged + 1`` to ``applied``."""

    def acknowledge(self, number: int) -> None:
        """Drop the outcomes up to ``number``, which the caller has received."""
        number = min(number, self.applied)
        if number > self.acknowledged:
            del self.outcomes[: number - self.acknowledged]
            self.acknowledged = number

    def keep(self, outcomes: Sequence[bytes]) -> None:
        """Keep the outcomes of the next ``len(outcomes)`` numbers."""
        self.outcomes.extend(outcomes)
        self.applied += len(outcomes)

    def answer(self, run: Run) -> RunAnswer:
        """Return the answer to a run whose numbers are all applied."""
        acknowledged = self.acknowledged
        first = max(run.first, acknowledged + 1)
        kept = self.outcomes[first - acknowledged - 1 : max(run.first + len(run.payloads) - acknowledged - 1, 0)]
        return RunAnswer(self.id, first, RunStatus.APPLIED, self.applied + 1, kept)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Session]).decode


class SessionTable:
    """The live sessions as of the slot applied last, the one that has been silent for longest first."""

    __slots__ = ("_observer", "_sessions", "_sessions_max", "horizon", "log_time")

    def __init__(self, *, sessions_max: int = SESSIONS_MAX, observer: Markers = NO_MARKERS) -> None:
        self._observer = observer
        self._sessions: OrderedDict[tuple[int, bytes], Session] = OrderedDict()
        self._sessions_max = sessions_max
        self.log_time = 0
        # A session requested before anything was applied is opened at 0, which must lie above the horizon.
        self.horizon = -1

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def full(self) -> bool:
        """Whether the table has no room for a new session."""
        return len(self._sessions) >= self._sessions_max

    def has_room_for(self, run: Run) -> bool:
        """Return whether ``run`` would find its session or room for it; an expired one needs no room."""
        return not self.full or (run.opened, run.random) in self._sessions or run.opened <= self.horizon

    def advance(self, log_time: int, expiry: int) -> None:
        """Advance the log's time to that of a value, and drop sessions that have expired. Time never moves back.

        Args:
            log_time: the value's time, in microseconds.
            expiry: how long a session may be silent, in microseconds of the log's time.
        """
        if log_time > self.log_time:
            self.log_time = log_time
            self.horizon = max(self.horizon, log_time - expiry)
            sessions = self._sessions
            # Every run moves its session to the end, and the log's time never moves back, so the sessions are in the
            # order of `seen`.
            while sessions and next(iter(sessions.values())).seen <= self.horizon:
                self._observer.reached("sessions: one expires")
                sessions.popitem(last=False)

    def admit(self, run: Run) -> Session | RunAnswer:
        """Return the session to apply a decided run to, or the answer if the run has no effect.

        The payloads before number ``session.applied + 1`` were applied already; the others come next, in order. The
        executor executes these, passes their outcomes to ``Session.keep``, and gets the answer from ``Session.answer``.
        """
        key = (run.opened, run.random)
        session = self._sessions.get(key)
        if session is None:
            if not self.horizon < run.opened <= self.log_time or len(run.random) != _RANDOM_BYTES:
                self._observer.reached("sessions: a run of a session that expired, or never was, has no effect")
                return _no_effect(run, RunStatus.EXPIRED, 0)
            if run.first != 1 or len(run.payloads) > UNACKNOWLEDGED_MAX or self.full:
                self._observer.reached("sessions: a run that is not the first of its session opens none")
                return _no_effect(run, RunStatus.GAP, 1)
            session = Session(SessionId(*key), 0, 0, self.log_time, [])
            self._sessions[key] = session
            return session
        # Any run keeps the session alive, even a copy of an old one or one without effect.
        session.seen = self.log_time
        self._sessions.move_to_end(key)
        session.acknowledge(run.acknowledged)
        expected = session.applied + 1
        last = run.first + len(run.payloads) - 1
        if run.first > expected or last > max(session.applied, session.acknowledged + UNACKNOWLEDGED_MAX):
            self._observer.reached("sessions: a run above a gap has no effect")
            return _no_effect(run, RunStatus.GAP, expected)
        if last < expected:
            self._observer.reached("sessions: a run that was applied before is answered again")
        elif run.first < expected:
            self._observer.reached("sessions: a run is applied of which a part was applied before")
        return session

    def find(self, run: Run) -> RunAnswer | None:
        """Return the answer to ``run`` if what was applied here settles it; None if the log has to decide.

        A node asks before it proposes a run, and again for its waiting callers after it installed a snapshot. Nothing
        changes; only decided runs change the table.
        """
        session = self._sessions.get((run.opened, run.random))
        if session is None:
            if run.opened > self.horizon:
                return None
            self._observer.reached("sessions: a run of an expired session is refused before it is proposed")
            return _no_effect(run, RunStatus.EXPIRED, 0)
        return session.answer(run) if run.first + len(run.payloads) - 1 <= session.applied else None

    def __iter__(self) -> Iterator[Session]:
        """Iterate over the sessions, the one that has been silent for longest first."""
        return iter(self._sessions.values())

    def encode(self) -> list[bytes]:
        """Encode the sessions as they are now, in pieces for a snapshot: MessagePack arrays of ``Session``."""
        # Encoding a full table takes 20 ms; copying it to encode it later would take 100 ms.
        sessions = list(self._sessions.values())
        return [_encode(sessions[i : i + _SESSIONS_PER_PIECE]) for i in range(0, len(sessions), _SESSIONS_PER_PIECE)]

    def restore(self, log_time: int, horizon: int, sessions: Iterable[Session]) -> None:
        """Replace the content with that of a snapshot."""
        self.log_time = log_time
        self.horizon = horizon
        self._sessions = OrderedDict((session.id, session) for session in sessions)


def decode_sessions(piece: bytes) -> list[Session]:
    """Decode one piece that ``SessionTable.encode`` returned.

    Raises:
        CorruptedError: ``piece`` is anything else.
    """
    try:
        return _decode(piece)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CorruptedError(f"sessions: {error}") from error


def sessions_full_error(retry_after_s: float = FULL_RETRY_S) -> OverloadedError:
    """Return the error for a call whose session finds no room in the table."""
    return OverloadedError(f"the cluster has no room for another session; retry in {retry_after_s:g} s", retry_after_s)


def _no_effect(run: Run, status: RunStatus, expected: int) -> RunAnswer:
    return RunAnswer(run.session, run.first, status, expected, ())
