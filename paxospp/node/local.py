"""Calls made in this process: one session for all of them, one future per call.

Calls made in one iteration of the event loop are numbered together when the inbox takes them (``take_runs``): at the
leader when the next value is made, at a follower at once. Until then a call has no number, was not sent, and can be
taken back without effect.

Runs are sent again until they are answered: at every change of the leader, when an answer reports a gap, and after a
silence, which doubles each time. A silence counts only while a caller waits, or while new calls need the space that
unanswered ones take. Each command is applied once, however often its run arrives; ``sessions.table`` ensures that.

``sessions.caller`` knows a call by its future.

Reference: Ongaro, "Consensus: Bridging Theory and Practice" (2014), section 6.3.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import cast

from paxospp.calls import too_large
from paxospp.config import NodeConfig
from paxospp.engine.replica import Replica
from paxospp.errors import CallError, OutcomeUnknownError, OverloadedError, RejectedError, UnavailableError
from paxospp.execution.executor import Executor
from paxospp.markers import NO_MARKERS, Markers
from paxospp.node.default_arguments import DefaultArguments
from paxospp.node.environment import RUN_COMMANDS_MAX
from paxospp.node.freshness import Freshness
from paxospp.rpc.deadlines import Deadlines
from paxospp.sessions.caller import Caller
from paxospp.sessions.runs import decode_run
from paxospp.sessions.table import RunAnswer, RunStatus, sessions_full_error
from paxospp.state_machine import OUTCOME_RESULT, read_outcome

SILENCE_MAX_S = 5.0
LEADING_SILENCE_S = 2.0
"""The shortest silence before a node that leads sends again: its runs are already in its own log."""
RENEW_AFTER_S = 600.0
"""After this much silence a session may have expired, and the next call opens a new one."""
DROP_INTERVAL_S = 0.005
"""The shortest pause between two searches for cancelled calls while calls are being refused."""

CallFuture = asyncio.Future[bytes]


class LocalCalls:
    """The calls of the program that embeds this node. They are answered when this node applies them."""

    def __init__(
        self,
        replica: Replica,
        executor: Executor,
        config: NodeConfig,
        caller: Caller,
        *,
        loop: asyncio.AbstractEventLoop,
        random_bytes: Callable[[int], bytes],
        advance_soon: Callable[[], None],
        why_unavailable: Callable[[], str],
        freshness: Freshness,
        defaults: DefaultArguments,
        observer: Markers = NO_MARKERS,
    ) -> None:
        self._observer = observer
        self._caller = caller
        self._replica = replica
        self._executor = executor
        self._freshness = freshness
        self._fill_in = defaults.fill_in
        self._resend_interval_s = config.resend_interval_s
        self._value_bytes_max = config.value_bytes_max
        self._calls_max = config.inbox_calls_max
        self._waiting_bytes_max = config.inbox_bytes_max
        self._loop = loop
        self._random_bytes = random_bytes
        self._advance_soon = advance_soon
        self._why_unavailable = why_unavailable
        self._deadlines: Deadlines[CallFuture] = Deadlines(loop, self._on_due)
        self._open = self._deadlines.open
        """Every call that is not answered, and its deadline."""
        self._queued: dict[CallFuture, int] = {}
        """Calls without a number, oldest first, and their sizes in bytes."""
        self._queued_bytes = 0
        self._dropped_at = 0.0
        self._advance_is_due = False
        self._now = loop.time()
        """When the first call of this iteration of the loop was made: precise enough for deadlines."""
        self._numbered = 0
        """The number given last."""
        self._sent: deque[tuple[int, int]] = deque()
        """One item per ``next_runs``, until its calls are answered: the last number, and the size of its runs."""
        self._sent_bytes = 0
        self._must_resend = False
        self._resend_from: int | None = None
        """The number to resend from; None for all that is unanswered."""
        self._space_is_needed = False
        """Whether to resend although no caller waits.

        It is set when a call finds no space beside the unanswered ones, and when some of those are answered, because
        the others can then be answered too. Resending clears it.
        """
        self._heard_at = loop.time()
        """When an answer came last."""
        self._silence_s = config.resend_interval_s
        """How long to wait for an answer before the next resend."""
        self._silence_timer: asyncio.TimerHandle | None = None
        self._ended: Callable[[], UnavailableError] | None = None

    @property
    def open_calls(self) -> int:
        """How many calls are not answered."""
        return len(self._open)

    @property
    def session_random(self) -> bytes:
        """The random part of the session's id; answers carry it."""
        return self._caller.random

    # For callers.

    def execute(self, payload: bytes, timeout_s: float | None) -> CallFuture:
        """Queue a command and return the future of its encoded result. Cancel that to stop waiting.

        Raises:
            RejectedError: the command is too large, or the machine does not accept it.
            OverloadedError: too many calls are waiting.
            UnavailableError: the node ended.
        """
        if self._ended is not None:
            raise self._ended()
        if len(payload) > self._value_bytes_max:
            raise RejectedError(too_large("command", len(payload), self._value_bytes_max))
        self._executor.check_command(payload)
        payload = self._fill_in(payload)
        size = len(payload)
        if self._is_full(size):
            # Only now and then: refusing must stay cheap, or the refused calls would be the overload.
            if self._loop.time() - self._dropped_at > DROP_INTERVAL_S:
                self._drop_cancelled()
            self._renew_if_silent()
            if self._is_full(size):
                if self._caller.outstanding:
                    self._need_space()
                raise OverloadedError
        if not self._advance_is_due:
            self._advance_is_due = True
            self._now = self._loop.time()
            self._advance_soon()
        # Compute the deadline first: a timeout of the wrong type raises here, before the call has any effect.
        deadline = math.inf if timeout_s is None else self._now + timeout_s
        if deadline < self._deadlines.armed_for:
            self._deadlines.arm(deadline)
        future: CallFuture = self._loop.create_future()
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
        """Remove calls that were cancelled before they were sent; those that were sent stay until they are answered."""
        self._dropped_at = self._loop.time()
        queued = self._queued
        for call in [call for call in queued if call.cancelled()]:
            self._take_back(call)
            self._open.pop(call, None)

    def _take_back(self, call: CallFuture) -> bool:
        """Remove a call that was not sent; return False if it was sent."""
        self._queued_bytes -= self._queued.pop(call, 0)
        return self._caller.cancel(call)

    def _on_due(self, call: CallFuture) -> None:
        never_sent = self._take_back(call)
        if call.done():
            return
        if never_sent:
            call.set_exception(UnavailableError(f"not sent in time: {self._why_unavailable()}"))
        else:
            call.set_exception(OutcomeUnknownError("sent, but not answered in time; it may still be applied"))

    # For the inbox.

    @property
    def wants_to_send(self) -> bool:
        """Whether ``take_runs`` may return something."""
        return self._must_resend or bool(self._queued)

    def on_advance(self) -> None:
        """Note that the driver advances, so that the next call has to ask for it again."""
        self._advance_is_due = False

    def take_runs(self) -> list[tuple[bytes, int]]:
        """Return the runs to send now, with their approximate command counts: first those to resend, then new ones.

        Called only while there is a leader, so that calls that cannot be sent stay without a number.
        """
        caller = self._caller
        runs: list[tuple[bytes, int]] = []
        self._drop_cancelled()
        if caller.queued:
            self._renew_if_silent()
            if caller.held_up:
                self._need_space()
        if self._must_resend:
            runs = [(run, RUN_COMMANDS_MAX) for run in caller.resend(self._resend_from)]
            self._must_resend = False
            self._resend_from = None
        if not caller.queued:
            return runs
        if not self._numbered:
            if not self._freshness.is_fresh():
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
            if self._silence_timer is None:
                self._start_silence_timer()
            runs += [(run, min(count, RUN_COMMANDS_MAX)) for run in new]
        return runs

    def _take_queued(self) -> int:
        """Remove the calls that were just numbered, which are the oldest, from the queue; return how many."""
        count = len(self._queued) - self._caller.queued
        if count == len(self._queued):
            self._queued.clear()
            self._queued_bytes = 0
        else:
            for call in list(islice(self._queued, count)):
                self._queued_bytes -= self._queued.pop(call)
        return count

    def _refuse_queued(self) -> None:
        """Fail the queued calls now, because the cluster accepts no further session."""
        for call in list(self._queued):
            self._take_back(call)
            self._open.pop(call, None)
            if not call.done():
                call.set_exception(sessions_full_error())

    def _renew_if_silent(self) -> None:
        """Begin a new session if no caller waits for this one and it may have expired."""
        if not self._numbered or self._caller.waiting:
            return
        membership = self._replica.membership
        after_s = RENEW_AFTER_S if membership is None else min(RENEW_AFTER_S, membership.session_expiry_s / 2)
        if self._loop.time() - self._heard_at > after_s:
            self._begin_session()

    def on_answer(self, answer: RunAnswer) -> None:
        """Handle the answer to a run that was applied here, if the run is of this session."""
        caller = self._caller
        if answer.session != caller.session:
            return
        if answer.status is RunStatus.EXPIRED:
            self._expire()
            return
        before = caller.acknowledged
        answered, must_resend = caller.on_answer(answer.first, answer.status, answer.expected, answer.outcomes)
        forget = self._open.pop
        for call, outcome in cast("list[tuple[CallFuture, bytes]]", answered):
            forget(call, None)
            if call.done():
                continue
            if outcome[0] == OUTCOME_RESULT:
                call.set_result(outcome[1:])
            else:
                call.set_exception(_error_of(outcome))
        sent = self._sent
        acknowledged = caller.acknowledged
        if answered or acknowledged > before:
            self._space_is_needed = self._space_is_needed or not answered
            self._heard_at = self._loop.time()
            if self._silence_s > self._resend_interval_s:
                self._observer.reached("local calls: an answer ends a long silence")
                self._reset_silence()
        while sent and sent[0][0] <= acknowledged:
            self._sent_bytes -= sent.popleft()[1]
        if must_resend:
            self._observer.reached("local calls: runs are sent again from a gap on")
            self._must_resend = True
            self._resend_from = answer.expected
            self._advance_soon()
        elif caller.queued:
            self._advance_soon()

    def on_installed(self) -> None:
        """Answer calls from the session table of a snapshot that replaced the entries they were decided in."""
        for run in self._caller.resend(None):
            answer = self._executor.find(decode_run(run))
            if answer is not None:
                self._observer.reached("local calls: an outcome is found in the table of a snapshot")
                self.on_answer(answer)

    def on_leader_changed(self) -> None:
        """Send the unanswered runs again: those sent to the former leader may be lost."""
        if self._caller.outstanding:
            self._observer.reached("local calls: runs are sent again under another leader")
            self._must_resend = True
            self._resend_from = None
            if self._replica.leader is not None and self._silence_s > self._resend_interval_s:
                self._observer.reached("local calls: another leader ends a long silence")
                self._heard_at = self._loop.time()
                self._reset_silence()
        self._advance_soon()

    def _expire(self) -> None:
        self._observer.reached("local calls: the session expired")
        for call in self._begin_session():
            self._open.pop(call, None)
            if not call.done():
                call.set_exception(OutcomeUnknownError("the session expired before the answer came"))
        self._advance_soon()

    def _begin_session(self) -> list[CallFuture]:
        lost = self._caller.expire(self._random_bytes(16))
        self._numbered = 0
        self._sent.clear()
        self._sent_bytes = 0
        self._must_resend = self._space_is_needed = False
        return cast("list[CallFuture]", lost)

    # Resending after a silence.

    def _need_space(self) -> None:
        """Resend unanswered runs even if no caller waits for them, because they take the space that a call needs."""
        self._space_is_needed = True
        if self._silence_timer is None:
            self._must_resend = True
            self._resend_from = None
            self._start_silence_timer()
            self._advance_soon()

    def _start_silence_timer(self) -> None:
        self._heard_at = self._loop.time()
        self._silence_timer = self._loop.call_later(self._silence_s, self._on_silence)

    def _on_silence(self) -> None:
        """Send unanswered runs again; stop the timer if no caller and no new call needs their answers."""
        self._silence_timer = None
        caller = self._caller
        if not (caller.unanswered or (self._space_is_needed and caller.outstanding)):
            self._space_is_needed = False
            self._silence_s = self._resend_interval_s
            return
        limit_s = max(self._silence_s, LEADING_SILENCE_S) if self._replica.leading else self._silence_s
        rest = self._heard_at + limit_s - self._loop.time()
        if rest <= 0:
            self._observer.reached("local calls: runs are sent again after a silence")
            self._must_resend = True
            self._resend_from = None
            self._space_is_needed = False
            self._heard_at = self._loop.time()
            self._silence_s = min(2 * self._silence_s, SILENCE_MAX_S)
            self._advance_soon()
            rest = self._silence_s
        self._silence_timer = self._loop.call_later(rest, self._on_silence)

    def _reset_silence(self) -> None:
        """Go back to the shortest interval, because the leader may answer now."""
        self._silence_s = self._resend_interval_s
        if self._silence_timer is not None:
            self._silence_timer.cancel()
            self._silence_timer = self._loop.call_later(self._silence_s, self._on_silence)

    # The end.

    def end(self, error: Callable[[], UnavailableError]) -> None:
        """Fail all calls: those that were sent have an unknown outcome, the others had no effect."""
        self._ended = error
        if self._silence_timer is not None:
            self._silence_timer.cancel()
            self._silence_timer = None
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
    raise AssertionError("read_outcome raises for everything but a result")
