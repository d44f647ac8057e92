"""Calls made in this process: one session, one future per call, runs cut once per turn.

Calls made in one round of the loop are numbered together when the front door fetches them
(``take_runs``): at the leader when the next value is made, at a follower at once. Until then
a call has no number, was not sent, and can be taken back without a trace.

What was sent is sent again until it is answered: at every change of the leader, when an answer
says that something is missing, and after a silence that doubles, as long as somebody waits for
it, or for the room it takes. That a command is applied once is the business of
``execution.sessions``.

Reference: Ongaro, "Consensus: Bridging Theory and Practice" (2014), section 6.3.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import cast

from paxospp.config import NodeConfig
from paxospp.engine.replica import Replica
from paxospp.errors import CallError, OutcomeUnknownError, OverloadedError, RejectedError, UnavailableError
from paxospp.execution.executor import Executor
from paxospp.markers import UNWATCHED, Markers
from paxospp.node.completing import Completer
from paxospp.node.current import Current
from paxospp.rpc.deadlines import Deadlines
from paxospp.sessions.caller import Caller
from paxospp.sessions.runs import decode_run
from paxospp.sessions.table import RunOutcome, RunStatus
from paxospp.state_machine import OUTCOME_RESULT, StateMachine, read_outcome

SILENCE_MAX_S = 5.0
LEADING_SILENCE_S = 2.0
"""While this node leads, its runs stand in its own log: only a full session table swallows them."""
RENEW_AFTER_S = 600.0
"""A session silent for so long may have expired: the next call opens a new one."""
DROP_INTERVAL_S = 0.005
"""How often what was cancelled is looked for while there is no room."""
FULL_RETRY_S = 1.0
"""When to try again where there is no room for another session."""
RUN_BYTES_MAX = 1 << 20
RUN_COMMANDS_MAX = 1024

Pending = asyncio.Future[bytes]


class LocalCalls:
    """The embedded caller's side: it waits for this node's own applying, whoever leads."""

    def __init__(
        self,
        replica: Replica,
        executor: Executor,
        machine: StateMachine,
        config: NodeConfig,
        *,
        loop: asyncio.AbstractEventLoop,
        want_turn: Callable[[], None],
        why_not: Callable[[], str],
        current: Current,
        caller: Caller | None = None,
        observer: Markers = UNWATCHED,
    ) -> None:
        self._observer = observer
        self._caller = caller or Caller(
            secrets.token_bytes(16), run_bytes_max=RUN_BYTES_MAX, run_commands_max=RUN_COMMANDS_MAX
        )
        self._replica = replica
        self._executor = executor
        self._current = current
        self._complete = Completer(machine).complete
        self._resend_interval_s = config.resend_interval_s
        self._value_bytes_max = config.value_bytes_max
        self._calls_max = config.inbox_calls_max
        self._waiting_bytes_max = config.inbox_bytes_max
        self._loop = loop
        self._want_turn = want_turn
        self._why_not = why_not
        self._deadlines: Deadlines[Pending] = Deadlines(loop, self._on_due)
        self._open = self._deadlines.open
        """Every call that is not answered, and when it ends."""
        self._queued: dict[Pending, int] = {}
        """Calls without a number, oldest first, and their bytes."""
        self._queued_bytes = 0
        self._dropped_at = 0.0
        self._turn_is_wanted = False
        self._now = loop.time()
        """When the present round of the loop began to make calls: near enough for their deadlines."""
        self._numbered = 0
        self._sent: deque[tuple[int, int]] = deque()
        """Per fetch: the last number given and the bytes of its runs, until all of it is answered."""
        self._sent_bytes = 0
        self._must_resend = False
        self._resend_from: int | None = None
        self._room_is_wanted = False
        """Whether, since all was sent again last, a call found no room beside what was sent, or some of that
        was answered for nobody, so that the rest can be as well."""
        self._heard_at = loop.time()
        self._silence_s = config.resend_interval_s
        self._watch: asyncio.TimerHandle | None = None
        self._ended: Callable[[], UnavailableError] | None = None

    @property
    def open_calls(self) -> int:
        """How many calls are not answered."""
        return len(self._open)

    @property
    def session_random(self) -> bytes:
        """What answers for this caller bear."""
        return self._caller.random

    # The caller's side.

    def execute(self, payload: bytes, timeout_s: float | None) -> Pending:
        """A future of the command's encoded result; it is cancelled when nobody waits any more."""
        if self._ended is not None:
            raise self._ended()
        if len(payload) > self._value_bytes_max:
            raise RejectedError(
                f"the command has {len(payload)} bytes, more than value_bytes_max={self._value_bytes_max}"
            )
        self._executor.check_command(payload)
        payload = self._complete(payload)
        size = len(payload)
        if self._is_full(size):
            # At most once in a while: refusing must stay cheap, or the refused would be the overload.
            if self._loop.time() - self._dropped_at > DROP_INTERVAL_S:
                self._drop_cancelled()
            self._renew_if_silent()
            if self._is_full(size):
                if self._caller.outstanding:
                    self._want_room()
                raise OverloadedError
        if not self._turn_is_wanted:
            self._turn_is_wanted = True
            self._now = self._loop.time()
            self._want_turn()
        # First what a time-out of a wrong type would make fail: a call that raises has no effect.
        deadline = math.inf if timeout_s is None else self._now + timeout_s
        if deadline < self._deadlines.armed_for:
            self._deadlines.arm(deadline)
        future: Pending = self._loop.create_future()
        self._open[future] = deadline
        self._caller.add(payload, future)
        self._queued[future] = size
        self._queued_bytes += size
        return future

    def _is_full(self, size: int) -> bool:
        return (
            len(self._open) >= self._calls_max or self._queued_bytes + self._sent_bytes + size > self._waiting_bytes_max
        )

    def _drop_cancelled(self) -> None:
        """Take back what was cancelled before it was sent; what was sent stays until it is answered."""
        self._dropped_at = self._loop.time()
        queued = self._queued
        for call in [call for call in queued if call.cancelled()]:
            self._take_back(call)
            self._open.pop(call, None)

    def _take_back(self, call: Pending) -> bool:
        """Whether the call was never sent, and now never will be."""
        self._queued_bytes -= self._queued.pop(call, 0)
        return self._caller.cancel(call)

    def _on_due(self, call: Pending) -> None:
        never_sent = self._take_back(call)
        if call.done():
            return
        if never_sent:
            call.set_exception(UnavailableError(f"not sent in time: {self._why_not()}"))
        else:
            call.set_exception(OutcomeUnknownError("sent, but no answer in time; it may still be applied"))

    # The front door's side.

    @property
    def wants_to_send(self) -> bool:
        """Whether ``take_runs`` might have something."""
        return self._must_resend or bool(self._queued)

    def on_turn(self) -> None:
        """The turn that was wanted has come."""
        self._turn_is_wanted = False

    def take_runs(self) -> list[tuple[bytes, int]]:
        """What is to be sent now, with about how many commands: first again what must be, then new calls.

        Called only when somebody leads, so that what has nowhere to go stays without a number.
        """
        caller = self._caller
        runs: list[tuple[bytes, int]] = []
        self._drop_cancelled()
        if caller.queued:
            self._renew_if_silent()
            if caller.held_up:
                self._want_room()
        if self._must_resend:
            runs = [(run, RUN_COMMANDS_MAX) for run in caller.resend(self._resend_from)]
            self._must_resend = False
            self._resend_from = None
        if not caller.queued:
            return runs
        if not self._numbered:
            if not self._current.look():
                return runs
            if self._executor.sessions_full:
                self._refuse_queued()
                return runs
            caller.open(self._executor.log_time)
        new = caller.next_runs()
        if new:
            count = self._take_queued()
            size = sum(map(len, new))
            self._numbered += count
            self._sent.append((self._numbered, size))
            self._sent_bytes += size
            if self._watch is None:
                self._begin_watch()
            runs += [(run, min(count, RUN_COMMANDS_MAX)) for run in new]
        return runs

    def _take_queued(self) -> int:
        """Forget the sizes of what was numbered just now, which is the oldest; how many calls that were."""
        count = len(self._queued) - self._caller.queued
        if count == len(self._queued):
            self._queued.clear()
            self._queued_bytes = 0
        else:
            for call in list(islice(self._queued, count)):
                self._queued_bytes -= self._queued.pop(call)
        return count

    def _refuse_queued(self) -> None:
        """There is no room for this node's session: better at once than never."""
        for call in list(self._queued):
            self._take_back(call)
            self._open.pop(call, None)
            if not call.done():
                call.set_exception(OverloadedError("the cluster has no room for another session", FULL_RETRY_S))

    def _renew_if_silent(self) -> None:
        """Begin another session if nobody waits for this one, and it may have expired."""
        if not self._numbered or self._caller.waiting:
            return
        membership = self._replica.membership
        after_s = RENEW_AFTER_S if membership is None else min(RENEW_AFTER_S, membership.session_expiry_s / 2)
        if self._loop.time() - self._heard_at > after_s:
            self._begin_session()

    def on_outcome(self, outcome: RunOutcome) -> None:
        """A run of this session was applied here, or turned out to have no effect."""
        caller = self._caller
        if outcome.session != caller.session:
            return
        if outcome.status is RunStatus.EXPIRED:
            self._expire()
            return
        before = caller.acknowledged
        answered, must_resend = caller.on_answer(outcome.first, outcome.status, outcome.expected, outcome.outcomes)
        forget = self._open.pop
        for call, result in cast("list[tuple[Pending, bytes]]", answered):
            forget(call, None)
            if call.done():
                continue
            if result[0] == OUTCOME_RESULT:
                call.set_result(result[1:])
            else:
                call.set_exception(_error_of(result))
        sent = self._sent
        acknowledged = caller.acknowledged
        if answered or acknowledged > before:
            self._room_is_wanted = self._room_is_wanted or not answered
            self._heard_at = self._loop.time()
            if self._silence_s > self._resend_interval_s:
                self._observer.reached("local calls: an answer ends a long silence")
                self._look_soon()
        while sent and sent[0][0] <= acknowledged:
            self._sent_bytes -= sent.popleft()[1]
        if must_resend:
            self._observer.reached("local calls: runs are sent again from a gap on")
            self._must_resend = True
            self._resend_from = outcome.expected
            self._want_turn()
        elif caller.queued:
            self._want_turn()

    def on_installed(self) -> None:
        """A snapshot took the place of entries: what was decided in them is answered from its table."""
        for run in self._caller.resend(None):
            outcome = self._executor.find(decode_run(run))
            if outcome is not None:
                self._observer.reached("local calls: an outcome is found in the table of a snapshot")
                self.on_outcome(outcome)

    def on_leader_changed(self) -> None:
        """What was on its way to the former leader, or in its window, may be lost."""
        if self._caller.outstanding:
            self._observer.reached("local calls: runs are sent again under another leader")
            self._must_resend = True
            self._resend_from = None
            if self._replica.leader is not None and self._silence_s > self._resend_interval_s:
                self._observer.reached("local calls: another leader ends a long silence")
                self._heard_at = self._loop.time()
                self._look_soon()
        self._want_turn()

    def _expire(self) -> None:
        self._observer.reached("local calls: the session expired")
        for call in self._begin_session():
            self._open.pop(call, None)
            if not call.done():
                call.set_exception(OutcomeUnknownError("the session expired before the answer came"))
        self._want_turn()

    def _begin_session(self) -> list[Pending]:
        lost = self._caller.expire(secrets.token_bytes(16))
        self._numbered = 0
        self._sent.clear()
        self._sent_bytes = 0
        self._must_resend = self._room_is_wanted = False
        return cast("list[Pending]", lost)

    # Silence.

    def _want_room(self) -> None:
        """What was sent leaves a call no room: have it answered, although nobody may wait for it any more."""
        self._room_is_wanted = True
        if self._watch is None:
            self._must_resend = True
            self._resend_from = None
            self._begin_watch()
            self._want_turn()

    def _begin_watch(self) -> None:
        self._heard_at = self._loop.time()
        self._watch = self._loop.call_later(self._silence_s, self._look)

    def _look(self) -> None:
        """Send again what nobody answered; stop looking when nobody waits for it, or for the room it takes."""
        self._watch = None
        caller = self._caller
        if not (caller.unanswered or (self._room_is_wanted and caller.outstanding)):
            self._room_is_wanted = False
            self._silence_s = self._resend_interval_s
            return
        patience = max(self._silence_s, LEADING_SILENCE_S) if self._replica.leading else self._silence_s
        rest = self._heard_at + patience - self._loop.time()
        if rest <= 0:
            self._observer.reached("local calls: runs are sent again after a silence")
            self._must_resend = True
            self._resend_from = None
            self._room_is_wanted = False
            self._heard_at = self._loop.time()
            self._silence_s = min(2 * self._silence_s, SILENCE_MAX_S)
            self._want_turn()
            rest = self._silence_s
        self._watch = self._loop.call_later(rest, self._look)

    def _look_soon(self) -> None:
        """Go back to the first interval: the leader may answer now."""
        self._silence_s = self._resend_interval_s
        if self._watch is not None:
            self._watch.cancel()
            self._watch = self._loop.call_later(self._silence_s, self._look)

    # The end.

    def end(self, error: Callable[[], UnavailableError]) -> None:
        """No more answers: what was sent is unknown, what was not never took place."""
        self._ended = error
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._deadlines.close()
        for call in list(self._open):
            never_sent = self._take_back(call)
            if not call.done():
                unknown = OutcomeUnknownError("sent, but the node ended before the answer came")
                call.set_exception(error() if never_sent else unknown)
        self._open.clear()


def _error_of(outcome: bytes) -> CallError:
    try:
        read_outcome(outcome)
    except CallError as error:
        return error
    raise AssertionError("an outcome that is no result raises")
