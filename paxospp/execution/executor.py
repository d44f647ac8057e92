"""The executor: applies decided entries, one slot after another, to a state machine.

It owns everything that follows from the log alone: the machine, the session table, the two
times, the memberships, the digest. It never skips a slot and never reads a clock: executors
that were given the same entries are equal, and so are their digests (FAULTS B44).

An exception of the machine is a command's result unless ``raising`` says that it may be this
machine's own trouble. Then, and at a decided entry that this code does not understand, the
executor stops with a ReplicaStoppedError that names slot and position. It does so for good,
because the machine may be half changed: every later call raises the same error.

References: Schneider, "Implementing Fault-Tolerant Services Using the State Machine Approach"
(1990); Chandra, Griesemer, Redstone, "Paxos Made Live" (2007), 5 and 6, for snapshots and the
running checksum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple, NoReturn

from paxospp.errors import (
    CommandError,
    CorruptedError,
    InvariantViolatedError,
    RejectedError,
    ReplicaStoppedError,
    UnavailableError,
)
from paxospp.execution.digest import EMPTY_DIGEST, RunTrace, extend_digest
from paxospp.execution.effects import Effects
from paxospp.execution.exceptions import describe, stops_replica
from paxospp.execution.instances import Instances, is_own, own_call
from paxospp.execution.memberships import Memberships
from paxospp.execution.snapshot import Head, SnapshotReader, write_snapshot
from paxospp.markers import UNWATCHED, Markers
from paxospp.model import Ballot, Change, Entry, Kind, Membership, Slot
from paxospp.sessions.runs import Run, decode_commands
from paxospp.sessions.table import RunOutcome, Session, SessionTable
from paxospp.state_machine import (
    OUTCOME_RAISED,
    OUTCOME_RESULT,
    RESERVED_PREFIX,
    Context,
    NotUnderstoodError,
    StateMachine,
    check_command,
    check_query,
    encode_raised,
    encode_rejected,
    refused_commands,
    set_context,
)

_MICROSECONDS = 1_000_000
_RESULT = bytes([OUTCOME_RESULT])
_RAISED = bytes([OUTCOME_RAISED])
_REFUSED = encode_rejected("refused before it was proposed")
_RESERVED = RESERVED_PREFIX.encode()
_SEARCHED_BYTES_MAX = 64 << 10


Apply = Callable[[bytes, Context], bytes]
"""Runs one command."""


class Executor:
    """Applies decided entries in slot order, and answers queries between them."""

    def __init__(
        self,
        machine: StateMachine,
        observer: Markers = UNWATCHED,
        *,
        around: Callable[[Apply, bool], Apply] = lambda apply, is_own: apply,
    ) -> None:
        """``machine`` is in the state of slot 0, as its ``__init__`` left it.

        ``around`` wraps what runs a command, of the user's machine or (``is_own``) of the one beside it.
        """
        self._observer = observer
        self._machine = machine
        # A machine in full control gets the bytes its caller gave, without our prefix.
        self._apply_command = around(self._apply_raw if machine.full_control else machine.apply, False)
        self._apply_own = around(lambda payload, context: self._own.apply(own_call(payload), context), True)
        self._own = Instances()
        self._sessions = SessionTable(observer=observer)
        self._memberships = Memberships()
        self._effects = Effects()
        self._stopped: ReplicaStoppedError | None = None
        self._restoring = False
        self.applied = Slot(0)
        """The slot applied last."""
        self.unix_time = 0
        """The leader's wall clock as of ``applied``, microseconds since 1970; never goes back."""
        self.digest = EMPTY_DIGEST
        """See ``execution.digest``; belongs to ``applied``."""
        self.ballot: Ballot | None = None
        """No slot up to ``applied`` was decided under a higher ballot; None while nothing is known of that."""

    # ------------------------------------------------------------------------- what it knows

    @property
    def log_time(self) -> int:
        """Microseconds of the log's own time, by which sessions are opened and expire."""
        return self._sessions.log_time

    @property
    def memberships(self) -> tuple[tuple[Slot, Membership], ...]:
        """Every membership applied that governs a slot above ``applied``, with the slot it was decided in."""
        return self._memberships.governing(self.applied)

    @property
    def machine(self) -> StateMachine:
        """The user's machine."""
        return self._machine

    @property
    def sessions_known(self) -> int:
        """How many sessions are in the table."""
        return len(self._sessions)

    @property
    def sessions_full(self) -> bool:
        """Whether a session that is not in the table would find no room; a front door may refuse its calls."""
        return self._sessions.full

    @property
    def lease_us(self) -> int:
        """For how many microseconds leases last; 0 while they are off."""
        return self._own.lease_us

    # ------------------------------------------------------------------------- the log, read again

    @property
    def changes_from(self) -> Slot:
        """The first slot of which ``changes`` can tell."""
        return self._effects.known_from

    def changes(self, entry: Entry) -> Iterator[Change]:
        """What an entry that was applied here did: its commands that took effect, in their order."""
        return self._effects.changes(entry)

    def machine_snapshot(self) -> Iterable[bytes]:
        """The user's machine alone, as of ``applied``; to be consumed like ``encode_snapshot``."""
        self._check_running()
        return self._machine.snapshot()

    # ------------------------------------------------------------------------- decided entries

    def apply(self, entry: Entry) -> Sequence[RunOutcome]:
        """Apply the entry of slot ``applied + 1``; the answers to its runs, in their order.

        Raises:
            InvariantViolatedError: it is another slot's entry, or slot 1 does not found the cluster.
            ReplicaStoppedError: this replica cannot go on; nothing may be applied on top.
        """
        self._check_running()
        slot = entry.slot
        if slot != self.applied + 1:
            raise InvariantViolatedError(f"slot {slot} is to be applied on top of slot {self.applied}")
        outcomes: list[RunOutcome] = []
        traces: list[RunTrace] = []
        if entry.kind == Kind.COMMANDS:
            self._apply_commands(slot, entry.value, outcomes, traces)
        elif entry.kind == Kind.MEMBERSHIP:
            try:
                self._memberships.apply(slot, Membership.from_bytes(entry.value))
            except CorruptedError as error:
                self._stop(slot, 0, error)
        elif entry.kind != Kind.NOOP:
            self._stop(slot, 0, CorruptedError(f"kind {entry.kind} is not one that this version of paxospp knows"))
        self.digest = extend_digest(self.digest, slot, entry.kind, entry.value, traces)
        self.applied = slot
        self.meet(entry.ballot)
        return outcomes

    def meet(self, ballot: Ballot) -> None:
        """What is applied was decided under ballots up to this one, or up to the one known before."""
        if self.ballot is None or ballot > self.ballot:
            self.ballot = ballot

    def _apply_commands(self, slot: Slot, value: bytes, outcomes: list[RunOutcome], traces: list[RunTrace]) -> None:
        try:
            commands = decode_commands(value)
        except CorruptedError as error:
            self._stop(slot, 0, error)
        founding = self._memberships.latest
        if founding is None:
            raise InvariantViolatedError(f"slot {slot} holds commands, and no membership was decided below it")
        sessions = self._sessions
        sessions.advance(commands.log_time, founding.session_expiry_s * _MICROSECONDS)
        if commands.unix_time < self.unix_time:
            self._observer.reached("executor: a leader's wall clock lies behind an earlier one's")
            self._effects.hold_time(slot, self.unix_time)
        self.unix_time = max(self.unix_time, commands.unix_time)
        # Looked for once per value, not once per command; one that only mentions it, or is large, takes the longer way.
        has_own = len(value) > _SEARCHED_BYTES_MAX or _RESERVED in value
        apply = self._apply_any if has_own else self._apply_command
        time = self.unix_time / _MICROSECONDS
        position = 0
        for number, run in enumerate(commands.runs):
            answer = sessions.admit(run)
            results: Sequence[bytes] = ()
            if isinstance(answer, RunOutcome):
                self._effects.pass_over(slot, number, len(run.payloads))
            else:
                session = answer
                known = session.applied + 1 - run.first
                if known:
                    self._effects.pass_over(slot, number, min(known, len(run.payloads)))
                context = Context(slot, position + known, time, founding.cluster_id)
                kept, results = self._execute(apply, run.payloads[known:] if known else run.payloads, context)
                session.keep(kept)
                answer = session.answer(run)
            outcomes.append(answer)
            traces.append((answer.status, answer.expected, results))
            position += len(run.payloads)

    def _execute(
        self, apply: Callable[[bytes, Context], bytes], payloads: Sequence[bytes], context: Context
    ) -> tuple[list[bytes], list[bytes]]:
        """Run the commands; their outcomes, and the same for the digest, which sees no exception's text."""
        outcomes: list[bytes] = []
        append = outcomes.append
        raised: list[tuple[int, bytes]] = []
        for payload in payloads:
            try:
                append(_RESULT + apply(payload, context) if payload else _REFUSED)
            except BaseException as error:
                if stops_replica(error):
                    self._observer.reached("executor: trouble of this machine alone stops the replica")
                    self._stop(context.slot, context.position, error)
                self._observer.reached("executor: a command raises, and that is its result")
                type, message = describe(error)
                raised.append((len(outcomes), _RAISED + type.encode("utf-8", "backslashreplace")))
                append(encode_raised(type, message))
            context.position += 1
        if not raised:
            return outcomes, outcomes
        results = outcomes.copy()
        for index, result in raised:
            results[index] = result
        return outcomes, results

    def _apply_any(self, payload: bytes, context: Context) -> bytes:
        if is_own(payload):
            return self._apply_own(payload, context)
        return self._apply_command(payload, context)

    def _apply_raw(self, payload: bytes, context: Context) -> bytes:
        if payload[0]:
            raise NotUnderstoodError("a command by name; this state machine takes raw bytes")
        set_context(self._machine, context)
        return _as_bytes(self._machine.apply(payload[1:], context))

    # ------------------------------------------------------------------------- front doors

    def check(self, run: Run) -> tuple[tuple[int, str], ...]:
        """The requests of ``run`` that this machine would not understand, by number, with the reason.

        Empty: the run may be proposed. A front door asks before it proposes, because a decided
        command that is not understood stops every replica.
        """
        refused = []
        for place, reason in refused_commands(self._machine, run.payloads):
            payload = run.payloads[place]
            if is_own(payload):  # the user's machine knows nothing of these
                try:
                    check_command(self._own, own_call(payload))
                    continue
                except RejectedError as error:
                    reason = str(error)
            refused.append((run.first + place, reason))
        return tuple(refused)

    def check_command(self, payload: bytes) -> None:
        """Raise RejectedError, with one line, unless this command would be understood."""
        if is_own(payload):
            check_command(self._own, own_call(payload))
        else:
            check_command(self._machine, payload)

    def has_room_for(self, run: Run) -> bool:
        """Whether the run's session is known or may be opened now; else it would only be a gap in the log."""
        return self._sessions.has_room_for(run)

    def find(self, run: Run) -> RunOutcome | None:
        """The answer to ``run`` if what was applied here settles it, else None: then the log must decide."""
        return self._sessions.find(run)

    def answer(self, request: bytes) -> bytes:
        """Answer a query from the state as of ``applied``.

        Raises:
            RejectedError: the name or the arguments do not fit.
            CommandError: the machine raised, whatever it was: no replica depends on a query.
        """
        self._check_running()
        machine = self._machine
        if is_own(request):
            machine, request = self._own, own_call(request)
        check_query(machine, request)
        set_context(machine, Context.of_query(self.applied, self.unix_time / _MICROSECONDS))
        try:
            return _as_bytes(machine.answer(request[1:])) if machine.full_control else machine.answer(request)
        except BaseException as error:
            raise CommandError(*describe(error)) from error

    # ------------------------------------------------------------------------- snapshots

    def encode_snapshot(self) -> Iterable[bytes]:
        """Everything as of ``applied``, in the form of ``execution.snapshot``.

        To be called between two slots; what it returns may be consumed in another thread while
        the log goes on.
        """
        self._check_running()
        own = list(self._own.snapshot())
        head = Head(
            applied=self.applied,
            log_time=self._sessions.log_time,
            unix_time=self.unix_time,
            horizon=self._sessions.horizon,
            digest=self.digest,
            memberships=tuple((slot, membership.to_bytes()) for slot, membership in self.memberships),
            sessions=len(self._sessions),
            own=len(own),
            effects=self._effects.encode(),
            ballot=self.ballot,
        )
        return write_snapshot(head, self._sessions.encode(), chain(own, self._machine.snapshot()))

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Become what a snapshot says; ``chunks`` are its bytes, cut in any way. See ``begin_restore``."""
        restoring = self.begin_restore()
        try:
            restoring.read(chunks)
        finally:
            restoring.finish()

    def begin_restore(self) -> Restoring:
        """Begin to become what a snapshot says; until it is finished nothing is applied or answered here."""
        self._check_running()
        self._restoring = True
        return Restoring(self, self._machine)

    def _finish_restore(self, state: _Restored | None, stopped: ReplicaStoppedError | None) -> None:
        self._restoring = False
        self._stopped = stopped
        if state is None:
            self._observer.reached("executor: a snapshot that cannot be taken in leaves the state as it was")
            return
        self._observer.reached("executor: a snapshot becomes the state")
        head = state.head
        self._own = state.own
        self._effects = state.effects
        self._sessions.restore(head.log_time, head.horizon, state.sessions)
        self._memberships.restore(state.memberships)
        self.applied = head.applied
        self.unix_time = head.unix_time
        self.digest = head.digest
        self.ballot = head.ballot
        self.on_restored()

    def on_restored(self) -> None:
        """Hear that a snapshot has become the state; for subclasses that look on."""

    # ------------------------------------------------------------------------- the end

    def _check_running(self) -> None:
        if self._stopped is not None:
            raise self._stopped
        if self._restoring:
            raise UnavailableError("this node is installing a snapshot")

    def _stop(self, slot: int, position: int, cause: BaseException) -> NoReturn:
        self._stopped = _stopped_at(slot, position, cause)
        raise self._stopped from cause


class _Restored(NamedTuple):
    """What a snapshot says beside the machine's state, which is in the machine by then."""

    head: Head
    memberships: Sequence[tuple[Slot, Membership]]
    sessions: Sequence[Session]
    effects: Effects
    own: Instances


class Restoring:
    """An executor on its way to a snapshot's state: ``read`` in any thread, then ``finish`` where it lives."""

    def __init__(self, executor: Executor, machine: StateMachine) -> None:
        self._executor = executor
        self._machine = machine
        self._applied = executor.applied
        self._state: _Restored | None = None
        self._stopped: ReplicaStoppedError | None = None

    def read(self, chunks: Iterable[bytes]) -> None:
        """Read all of it, and let the machine take its part.

        Raises:
            CorruptedError: it is damaged. Found before the machine was touched, the executor goes
                on as it was; found later, it has stopped. ``check_snapshot`` finds it beforehand.
            InvariantViolatedError: it is older than what was applied.
            ReplicaStoppedError: the machine raised, so its state is unknown.
        """
        reader = SnapshotReader(chunks)
        head = reader.head
        if head.applied < self._applied:
            raise InvariantViolatedError(f"a snapshot of slot {head.applied} cannot replace slot {self._applied}")
        memberships = head.decoded_memberships()
        effects = Effects()
        effects.restore(head.effects, head.applied)
        sessions = reader.sessions()
        machine = reader.machine()
        own = Instances()
        try:
            own.restore(islice(machine, head.own))
            self._machine.restore(machine)
            for _ in machine:
                # The machine may know enough before the end; whether all was there shows only there.
                pass
        except BaseException as error:
            if reader.damage is None:
                self._stopped = _stopped_at(head.applied, 0, error)
                raise self._stopped from error
        if reader.damage is not None:
            # Asked here as well, for a machine may have caught what its chunks raised.
            self._stopped = _stopped_at(head.applied, 0, reader.damage)
            raise reader.damage
        self._state = _Restored(head, memberships, sessions, effects, own)

    def finish(self) -> None:
        """The executor is what the snapshot said; or as it was, or stopped for good, after ``read`` raised."""
        self._executor._finish_restore(self._state, self._stopped)


def _stopped_at(slot: int, position: int, cause: BaseException) -> ReplicaStoppedError:
    type, message = describe(cause)
    return ReplicaStoppedError(f"slot {slot}, command {position}: {type}: {message}", slot, position)


def _as_bytes(result: object) -> bytes:
    if not isinstance(result, bytes):
        raise TypeError(f"a machine in full control returns bytes, not {type(result).__name__}")
    return result
