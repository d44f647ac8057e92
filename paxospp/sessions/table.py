"""The session table: what makes every numbered request take effect exactly once.

It owns, per session, how far its numbers were applied and the replies nobody acknowledged yet,
and for all of them the log's time and the ``horizon`` behind which no session lives. It judges
runs and keeps replies; it never executes anything, and it knows no clock: time comes from the
log, so every replica drops the same sessions in the same slot (FAULTS B35).

The rules, each of which is one line below:

* A session is born by a run whose first number is 1 and whose id was asked for at a log time
  ``opened`` with ``horizon < opened <= log_time``. A session silent since ``horizon`` is gone, and
  as ``horizon`` never goes back and ``opened`` is no later than the session's last run, it can
  never be born again, however late a copy of its first run comes.
* Numbers up to the last applied are not applied again: the kept reply is the answer, and what
  the caller acknowledged is passed over. A run that begins beyond the next number has no effect;
  its answer is the number expected.
* At most ``UNACKNOWLEDGED_MAX`` numbers of a session are unacknowledged. A caller that keeps to
  it never notices; a run that would exceed it is answered like a gap.
* A full table opens no new session and never drops a live one. A session that finds no room is
  answered *gap, expected 1*, and not *expired*: nothing of it was applied, so its calls may wait
  for room under the same id, until it is behind the horizon like any other. A gap answered to a
  run that begins at the expected number means just that, "not now".

References: Liskov and Cowling, "Viewstamped Replication Revisited" (2012), section 4 (the client
table); Ongaro's thesis (2014), 6.3 (sessions, and expiry by the log's own time).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum

import msgspec

from paxospp.errors import CorruptedError
from paxospp.markers import UNWATCHED, Markers
from paxospp.sessions.runs import Run, SessionId

UNACKNOWLEDGED_MAX = 16_384
"""Numbers of one session whose replies are kept at most; equal on every replica, hence no setting."""

SESSIONS_MAX = 100_000
"""Sessions in the table at most; equal on every replica, hence no setting."""

_RANDOM_BYTES = 16
_SESSIONS_PER_PIECE = 1024


class RunStatus(IntEnum):
    """What became of a run; the numbers are those of the wire."""

    APPLIED = 1
    GAP = 2
    EXPIRED = 3


class RunOutcome(msgspec.Struct, frozen=True):
    """The answer to a run, equal on every replica.

    APPLIED: ``outcomes`` belong to the numbers from ``first`` on, up to the run's last one; those
    that were acknowledged are passed over, so ``first`` may be higher than the run's, and
    ``outcomes`` empty. GAP: no effect, ``expected`` is the session's next number. EXPIRED: no
    effect, now or ever.
    """

    session: SessionId
    first: int
    status: RunStatus
    expected: int
    outcomes: Sequence[bytes]


class Session(msgspec.Struct, array_like=True, gc=False):
    """One caller's numbered requests. As a MessagePack array it stands in snapshots."""

    id: SessionId
    applied: int
    """The highest number applied."""
    acknowledged: int
    """The caller has its replies up to this number; at most ``applied``."""
    seen: int
    """Log time of the value that held the latest run of this session."""
    replies: list[bytes]
    """The replies to the numbers from ``acknowledged + 1`` to ``applied``."""

    def acknowledge(self, number: int) -> None:
        """Drop the replies up to ``number``, of which the caller says it has them."""
        number = min(number, self.applied)
        if number > self.acknowledged:
            del self.replies[: number - self.acknowledged]
            self.acknowledged = number

    def keep(self, outcomes: Sequence[bytes]) -> None:
        """Remember the outcomes of the next ``len(outcomes)`` numbers."""
        self.replies.extend(outcomes)
        self.applied += len(outcomes)

    def answer(self, run: Run) -> RunOutcome:
        """The answer to a run all of whose numbers are applied."""
        acknowledged = self.acknowledged
        first = max(run.first, acknowledged + 1)
        kept = self.replies[first - acknowledged - 1 : max(run.first + len(run.payloads) - acknowledged - 1, 0)]
        return RunOutcome(self.id, first, RunStatus.APPLIED, self.applied + 1, kept)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Session]).decode


class SessionTable:
    """Every session that lives at the slot applied last, oldest silence first."""

    __slots__ = ("_observer", "_sessions", "_sessions_max", "horizon", "log_time")

    def __init__(self, *, sessions_max: int = SESSIONS_MAX, observer: Markers = UNWATCHED) -> None:
        self._observer = observer
        self._sessions: OrderedDict[tuple[int, bytes], Session] = OrderedDict()
        self._sessions_max = sessions_max
        self.log_time = 0
        # A session asked for before anything was applied is opened at 0; it must lie above the horizon.
        self.horizon = -1

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def full(self) -> bool:
        """Whether a new session would find no room now."""
        return len(self._sessions) >= self._sessions_max

    def has_room_for(self, run: Run) -> bool:
        """Whether ``run`` would find its session, or room for it; one that expired needs none."""
        return not self.full or (run.opened, run.random) in self._sessions or run.opened <= self.horizon

    def advance(self, log_time: int, expiry: int) -> None:
        """Move to a value's stamp, which never takes the log's time back, and drop who fell silent.

        Args:
            log_time: the value's stamp, in microseconds.
            expiry: for how long a session may be silent, in microseconds of the log's time.
        """
        if log_time > self.log_time:
            self.log_time = log_time
            self.horizon = max(self.horizon, log_time - expiry)
            sessions = self._sessions
            # Every run moves its session to the end, and the log's time never goes back, so the
            # sessions stand in the order of `seen`.
            while sessions and next(iter(sessions.values())).seen <= self.horizon:
                self._observer.reached("sessions: one expires")
                sessions.popitem(last=False)

    def admit(self, run: Run) -> Session | RunOutcome:
        """Judge a decided run: the session to apply it to, or the answer if it has no effect.

        Of a run that is admitted, the payloads before number ``session.applied + 1`` were applied
        already; the others come next, in order. The caller executes these, keeps their outcomes
        in the session, and asks it for the answer.
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
        # A run without effect is a sign of life too, and so is a copy of an old one.
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

    def find(self, run: Run) -> RunOutcome | None:
        """The answer to ``run`` as far as the log was applied here, or None where the log must decide.

        For a front door, and for the node whose caller waits while a snapshot was installed. It
        changes nothing: only decided runs do.
        """
        session = self._sessions.get((run.opened, run.random))
        if session is None:
            if run.opened > self.horizon:
                return None
            self._observer.reached("sessions: a run of an expired session is refused at the front door")
            return _no_effect(run, RunStatus.EXPIRED, 0)
        return session.answer(run) if run.first + len(run.payloads) - 1 <= session.applied else None

    def __iter__(self) -> Iterator[Session]:
        """The sessions, the one silent for longest first."""
        return iter(self._sessions.values())

    def encode(self) -> list[bytes]:
        """The sessions as they stand now, in pieces for a snapshot: MessagePack arrays of ``Session``."""
        # There and then: it takes 20 ms for a full table, and a copy to encode later 100.
        sessions = list(self._sessions.values())
        return [_encode(sessions[i : i + _SESSIONS_PER_PIECE]) for i in range(0, len(sessions), _SESSIONS_PER_PIECE)]

    def restore(self, log_time: int, horizon: int, sessions: Iterable[Session]) -> None:
        """Become the table of a snapshot."""
        self.log_time = log_time
        self.horizon = horizon
        self._sessions = OrderedDict((session.id, session) for session in sessions)


def decode_sessions(piece: bytes) -> list[Session]:
    """Undo one piece of ``SessionTable.encode``; raises CorruptedError for anything else."""
    try:
        return _decode(piece)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CorruptedError(f"sessions: {error}") from error


def _no_effect(run: Run, status: RunStatus, expected: int) -> RunOutcome:
    return RunOutcome(run.session, run.first, status, expected, ())
