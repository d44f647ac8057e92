"""Queries between their arrival and their answer: many share one confirmation, none writes to the log.

All queries that wait when a ticket is drawn share it: the replica confirms the ticket with one
round of heartbeats begun afterwards, or by the leader's lease, and says up to which slot must be
applied before the machine is asked. One ticket of a kind is out at a time; what arrives meanwhile
shares the next one. A ticket that could not be confirmed is followed by another one until the
caller's deadline. A bounded query needs a ticket only if the last one that was confirmed is too
old for it.

Every query that got in is counted until it leaves: answered, failed, or because nobody waits for
it any more. Whoever leaves is in no lane from then on. Serving is cut into slices, like applying.

A query changes nothing, so one that fails without an answer is always ``UnavailableError``, or
``OverloadedError`` if it did not get in.

Reference: Ongaro, "Consensus: Bridging Theory and Practice" (2014), section 6.4 (read index).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from paxospp.calls import Bounded, Consistency
from paxospp.engine.output import ReadReady
from paxospp.errors import OverloadedError, UnavailableError
from paxospp.execution.executor import Executor
from paxospp.model import Slot
from paxospp.node.observer import UNOBSERVED, NodeObserver
from paxospp.node.pacing import PACING, Pacing
from paxospp.rpc.deadlines import Deadlines

RETRY_S = 0.02
"""Rest before a ticket follows one that was not confirmed."""
OPEN_MAX = 65_536


class Asker(Protocol):
    """Who asked a few queries at once, and hears of all of them at once."""

    @property
    def waits(self) -> bool:
        """Whether anybody still wants to know."""
        ...

    def answer(self, results: Sequence[bytes | Exception]) -> None:
        """What each was answered, or what its method raised."""
        ...

    def fail(self, error: Exception) -> None:
        """None of them was answered."""
        ...


class _Caller:
    """One query of this process."""

    def __init__(self, future: asyncio.Future[bytes]) -> None:
        self._future = future

    @property
    def waits(self) -> bool:
        return not self._future.done()

    def answer(self, results: Sequence[bytes | Exception]) -> None:
        (result,) = results
        if isinstance(result, Exception):
            self._future.set_exception(result)
        else:
            self._future.set_result(result)

    def fail(self, error: Exception) -> None:
        self._future.set_exception(error)


class Questions:
    """Queries under way that were asked at once."""

    __slots__ = ("asker", "group", "requests", "size")

    def __init__(self, requests: Sequence[bytes], asker: Asker) -> None:
        self.requests = requests
        self.asker = asker
        self.size = sum(map(len, requests))
        self.group: _Group | None = None
        """Where they are; None once they left."""


class _Group:
    """Questions that are confirmed together."""

    __slots__ = ("_left", "count", "members")

    def __init__(self) -> None:
        self.members: dict[Questions, None] = {}
        self.count = 0
        """How many queries the members have."""
        self._left: list[Questions] | None = None
        """While a ticket is out: those that shared it and left; until it is back they are members in name only."""

    def append(self, questions: Questions) -> None:
        self.members[questions] = None
        self.count += len(questions.requests)
        questions.group = self

    def remove(self, questions: Questions) -> None:
        questions.group = None
        self.count -= len(questions.requests)
        if self._left is None:
            del self.members[questions]
        else:
            questions.requests = ()
            self._left.append(questions)

    def send(self) -> Sequence[Questions]:
        """A ticket is drawn for them, who are returned."""
        self._left = []
        return list(self.members)

    def take_back(self) -> Sequence[Questions]:
        """The ticket is back, or given up; returns who shared it."""
        shared = list(self.members)
        for questions in self._left or ():
            del self.members[questions]
        self._left = None
        return shared


class _Lane:
    """Queries that are confirmed in the same way: those that wait, and those that share the ticket that is out."""

    __slots__ = ("asked", "asked_at", "begun_at", "lease", "rest_until", "ticket", "waiting")

    def __init__(self, *, lease: bool) -> None:
        self.lease = lease
        self.waiting = _Group()
        self.asked: _Group | None = None
        self.ticket = 0
        self.asked_at = 0.0
        self.begun_at = 0.0
        """The same on the clock that counts sleep."""
        self.rest_until = 0.0

    def put_back(self, asked: _Group) -> None:
        """These wait again. The fewer join the others, whichever came first: there may be tens of thousands."""
        fewer, more = sorted((asked, self.waiting), key=lambda group: len(group.members))
        for questions in fewer.members:
            more.append(questions)
        self.waiting = more


class _Confirmed(NamedTuple):
    """A state with ``slot`` applied misses nothing that was answered before ``begun_at``."""

    slot: Slot
    begun_at: float


class _Unserved(NamedTuple):
    """Queries that are confirmed, and wait until ``slot`` is applied here."""

    slot: Slot
    asked: _Group
    lane: _Lane
    since: float


class Queries:
    """Queries of local and remote callers."""

    def __init__(
        self,
        executor: Executor,
        *,
        bytes_max: int,
        loop: asyncio.AbstractEventLoop,
        boot_time: Callable[[], float],
        decided: Callable[[], Slot],
        read: Callable[[int, bool], None],
        want_turn: Callable[[], None],
        why_not: Callable[[], str],
        pacing: Pacing = PACING,
        observer: NodeObserver = UNOBSERVED,
    ) -> None:
        self._observer = observer
        self._ticket_age_max_s = pacing.ticket_age_max_s
        self._serve_slice_s = pacing.apply_slice_s
        self._executor = executor
        self._bytes_max = bytes_max
        self._loop = loop
        self._boot_time = boot_time
        self._decided = decided
        self._read = read
        self._want_turn = want_turn
        self._why_not = why_not
        self._deadlines: Deadlines[Questions] = Deadlines(loop, self._on_due)
        self._open = 0
        self._bytes = 0
        self._by_round = _Lane(lease=False)
        self._by_lease = _Lane(lease=True)
        self._lanes = (self._by_round, self._by_lease)
        self._last_ticket = 0
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = 0.0
        self._confirmed: list[_Unserved] = []
        self._freshest: _Confirmed | None = None
        self._ended: Callable[[], UnavailableError] | None = None

    @property
    def counted(self) -> int:
        """How many queries count as not answered."""
        return self._open

    @property
    def held(self) -> int:
        """How many queries are in a lane, or confirmed and not served: as many as are counted."""
        held = sum(unserved.asked.count for unserved in self._confirmed)
        for lane in self._lanes:
            held += lane.waiting.count + (0 if lane.asked is None else lane.asked.count)
        return held

    def ask(
        self, request: bytes, timeout_s: float | None, consistency: Consistency = "linearizable"
    ) -> asyncio.Future[bytes]:
        """A future of the encoded answer; cancel it when nobody waits any more."""
        future: asyncio.Future[bytes] = self._loop.create_future()
        questions = self.ask_all((request,), timeout_s, consistency, _Caller(future))
        if questions is not None:
            future.add_done_callback(lambda _: self.leave(questions))
        return future

    def ask_all(
        self, requests: Sequence[bytes], timeout_s: float | None, consistency: Consistency, asker: Asker
    ) -> Questions | None:
        """Tell ``asker`` of all of them, at once; what to ``leave`` with, or None if it was told already."""
        self._observer.asked(requests)
        if self._ended is not None:
            asker.fail(self._ended())
            return None
        if consistency == "local" or (isinstance(consistency, Bounded) and self._is_fresh(consistency.seconds)):
            if consistency != "local":
                self._observer.reached("queries: a bound is kept without a ticket")
            self._answer(requests, asker)
            return None
        questions = Questions(requests, asker)
        if self._open + len(requests) > OPEN_MAX or self._bytes + questions.size > self._bytes_max:
            asker.fail(OverloadedError("too many queries are waiting"))
            return None
        self._deadlines.add(questions, timeout_s)
        self._open += len(requests)
        self._bytes += questions.size
        lane = self._by_lease if consistency == "lease" else self._by_round
        lane.waiting.append(questions)
        self._want_turn()
        return questions

    def leave(self, questions: Questions) -> None:
        """Nobody waits for these any more; nothing happens if they were answered, or left before."""
        group = questions.group
        if group is None:
            return
        self._deadlines.open.pop(questions, None)
        self._open -= len(questions.requests)
        self._bytes -= questions.size
        group.remove(questions)

    def _is_fresh(self, seconds: float) -> bool:
        """Whether what is applied here is at most so old."""
        freshest = self._freshest
        return (
            freshest is not None
            and self._executor.applied >= freshest.slot
            and self._boot_time() - freshest.begun_at <= seconds
        )

    def on_turn(self) -> None:
        """Draw the next tickets, and answer what is confirmed and applied."""
        for lane in self._lanes:
            if lane.waiting.members and self._may_ask(lane):
                self._leave_all_gone(lane.waiting)
                self._last_ticket += 1
                lane.ticket = self._last_ticket
                lane.asked, lane.waiting = lane.waiting, _Group()
                lane.asked_at = self._loop.time()
                lane.begun_at = self._boot_time()
                self._observer.drew_ticket(lane.asked.send(), lease=lane.lease)
                self._read(lane.ticket, lane.lease)
        if self._confirmed:
            self._serve()

    def _leave_all_gone(self, group: _Group) -> None:
        """Have those leave who wait no more and have not said so yet."""
        for questions in [questions for questions in group.members if not questions.asker.waits]:
            self.leave(questions)

    def on_readable(self, ready: ReadReady) -> None:
        for lane in self._lanes:
            if ready.ticket != lane.ticket or lane.asked is None:
                continue
            asked, lane.asked = lane.asked, None
            shared = asked.take_back()
            if ready.slot is None:
                self._observer.reached("queries: a ticket is not confirmed, and another one is drawn")
                self._put_back(lane, asked)
                continue
            self._observer.confirmed(shared, lease=lane.lease)
            self._confirmed.append(_Unserved(ready.slot, asked, lane, self._loop.time()))
            if not lane.lease:  # a bound must hold whatever clocks do
                self._freshest = _Confirmed(ready.slot, lane.begun_at)
                self._observer.knows_fresh(self._freshest.slot, self._freshest.begun_at)
            # Drawn in the next round of the loop, so that callers answered in this one can join.
            if lane.waiting.members:
                self._want_turn()

    def end(self, error: Callable[[], UnavailableError]) -> None:
        """No more answers: every open query fails."""
        self._ended = error
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._deadlines.close()
        for questions in list(self._deadlines.open):
            self.leave(questions)
            if questions.asker.waits:
                questions.asker.fail(error())
        self._confirmed.clear()
        for lane in self._lanes:
            lane.asked = None

    def _may_ask(self, lane: _Lane) -> bool:
        now = self._loop.time()
        if lane.asked is not None:
            if now - lane.asked_at < self._ticket_age_max_s:
                self._arm(lane.asked_at + self._ticket_age_max_s)
                return False
            self._observer.reached("queries: a ticket that is not answered is given up")
            lane.asked.take_back()
            lane.put_back(lane.asked)
            lane.asked = None
        if now < lane.rest_until:
            self._arm(lane.rest_until)
            return False
        return True

    def _put_back(self, lane: _Lane, asked: _Group) -> None:
        lane.put_back(asked)
        lane.rest_until = self._loop.time() + RETRY_S
        self._arm(lane.rest_until)

    def _arm(self, at: float) -> None:
        if self._timer is None or at < self._armed_for:
            if self._timer is not None:
                self._timer.cancel()
            self._armed_for = at
            self._timer = self._loop.call_at(at, self._strike)

    def _strike(self) -> None:
        self._timer = None
        self._want_turn()

    def _serve(self) -> None:
        """A slice of what is confirmed and applied; the rest in the next turn."""
        applied = self._executor.applied
        until = self._loop.time() + self._serve_slice_s
        is_over = is_cut = False
        later: list[_Unserved] = []
        for unserved in self._confirmed:
            if not unserved.asked.members:
                continue
            if unserved.slot > applied:
                self._observer.reached("queries: some wait for their slot to be applied")
                if self._may_be_lost(unserved):
                    self._observer.reached("queries: their slot is not decided in time, and another ticket is drawn")
                    self._put_back(unserved.lane, unserved.asked)
                else:
                    later.append(unserved)
                continue
            if not is_over:
                is_over = self._serve_until(until, unserved.asked)
            if unserved.asked.members:
                is_cut = True
                later.append(unserved)
        self._confirmed = later
        if is_cut:
            self._observer.reached("queries: what is left to serve waits for the next turn")
            self._want_turn()

    def _serve_until(self, until: float, group: _Group) -> bool:
        """Answer them, as far as the time goes; whether it is over."""
        for questions in list(group.members):
            self.leave(questions)
            if questions.asker.waits:
                self._answer(questions.requests, questions.asker)
            if self._loop.time() >= until:
                return True
        return False

    def _may_be_lost(self, unserved: _Unserved) -> bool:
        """Whether the slot may never be decided.

        A new leader confirms reads for what its promises reported. If it falls before that is decided, the next leader
        may not hear of it, and while nobody writes the log stays below that slot.
        """
        late = self._loop.time() - unserved.since >= self._ticket_age_max_s
        return late and unserved.slot > self._decided()

    def _answer(self, requests: Sequence[bytes], asker: Asker) -> None:
        """From the state as this node has applied it."""
        answer = self._executor.answer
        results: list[bytes | Exception] = []
        for request in requests:
            try:
                results.append(answer(request))
            except Exception as error:
                results.append(error)
        asker.answer(results)

    def _on_due(self, questions: Questions) -> None:
        self.leave(questions)
        if questions.asker.waits:
            questions.asker.fail(UnavailableError(f"no answer in time: {self._why_not()}"))
