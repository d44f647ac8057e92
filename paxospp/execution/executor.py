"""The executor: it applies decided entries to a state machine, one slot after another.

It owns everything that follows from the log alone: the machine, the session table, the log's time and the wall clock,
the memberships, and the digest. It never skips a slot and never reads a clock, so two executors that were given the
same entries are in the same state and have the same digest.

An exception of a command is its result, unless ``exceptions`` says that it may affect this replica only. In that case,
and at a decided entry that this code does not understand, the executor stops with a ReplicaStoppedError that names slot
and position. It stops for good, because the state may be half changed: every later call raises the same error.

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
from paxospp.execution.built_in_machine import BuiltInMachine, is_built_in, without_prefix
from paxospp.execution.digest import EMPTY_DIGEST, RunTrace, extend_digest
from paxospp.execution.effects import Effects
from paxospp.execution.exceptions import describe, stops_replica
from paxospp.execution.memberships import Memberships
from paxospp.execution.snapshot import SnapshotDecoder, SnapshotHead, write_snapshot
from paxospp.markers import NO_MARKERS, Markers
from paxospp.model import Ballot, Change, Entry, Kind, Membership, Slot
from paxospp.sessions.runs import Run, decode_commands
from paxospp.sessions.table import RunAnswer, Session, SessionTable
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
"""A function that executes one command."""


class Executor:
    """Applies decided entries in slot order, and answers queries between them."""

    def __init__(
        self,
        machine: StateMachine,
        observer: Markers = NO_MARKERS,
        *,
        around: Callable[[Apply, bool], Apply] = lambda apply, is_built_in: apply,
    ) -> None:
        """Start at slot 0.

        Args:
            machine: the user's state machine, as its ``__init__`` left it.
            observer: is told which branches are taken.
            around: wraps the function that executes a command of the user's machine, or (``is_built_in``) of the
                built-in one; for checks and the simulator.
        """
        self._observer = observer
        self._machine = machine
        # A machine in full control gets the bytes its caller gave, without our prefix.
        self._apply_command = around(self._apply_raw if machine.full_control else machine.apply, False)
        self._built_in = BuiltInMachine()
        self._apply_built_in = around(self._call_built_in, True)
        self._sessions = SessionTable(observer=observer)
        self._memberships = Memberships()
        self._effects = Effects()
        self._stopped: ReplicaStoppedError | None = None
        self._restoring = False
        self.applied = Slot(0)
        """The slot applied last."""
        self.unix_time = 0
        """The leader's wall clock as of ``applied``, in microseconds since 1970; it never moves back."""
        self.digest = EMPTY_DIGEST
        """The digest as of ``applied``, see ``execution.digest``."""
        self.ballot: Ballot | None = None
        """The highest ballot under which a slot up to ``applied`` may have been decided; None if unknown."""

    # ------------------------------------------------------------------------- state

    @property
    def log_time(self) -> int:
        """The log's own time in microseconds, by which sessions are opened and expire."""
        return self._sessions.log_time

    @property
    def memberships(self) -> tuple[tuple[Slot, Membership], ...]:
        """The memberships that govern slots above ``applied``, each with the slot that decided it."""
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
        """Whether the table has no room for a new session; a node may refuse the calls of one."""
        return self._sessions.full

    @property
    def lease_us(self) -> int:
        """The length of leases in microseconds; 0 while they are off."""
        return self._built_in.lease_us

    # ------------------------------------------------------------------------- the change feed

    @property
    def changes_from(self) -> Slot:
        """The first slot that ``changes`` knows."""
        return self._effects.known_from

    def changes(self, entry: Entry) -> Iterator[Change]:
        """Yield the commands of an applied entry that took effect, in order."""
        return self._effects.changes(entry)

    def machine_snapshot(self) -> Iterable[bytes]:
        """Return a snapshot of the user's machine alone, as of ``applied``; consume it like ``encode_snapshot``."""
        self._check_running()
        return self._machine.snapshot()

    # ------------------------------------------------------------------------- decided entries

    def apply(self, entry: Entry) -> Sequence[RunAnswer]:
        """Apply the entry of slot ``applied + 1``, and return the answers to its runs, in order.

        Raises:
            InvariantViolatedError: the entry is of another slot, or slot 1 holds no first membership.
            ReplicaStoppedError: this replica cannot go on; nothing more may be applied.
        """
        self._check_running()
        slot = entry.slot
        if slot != self.applied + 1:
            raise InvariantViolatedError(f"slot {slot} would be applied after slot {self.applied}")
        answers: list[RunAnswer] = []
        traces: list[RunTrace] = []
        if entry.kind == Kind.COMMANDS:
            self._apply_commands(slot, entry.value, answers, traces)
        elif entry.kind == Kind.MEMBERSHIP:
            try:
                self._memberships.apply(slot, Membership.from_bytes(entry.value))
            except CorruptedError as error:
                self._stop(slot, 0, error)
        elif entry.kind != Kind.NOOP:
            self._stop(slot, 0, CorruptedError(f"entry kind {entry.kind} is unknown to this version of paxospp"))
        self.digest = extend_digest(self.digest, slot, entry.kind, entry.value, traces)
        self.applied = slot
        self.meet(entry.ballot)
        return answers

    def meet(self, ballot: Ballot) -> None:
        """Note that applied slots were decided under ballots up to ``ballot``."""
        if self.ballot is None or ballot > self.ballot:
            self.ballot = ballot

    def _apply_commands(self, slot: Slot, value: bytes, answers: list[RunAnswer], traces: list[RunTrace]) -> None:
        try:
            commands = decode_commands(value)
        except CorruptedError as error:
            self._stop(slot, 0, error)
        founding = self._memberships.latest
        if founding is None:
            raise InvariantViolatedError(f"slot {slot} holds commands, but no membership was decided below it")
        sessions = self._sessions
        sessions.advance(commands.log_time, founding.session_expiry_s * _MICROSECONDS)
        if commands.unix_time < self.unix_time:
            self._observer.reached("executor: a leader's wall clock lies behind an earlier one's")
            self._effects.hold_time(slot, self.unix_time)
        self.unix_time = max(self.unix_time, commands.unix_time)
        # Search the value once for a built-in command, instead of each payload. A value that is large, or contains the
        # prefix elsewhere, takes the slower path.
        has_built_in = len(value) > _SEARCHED_BYTES_MAX or _RESERVED in value
        apply = self._apply_any if has_built_in else self._apply_command
        time = self.unix_time / _MICROSECONDS
        position = 0
        for index, run in enumerate(commands.runs):
            answer = sessions.admit(run)
            without_texts: Sequence[bytes] = ()
            if isinstance(answer, RunAnswer):
                self._effects.pass_over(slot, index, len(run.payloads))
            else:
                session = answer
                known = session.applied + 1 - run.first
                if known:
                    self._effects.pass_over(slot, index, min(known, len(run.payloads)))
                context = Context(slot, position + known, time, founding.cluster_id)
                outcomes, without_texts = self._execute(apply, run.payloads[known:] if known else run.payloads, context)
                session.keep(outcomes)
                answer = session.answer(run)
            answers.append(answer)
            traces.append((answer.status, answer.expected, without_texts))
            position += len(run.payloads)

    def _execute(
        self, apply: Callable[[bytes, Context], bytes], payloads: Sequence[bytes], context: Context
    ) -> tuple[list[bytes], list[bytes]]:
        """Execute commands; return their outcomes, and the same without the texts of exceptions, for the digest."""
        outcomes: list[bytes] = []
        append = outcomes.append
        raised: list[tuple[int, bytes]] = []  # where each exception is, and its outcome without the text
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
        without_texts = outcomes.copy()
        for index, outcome in raised:
            without_texts[index] = outcome
        return outcomes, without_texts

    def _apply_any(self, payload: bytes, context: Context) -> bytes:
        if is_built_in(payload):
            return self._apply_built_in(payload, context)
        return self._apply_command(payload, context)

    def _call_built_in(self, payload: bytes, context: Context) -> bytes:
        return self._built_in.apply(without_prefix(payload), context)

    def _apply_raw(self, payload: bytes, context: Context) -> bytes:
        if payload[0]:
            raise NotUnderstoodError("this command has a name, but the state machine takes raw bytes")
        set_context(self._machine, context)
        return _as_bytes(self._machine.apply(payload[1:], context))

    # ------------------------------------------------------------------------- checks before a proposal, and queries

    def check(self, run: Run) -> tuple[tuple[int, str], ...]:
        """Return the calls of ``run`` that this machine would not understand, by number, each with the reason.

        If there are none, the run may be proposed. Nodes check before they propose, because a decided command that is
        not understood stops every replica.
        """
        refused = []
        for place, reason in refused_commands(self._machine, run.payloads):
            payload = run.payloads[place]
            if is_built_in(payload):  # the user's machine knows nothing of these
                try:
                    check_command(self._built_in, without_prefix(payload))
                    continue
                except RejectedError as error:
                    reason = str(error)
            refused.append((run.first + place, reason))
        return tuple(refused)

    def check_command(self, payload: bytes) -> None:
        """Check that this machine would understand the command.

        Raises:
            RejectedError: it would not; the message is one line.
        """
        if is_built_in(payload):
            check_command(self._built_in, without_prefix(payload))
        else:
            check_command(self._machine, payload)

    def has_room_for(self, run: Run) -> bool:
        """Return whether the run's session is known or can be opened now; otherwise the run would have no effect."""
        return self._sessions.has_room_for(run)

    def find(self, run: Run) -> RunAnswer | None:
        """Return the answer to ``run`` if what was applied here settles it; None if the log has to decide."""
        return self._sessions.find(run)

    def answer(self, request: bytes) -> bytes:
        """Answer a query from the state as of ``applied``.

        Raises:
            RejectedError: the name is unknown, or the arguments do not match.
            CommandError: the query raised, whatever it was. A query cannot stop the replica.
        """
        self._check_running()
        machine = self._machine
        if is_built_in(request):
            machine, request = self._built_in, without_prefix(request)
        check_query(machine, request)
        set_context(machine, Context.of_query(self.applied, self.unix_time / _MICROSECONDS))
        try:
            return _as_bytes(machine.answer(request[1:])) if machine.full_control else machine.answer(request)
        except BaseException as error:
            raise CommandError(*describe(error)) from error

    # ------------------------------------------------------------------------- snapshots

    def encode_snapshot(self) -> Iterable[bytes]:
        """Encode everything as of ``applied``, in the format of ``execution.snapshot``.

        Call it between two slots. The result may be consumed in another thread while more entries are applied.
        """
        self._check_running()
        built_in = list(self._built_in.snapshot())
        head = SnapshotHead(
            applied=self.applied,
            log_time=self._sessions.log_time,
            unix_time=self.unix_time,
            horizon=self._sessions.horizon,
            digest=self.digest,
            memberships=tuple((slot, membership.to_bytes()) for slot, membership in self.memberships),
            sessions=len(self._sessions),
            built_in_chunks=len(built_in),
            effects=self._effects.encode(),
            ballot=self.ballot,
        )
        return write_snapshot(head, self._sessions.encode(), chain(built_in, self._machine.snapshot()))

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the state with that of the snapshot in ``chunks``, which may be cut anywhere.

        Raises:
            CorruptedError, InvariantViolatedError, ReplicaStoppedError: see ``Restoring.read``.
        """
        restoring = self.begin_restore()
        try:
            restoring.read(chunks)
        finally:
            restoring.finish()

    def begin_restore(self) -> Restoring:
        """Begin to replace the state with that of a snapshot; until its ``finish``, apply and answer nothing."""
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
        self._built_in = state.built_in
        self._effects = state.effects
        self._sessions.restore(head.log_time, head.horizon, state.sessions)
        self._memberships.restore(state.memberships)
        self.applied = head.applied
        self.unix_time = head.unix_time
        self.digest = head.digest
        self.ballot = head.ballot
        self.on_restored()

    def on_restored(self) -> None:
        """Do nothing; subclasses that watch an executor are told here that a snapshot has become its state."""

    # ------------------------------------------------------------------------- stopping

    def _check_running(self) -> None:
        if self._stopped is not None:
            raise self._stopped
        if self._restoring:
            raise UnavailableError("this node is installing a snapshot")

    def _stop(self, slot: int, position: int, cause: BaseException) -> NoReturn:
        self._stopped = _stopped_at(slot, position, cause)
        raise self._stopped from cause


class _Restored(NamedTuple):
    """The content of a snapshot, except for the state of the user's machine, which is already in the machine."""

    head: SnapshotHead
    memberships: Sequence[tuple[Slot, Membership]]
    sessions: Sequence[Session]
    effects: Effects
    built_in: BuiltInMachine


class Restoring:
    """The restoring of an executor from a snapshot: ``read`` in any thread, then ``finish`` in the executor's own."""

    def __init__(self, executor: Executor, machine: StateMachine) -> None:
        self._executor = executor
        self._machine = machine
        self._applied = executor.applied
        self._state: _Restored | None = None
        self._stopped: ReplicaStoppedError | None = None

    def read(self, chunks: Iterable[bytes]) -> None:
        """Read the whole snapshot, and restore the machine.

        Raises:
            CorruptedError: the snapshot is damaged. If that is found before the machine was touched, the executor goes
                on as it was; if later, it has stopped. ``check_snapshot`` finds damage beforehand.
            InvariantViolatedError: the snapshot is older than what was applied.
            ReplicaStoppedError: the machine raised, so its state is unknown.
        """
        reader = SnapshotDecoder(chunks)
        head = reader.head
        if head.applied < self._applied:
            raise InvariantViolatedError(f"a snapshot of slot {head.applied} cannot replace slot {self._applied}")
        memberships = head.decoded_memberships()
        effects = Effects()
        effects.restore(head.effects, head.applied)
        sessions = reader.sessions()
        machine = reader.machine()
        built_in = BuiltInMachine()
        try:
            built_in.restore(islice(machine, head.built_in_chunks))
            self._machine.restore(machine)
            for _ in machine:
                # The machine may stop reading early, but only the end shows whether the snapshot is complete.
                pass
        except BaseException as error:
            if reader.damage is None:
                self._stopped = _stopped_at(head.applied, 0, error)
                raise self._stopped from error
        if reader.damage is not None:
            # Checked here as well, because the machine may have caught the error that its chunks raised.
            self._stopped = _stopped_at(head.applied, 0, reader.damage)
            raise reader.damage
        self._state = _Restored(head, memberships, sessions, effects, built_in)

    def finish(self) -> None:
        """Make the snapshot the executor's state; after ``read`` raised, keep the state or stop for good."""
        self._executor._finish_restore(self._state, self._stopped)


def _stopped_at(slot: int, position: int, cause: BaseException) -> ReplicaStoppedError:
    type, message = describe(cause)
    if isinstance(cause, NotUnderstoodError):
        message = (
            f"{message}; the log holds commands that this state machine does not know: start the node with the class "
            "that wrote them, or give it another storage"
        )
    return ReplicaStoppedError(f"slot {slot}, command {position}: {type}: {message}", slot, position)


def _as_bytes(result: object) -> bytes:
    if not isinstance(result, bytes):
        raise TypeError(f"a machine in full control returns bytes, not {type(result).__name__}")
    return result
