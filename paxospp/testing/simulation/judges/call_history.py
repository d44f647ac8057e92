"""The history of all calls: what was called, what was applied, and whether one explains the other.

The simulation knows the chosen log, so it checks linearizability with a witness and needs no search. Each acknowledged
call has one index in the log, and the result that a sequential machine gives at that index. If one of two calls ended
before the other began, its index is lower. Reads carry the index at which they were served; a read that may be some
seconds old is compared with the calls that had ended that long ago. ``reference`` is the sequential machine;
``session_rules`` decides a second time which runs take effect.

It checks these invariants of ``README.md``: 10 snapshots, 11 exactly once, 12 acknowledged calls are applied, 13
reads, 14 equal states at equal slots.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from paxospp.execution.executor import Executor
from paxospp.execution.instances import is_own
from paxospp.execution.snapshot import SnapshotDecoder
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
"""The random part of a session, and the number of a request in it."""


@dataclass(slots=True, eq=False)
class TrackedCall:
    """One call of one client, from its begin to its end."""

    client: str
    payload: bytes
    is_read: bool
    floor: int
    """The highest index of a call that had ended when this one began; for a weak read, as long ago as it may be old."""
    is_weak: bool = False
    """Whether it is a read of a state that may be old, whose index does not bind later calls."""
    number: Number | None = None
    ended: bool = False
    answered: bool = False
    index: int = 0


class CallHistory:
    """All calls, and the log that explains them."""

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
        """Every entry that was applied anywhere, in the order of slots."""
        self.digests: list[bytes] = [bytes(16)]
        """By slot, from 0: the digest of the log."""
        self.operations: dict[object, TrackedCall] = {}
        """Calls that have not ended, by the token under which the caller waits."""
        self.reads: dict[int, tuple[TrackedCall, deque[int] | None, bytes]] = {}
        """Reads by the identity of the request; for a remote one, also a queue of the slots at which it is answered."""
        self.remote_read: tuple[TrackedCall, deque[int]] | None = None
        """The read of a remote client that a node is taking in now."""
        self.ended: Counter[str] = Counter()
        self.floor = 0
        self.reference = Reference(machine)
        self._payloads: dict[Number, bytes] = {}
        self._applied_at: dict[Number, Slot] = {}
        self._replies: dict[Number, bytes] = {}
        self._rules = SessionRules()
        self._expiry_us = 0
        self._horizons = [self._rules.horizon]
        """By slot: the horizon before which sessions had expired."""
        self._now = now
        self._check_covers = check_covers
        self._floors: list[tuple[float, int]] = []
        """The times at which ``floor`` rose, and the new floors."""
        self._effects: list[tuple[float, list[tuple[int, bytes]]]] = [(0.0, [])]
        """By slot: the time that its commands saw, and the user's commands that took effect, with their positions."""
        self._outcomes: list[Sequence[RunOutcome]] = [()]
        self._executed: list[int] = [0]
        self._unknown: set[Number] = set()
        self._invariant = invariant
        self._states: dict[Slot, bytes] = {}

    # Calls.

    def begin(self, client: str, payload: bytes, *, is_read: bool, age_s: float | None = None) -> TrackedCall:
        """Note that a call begins now; a read may see a state that is ``age_s`` seconds old."""
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
        """Note the numbers that calls of one session were given, from ``first`` on."""
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
        """Check ``outcome``, which the caller of ``token`` receives now (12)."""
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
                "12", f"{operation.client} receives {outcome!r} for {number}; the result was {self._replies[number]!r}"
            )
        self._end(operation, index, strictly=True)

    def on_read(self, request: bytes, executor: Executor, answer: bytes | None) -> None:
        """Check the answer of a read that ``executor`` gives now, from what it has applied (13).

        The read is found by the identity of the request object, which only its caller holds.
        """
        read = self.reads.pop(id(request), None)
        if read is None:
            return
        operation, answers, _ = read
        if answers is not None:
            answers.append(executor.applied)  # the read ends when the answer has reached the client
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
        """Within the block, a node takes in this read of a remote client; None: a request that is not a read."""
        self.remote_read = read
        try:
            yield
        finally:
            self.remote_read = None

    def on_asked(self, request: bytes) -> None:
        """Note that a node took in ``request``, the very object that its executor will answer."""
        if self.remote_read is not None:
            self.reads[id(request)] = (*self.remote_read, request)  # kept, so that no other object gets its identity

    def check_fresh(self, name: NodeId, slot: Slot, time: float) -> None:
        """Check that the state of ``name`` at ``slot`` lacks no call that had ended at ``time``."""
        floor = self._floor_at(time - _TICK_S)  # a call that ends in the same moment may end later
        if slot < floor:
            raise RuleBroken(
                "13", f"{name} takes slot {slot} for all that had ended {self._now() - time:.3f} s ago; {floor} had"
            )

    def on_remote_read(self, operation: TrackedCall, index: int) -> None:
        """Note that the answer that was given at slot ``index`` has reached its client."""
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
        """Note that a call ends without an answer: *unknown*, or *not sent* and then never applied."""
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
                raise RuleBroken("12", f"{operation.client} is told that nothing was sent, but {number} was")
        elif number is not None:
            if number in self._applied_at:
                self.coverage["an unknown outcome had been applied"] += 1
            else:
                self._unknown.add(number)

    # The log.

    def on_applied(self, host: ObservedHost, executor: Executor, entry: Entry, outcomes: Sequence[RunOutcome]) -> None:
        """Check ``entry``, which a replica has applied; the first one to apply a slot sets what all others must do."""
        slot = entry.slot
        if slot == len(self.log) + 1:
            self._first_to_apply(host, entry, executor, outcomes)
        else:
            if self.digests[slot] != executor.digest:
                raise RuleBroken("divergence", f"{host.name} has another digest at slot {slot} than other replicas")
            if self._executed[slot] != host.executed:
                raise RuleBroken(
                    "11", f"{host.name} executed {host.executed} commands of slot {slot}, others {self._executed[slot]}"
                )
            self._compare(host, slot, outcomes)
        if self._invariant is not None:
            self._call_invariant(host.name, executor.machine, slot)

    def on_restored(self, host: ObservedHost, executor: Executor) -> None:
        """Check the state that a replica restored from a snapshot (10)."""
        slot = executor.applied
        if slot > len(self.log):
            raise RuleBroken("10", f"{host.name} restores a snapshot of slot {slot}; applied is up to {len(self.log)}")
        if executor.digest != self.digests[slot]:
            raise RuleBroken("10", f"{host.name} restores a snapshot of slot {slot} with another digest")

    def on_snapshot(self, host: ObservedHost, meta: SnapshotMeta, data: bytes) -> None:
        """Check the snapshot that is current on the disk of ``host`` now (10); two snapshots of one slot are equal."""
        slot = meta.slot
        head = SnapshotDecoder([data]).head
        if head.applied != slot or slot > len(self.log) or head.digest != self.digests[slot]:
            raise RuleBroken("10", f"{host.name} publishes a snapshot that says it is of slot {head.applied}")
        if head.horizon != self._horizons[slot]:
            raise RuleBroken(
                "10", f"in the snapshot of slot {slot} that {host.name} publishes, other sessions have expired"
            )
        if self._check_covers is not None:
            self._check_covers(host, slot, head.ballot)
        state = hash_of_state(SnapshotDecoder([data]))
        if self._states.setdefault(slot, state) != state:
            raise RuleBroken("divergence", f"{host.name} has another state in its snapshot of slot {slot} than others")

    def changes(self, start: Slot, stop: Slot) -> list[Change]:
        """Return what the change feed has to give for the applied slots from ``start`` to before ``stop``."""
        if stop > len(self.log) + 1:
            raise RuleBroken("watch", f"a change feed gives slot {stop - 1}, which was applied nowhere")
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
                raise RuleBroken(
                    "11", f"{host.name} answers {outcome} in slot {slot}; the rules of sessions say {judged}"
                )
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
        """Run the new commands on the reference, and return how many had an effect."""
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
                raise RuleBroken(
                    "11", f"{key} takes effect in slot {slot}, and already did in slot {self._applied_at[key]}"
                )
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
