"""Queries between their arrival and their answer. Many share one confirmation, and none writes to the log.

A query is answered from the state that this node has applied, once that state is known to be recent enough. To find
out, the node draws a *ticket*: a numbered request to the replica, which confirms it by a round of heartbeats that
began afterwards, or by the leader's lease, and names the slot that must be applied before the queries are answered.

All queries that wait when a ticket is drawn share it. Each kind (by round, by lease) has at most one ticket out;
queries that arrive meanwhile share the next one. When a ticket cannot be confirmed, another one is drawn, until the
callers' deadlines. A bounded query needs a ticket only if the last confirmed one is too old for it.

Every accepted query is counted until it leaves, because it was answered, failed, or its caller stopped waiting.
Answering is cut into slices, like applying.

A query changes nothing, so a query that fails without an answer always fails with ``UnavailableError``, or with
``OverloadedError`` if it was not accepted.

Reference: Ongaro, "Consensus: Bridging Theory and Practice" (2014), section 6.4 (read index).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from paxospp.calls import Bounded, Consistency
from paxospp.engine.output import SettledRead
from paxospp.errors import OverloadedError, UnavailableError
from paxospp.execution.executor import Executor
from paxospp.model import Slot
from paxospp.node.observer import NO_NODE_OBSERVER, NodeObserver
from paxospp.node.pacing import Pacing
from paxospp.rpc.deadlines import Deadlines

RETRY_S = 0.02
"""The pause after a ticket that was not confirmed."""
OPEN_MAX = 65_536
"""How many queries may wait in one node."""


class QueryRequester(Protocol):
    """The caller of one or more queries that were asked together."""

    @property
    def waits(self) -> bool:
        """Whether the caller still wants the answers."""
        ...

    def answer(self, results: Sequence[bytes | Exception]) -> None:
        """Handle the answer to each query, or what its method raised."""
        ...

    def fail(self, error: Exception) -> None:
        """Handle that none of the queries was answered."""
        ...


class ReadDriver(Protocol):
    """The methods of the driver that queries use."""

    @property
    def decided(self) -> Slot: ...

    def read(self, ticket: int, lease: bool) -> None:
        """Ask the replica to confirm ``ticket``; ``Queries.on_read_settled`` is called with the result."""
        ...

    def advance_soon(self) -> None: ...


class _LocalRequester:
    """The caller of one query in this process."""

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


class QueryBatch:
    """Queries that one caller asked together."""

    __slots__ = ("group", "requester", "requests", "size")

    def __init__(self, requests: Sequence[bytes], requester: QueryRequester) -> None:
        self.requests = requests
        self.requester = requester
        self.size = sum(map(len, requests))
        self.group: _Group | None = None
        """The group that the batch waits in; None after it left."""


class _Group:
    """Batches that are confirmed together."""

    __slots__ = ("_left", "count", "members")

    def __init__(self) -> None:
        self.members: dict[QueryBatch, None] = {}
        self.count = 0
        """How many queries the members have."""
        self._left: list[QueryBatch] | None = None
        """While a ticket is out: the batches that shared it and left, which stay members until it is back."""

    def append(self, batch: QueryBatch) -> None:
        self.members[batch] = None
        self.count += len(batch.requests)
        batch.group = self

    def remove(self, batch: QueryBatch) -> None:
        batch.group = None
        self.count -= len(batch.requests)
        if self._left is None:
            del self.members[batch]
        else:
            batch.requests = ()
            self._left.append(batch)

    def begin_ticket(self) -> Sequence[QueryBatch]:
        """Return the batches that share the ticket now being drawn."""
        self._left = []
        return list(self.members)

    def end_ticket(self) -> Sequence[QueryBatch]:
        """Return the batches that shared the ticket, which is back or given up."""
        shared = list(self.members)
        for batch in self._left or ():
            del self.members[batch]
        self._left = None
        return shared


class _Lane:
    """The queries that are confirmed in the same way: those that wait, and those whose ticket is out."""

    __slots__ = ("asked", "asked_at", "begun_at", "lease", "rest_until", "ticket", "waiting")

    def __init__(self, *, lease: bool) -> None:
        self.lease = lease
        self.waiting = _Group()
        self.asked: _Group | None = None
        """The queries that share ``ticket``; None while none is out."""
        self.ticket = 0
        self.asked_at = 0.0
        """When the ticket was drawn, by the loop's clock."""
        self.begun_at = 0.0
        """The same by the boot clock, which keeps running while the machine sleeps."""
        self.rest_until = 0.0
        """No ticket is drawn before this time, because the last one was not confirmed."""

    def put_back(self, asked: _Group) -> None:
        """Let ``asked`` wait again. The smaller group joins the larger, which may have tens of thousands of batches."""
        fewer, more = sorted((asked, self.waiting), key=lambda group: len(group.members))
        for batch in fewer.members:
            more.append(batch)
        self.waiting = more


class _Confirmed(NamedTuple):
    """A state that has applied ``slot`` contains everything that was answered before ``begun_at`` (boot time)."""

    slot: Slot
    begun_at: float


class _Unserved(NamedTuple):
    """Queries that are confirmed and wait until ``slot`` is applied here."""

    slot: Slot
    asked: _Group
    lane: _Lane
    since: float


class Queries:
    """All queries that wait in a node, of local and remote callers."""

    def __init__(
        self,
        executor: Executor,
        driver: ReadDriver,
        *,
        bytes_max: int,
        loop: asyncio.AbstractEventLoop,
        boot_time: Callable[[], float],
        why_unavailable: Callable[[], str],
        pacing: Pacing,
        observer: NodeObserver = NO_NODE_OBSERVER,
    ) -> None:
        self._observer = observer
        self._ticket_age_max_s = pacing.ticket_age_max_s
        self._serve_slice_s = pacing.apply_slice_s
        self._executor = executor
        self._bytes_max = bytes_max
        self._loop = loop
        self._boot_time = boot_time
        self._driver = driver
        self._why_unavailable = why_unavailable
        self._deadlines: Deadlines[QueryBatch] = Deadlines(loop, self._on_due)
        self._open = 0
        self._bytes = 0
        self._by_round = _Lane(lease=False)
        self._by_lease = _Lane(lease=True)
        self._lanes = (self._by_round, self._by_lease)
        self._last_ticket = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._confirmed: list[_Unserved] = []
        self._freshest: _Confirmed | None = None
        self._ended: Callable[[], UnavailableError] | None = None

    @property
    def counted(self) -> int:
        """How many queries count as unanswered."""
        return self._open

    @property
    def held(self) -> int:
        """How many queries are in a lane, or confirmed and not yet answered; always equal to ``counted``."""
        held = sum(unserved.asked.count for unserved in self._confirmed)
        for lane in self._lanes:
            held += lane.waiting.count + (0 if lane.asked is None else lane.asked.count)
        return held

    def ask(
        self, request: bytes, timeout_s: float | None, consistency: Consistency = "linearizable"
    ) -> asyncio.Future[bytes]:
        """Ask one query and return the future of its encoded answer. Cancel that to stop waiting."""
        future: asyncio.Future[bytes] = self._loop.create_future()
        batch = self.ask_all((request,), timeout_s, consistency, _LocalRequester(future))
        if batch is not None:
            future.add_done_callback(lambda _: self.leave(batch))
        return future

    def ask_all(
        self, requests: Sequence[bytes], timeout_s: float | None, consistency: Consistency, requester: QueryRequester
    ) -> QueryBatch | None:
        """Ask queries together; ``requester`` gets all answers at once.

        Return the batch to ``leave`` with, or None if the requester was answered, or refused, already.
        """
        self._observer.asked(requests)
        if self._ended is not None:
            requester.fail(self._ended())
            return None
        if consistency == "local" or (isinstance(consistency, Bounded) and self._is_fresh(consistency.seconds)):
            if consistency != "local":
                self._observer.reached("queries: a bound is kept without a ticket")
            self._answer(requests, requester)
            return None
        batch = QueryBatch(requests, requester)
        if self._open + len(requests) > OPEN_MAX or self._bytes + batch.size > self._bytes_max:
            requester.fail(OverloadedError("too many queries are waiting"))
            return None
        self._deadlines.add(batch, timeout_s)
        self._open += len(requests)
        self._bytes += batch.size
        lane = self._by_lease if consistency == "lease" else self._by_round
        lane.waiting.append(batch)
        self._driver.advance_soon()
        return batch

    def leave(self, batch: QueryBatch) -> None:
        """Drop a batch that its caller no longer waits for; do nothing if it was answered or has left before."""
        group = batch.group
        if group is None:
            return
        self._deadlines.open.pop(batch, None)
        self._open -= len(batch.requests)
        self._bytes -= batch.size
        group.remove(batch)

    def _is_fresh(self, seconds: float) -> bool:
        """Whether the applied state is at most this old."""
        freshest = self._freshest
        return (
            freshest is not None
            and self._executor.applied >= freshest.slot
            and self._boot_time() - freshest.begun_at <= seconds
        )

    def advance(self) -> None:
        """Draw the next tickets, and answer the queries that are confirmed and whose slot is applied."""
        for lane in self._lanes:
            if lane.waiting.members and self._may_ask(lane):
                self._drop_abandoned(lane.waiting)
                self._last_ticket += 1
                lane.ticket = self._last_ticket
                lane.asked, lane.waiting = lane.waiting, _Group()
                lane.asked_at = self._loop.time()
                lane.begun_at = self._boot_time()
                self._observer.drew_ticket(lane.asked.begin_ticket(), lease=lane.lease)
                self._driver.read(lane.ticket, lane.lease)
        if self._confirmed:
            self._serve()

    def _drop_abandoned(self, group: _Group) -> None:
        """Drop the batches whose callers stopped waiting without saying so."""
        for batch in [batch for batch in group.members if not batch.requester.waits]:
            self.leave(batch)

    def on_read_settled(self, ready: SettledRead) -> None:
        """Handle the confirmation of a ticket, or that it could not be confirmed (``slot`` is None)."""
        for lane in self._lanes:
            if ready.ticket != lane.ticket or lane.asked is None:
                continue
            asked, lane.asked = lane.asked, None
            shared = asked.end_ticket()
            if ready.slot is None:
                self._observer.reached("queries: a ticket is not confirmed, and another one is drawn")
                self._put_back(lane, asked)
                continue
            self._observer.confirmed(shared, lease=lane.lease)
            self._confirmed.append(_Unserved(ready.slot, asked, lane, self._loop.time()))
            if not lane.lease:  # a bounded query must not depend on the clocks of other nodes
                self._freshest = _Confirmed(ready.slot, lane.begun_at)
                self._observer.knows_fresh(self._freshest.slot, self._freshest.begun_at)
            # The next ticket is drawn in the next iteration, so that callers answered in this one can share it.
            if lane.waiting.members:
                self._driver.advance_soon()

    def end(self, error: Callable[[], UnavailableError]) -> None:
        """Fail every open query."""
        self._ended = error
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._deadlines.close()
        for batch in list(self._deadlines.open):
            self.leave(batch)
            if batch.requester.waits:
                batch.requester.fail(error())
        self._confirmed.clear()
        for lane in self._lanes:
            lane.asked = None

    def _may_ask(self, lane: _Lane) -> bool:
        now = self._loop.time()
        if lane.asked is not None:
            if now - lane.asked_at < self._ticket_age_max_s:
                self._set_timer(lane.asked_at + self._ticket_age_max_s)
                return False
            self._observer.reached("queries: a ticket that is not answered is given up")
            lane.asked.end_ticket()
            lane.put_back(lane.asked)
            lane.asked = None
        if now < lane.rest_until:
            self._set_timer(lane.rest_until)
            return False
        return True

    def _put_back(self, lane: _Lane, asked: _Group) -> None:
        lane.put_back(asked)
        lane.rest_until = self._loop.time() + RETRY_S
        self._set_timer(lane.rest_until)

    def _set_timer(self, at: float) -> None:
        if self._timer is None or at < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at
            self._timer = self._loop.call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._driver.advance_soon()

    def _serve(self) -> None:
        """Answer confirmed queries whose slot is applied, for one slice of time."""
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
            self._observer.reached("queries: what is left to answer waits for the next iteration")
            self._driver.advance_soon()

    def _serve_until(self, until: float, group: _Group) -> bool:
        """Answer the batches of ``group`` until this time; return whether it is over."""
        for batch in list(group.members):
            self.leave(batch)
            if batch.requester.waits:
                self._answer(batch.requests, batch.requester)
            if self._loop.time() >= until:
                return True
        return False

    def _may_be_lost(self, unserved: _Unserved) -> bool:
        """Whether the slot that these queries wait for may never be decided.

        A new leader confirms reads up to the last slot that its promises reported. If it fails before that slot is
        decided, the next leader may not hear of it, and without new writes the log stays below it.
        """
        late = self._loop.time() - unserved.since >= self._ticket_age_max_s
        return late and unserved.slot > self._driver.decided

    def _answer(self, requests: Sequence[bytes], requester: QueryRequester) -> None:
        """Answer from the state that this node has applied."""
        answer = self._executor.answer
        results: list[bytes | Exception] = []
        for request in requests:
            try:
                results.append(answer(request))
            except Exception as error:
                results.append(error)
        requester.answer(results)

    def _on_due(self, batch: QueryBatch) -> None:
        self.leave(batch)
        if batch.requester.waits:
            batch.requester.fail(UnavailableError(f"no answer in time: {self._why_unavailable()}"))
