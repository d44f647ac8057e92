"""What was called, what was applied, and whether the one explains the other.

The simulation knows the chosen log, so linearizability is checked by a witness and needs no
search (FAULTS (d), layer 1): every acknowledged call stands at one index of the log with the
result that a sequential machine gives there, and of two calls of which one ended before the other
began, it stands first. Reads carry the index they were served at; one that may be older by some
seconds is held against what had ended that long ago. ``reference`` is the sequential machine,
``sessions`` says anew which runs take effect.

Checked here, in the numbers of FAULTS (e): 10 snapshots, 11 exactly once, 12 acknowledged means
applied, 13 reads, 14 equal state at equal index.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from paxospp.execution.executor import Executor
from paxospp.execution.instances import is_own
from paxospp.execution.snapshot import SnapshotReader
from paxospp.model import Ballot, Change, Entry, Kind, NodeId, Slot, SnapshotMeta
from paxospp.sessions.runs import VOID, Run, decode_commands
from paxospp.sessions.table import RunOutcome, RunStatus
from paxospp.state_machine import StateMachine, unpack_call
from paxospp.testing.simulation.judges.alike import are_alike, hash_of_state
from paxospp.testing.simulation.judges.observed import ObservedHost
from paxospp.testing.simulation.judges.reference import Reference
from paxospp.testing.simulation.judges.session_rules import SessionRules
from paxospp.testing.simulation.rule_broken import RuleBroken

_TICK_S = 1e-6
Number = tuple[bytes, int]
"""The random part of a session, and a request's number in it."""


@dataclass(slots=True, eq=False)
class TrackedCall:
    """One call of one client."""

    client: str
    payload: bytes
    is_read: bool
    floor: int
    """The highest index at which a call stands that had ended when this one began, or when it may be as of."""
    is_weak: bool = False
    """Whether it is a read that may be of an older state: others need not see what it saw."""
    number: Number | None = None
    ended: bool = False
    answered: bool = False
    index: int = 0


class CallHistory:
    """All calls, and the one log that explains them."""

    def __init__(
        self,
        machine: StateMachine,
        coverage: Counter[str],
        invariant: Callable[[StateMachine], None] | None,
        now: Callable[[], float],
        check_covers: Callable[[ObservedHost, Slot, Ballot | None], None] | None = None,
    ) -> None:
        self.coverage = coverage
        self.log: list[Entry] = []
        """Every entry applied anywhere, by slot."""
        self.digests: list[bytes] = [bytes(16)]
        """By slot, from 0."""
        self.operations: dict[object, TrackedCall] = {}
        """By the token under which the caller waits; only those that have not ended."""
        self.reads: dict[int, tuple[TrackedCall, deque[int] | None, bytes]] = {}
        """By the identity of the request; for a remote one, where to note the slots it is answered at."""
        self.remote_read: tuple[TrackedCall, deque[int]] | None = None
        """What a node is just being asked from outside."""
        self.ended: Counter[str] = Counter()
        self.floor = 0
        self.reference = Reference(machine)
        self._payloads: dict[Number, bytes] = {}
        self._applied_at: dict[Number, Slot] = {}
        self._replies: dict[Number, bytes] = {}
        self._rules = SessionRules()
        self._expiry_us = 0
        self._horizons = [self._rules.horizon]
        """By slot: which sessions had expired."""
        self._now = now
        self._check_covers = check_covers
        self._floors: list[tuple[float, int]] = []
        """When ``floor`` rose, and to what."""
        self._effects: list[tuple[float, list[tuple[int, bytes]]]] = [(0.0, [])]
        """By slot: the time its commands saw, and those of the user's that took effect, by position."""
        self._outcomes: list[Sequence[RunOutcome]] = [()]
        self._executed: list[int] = [0]
        self._unknown: set[Number] = set()
        self._invariant = invariant
        self._states: dict[Slot, bytes] = {}

    # Calls.

    def begin(self, client: str, payload: bytes, *, is_read: bool, age_s: float | None = None) -> TrackedCall:
        """A call begins now; a read may be of a state that is ``age_s`` old."""
        if age_s is None:
            operation = TrackedCall(client, payload, is_read, self.floor)
        else:
            operation = TrackedCall(client, payload, is_read, self._floor_at(self._now() - age_s), is_weak=True)
        if is_read:
            self.reads[id(payload)] = (operation, None, payload)
        return operation

    def _floor_at(self, time: float) -> int:
        place = bisect_right(self._floors, time, key=lambda risen: risen[0])
        return self._floors[place - 1][1] if place else 0

    def on_numbered(self, random: bytes, first: int, tokens: Sequence[object], payloads: Sequence[bytes]) -> None:
        """These calls got these numbers."""
        for number, (token, payload) in enumerate(zip(tokens, payloads, strict=True), first):
            self._payloads[random, number] = payload
            operation = self.operations.get(token)
            if operation is not None:
                if operation.number not in (None, (random, number)):
                    raise RuleBroken(
                        "11", f"{operation.client} has {operation.number}, and now {number} of {random.hex()}"
                    )
                operation.number = (random, number)

    def on_answered(self, token: object, outcome: bytes) -> None:
        """The caller of ``token`` is told ``outcome`` now (12)."""
        operation = self.operations.pop(token, None)
        if operation is None or operation.ended:
            return
        number = operation.number
        assert number is not None
        index = self._applied_at.get(number)
        if index is None:
            raise RuleBroken("12", f"{operation.client} is answered for {number}, which was never applied")
        if not are_alike(self._replies[number], outcome):
            raise RuleBroken(
                "12", f"{operation.client} is told {outcome!r} for {number}; it was {self._replies[number]!r}"
            )
        self._end(operation, index, strictly=True)

    def on_read(self, request: bytes, executor: Executor, answer: bytes | None) -> None:
        """A linearizable read is answered now, from what ``executor`` has applied (13).

        The read is known by its request, the very object: who makes it keeps it to himself.
        """
        read = self.reads.pop(id(request), None)
        if read is None:
            return
        operation, answers, _ = read
        if answers is not None:
            answers.append(executor.applied)  # it ends when the answer has reached the client
        elif operation.ended:
            return
        else:
            self._end(operation, executor.applied, strictly=False)
        if answer is not None and executor.applied == len(self.log):
            expected = self.reference.answer(operation.payload, executor.applied)
            if expected != answer:
                raise RuleBroken(
                    "13", f"{operation.client} reads {answer!r} at slot {executor.applied}, not {expected!r}"
                )

    @contextmanager
    def asking(self, read: tuple[TrackedCall, deque[int]] | None) -> Iterator[None]:
        """Within the block a node takes in this read of a remote client, or none."""
        self.remote_read = read
        try:
            yield
        finally:
            self.remote_read = None

    def on_asked(self, request: bytes) -> None:
        """A node's query room was given ``request``, the very object that its executor will answer."""
        if self.remote_read is not None:
            self.reads[id(request)] = (*self.remote_read, request)  # held, or its identity would be another's

    def check_fresh(self, name: NodeId, slot: Slot, time: float) -> None:
        """``name`` takes a state with ``slot`` applied for one as of ``time``: it lacks nothing that ended before."""
        floor = self._floor_at(time - _TICK_S)  # what ends in the same moment may end after it
        if slot < floor:
            raise RuleBroken(
                "13", f"{name} takes slot {slot} for all that had ended {self._now() - time:.3f} s ago; {floor} had"
            )

    def on_remote_read(self, operation: TrackedCall, index: int) -> None:
        """The answer that was given at slot ``index`` has reached its client."""
        if not operation.ended:
            self._end(operation, index, strictly=False)

    def _end(self, operation: TrackedCall, index: int, *, strictly: bool) -> None:
        operation.ended = operation.answered = True
        operation.index = index
        self.ended["answered"] += 1
        if index < operation.floor + strictly:
            what = "a read is served" if operation.is_read else "a command is applied"
            raise RuleBroken(
                "13" if operation.is_read else "linearizability",
                f"{what} at slot {index} that began after a call at slot {operation.floor} had ended",
            )
        if index > self.floor and not operation.is_weak:
            self.floor = index
            self._floors.append((self._now(), index))

    def give_up(self, operation: TrackedCall, outcome: str) -> None:
        """A call ends without an answer: *unknown*, or *not sent* and then never applied."""
        self.reads.pop(id(operation.payload), None)
        if operation.ended:
            return
        operation.ended = True
        self.ended[outcome] += 1
        if outcome == "refused":
            self.coverage["a read was refused"] += 1
        number = operation.number
        if outcome == "not sent":
            if number is not None:
                raise RuleBroken("12", f"{operation.client} is told that nothing was sent, and {number} was")
        elif number is not None:
            if number in self._applied_at:
                self.coverage["an unknown outcome had been applied"] += 1
            else:
                self._unknown.add(number)

    # The log.

    def on_applied(self, host: ObservedHost, executor: Executor, entry: Entry, outcomes: Sequence[RunOutcome]) -> None:
        """A replica has applied ``entry``; the first to do so tells all others what it means."""
        slot = entry.slot
        if slot == len(self.log) + 1:
            self._first_to_apply(host, entry, executor, outcomes)
        else:
            if self.digests[slot] != executor.digest:
                raise RuleBroken("divergence", f"{host.name} has another digest than others at slot {slot}")
            if self._executed[slot] != host.executed:
                raise RuleBroken(
                    "11", f"{host.name} executed {host.executed} commands of slot {slot}, others {self._executed[slot]}"
                )
            self._compare(host, slot, outcomes)
        if self._invariant is not None:
            self._call_invariant(host.name, executor.machine, slot)

    def on_restored(self, host: ObservedHost, executor: Executor) -> None:
        """A replica has its state from a snapshot (10): it is the state of that slot, as everybody knows it."""
        slot = executor.applied
        if slot > len(self.log):
            raise RuleBroken("10", f"{host.name} restores a snapshot of slot {slot}; applied is up to {len(self.log)}")
        if executor.digest != self.digests[slot]:
            raise RuleBroken("10", f"{host.name} restores a snapshot of slot {slot} with another digest")

    def on_snapshot(self, host: ObservedHost, meta: SnapshotMeta, data: bytes) -> None:
        """A snapshot is current on the disk of ``host`` (10); two of one slot are equal."""
        slot = meta.slot
        head = SnapshotReader([data]).head
        if head.applied != slot or slot > len(self.log) or head.digest != self.digests[slot]:
            raise RuleBroken("10", f"{host.name} publishes a snapshot that says it is of slot {head.applied}")
        if head.horizon != self._horizons[slot]:
            raise RuleBroken("10", f"{host.name} publishes a snapshot of slot {slot} in which others have expired")
        if self._check_covers is not None:
            self._check_covers(host, slot, head.ballot)
        state = hash_of_state(SnapshotReader([data]))
        if self._states.setdefault(slot, state) != state:
            raise RuleBroken("divergence", f"{host.name} has another state in its snapshot of slot {slot} than others")

    def changes(self, start: Slot, stop: Slot) -> list[Change]:
        """What the change feed has to tell of the slots from ``start`` to before ``stop``, all of them applied."""
        if stop > len(self.log) + 1:
            raise RuleBroken("watch", f"slot {stop - 1} is told of before it was applied anywhere")
        return [
            Change(Slot(slot), position, time, *unpack_call(payload))
            for slot in range(start, stop)
            for time, effects in [self._effects[slot]]
            for position, payload in effects
        ]

    def _call_invariant(self, name: str, machine: StateMachine, slot: Slot) -> None:
        assert self._invariant is not None
        try:
            self._invariant(machine)
        except Exception as error:
            raise RuleBroken("invariant", f"{name} after slot {slot}: {type(error).__name__}: {error}") from error

    def _compare(self, host: ObservedHost, slot: Slot, outcomes: Sequence[RunOutcome]) -> None:
        canonical = self._outcomes[slot]
        if outcomes == canonical or list(outcomes) == list(canonical):
            return
        for ours, theirs in zip(canonical, outcomes, strict=True):
            if (ours.session, ours.first, ours.status, ours.expected) != (
                theirs.session,
                theirs.first,
                theirs.status,
                theirs.expected,
            ) or not all(map(are_alike, ours.outcomes, theirs.outcomes)):
                raise RuleBroken("11", f"{host.name} answers {theirs} in slot {slot}, others {ours}")

    def _first_to_apply(
        self, host: ObservedHost, entry: Entry, executor: Executor, outcomes: Sequence[RunOutcome]
    ) -> None:
        slot = entry.slot
        self.log.append(entry)
        self.digests.append(executor.digest)
        self._outcomes.append(outcomes)
        self._executed.append(host.executed)
        effects: list[tuple[int, bytes]] = []
        self._effects.append((self.reference.unix_time / 1_000_000, effects))
        self._horizons.append(self._rules.horizon)
        if entry.kind is Kind.MEMBERSHIP:
            membership = executor.memberships[-1][1]
            self.reference.found(membership.cluster_id)
            self._expiry_us = membership.session_expiry_s * 1_000_000
        if entry.kind is not Kind.COMMANDS:
            return
        commands = decode_commands(entry.value)
        run_command = self.reference.begin(commands, slot)
        self._effects[slot] = (self.reference.unix_time / 1_000_000, effects)
        self._rules.advance(commands.log_time, self._expiry_us)
        self._horizons[slot] = self._rules.horizon
        executed = 0
        position = 0
        for run, outcome in zip(commands.runs, outcomes, strict=True):
            judged = self._rules.judge(run)
            if (outcome.status, outcome.expected) != judged[:2]:
                raise RuleBroken("11", f"{host.name} answers {outcome} in slot {slot}; by the rules it is {judged}")
            if outcome.status is RunStatus.APPLIED:
                if outcome.first != judged.first:
                    raise RuleBroken(
                        "11", f"{host.name} answers from {outcome.first} in slot {slot}, not {judged.first}"
                    )
                executed += self._check_run(run, judged.applied, slot, position, run_command)
                self._check_replies(run.random, outcome)
            elif outcome.status is RunStatus.EXPIRED:
                self.coverage["a run of an expired session was decided"] += 1
            position += len(run.payloads)
        if executed != host.executed:
            raise RuleBroken(
                "11", f"{host.name} executed {host.executed} commands of slot {slot}, and {executed} were new"
            )

    def _check_run(
        self, run: Run, applied: int, slot: Slot, position: int, run_command: Callable[[int, bytes], bytes]
    ) -> int:
        """Run what is new on the reference; how many commands had an effect."""
        executed = 0
        for number, payload in enumerate(run.payloads, run.first):
            if number <= applied:
                self.coverage["a copy of an applied command was decided"] += 1
                continue
            key = (run.random, number)
            sent = self._payloads.get(key)
            if payload != VOID and sent != payload:
                raise RuleBroken("3", f"slot {slot} holds {payload!r} as {key}, which nobody sent")
            if key in self._applied_at:
                raise RuleBroken("11", f"{key} takes effect in slot {slot}, and did in slot {self._applied_at[key]}")
            self._applied_at[key] = slot
            if key in self._unknown:
                self.coverage["an unknown outcome was applied later"] += 1
            if payload != VOID:
                place = position + number - run.first
                self._replies[key] = run_command(place, payload)
                executed += 1
                if not is_own(payload):
                    self._effects[slot][1].append((place, payload))
        return executed

    def _check_replies(self, random: bytes, outcome: RunOutcome) -> None:
        for number, reply in enumerate(outcome.outcomes, outcome.first):
            expected = self._replies.setdefault((random, number), reply)
            if expected is not reply and not are_alike(expected, reply):
                raise RuleBroken(
                    "divergence",
                    f"number {number} of a session is answered {reply!r}; alone in its order the machine says "
                    f"{expected!r}",
                )
