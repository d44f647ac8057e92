"""What a client has to say, over whichever stream it has: runs, queries, and their answers.

It knows nothing of addresses and opens nothing. ``requests`` is what should be written now,
``on_response`` takes what was read, ``on_greeting`` says that a stream begins, and so what is
unanswered has to be said again. Commands keep their numbers through all of it and are applied
once (``execution.caller``); queries change nothing and are simply asked again.

Reference: Ongaro, "Consensus: Bridging Theory and Practice" (2014), section 6.3.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Iterator, Mapping
from typing import NoReturn, TypeAlias, cast

from paxospp.calls import Bounded, Consistency
from paxospp.errors import (
    CallError,
    CommandError,
    OutcomeUnknownError,
    OverloadedError,
    RejectedError,
    UnavailableError,
)
from paxospp.rpc.channel import GRPC_MESSAGE_BYTES_MAX
from paxospp.sessions.caller import Caller
from paxospp.state_machine import OUTCOME_RESULT, read_outcome
from paxospp.wire.v1 import client_pb2 as wire

RUN_BYTES_MAX = 1 << 20
RUN_COMMANDS_MAX = 512
SESSION_RANDOM_BYTES = 16

SIZE_MAX = GRPC_MESSAGE_BYTES_MAX - (64 << 10)
"""No stream takes more, whatever a cluster would; what a cluster takes is known once a node greeted."""

PATIENCE_MIN_S = 1.0
PATIENCE_MAX_S = 8.0
ASK_AGAIN_S = 0.1
RENEW_AFTER_S = 600.0
"""A session that was silent for so long, or for half the time after which it expires, may be gone: the next
call begins a new one."""


Call = asyncio.Future[bytes]
"""The token under which conversation and session know a call; its result is the encoded result."""


_CONSISTENCIES: Mapping[str, wire.Consistency] = {
    "linearizable": wire.CONSISTENCY_LINEARIZABLE,
    "lease": wire.CONSISTENCY_LEASE,
    "local": wire.CONSISTENCY_LOCAL,
}


_Question: TypeAlias = tuple[Call, bytes, Consistency, float]
"""A query, which may be asked any number of times: who waits, its request, what is wished, until when."""


class Conversation:
    """The runs and queries of one client, and how far each has come.

    ``open`` is whose calls are under way: who is answered here is taken out of it.
    """

    def __init__(self, open: dict[Call, float] | None = None, caller: Caller | None = None) -> None:
        self._open = {} if open is None else open
        self._caller = caller or Caller(_draw(), run_bytes_max=RUN_BYTES_MAX, run_commands_max=RUN_COMMANDS_MAX)
        self._used_at = 0.0
        self._asked_for_session = False
        self._leader_known = False
        self._resend_from: int | None = None
        self._room_is_wanted = False
        """Whether, since this stream began, a call found no room beside what was sent."""
        self._questions: dict[int, _Question] = {}
        self._unasked: dict[int, _Question] = {}
        self._ids: dict[Call, int] = {}
        self._questions_bytes = 0
        self._last_id = 0
        self._value_bytes_max = SIZE_MAX
        self._cluster_id = b""
        self._renew_after_s = RENEW_AFTER_S
        self._runs_quiet_since: float | None = None
        self._queries_quiet_since: float | None = None
        self._patience_s = PATIENCE_MIN_S
        self.ask_again_at = math.inf
        """When to ask again what a node could not answer just now; never, if there is nothing of that kind."""

    # What callers bring.

    @property
    def held_bytes(self) -> int:
        """Of everything that was brought and is not answered."""
        return self._caller.held_bytes + self._questions_bytes

    def add_command(self, call: Call, payload: bytes, now: float) -> None:
        """Queue a command; it gets its number when it is first handed out by ``requests``."""
        if len(payload) > self._value_bytes_max:
            self._refuse_size(payload)
        self._renew_if_silent(now)
        self._used_at = now
        self._caller.add(payload, call)

    def _renew_if_silent(self, now: float) -> None:
        """Begin another session if nobody waits for this one, and it may have expired."""
        caller = self._caller
        if now - self._used_at > self._renew_after_s and caller.session is not None and not caller.unanswered:
            self._lose_session()

    def want_room(self, now: float) -> None:
        """A call finds no room beside the unanswered commands: have them answered, even if no caller waits for them.

        This stream has carried them already. If it stays silent from here on, they go on another one.
        """
        self._renew_if_silent(now)
        self._room_is_wanted = self._caller.outstanding
        if self._room_is_wanted and self._runs_quiet_since is None:
            self._runs_quiet_since = now

    def add_query(self, call: Call, request: bytes, consistency: Consistency, deadline: float) -> int:
        """Queue a query under an id of its own, and return that."""
        if len(request) > self._value_bytes_max:
            self._refuse_size(request)
        id = self._last_id = self._last_id + 1
        self._questions[id] = self._unasked[id] = (call, request, consistency, deadline)
        self._questions_bytes += len(request)
        self._ids[call] = id
        return id

    def is_asking(self, id: int) -> bool:
        """Whether the query of that id is not answered."""
        return id in self._questions

    def give_up(self, call: Call) -> CallError:
        """Nobody waits for ``call`` any more; the error says whether it can still have an effect."""
        if call in self._ids:
            id = self._ids.pop(call)
            self._questions_bytes -= len(self._questions.pop(id)[1])
            self._unasked.pop(id, None)
            return UnavailableError("the query changed nothing")
        if self._caller.cancel(call):
            return UnavailableError("the command was never sent, and has no effect")
        return OutcomeUnknownError("the command was sent, and may have been applied or may yet be")

    # What goes up a stream.

    def on_stream(self, greeting: wire.Greeting, now: float) -> None:
        """A stream begins: what is unanswered has to be said again."""
        self._runs_quiet_since = self._queries_quiet_since = None
        self.on_greeting(greeting, now)
        self.on_leader(greeting.leader)
        self.say_again()

    def is_of_this_cluster(self, greeting: wire.Greeting) -> bool:
        """Whether a node belongs to the cluster that this client talked to before.

        One that belongs to none yet may be about to found another.
        """
        return not self._cluster_id or greeting.cluster_id == self._cluster_id

    @property
    def cluster_id(self) -> bytes:
        """Empty until a node told it."""
        return self._cluster_id

    def on_greeting(self, greeting: wire.Greeting, now: float) -> None:
        """A node told the log's time, which begins a session if there is none.

        One that tells no leader may have just come up, with a log time of long ago.
        """
        self._value_bytes_max = min(greeting.value_bytes_max or SIZE_MAX, SIZE_MAX)
        self._cluster_id = greeting.cluster_id or self._cluster_id
        if greeting.session_expiry_s:
            self._renew_after_s = min(RENEW_AFTER_S, greeting.session_expiry_s / 2)
        self._asked_for_session = False
        if greeting.retry_after_s > 0 and self._caller.session is None:
            self._refuse_queued(greeting.retry_after_s)
        elif greeting.leader.node:
            before = self._caller.session
            self._caller.open(greeting.log_time)
            if self._caller.session != before:
                self._used_at = now

    def _refuse_queued(self, retry_after_s: float) -> None:
        """There is no room for this client's session: better at once than never."""
        for call in self._caller.withdraw():
            self._fail(call, OverloadedError("the cluster has no room for another session", retry_after_s))

    def refuse_unsent(self, why: str) -> None:
        """There is nobody to say it to: better at once than at its deadline. What was sent goes on waiting."""
        for call in self._caller.withdraw():
            self._fail(call, UnavailableError(f"{why}; the command was never sent, and has no effect"))
        for question in self._questions.values():
            self._fail(question[0], UnavailableError(f"{why}; the query changed nothing"))
        self._questions.clear()
        self._questions_bytes = 0
        self._ids.clear()
        self._unasked.clear()

    def on_leader(self, leader: wire.Leader) -> None:
        """Commands are held back while the node knows nobody who could decide them: unsent is better than unknown."""
        self._leader_known = bool(leader.node)

    def say_again(self) -> None:
        """Whoever was told may have dropped it: the next ``requests`` hold all that is unanswered."""
        if self._caller.outstanding:
            self._resend_from = 0
        self.ask_again()

    def ask_again(self) -> None:
        """The next ``requests`` hold every query."""
        self._unasked = self._questions.copy()
        self.ask_again_at = math.inf

    def requests(self, now: float) -> list[wire.CallRequest]:
        """What is to be written now, in this order; it counts as sent from here on."""
        caller = self._caller
        requests: list[wire.CallRequest] = []
        if self._leader_known:
            requests += [wire.CallRequest(run=run) for run in self._runs()]
            if caller.session is None and caller.queued and not self._asked_for_session:
                self._asked_for_session = True
                requests.append(wire.CallRequest(open_session=wire.OpenSession()))
        if self._runs_quiet_since is None and self._commands_wait:
            self._runs_quiet_since = now
        if self._unasked:
            if self._queries_quiet_since is None:
                self._queries_quiet_since = now
            requests += [wire.CallRequest(queries=queries) for queries in _in_breaths(self._unasked, now)]
            self._unasked = {}
        return requests

    @property
    def _commands_wait(self) -> bool:
        """Whether silence is a reason to try another node, as far as commands are concerned."""
        caller = self._caller
        return self._answers_are_wanted or (caller.queued > 0 and (caller.session is None or not self._leader_known))

    @property
    def _answers_are_wanted(self) -> bool:
        """Whether somebody waits for what was sent, or for the room it takes."""
        return self._caller.unanswered or (self._room_is_wanted and self._caller.outstanding)

    def _runs(self) -> list[bytes]:
        again: list[bytes] = []
        if self._resend_from is not None:
            again = self._caller.resend(self._resend_from or None)
            self._resend_from = None
        return again + self._caller.next_runs()

    # What comes down.

    def on_response(self, response: wire.CallResponse, now: float) -> None:
        """Take one answer; who leads is for whoever keeps the stream."""
        match response.WhichOneof("response"):
            case "greeting":
                self.on_greeting(response.greeting, now)
            case "run_answer":
                self._on_run_answer(response.run_answer, now)
            case "run_refused":
                self._on_run_refused(response.run_refused, now)
            case "query_answers":
                self._on_query_answers(response.query_answers, now)
            case "query_failure":
                self._on_query_failure(response.query_failure, now)

    def _on_run_answer(self, answer: wire.RunAnswer, now: float) -> None:
        caller = self._caller
        if answer.session != caller.random:
            return
        if answer.status == wire.RUN_STATUS_EXPIRED:
            self._lose_session()
            return
        answered, resend = caller.on_answer(answer.first, answer.status, answer.expected, answer.outcomes)
        forget = self._open.pop
        for call, outcome in cast("list[tuple[Call, bytes]]", answered):
            forget(call, None)
            if call.done():
                continue
            if outcome[0] == OUTCOME_RESULT:
                call.set_result(outcome[1:])
            else:
                call.set_exception(_error_in(outcome))
        if resend:
            self._resend_from = answer.expected
        if answer.status == wire.RUN_STATUS_APPLIED:
            self._patience_s = PATIENCE_MIN_S
            self._room_is_wanted = self._room_is_wanted and caller.outstanding
            self._runs_quiet_since = now if self._commands_wait else None

    def _on_run_refused(self, refused: wire.RunRefused, now: float) -> None:
        caller = self._caller
        if refused.session != caller.random:
            return
        for call, reason in caller.on_refused({request.number: request.reason for request in refused.requests}):
            self._fail(call, RejectedError(reason))
        if self._answers_are_wanted:
            self._resend_from = 0
        self._runs_quiet_since = now if self._commands_wait else None

    def _lose_session(self) -> None:
        """Begin another one; what was sent in the old one and not answered stays unknown."""
        for call in self._caller.expire(_draw()):
            self._fail(call, OutcomeUnknownError("the session expired before the command was answered"))
        self._resend_from = None
        self._room_is_wanted = False
        self._runs_quiet_since = None

    def _on_query_answers(self, answers: wire.QueryAnswers, now: float) -> None:
        questions, ids, forget = self._questions, self._ids, self._open.pop
        for id, result in enumerate(answers.results, answers.first_id):
            question = questions.pop(id, None)
            if question is not None:
                call = question[0]
                self._questions_bytes -= len(question[1])
                del ids[call]
                forget(call, None)
                if not call.done():
                    call.set_result(result)
        self._heard_of_queries(now)

    def _on_query_failure(self, failed: wire.QueryFailure, now: float) -> None:
        questions = self._questions
        if len(questions) < failed.count:
            ids = [id for id in questions if failed.first_id <= id < failed.first_id + failed.count]
        else:
            ids = [id for id in range(failed.first_id, failed.first_id + failed.count) if id in questions]
        if failed.failure.kind == wire.FAILURE_KIND_UNAVAILABLE:
            if ids:
                # This node cannot answer just now; another may, or this one in a moment.
                self.ask_again_at = min(self.ask_again_at, now + ASK_AGAIN_S)
            return
        for id in ids:
            call, request, *_ = questions.pop(id)
            self._questions_bytes -= len(request)
            del self._ids[call]
            self._fail(call, _error_of(failed.failure))
        if ids:
            self._heard_of_queries(now)

    def _heard_of_queries(self, now: float) -> None:
        self._patience_s = PATIENCE_MIN_S
        self._queries_quiet_since = now if self._questions else None

    # When a stream is not worth keeping.

    def loses_patience_at(self) -> float:
        """When to try another node, if nothing of what was sent is answered by then."""
        quiet_since = math.inf
        if self._runs_quiet_since is not None and self._commands_wait:
            quiet_since = self._runs_quiet_since
        if self._queries_quiet_since is not None and self._questions:
            quiet_since = min(quiet_since, self._queries_quiet_since)
        return quiet_since + self._patience_s

    def lost_patience(self) -> None:
        """It was tried: the next attempt may take longer."""
        self._patience_s = min(PATIENCE_MAX_S, self._patience_s * 2)
        self._room_is_wanted = False
        self._runs_quiet_since = self._queries_quiet_since = None

    def _refuse_size(self, payload: bytes) -> NoReturn:
        raise RejectedError(
            f"the call has {len(payload)} bytes, more than value_bytes_max={self._value_bytes_max} of this cluster"
        )

    def _fail(self, call: object, error: CallError) -> None:
        assert isinstance(call, asyncio.Future)
        self._open.pop(call, None)
        if not call.done():
            call.set_exception(error)


def _draw() -> bytes:
    return os.urandom(SESSION_RANDOM_BYTES)


def _in_breaths(questions: Mapping[int, _Question], now: float) -> Iterator[wire.Queries]:
    """All of them, those with consecutive ids and the same wish together."""
    first_id = next_id = size = 0
    requests: list[bytes] = []
    asked: Consistency = "linearizable"
    deadline = 0.0
    for id, (_, request, wish, until) in questions.items():
        size += len(request)
        if id != next_id or wish != asked or size > RUN_BYTES_MAX or id - first_id >= RUN_COMMANDS_MAX:
            if requests:
                yield _queries(first_id, requests, asked, deadline, now)
            first_id, requests, asked, size, deadline = id, [], wish, len(request), 0.0
        requests.append(request)
        next_id = id + 1
        if until > deadline:
            deadline = until
    if requests:
        yield _queries(first_id, requests, asked, deadline, now)


def _queries(first_id: int, requests: list[bytes], asked: Consistency, deadline: float, now: float) -> wire.Queries:
    timeout_s = 0.0 if deadline == math.inf else max(0.001, deadline - now)
    bound_s = 0.0
    if isinstance(asked, Bounded):
        # The answer takes its time to come here, and is that much older then: for the network's delay see README.
        consistency, bound_s = wire.CONSISTENCY_BOUNDED, asked.seconds
    else:
        consistency = _CONSISTENCIES[asked]
    return wire.Queries(
        first_id=first_id, requests=requests, consistency=consistency, timeout_s=timeout_s, bound_s=bound_s
    )


def _error_in(outcome: bytes) -> Exception:
    try:
        read_outcome(outcome)
    except Exception as error:
        return error
    raise AssertionError(outcome)


def _error_of(failure: wire.Failure) -> CallError:
    match failure.kind:
        case wire.FAILURE_KIND_REJECTED:
            return RejectedError(failure.message)
        case wire.FAILURE_KIND_COMMAND:
            return CommandError(failure.type, failure.message)
        case wire.FAILURE_KIND_OVERLOADED:
            return OverloadedError(failure.message, failure.retry_after_s)
        case _:
            return UnavailableError(failure.message)
