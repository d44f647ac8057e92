"""Calls from other processes: requests that the server received are checked here, and answered when applied.

Every run is decoded and checked against this node's own machine before it may be proposed. A run that was already
applied here is answered from the session table; the others wait, by session, until this node applies them. When too
much is waiting, the client's stream is not read for a while; its calls do not fail.

A client learns the log time and the leader only while this node is up to date (``freshness``). A session opened at an
old log time may expire before its first use.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import cast

import msgspec

from paxospp.calls import Bounded, Consistency, too_large
from paxospp.config import NodeConfig
from paxospp.engine.replica import Replica
from paxospp.errors import CommandError, OverloadedError, RejectedError, UnavailableError
from paxospp.execution.executor import Executor
from paxospp.model import NodeId
from paxospp.node.default_arguments import DefaultArguments
from paxospp.node.freshness import Freshness
from paxospp.node.inbox import Inbox
from paxospp.node.queries import Queries, QueryBatch
from paxospp.rpc.server import ClientConnection
from paxospp.sessions.runs import Run, decode_run, encode_run
from paxospp.sessions.table import FULL_RETRY_S, RunAnswer, RunStatus
from paxospp.state_machine import encode_raised
from paxospp.wire.v1 import client_pb2 as pb

RESULT_BYTES_MAX = 12 << 20
"""A larger result does not fit into a message: its caller gets an error, although the command took effect."""
ANSWER_BYTES_MAX = 1 << 20
"""The outcomes in one message; a single larger one goes alone."""

OnAnswer = Callable[[RunAnswer], None]


class RemoteCalls:
    """The calls of all clients; the server's ``CallHandler``."""

    def __init__(
        self,
        replica: Replica,
        executor: Executor,
        inbox: Inbox,
        queries: Queries,
        config: NodeConfig,
        addresses: Mapping[NodeId, str],
        freshness: Freshness,
        defaults: DefaultArguments,
    ) -> None:
        self._replica = replica
        self._executor = executor
        self._inbox = inbox
        self._queries = queries
        self._config = config
        self._addresses = addresses
        self._freshness = freshness
        self._defaults = defaults
        self._held_back = False
        """Whether a client was not told the leader because this node is not up to date."""
        self._sessions: dict[ClientConnection, dict[bytes, OnAnswer]] = {}
        """For each open stream, the callback of every session that runs over it; it is called with each answer."""
        self._unanswered: dict[ClientConnection, dict[_RemoteRequester, QueryBatch]] = {}
        """The queries of each stream that are not answered yet."""

    def greeting(self) -> pb.Greeting:
        """Return the first message of every client's stream."""
        membership = self._replica.membership
        return pb.Greeting(
            log_time=self._executor.log_time,
            node=self._replica.identity.name,
            leader=self._leader(),
            value_bytes_max=self._config.value_bytes_max,
            cluster_id=self._replica.cluster_id,
            session_expiry_s=0 if membership is None else membership.session_expiry_s,
            retry_after_s=FULL_RETRY_S if self._executor.sessions_full else 0.0,
        )

    def on_connect(self, connection: ClientConnection) -> None:
        self._sessions[connection] = {}
        self._unanswered[connection] = {}

    def on_disconnect(self, connection: ClientConnection) -> None:
        for random, on_answer in self._sessions.pop(connection, {}).items():
            self._inbox.forget(random, on_answer)
        for batch in self._unanswered.pop(connection, {}).values():
            self._queries.leave(batch)

    def advance(self) -> None:
        """Tell the clients who leads, if they were not told and this node is now up to date."""
        if self._held_back and self._freshness.is_fresh():
            self._held_back = False
            self.on_leader_changed()

    def on_leader_changed(self) -> None:
        response = pb.CallResponse(leader=self._leader()).SerializeToString()
        for connection in self._sessions:
            connection.answer(response)

    def _leader(self) -> pb.Leader:
        leader = self._replica.leader
        if leader is not None and not self._freshness.is_fresh():
            self._held_back = True
            leader = None
        return pb.Leader() if leader is None else pb.Leader(node=leader, address=self._addresses.get(leader, ""))

    # Commands.

    def on_run(self, connection: ClientConnection, run: bytes) -> Awaitable[None] | None:
        decoded = decode_run(run)
        refused = self._executor.check(decoded) or self._too_large(decoded)
        if refused:
            requests = [pb.RefusedRequest(number=number, reason=reason) for number, reason in refused]
            refusal = pb.RunRefused(session=decoded.random, requests=requests)
            connection.answer(pb.CallResponse(run_refused=refusal))
            return None
        completed = self._defaults.fill_in_all(decoded.payloads)
        if completed is not decoded.payloads:
            # A call by name had left out arguments; the log needs all of them.
            run = encode_run(msgspec.structs.replace(decoded, payloads=completed))
        settled = self._executor.find(decoded)
        if settled is not None:
            _send_answer(connection, settled)
            return None
        if not self._executor.has_room_for(decoded):
            # Give the answer that applying the run would give, without writing it to the log: retry later.
            _send_answer(connection, RunAnswer(decoded.session, decoded.first, RunStatus.GAP, 1, ()))
            return None
        sessions = self._sessions.get(connection)
        if sessions is None:
            return None  # the stream or the node has ended
        on_answer = sessions.get(decoded.random)
        if on_answer is None:
            on_answer = sessions[decoded.random] = partial(_send_answer, connection)
        # The answers to a session's runs go to the stream that sent its last run.
        self._inbox.expect(decoded.random, on_answer)
        self._inbox.submit(run, len(decoded.payloads))
        return self._inbox.wait_for_space()

    def _too_large(self, run: Run) -> tuple[tuple[int, str], ...]:
        limit = self._config.value_bytes_max
        if sum(map(len, run.payloads)) <= limit:
            return ()
        return tuple(
            (number, too_large("command", len(payload), limit))
            for number, payload in enumerate(run.payloads, run.first)
            if len(payload) > limit
        )

    # Queries.

    def on_queries(self, connection: ClientConnection, queries: pb.Queries) -> Awaitable[None] | None:
        limit = self._config.value_bytes_max
        requests = list(queries.requests)
        first_id, start = queries.first_id, 0
        for place, request in enumerate(requests):
            if len(request) > limit:
                self._ask(connection, first_id + start, requests[start:place], queries)
                error = RejectedError(too_large("query", len(request), limit))
                connection.answer(_failure(first_id + place, 1, error))
                start = place + 1
        self._ask(connection, first_id + start, requests[start:], queries)
        return None

    def _ask(self, connection: ClientConnection, first_id: int, requests: list[bytes], queries: pb.Queries) -> None:
        if requests and connection in self._sessions:
            unanswered = self._unanswered[connection]
            requester = _RemoteRequester(connection, first_id, len(requests), unanswered)
            batch = self._queries.ask_all(requests, queries.timeout_s or None, _consistency(queries), requester)
            if batch is not None:
                unanswered[requester] = batch

    def end(self) -> None:
        """Stop answering streams; ``Queries.end`` has failed the open queries."""
        self._sessions.clear()
        self._unanswered.clear()


def _consistency(queries: pb.Queries) -> Consistency:
    match queries.consistency:
        case pb.CONSISTENCY_LOCAL:
            return "local"
        case pb.CONSISTENCY_LEASE:
            return "lease"
        case pb.CONSISTENCY_BOUNDED:
            return Bounded(queries.bound_s)
        case _:
            return "linearizable"


def _send_answer(connection: ClientConnection, answer: RunAnswer) -> None:
    """Send the answer to a run; its outcomes are divided among several messages if one would be too large."""
    first = answer.first
    for outcomes in _cut(answer.outcomes):
        message = pb.RunAnswer(
            session=answer.session.random,
            first=first,
            status=cast("pb.RunStatus", answer.status),
            expected=answer.expected,
            outcomes=outcomes,
        )
        connection.answer(pb.CallResponse(run_answer=message))
        first += len(outcomes)


def _cut(outcomes: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Divide the outcomes into pieces that fit into messages; at least one piece."""
    if sum(map(len, outcomes)) <= ANSWER_BYTES_MAX:
        yield outcomes
        return
    piece: list[bytes] = []
    size = 0
    for outcome in outcomes:
        if len(outcome) > RESULT_BYTES_MAX:
            outcome = encode_raised(*_result_too_large(len(outcome)))
        if piece and size + len(outcome) > ANSWER_BYTES_MAX:
            yield piece
            piece, size = [], 0
        piece.append(outcome)
        size += len(outcome)
    yield piece


def _result_too_large(size: int) -> tuple[str, str]:
    return "ResultTooLargeError", f"the result has {size} bytes, more than the {RESULT_BYTES_MAX} that can be sent"


class _RemoteRequester:
    """The caller of queries that came together over one client's stream."""

    def __init__(
        self, connection: ClientConnection, first_id: int, count: int, unanswered: dict[_RemoteRequester, QueryBatch]
    ) -> None:
        self._connection = connection
        self._first_id = first_id
        self._count = count
        self._unanswered = unanswered
        self._is_answered = False

    @property
    def waits(self) -> bool:
        return not self._is_answered and not self._connection.closed

    def answer(self, results: Sequence[bytes | Exception]) -> None:
        """Send the results; consecutive ones without a failure share messages."""
        self._end()
        answered: list[bytes] = []
        size = 0
        id = self._first_id
        for result in results:
            error: Exception | None = result if isinstance(result, Exception) else None
            if isinstance(result, bytes):
                if len(result) > RESULT_BYTES_MAX:
                    error = CommandError(*_result_too_large(len(result)))
                elif size + len(result) <= ANSWER_BYTES_MAX:
                    answered.append(result)
                    size += len(result)
                    continue
            self._send(id, answered)
            id += len(answered)
            answered, size = [], 0
            if error is not None:
                self._connection.answer(_failure(id, 1, error))
                id += 1
            elif isinstance(result, bytes):
                answered, size = [result], len(result)
        self._send(id, answered)

    def _send(self, first_id: int, results: list[bytes]) -> None:
        if results:
            answers = pb.QueryAnswers(first_id=first_id, results=results)
            self._connection.answer(pb.CallResponse(query_answers=answers))

    def fail(self, error: Exception) -> None:
        self._end()
        self._connection.answer(_failure(self._first_id, self._count, error))

    def _end(self) -> None:
        self._is_answered = True
        self._unanswered.pop(self, None)


def _failure(first_id: int, count: int, error: Exception) -> pb.CallResponse:
    match error:
        case RejectedError():
            failure = pb.Failure(kind=pb.FAILURE_KIND_REJECTED, message=str(error))
        case CommandError():
            failure = pb.Failure(kind=pb.FAILURE_KIND_COMMAND, type=error.type, message=error.message)
        case OverloadedError():
            failure = pb.Failure(kind=pb.FAILURE_KIND_OVERLOADED, message=str(error), retry_after_s=error.retry_after)
        case UnavailableError():
            failure = pb.Failure(kind=pb.FAILURE_KIND_UNAVAILABLE, message=str(error))
        case _:
            failure = pb.Failure(kind=pb.FAILURE_KIND_COMMAND, type=type(error).__name__, message=str(error))
    return pb.CallResponse(query_failure=pb.QueryFailure(first_id=first_id, count=count, failure=failure))
