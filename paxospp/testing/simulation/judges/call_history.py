"""The history of all calls: what was called, what was answered, and whether the applied log explains it.

The simulation knows the chosen log, so it checks linearizability with a witness and needs no search. Each acknowledged
call has one index in the log, and the result that a sequential machine gives at that index (``applied_log``). If one of
two calls ended before the other began, its index is lower. Reads carry the index at which they were served; a read that
may be some seconds old is compared with the calls that had ended that long ago.

It checks these invariants of ``paxospp/testing/simulation/README.md``: 11 exactly once, 12 acknowledged calls are
applied, 13 reads.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from paxospp.execution.executor import Executor
from paxospp.model import NodeId, Slot
from paxospp.testing.simulation.judges.applied_log import AppliedLog, Number
from paxospp.testing.simulation.judges.equality import are_equal
from paxospp.testing.simulation.rule_broken import RuleBroken

_TICK_S = 1e-6


@dataclass(slots=True, eq=False)
class TrackedCall:
    """One call of one client, from its begin to its end."""

    client: str
    payload: bytes
    is_read: bool
    floor: int
    """The highest index of a call that had ended when this one began; for a weak read, when the oldest state that it
    may see was current."""
    is_weak: bool = False
    """Whether it is a read of a state that may be old, whose index does not bind later calls."""
    number: Number | None = None
    ended: bool = False
    answered: bool = False
    index: int = 0


class CallHistory:
    """All calls of all clients, compared with the log that was applied."""

    def __init__(self, applied: AppliedLog, coverage: Counter[str], now: Callable[[], float]) -> None:
        self.coverage = coverage
        self.operations: dict[object, TrackedCall] = {}
        """Calls that have not ended, by the object that waits for the outcome."""
        self.reads: dict[int, tuple[TrackedCall, deque[int] | None, bytes]] = {}
        """Reads by the identity of the request; for a remote one, also a queue of the slots at which it is answered."""
        self.remote_read: tuple[TrackedCall, deque[int]] | None = None
        """The read of a remote client that a node is taking in now."""
        self.ended: Counter[str] = Counter()
        self.floor = 0
        """The highest index of a call that has ended."""
        self._applied = applied
        self._now = now
        self._floors: list[tuple[float, int]] = []
        """The times at which ``floor`` rose, and the new floors."""

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

    def on_numbered(self, random: bytes, first: int, calls: Sequence[object], payloads: Sequence[bytes]) -> None:
        """Note the numbers that calls of one session were given, from ``first`` on."""
        for number, (call, payload) in enumerate(zip(calls, payloads, strict=True), first):
            self._applied.sent[random, number] = payload
            operation = self.operations.get(call)
            if operation is not None:
                if operation.number not in (None, (random, number)):
                    raise RuleBroken(
                        "11", f"{operation.client} has {operation.number}, and now {number} of {random.hex()}"
                    )
                operation.number = (random, number)

    def on_answered(self, call: object, outcome: bytes) -> None:
        """Check ``outcome``, which the caller that waits for ``call`` receives now (12)."""
        operation = self.operations.pop(call, None)
        if operation is None or operation.ended:
            return
        number = operation.number
        assert number is not None
        index = self._applied.applied_at.get(number)
        if index is None:
            raise RuleBroken("12", f"{operation.client} is answered for {number}, which was never applied")
        result = self._applied.replies[number]
        if not are_equal(result, outcome):
            raise RuleBroken("12", f"{operation.client} receives {outcome!r} for {number}; the result was {result!r}")
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
        if answer is not None and executor.applied == len(self._applied.entries):
            expected = self._applied.reference.answer(operation.payload, executor.applied)
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
        floor = self._floor_at(time - _TICK_S)  # a call that ended within the same tick may have ended later
        if slot < floor:
            raise RuleBroken(
                "13", f"{name} calls slot {slot} fresh; a call at {floor} had ended {self._now() - time:.3f} s ago"
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
            if number in self._applied.applied_at:
                self.coverage["an unknown outcome had been applied"] += 1
            else:
                self._applied.unknown.add(number)
