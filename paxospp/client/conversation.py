"""The unanswered commands and queries of a client: what to send now, what to send again, how long to wait.

It knows no addresses and opens no streams. ``requests`` returns what to write now, ``on_response`` takes a response,
and ``on_stream`` says that a new stream has begun, on which everything unanswered has to be sent again. Commands keep
their numbers, so each is applied once (``sessions.caller``); queries change nothing and are simply sent again.

Reference: Ongaro, "Consensus: Bridging Theory and Practice" (2014), section 6.3.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Iterator, Mapping
from typing import TypeAlias, cast

from paxospp.calls import Bounded, Consistency, too_large
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
from paxospp.sessions.table import sessions_full_error
from paxospp.state_machine import OUTCOME_RESULT, read_outcome
from paxospp.wire.v1 import client_pb2 as wire

RUN_BYTES_MAX = 1 << 20
RUN_COMMANDS_MAX = 512
"""The largest run of a client; one value holds about as many (``node.inbox``)."""
SESSION_RANDOM_BYTES = 16

SIZE_MAX = GRPC_MESSAGE_BYTES_MAX - (64 << 10)
"""The most bytes of one call that a stream can carry. A cluster's own limit is known after the first greeting."""

ANSWER_TIMEOUT_MIN_S = 1.0
ANSWER_TIMEOUT_MAX_S = 8.0
"""How long to wait for an answer before trying another node: first the minimum, doubled after each failure."""
QUERY_RETRY_S = 0.1
"""When to send a query again that a node could not answer."""
SESSION_IDLE_MAX_S = 600.0
"""After this much idle time, or half of its expiry time if that is shorter, a session may have expired, and the next
call opens a new one."""


Call = asyncio.Future[bytes]
"""A call of the user; its result is the encoded result."""


_CONSISTENCIES: Mapping[str, wire.Consistency] = {
    "linearizable": wire.CONSISTENCY_LINEARIZABLE,
    "lease": wire.CONSISTENCY_LEASE,
    "local": wire.CONSISTENCY_LOCAL,
}


_Query: TypeAlias = tuple[Call, bytes, Consistency, float]
"""An unanswered query: the call, the encoded request, the consistency, the deadline."""


class Conversation:
    """The unanswered runs and queries of one client.

    ``open`` holds the calls under way with their deadlines; calls that end here are removed from it.
    """

    def __init__(self, open: dict[Call, float] | None = None, caller: Caller | None = None) -> None:
        self._open = {} if open is None else open
        self._caller = caller or Caller(_random_id(), run_bytes_max=RUN_BYTES_MAX, run_commands_max=RUN_COMMANDS_MAX)
        self._used_at = 0.0
        self._asked_for_session = False
        self._leader_known = False
        self._resend_from: int | None = None
        self._space_is_wanted = False
        """Whether a call was refused since this stream began because of the space that sent commands take."""
        self._queries: dict[int, _Query] = {}
        self._unsent_queries: dict[int, _Query] = {}
        self._ids: dict[Call, int] = {}
        self._queries_bytes = 0
        self._last_id = 0
        self._value_bytes_max = SIZE_MAX
        self._cluster_id = b""
        self._session_idle_max_s = SESSION_IDLE_MAX_S
        self._runs_silent_since: float | None = None
        self._queries_silent_since: float | None = None
        self._answer_timeout_s = ANSWER_TIMEOUT_MIN_S
        self.retry_queries_at = math.inf
        """When to send the queries again that a node could not answer; infinity if there are none."""

    # Calls of the user.

    @property
    def held_bytes(self) -> int:
        """The size of all unanswered commands and queries."""
        return self._caller.held_bytes + self._queries_bytes

    def add_command(self, call: Call, payload: bytes, now: float) -> None:
        """Queue a command; it gets its number when ``requests`` first returns it.

        Raises:
            RejectedError: the command is too large.
        """
        if len(payload) > self._value_bytes_max:
            raise RejectedError(too_large("command", len(payload), self._value_bytes_max))
        self._renew_if_idle(now)
        self._used_at = now
        self._caller.add(payload, call)

    def _renew_if_idle(self, now: float) -> None:
        """Begin another session if this one may have expired and no caller waits for its answers."""
        caller = self._caller
        if now - self._used_at > self._session_idle_max_s and caller.session is not None and not caller.unanswered:
            self._abandon_session()

    def reclaim_space(self, now: float) -> None:
        """Wait for answers to sent commands even if no caller does, because a new call needs the space they take.

        The commands were already sent on this stream. If it stays silent, they are sent again on another stream.
        """
        self._renew_if_idle(now)
        self._space_is_wanted = self._caller.outstanding
        if self._space_is_wanted and self._runs_silent_since is None:
            self._runs_silent_since = now

    def add_query(self, call: Call, request: bytes, consistency: Consistency, deadline: float) -> int:
        """Queue a query and return its id.

        Raises:
            RejectedError: the query is too large.
        """
        if len(request) > self._value_bytes_max:
            raise RejectedError(too_large("query", len(request), self._value_bytes_max))
        id = self._last_id = self._last_id + 1
        self._queries[id] = self._unsent_queries[id] = (call, request, consistency, deadline)
        self._queries_bytes += len(request)
        self._ids[call] = id
        return id

    def is_query_open(self, id: int) -> bool:
        """Return whether the query with that id is unanswered."""
        return id in self._queries

    def give_up(self, call: Call) -> CallError:
        """Stop waiting for ``call``; return the error that says whether it can still take effect."""
        if call in self._ids:
            id = self._ids.pop(call)
            self._queries_bytes -= len(self._queries.pop(id)[1])
            self._unsent_queries.pop(id, None)
            return UnavailableError("the query changed nothing; it may be tried again")
        if self._caller.cancel(call):
            return UnavailableError("the command was never sent and has no effect; it may be tried again")
        return OutcomeUnknownError("the command was sent: it may have been applied, or may still be")

    # Requests.

    def on_stream(self, greeting: wire.Greeting, now: float) -> None:
        """Begin a new stream, on which everything unanswered has to be sent again."""
        self._runs_silent_since = self._queries_silent_since = None
        self.on_greeting(greeting, now)
        self.on_leader(greeting.leader)
        self.resend_all()

    def is_same_cluster(self, greeting: wire.Greeting) -> bool:
        """Return whether a node belongs to the cluster that this client talked to before, if there was one.

        A node without a cluster id does not: it may be about to found another cluster.
        """
        return not self._cluster_id or greeting.cluster_id == self._cluster_id

    @property
    def cluster_id(self) -> bytes:
        """Empty until a node has named it."""
        return self._cluster_id

    def on_greeting(self, greeting: wire.Greeting, now: float) -> None:
        """Adopt the node's limits, and open a session with its log time if the client has no session.

        A node that knows no leader may have just started, so its log time may be old: no session is opened with it.
        """
        self._value_bytes_max = min(greeting.value_bytes_max or SIZE_MAX, SIZE_MAX)
        self._cluster_id = greeting.cluster_id or self._cluster_id
        if greeting.session_expiry_s:
            self._session_idle_max_s = min(SESSION_IDLE_MAX_S, greeting.session_expiry_s / 2)
        self._asked_for_session = False
        if greeting.retry_after_s > 0 and self._caller.session is None:
            self._refuse_queued(greeting.retry_after_s)
        elif greeting.leader.node:
            before = self._caller.session
            self._caller.open(greeting.log_time)
            if self._caller.session != before:
                self._used_at = now

    def _refuse_queued(self, retry_after_s: float) -> None:
        """Fail the queued commands at once: the cluster has no space for this client's session."""
        for call in self._caller.withdraw():
            self._fail(call, sessions_full_error(retry_after_s))

    def refuse_unsent(self, why: str) -> None:
        """Fail unsent commands and all queries at once, because no node can take them; sent commands keep waiting."""
        for call in self._caller.withdraw():
            self._fail(call, UnavailableError(f"{why}; the command was never sent and has no effect"))
        for query in self._queries.values():
            self._fail(query[0], UnavailableError(f"{why}; the query changed nothing"))
        self._queries.clear()
        self._queries_bytes = 0
        self._ids.clear()
        self._unsent_queries.clear()

    def on_leader(self, leader: wire.Leader) -> None:
        """Hold commands back while the node knows no leader.

        A command that times out before it was sent certainly had no effect; one that was sent may still be applied.
        """
        self._leader_known = bool(leader.node)

    def resend_all(self) -> None:
        """Make the next ``requests`` return everything unanswered, because nodes may have dropped it."""
        if self._caller.outstanding:
            self._resend_from = 0
        self.resend_queries()

    def resend_queries(self) -> None:
        """Make the next ``requests`` return every unanswered query."""
        self._unsent_queries = self._queries.copy()
        self.retry_queries_at = math.inf

    def requests(self, now: float) -> list[wire.CallRequest]:
        """Return what to write now, in this order; from here on it counts as sent."""
        caller = self._caller
        requests: list[wire.CallRequest] = []
        if self._leader_known:
            requests += [wire.CallRequest(run=run) for run in self._runs()]
            if caller.session is None and caller.queued and not self._asked_for_session:
                self._asked_for_session = True
                requests.append(wire.CallRequest(open_session=wire.OpenSession()))
        if self._runs_silent_since is None and self._commands_wait:
            self._runs_silent_since = now
        if self._unsent_queries:
            if self._queries_silent_since is None:
                self._queries_silent_since = now
            requests += [wire.CallRequest(queries=queries) for queries in _batches(self._unsent_queries, now)]
            self._unsent_queries = {}
        return requests

    @property
    def _commands_wait(self) -> bool:
        """Whether commands wait for this node, so that its silence is a reason to try another one."""
        caller = self._caller
        return self._answers_are_wanted or (caller.queued > 0 and (caller.session is None or not self._leader_known))

    @property
    def _answers_are_wanted(self) -> bool:
        """Whether a caller waits for the answer to a sent command, or for the space it takes."""
        return self._caller.unanswered or (self._space_is_wanted and self._caller.outstanding)

    def _runs(self) -> list[bytes]:
        again: list[bytes] = []
        if self._resend_from is not None:
            again = self._caller.resend(self._resend_from or None)
            self._resend_from = None
        return again + self._caller.next_runs()

    # Responses.

    def on_response(self, response: wire.CallResponse, now: float) -> None:
        """Process one response, unless it names a leader: then the owner of the stream calls ``on_leader``."""
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
            self._abandon_session()
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
            self._answer_timeout_s = ANSWER_TIMEOUT_MIN_S
            self._space_is_wanted = self._space_is_wanted and caller.outstanding
            self._runs_silent_since = now if self._commands_wait else None

    def _on_run_refused(self, refused: wire.RunRefused, now: float) -> None:
        caller = self._caller
        if refused.session != caller.random:
            return
        for call, reason in caller.on_refused({request.number: request.reason for request in refused.requests}):
            self._fail(call, RejectedError(reason))
        if self._answers_are_wanted:
            self._resend_from = 0
        self._runs_silent_since = now if self._commands_wait else None

    def _abandon_session(self) -> None:
        """Begin another session; commands that were sent in the old one and not answered stay unknown."""
        for call in self._caller.expire(_random_id()):
            self._fail(
                call,
                OutcomeUnknownError("the session expired before the command was answered: it may have been applied"),
            )
        self._resend_from = None
        self._space_is_wanted = False
        self._runs_silent_since = None

    def _on_query_answers(self, answers: wire.QueryAnswers, now: float) -> None:
        queries, ids, forget = self._queries, self._ids, self._open.pop
        for id, result in enumerate(answers.results, answers.first_id):
            query = queries.pop(id, None)
            if query is not None:
                call = query[0]
                self._queries_bytes -= len(query[1])
                del ids[call]
                forget(call, None)
                if not call.done():
                    call.set_result(result)
        self._note_query_answer(now)

    def _on_query_failure(self, failed: wire.QueryFailure, now: float) -> None:
        queries = self._queries
        if len(queries) < failed.count:
            ids = [id for id in queries if failed.first_id <= id < failed.first_id + failed.count]
        else:
            ids = [id for id in range(failed.first_id, failed.first_id + failed.count) if id in queries]
        if failed.failure.kind == wire.FAILURE_KIND_UNAVAILABLE:
            if ids:
                # This node cannot answer now; it may in a moment, or another node may.
                self.retry_queries_at = min(self.retry_queries_at, now + QUERY_RETRY_S)
            return
        for id in ids:
            call, request, *_ = queries.pop(id)
            self._queries_bytes -= len(request)
            del self._ids[call]
            self._fail(call, _error_of(failed.failure))
        if ids:
            self._note_query_answer(now)

    def _note_query_answer(self, now: float) -> None:
        self._answer_timeout_s = ANSWER_TIMEOUT_MIN_S
        self._queries_silent_since = now if self._queries else None

    # How long to wait for answers on one stream.

    def answer_due_at(self) -> float:
        """Return when to try another node if no answer has arrived; infinity if none is expected."""
        silent_since = math.inf
        if self._runs_silent_since is not None and self._commands_wait:
            silent_since = self._runs_silent_since
        if self._queries_silent_since is not None and self._queries:
            silent_since = min(silent_since, self._queries_silent_since)
        return silent_since + self._answer_timeout_s

    def on_answer_overdue(self) -> None:
        """Wait twice as long on the next stream."""
        self._answer_timeout_s = min(ANSWER_TIMEOUT_MAX_S, self._answer_timeout_s * 2)
        self._space_is_wanted = False
        self._runs_silent_since = self._queries_silent_since = None

    def _fail(self, call: object, error: CallError) -> None:
        assert isinstance(call, asyncio.Future)
        self._open.pop(call, None)
        if not call.done():
            call.set_exception(error)


def _random_id() -> bytes:
    return os.urandom(SESSION_RANDOM_BYTES)


def _batches(queries: Mapping[int, _Query], now: float) -> Iterator[wire.Queries]:
    """Yield all queries; those with consecutive ids and the same consistency share a request."""
    first_id = next_id = size = 0
    requests: list[bytes] = []
    consistency: Consistency = "linearizable"
    latest = 0.0
    for id, (_, request, wanted, deadline) in queries.items():
        size += len(request)
        if id != next_id or wanted != consistency or size > RUN_BYTES_MAX or id - first_id >= RUN_COMMANDS_MAX:
            if requests:
                yield _batch(first_id, requests, consistency, latest, now)
            first_id, requests, consistency, size, latest = id, [], wanted, len(request), 0.0
        requests.append(request)
        next_id = id + 1
        if deadline > latest:
            latest = deadline
    if requests:
        yield _batch(first_id, requests, consistency, latest, now)


def _batch(first_id: int, requests: list[bytes], wanted: Consistency, deadline: float, now: float) -> wire.Queries:
    timeout_s = 0.0 if deadline == math.inf else max(0.001, deadline - now)
    bound_s = 0.0
    if isinstance(wanted, Bounded):
        # The bound holds at the node; when the answer arrives, it is older by the network's delay.
        consistency, bound_s = wire.CONSISTENCY_BOUNDED, wanted.seconds
    else:
        consistency = _CONSISTENCIES[wanted]
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
