"""Apply one log to several replicas in this process, slot by slot, and compare them after each slot.

Two replicas apply the whole log, with different random seeds and optionally different clocks (``moved_clock``).
Snapshots are taken at random slots, from any replica. Some are consumed a few slots later; all are split into chunks
of different sizes, and restored into a new replica or into one that lags behind. The restored replica then continues
with the others, with its sets in another order. The check stops at the first problem.

References: Schneider, "Implementing Fault-Tolerant Services Using the State Machine Approach"
(1990); Chandra, Griesemer, Redstone, "Paxos Made Live" (2007), 6, for replicas compared while
they run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from random import Random
from types import ModuleType
from typing import Any

from paxospp.errors import CommandError, PaxosppError, ReplicaStoppedError
from paxospp.state_machine import MachineError, prepare
from paxospp.testing.machine_checks.checked_replica import CallResult, CheckedMachine, CheckedReplica, first_unlike
from paxospp.testing.machine_checks.drawn_log import DrawnCall, DrawnLog, LogStep
from paxospp.testing.machine_checks.machine_report import MachineReport
from paxospp.testing.machine_checks.moved_clock import moved_clock, reseeded
from paxospp.testing.machine_checks.state_comparison import (
    disturb_sets,
    set_in_another_order,
    shared_between,
    shared_within,
    states_differ,
)
from paxospp.testing.machine_checks.suspects import watched

_SNAPSHOTS = 0.3
_RESTORED_MAX = 2
_LATER_MAX = 3
_OFFSET_S = 400 * 86_400.0 + 12_345.6

TWO = "two replicas that applied the same log differ"
RESTORED = "a replica restored from a snapshot does not continue like the one the snapshot was taken from"
SURVIVES = "the state does not survive a snapshot"


class Finding(Exception):
    """A problem with the machine, found at one step of the log."""

    def __init__(
        self,
        what: str,
        index: int,
        *,
        call: DrawnCall | None = None,
        differs: str = "",
        causes: Sequence[str] = (),
        compares: bool = False,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.index = index
        self.call = call
        self.differs = differs
        self.causes = list(causes)
        self.compares = compares
        """Whether two replicas differ, so that the calls of clocks and the like may be the cause."""


@dataclass(slots=True, kw_only=True)
class LogCheck:
    """The check of one log."""

    subject: CheckedMachine
    log: DrawnLog
    invariant: Callable[[Any], None] | None
    report: MachineReport
    modules: Sequence[ModuleType] = ()
    """The modules that may have imported functions of ``time`` by name."""
    moves_clock: bool = False
    """Whether the second replica has another clock."""
    watches: int | None = None
    """The index of the step at which to collect ``suspects``; None: no step."""
    suspects: list[str] = field(default_factory=list, init=False)
    _restored: list[CheckedReplica] = field(default_factory=list, init=False)
    _waiting: _Snapshot | None = field(default=None, init=False)
    _results: list[list[CallResult]] = field(default_factory=list, init=False)
    """The results of every step so far, to compare with those of replicas that catch up."""

    def run(self) -> None:
        """Apply the log. Raise Finding at the first problem."""
        one, other = CheckedReplica(self.subject), CheckedReplica(self.subject)
        if one.machine is other.machine:
            raise Finding("the factory returned the same machine twice: pass a class, or a function that makes one", 0)
        shared = shared_between(one.state(), other.state())
        if shared is not None:
            raise Finding(
                "two new machines share part of their state: create it in __init__",
                0,
                differs=f"{shared.one} and {shared.other} are the same {shared.type}",
            )
        random = Random(f"{self.log.seed} snapshots")
        for index, step in enumerate(self.log.steps):
            self._step(index, step, one, other)
            self._ask(index, step, one, other)
            self._snapshots(index, one, random)
        try:
            prepare(one.machine)
        except PaxosppError as error:
            raise Finding("after the log, no node would start with the machine", index, differs=str(error)) from error

    # ------------------------------------------------------------------------- one slot

    def _step(self, index: int, step: LogStep, one: CheckedReplica, other: CheckedReplica) -> None:
        with self._surroundings(index, 1):
            results = self._apply(index, step, one)
        self._judge(index, step, results)
        self._results.append(results)
        with self._surroundings(index, 2, moves=self.moves_clock):
            theirs = self._apply(index, step, other)
        self._compare(TWO, index, one, other, theirs)
        for replica in self._restored:
            with self._surroundings(index, 3):
                theirs = self._apply(index, step, replica)
            self._compare(RESTORED, index, one, replica, theirs)
        if not self.subject.writes_snapshots:
            self._check_shape(index, one)
        for replica in (one, *self._restored):
            self._call_invariant(index, replica)

    @contextmanager
    def _surroundings(self, index: int, place: int, *, moves: bool = False) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(reseeded(1000 * index + place))
            if moves:
                stack.enter_context(moved_clock(_OFFSET_S, self.modules))
            yield

    def _apply(self, index: int, step: LogStep, replica: CheckedReplica) -> list[CallResult]:
        try:
            with self._watching(index):
                return replica.apply(step)
        except ReplicaStoppedError as error:
            call = step.commands[error.position] if error.position < len(step.commands) else None
            raise Finding("a command stops the replica", index, call=call, differs=str(error)) from error

    @contextmanager
    def _watching(self, index: int) -> Iterator[None]:
        if index != self.watches:
            yield
            return
        with watched() as found:
            yield
        self.suspects += [each for each in found if each not in self.suspects]

    def _judge(self, index: int, step: LogStep, results: list[CallResult]) -> None:
        """Count the results, and check that each matches the annotation of its command."""
        for call, result in zip(step.commands, results, strict=True):
            self.report.calls[call.name] += 1
            if result.raised:
                self.report.raised[call.name, result.raised] += 1
            self._check_result(index, call, result)

    def _check_result(self, index: int, call: DrawnCall, result: CallResult) -> None:
        operation = self.subject.operation_of(call)
        if operation is None or result.raised:
            return
        try:
            operation.decode_result(result.encoded)
        except CommandError as error:
            raise Finding("a result does not match its annotation", index, call=call, differs=error.message) from error

    def _compare(
        self, what: str, index: int, one: CheckedReplica, other: CheckedReplica, theirs: list[CallResult]
    ) -> None:
        self._compare_results(what, index, theirs, lambda: _hints(one, other))
        self._compare_states(what, index, one, other)
        if one.executor.digest != other.executor.digest:
            raise Finding(what, index, differs="digest", compares=True)

    def _compare_results(
        self, what: str, index: int, theirs: list[CallResult], causes: Callable[[], Sequence[str]] = tuple
    ) -> None:
        results = self._results[index]
        at = first_unlike(results, theirs)
        if at is not None:
            differs = f"result: {results[at].show()} on one, {theirs[at].show()} on the other"
            call = self.log.steps[index].commands[at]
            raise Finding(what, index, call=call, differs=differs, causes=causes(), compares=True)

    def _compare_states(self, what: str, index: int, one: CheckedReplica, other: CheckedReplica) -> None:
        if what == RESTORED and self.subject.writes_snapshots:
            return  # derived attributes may differ; only results and answers count
        differs = states_differ(one.state(), other.state())
        if differs is not None:
            raise Finding(what, index, differs=str(differs), causes=_hints(one, other), compares=True)

    def _check_shape(self, index: int, replica: CheckedReplica) -> None:
        """Check that a snapshot would keep the whole state, so that the command that breaks it is named."""
        state = replica.state()
        shared = shared_within(state)
        if shared is not None:
            differs = f"{shared.one} and {shared.other} are the same {shared.type}"
            raise Finding("two attributes share an object", index, differs=differs, causes=["give each a copy"])
        try:
            restored = replica.decode_state(b"".join(replica.machine.snapshot()))
        except (MachineError, TypeError) as error:
            raise Finding("no snapshot can be taken", index, differs=str(error)) from error
        differs_there = states_differ(state, restored)
        if differs_there is not None:
            one, other = differs_there.one, differs_there.other
            raise Finding(SURVIVES, index, differs=f"{differs_there.path}: {one} before, {other} once restored")

    def _call_invariant(self, index: int, replica: CheckedReplica) -> None:
        if self.invariant is None:
            return
        try:
            self.invariant(replica.machine)
        except Exception as error:
            raise Finding("the invariant does not hold", index, differs=f"{type(error).__name__}: {error}") from error

    # ------------------------------------------------------------------------- queries

    def _ask(self, index: int, step: LogStep, one: CheckedReplica, other: CheckedReplica) -> None:
        for query in step.queries:
            before = one.encoded_state()
            with self._watching(index):
                answer = one.answer(query)
            self.report.calls[query.name] += 1
            if answer.raised:
                self.report.raised[query.name, answer.raised] += 1
            if one.encoded_state() != before:
                raise Finding("a query changes the state", index, call=query, causes=["only one replica runs a query"])
            self._check_result(index, query, answer)
            for replica in (other, *self._restored):
                theirs = replica.answer(query)
                if theirs != answer:
                    what = "two replicas with the same state answer differently"
                    differs = f"answer: {answer.show()} on one, {theirs.show()} on the other"
                    raise Finding(what, index, call=query, differs=differs, causes=_hints(one, replica), compares=True)

    # ------------------------------------------------------------------------- snapshots

    def _snapshots(self, index: int, one: CheckedReplica, random: Random) -> None:
        if self._waiting is None and random.random() < _SNAPSHOTS:
            source = random.choice([one, *self._restored])
            try:
                chunks = source.executor.encode_snapshot()
            except Exception as error:
                raise Finding("no snapshot can be taken", index, differs=f"{type(error).__name__}: {error}") from error
            # A node consumes a snapshot in a thread while commands go on: they must not change it.
            later = random.choice((0, 0, random.randint(1, _LATER_MAX)))
            behind = random.randrange(index + 1) if random.random() < 0.5 else 0
            self._waiting = _Snapshot(index, chunks, due=index + later, behind=behind)
        if self._waiting is not None and self._waiting.due <= index:
            snapshot, self._waiting = self._waiting, None
            data = self._read(snapshot)
            replica = self._restore(snapshot, data, index, random)
            try:
                self._compare_states(RESTORED, index, one, replica)
            except Finding:
                self._compare_step_by_step(snapshot, data, index)
                raise
            # A generator of its own: how often it is used depends on PYTHONHASHSEED, and the rest must not.
            disturb_sets(replica.state(), Random(f"{self.log.seed} sets {index}"))
            self._restored = [*self._restored, replica][-_RESTORED_MAX:]
            self.report.restored += 1

    def _read(self, snapshot: _Snapshot) -> bytes:
        try:
            return b"".join(snapshot.chunks)
        except Exception as error:
            raise _not_restored(snapshot, error) from error

    def _restore(self, snapshot: _Snapshot, data: bytes, now: int, random: Random) -> CheckedReplica:
        replica = CheckedReplica(self.subject)
        for index in range(snapshot.behind):
            self._catch_up(index, TWO, replica)
        try:
            replica.restore(_cut(data, random))
        except Exception as error:
            raise _not_restored(snapshot, error) from error
        for index in range(snapshot.index + 1, now + 1):
            self._catch_up(index, RESTORED, replica)
        return replica

    def _compare_step_by_step(self, snapshot: _Snapshot, data: bytes, now: int) -> None:
        """Raise Finding at the first step after the snapshot that a restored replica applies differently."""
        one, replica = CheckedReplica(self.subject), CheckedReplica(self.subject)
        for index in range(snapshot.index + 1):
            self._catch_up(index, TWO, one)
        replica.restore([data])
        for index in range(snapshot.index + 1, now + 1):
            self._catch_up(index, TWO, one)
            self._catch_up(index, RESTORED, replica)
            self._compare_states(RESTORED, index, one, replica)

    def _catch_up(self, index: int, what: str, replica: CheckedReplica) -> None:
        with self._surroundings(index, 4):
            theirs = self._apply(index, self.log.steps[index], replica)
        self._compare_results(what, index, theirs)


@dataclass(slots=True, frozen=True)
class _Snapshot:
    index: int
    chunks: Iterable[bytes]
    due: int
    """The index of the step after which it is consumed."""
    behind: int
    """How many steps the replica that it is restored into had applied before."""


def _not_restored(snapshot: _Snapshot, error: Exception) -> Finding:
    cause = error.__cause__ or error
    return Finding("a snapshot cannot be restored", snapshot.index, differs=f"{type(cause).__name__}: {cause}")


def _cut(data: bytes, random: Random) -> Iterator[bytes]:
    """Yield ``data`` in chunks of random sizes, independent of how it was written."""
    longest = random.choice((7, 500, 1 << 20))
    at = 0
    while at < len(data):
        size = random.randint(1, longest)
        yield data[at : at + size]
        at += size


def _hints(one: CheckedReplica, other: CheckedReplica) -> list[str]:
    path = set_in_another_order(one.state(), other.state())
    return [f"the set {path} has another order on the other: iterate over sorted(…)"] if path else []


def suspects_at(log_check: LogCheck, index: int) -> list[str]:
    """Run the log again, and return the calls in that step whose results differ between replicas."""
    again = replace(log_check, report=MachineReport(log_check.report.machine), watches=index)
    with suppress(Finding):
        again.run()
    return again.suspects
