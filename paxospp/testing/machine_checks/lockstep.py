"""One log on several replicas in this process, slot by slot, and what has to be equal after each.

Two replicas apply all of it, the other one elsewhere (``elsewhere``). Snapshots of any replica
are taken at random slots, now and then consumed later, cut anew, restored into a new replica or
into one that lags behind; what comes of them goes on with the others, with its sets in another
order. Stops at the first thing found.

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
from paxospp.testing.machine_checks.comparison import (
    disturb_sets,
    set_in_another_order,
    shared_between,
    shared_within,
    states_differ,
)
from paxospp.testing.machine_checks.elsewhere import moved_clock, reseeded
from paxospp.testing.machine_checks.log import Log, SetCall, Step
from paxospp.testing.machine_checks.replica import Replica, Result, Subject, first_unlike
from paxospp.testing.machine_checks.suspects import watched
from paxospp.testing.machine_checks.verdict import MachineReport

_SNAPSHOTS = 0.3
_RESTORED_MAX = 2
_LATER_MAX = 3
_OFFSET_S = 400 * 86_400.0 + 12_345.6

TWO = "two replicas that applied the same log differ"
RESTORED = "a replica that was restored from a snapshot does not go on like the one that it was taken of"
SURVIVES = "the state does not survive a snapshot"


class Found(Exception):
    """Something that must not be, at a step of the log."""

    def __init__(
        self,
        what: str,
        index: int,
        *,
        call: SetCall | None = None,
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
        """Whether two replicas are not equal, so that it helps to know what a command looked at."""


@dataclass(slots=True, kw_only=True)
class Course:
    """One log under check."""

    subject: Subject
    log: Log
    invariant: Callable[[Any], None] | None
    report: MachineReport
    modules: Sequence[ModuleType] = ()
    """Where functions of ``time`` may have been taken by name."""
    moves_clock: bool = False
    watches: int | None = None
    """At which step to note what commands call."""
    suspects: list[str] = field(default_factory=list, init=False)
    _restored: list[Replica] = field(default_factory=list, init=False)
    _waiting: _Snapshot | None = field(default=None, init=False)
    _results: list[list[Result]] = field(default_factory=list, init=False)
    """What came of every step so far, for replicas that catch up."""

    def run(self) -> None:
        """Raises Found for the first thing found; ReplicaStoppedError never escapes."""
        one, other = Replica(self.subject), Replica(self.subject)
        if one.machine is other.machine:
            raise Found("the factory gave the same machine twice: give a class, or a function that makes one", 0)
        shared = shared_between(one.state(), other.state())
        if shared is not None:
            raise Found(
                "two new machines share a part of their state: make it in __init__",
                0,
                differs=f"{shared.one} and {shared.other} are one {shared.type}",
            )
        random = Random(f"{self.log.seed} snapshots")
        for index, step in enumerate(self.log.steps):
            self._step(index, step, one, other)
            self._ask(index, step, one, other)
            self._snapshots(index, one, random)
        try:
            prepare(one.machine)
        except PaxosppError as error:
            raise Found("after the log it is no machine that a node starts with", index, differs=str(error)) from error

    # ------------------------------------------------------------------------- one slot

    def _step(self, index: int, step: Step, one: Replica, other: Replica) -> None:
        with self._elsewhere(index, 1):
            results = self._apply(index, step, one)
        self._judge(index, step, results)
        self._results.append(results)
        with self._elsewhere(index, 2, moves=self.moves_clock):
            theirs = self._apply(index, step, other)
        self._compare(TWO, index, one, other, theirs)
        for replica in self._restored:
            with self._elsewhere(index, 3):
                theirs = self._apply(index, step, replica)
            self._compare(RESTORED, index, one, replica, theirs)
        if not self.subject.writes_snapshots:
            self._check_shape(index, one)
        for replica in (one, *self._restored):
            self._call_invariant(index, replica)

    @contextmanager
    def _elsewhere(self, index: int, place: int, *, moves: bool = False) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(reseeded(1000 * index + place))
            if moves:
                stack.enter_context(moved_clock(_OFFSET_S, self.modules))
            yield

    def _apply(self, index: int, step: Step, replica: Replica) -> list[Result]:
        try:
            with self._watching(index):
                return replica.apply(step)
        except ReplicaStoppedError as error:
            call = step.commands[error.position] if error.position < len(step.commands) else None
            raise Found("a command stops the replica", index, call=call, differs=str(error)) from error

    @contextmanager
    def _watching(self, index: int) -> Iterator[None]:
        if index != self.watches:
            yield
            return
        with watched() as found:
            yield
        self.suspects += [each for each in found if each not in self.suspects]

    def _judge(self, index: int, step: Step, results: list[Result]) -> None:
        """What a command returned has to be what it is annotated to return."""
        for call, result in zip(step.commands, results, strict=True):
            self.report.calls[call.name] += 1
            if result.raised:
                self.report.raised[call.name, result.raised] += 1
            self._check_result(index, call, result)

    def _check_result(self, index: int, call: SetCall, result: Result) -> None:
        operation = self.subject.operation_of(call)
        if operation is None or result.raised:
            return
        try:
            operation.decode_result(result.encoded)
        except CommandError as error:
            raise Found(
                "a result is not what it is annotated to be", index, call=call, differs=error.message
            ) from error

    def _compare(self, what: str, index: int, one: Replica, other: Replica, theirs: list[Result]) -> None:
        self._compare_results(what, index, theirs, lambda: _hints(one, other))
        self._compare_states(what, index, one, other)
        if one.executor.digest != other.executor.digest:
            raise Found(what, index, differs="digest", compares=True)

    def _compare_results(
        self, what: str, index: int, theirs: list[Result], causes: Callable[[], Sequence[str]] = tuple
    ) -> None:
        results = self._results[index]
        at = first_unlike(results, theirs)
        if at is not None:
            differs = f"result: {results[at].show()}, and {theirs[at].show()} on the other"
            call = self.log.steps[index].commands[at]
            raise Found(what, index, call=call, differs=differs, causes=causes(), compares=True)

    def _compare_states(self, what: str, index: int, one: Replica, other: Replica) -> None:
        if what == RESTORED and self.subject.writes_snapshots:
            return  # what it keeps beside its state may differ; results and answers tell
        differs = states_differ(one.state(), other.state())
        if differs is not None:
            raise Found(what, index, differs=str(differs), causes=_hints(one, other), compares=True)

    def _check_shape(self, index: int, replica: Replica) -> None:
        """What would be lost in a snapshot, found at the command that made it."""
        state = replica.state()
        shared = shared_within(state)
        if shared is not None:
            differs = f"{shared.one} and {shared.other} are one {shared.type}"
            raise Found("two attributes share an object", index, differs=differs, causes=["give each a copy"])
        try:
            restored = replica.decode_state(b"".join(replica.machine.snapshot()))
        except (MachineError, TypeError) as error:
            raise Found("no snapshot can be taken", index, differs=str(error)) from error
        differs_there = states_differ(state, restored)
        if differs_there is not None:
            one, other = differs_there.one, differs_there.other
            raise Found(SURVIVES, index, differs=f"{differs_there.path}: {one}, and {other} once restored")

    def _call_invariant(self, index: int, replica: Replica) -> None:
        if self.invariant is None:
            return
        try:
            self.invariant(replica.machine)
        except Exception as error:
            raise Found("its invariant does not hold", index, differs=f"{type(error).__name__}: {error}") from error

    # ------------------------------------------------------------------------- queries

    def _ask(self, index: int, step: Step, one: Replica, other: Replica) -> None:
        for query in step.queries:
            before = one.encoded_state()
            with self._watching(index):
                answer = one.answer(query)
            self.report.calls[query.name] += 1
            if answer.raised:
                self.report.raised[query.name, answer.raised] += 1
            if one.encoded_state() != before:
                raise Found("a query changes the state", index, call=query, causes=["only one replica answers it"])
            self._check_result(index, query, answer)
            for replica in (other, *self._restored):
                theirs = replica.answer(query)
                if theirs != answer:
                    what = "two replicas with the same state answer differently"
                    differs = f"answer: {answer.show()}, and {theirs.show()} on the other"
                    raise Found(what, index, call=query, differs=differs, causes=_hints(one, replica), compares=True)

    # ------------------------------------------------------------------------- snapshots

    def _snapshots(self, index: int, one: Replica, random: Random) -> None:
        if self._waiting is None and random.random() < _SNAPSHOTS:
            source = random.choice([one, *self._restored])
            try:
                chunks = source.executor.encode_snapshot()
            except Exception as error:
                raise Found("no snapshot can be taken", index, differs=f"{type(error).__name__}: {error}") from error
            # Consumed later, as by the thread that writes it: commands in between must not show in it.
            later = random.choice((0, 0, random.randint(1, _LATER_MAX)))
            behind = random.randrange(index + 1) if random.random() < 0.5 else 0
            self._waiting = _Snapshot(index, chunks, due=index + later, behind=behind)
        if self._waiting is not None and self._waiting.due <= index:
            snapshot, self._waiting = self._waiting, None
            data = self._read(snapshot)
            replica = self._restore(snapshot, data, index, random)
            try:
                self._compare_states(RESTORED, index, one, replica)
            except Found:
                self._compare_step_by_step(snapshot, data, index)
                raise
            # Chance of its own: how much it takes depends on PYTHONHASHSEED, and the rest must not.
            disturb_sets(replica.state(), Random(f"{self.log.seed} sets {index}"))
            self._restored = [*self._restored, replica][-_RESTORED_MAX:]
            self.report.restored += 1

    def _read(self, snapshot: _Snapshot) -> bytes:
        try:
            return b"".join(snapshot.chunks)
        except Exception as error:
            raise _not_restored(snapshot, error) from error

    def _restore(self, snapshot: _Snapshot, data: bytes, now: int, random: Random) -> Replica:
        replica = Replica(self.subject)
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
        """Raise Found for the first step after the snapshot that a restored replica applies differently."""
        one, replica = Replica(self.subject), Replica(self.subject)
        for index in range(snapshot.index + 1):
            self._catch_up(index, TWO, one)
        replica.restore([data])
        for index in range(snapshot.index + 1, now + 1):
            self._catch_up(index, TWO, one)
            self._catch_up(index, RESTORED, replica)
            self._compare_states(RESTORED, index, one, replica)

    def _catch_up(self, index: int, what: str, replica: Replica) -> None:
        with self._elsewhere(index, 4):
            theirs = self._apply(index, self.log.steps[index], replica)
        self._compare_results(what, index, theirs)


@dataclass(slots=True, frozen=True)
class _Snapshot:
    index: int
    chunks: Iterable[bytes]
    due: int
    """The step after which it is consumed."""
    behind: int
    """How many steps the replica had applied that is restored from it."""


def _not_restored(snapshot: _Snapshot, error: Exception) -> Found:
    cause = error.__cause__ or error
    return Found("a snapshot cannot be restored", snapshot.index, differs=f"{type(cause).__name__}: {cause}")


def _cut(data: bytes, random: Random) -> Iterator[bytes]:
    """``data`` in pieces that have nothing to do with how it was written."""
    longest = random.choice((7, 500, 1 << 20))
    at = 0
    while at < len(data):
        size = random.randint(1, longest)
        yield data[at : at + size]
        at += size


def _hints(one: Replica, other: Replica) -> list[str]:
    path = set_in_another_order(one.state(), other.state())
    return [f"{path} is in another order there, as a set may be: iterate over sorted(…)"] if path else []


def suspects_at(course: Course, index: int) -> list[str]:
    """What the commands of that step call that is not alike everywhere; from a second run."""
    again = replace(course, report=MachineReport(course.report.machine), watches=index)
    with suppress(Found):
        again.run()
    return again.suspects
