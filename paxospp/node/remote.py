"""Calls from other processes: what the server hands over, checked, and answered as it is applied.

Every run is decoded and checked against this node's own machine before it may be proposed. What
was already applied here is answered from the session table; the rest waits, by session, for
this node's own applying. A node with too much waiting lets the stream wait, not fail.

Nobody is greeted with the log's time, or told who leads, before this node is current: a session
that is opened at a time of long ago may have expired before it began.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import cast

import msgspec

from paxospp.calls import Bounded, Consistency
from paxospp.config import NodeConfig
from paxospp.engine.replica import Replica
from paxospp.errors import CommandError, OverloadedError, RejectedError, UnavailableError
from paxospp.execution.executor import Executor
from paxospp.model import NodeId
from paxospp.node.completing import Completer
from paxospp.node.current import Current
from paxospp.node.front import FrontDoor
from paxospp.node.queries import Queries, Questions
from paxospp.rpc.server import ClientConnection
from paxospp.sessions.runs import Run, decode_run, encode_run
from paxospp.sessions.table import RunOutcome, RunStatus
from paxospp.state_machine import StateMachine, encode_raised
from paxospp.wire.v1 import client_pb2 as pb

RESULT_BYTES_MAX = 12 << 20
"""A larger result was computed, and does not travel: no message is that large."""
ANSWER_BYTES_MAX = 1 << 20
"""Where an answer to a run is cut; one larger outcome goes alone."""
FULL_RETRY_S = 1.0
"""When to ask again for a session where there is no room for another one."""

Answer = Callable[[RunOutcome], None]


class RemoteCalls:
    """The server's ``CallHandler``."""

    def __init__(
        self,
        replica: Replica,
        executor: Executor,
        machine: StateMachine,
        front: FrontDoor,
        queries: Queries,
        config: NodeConfig,
        addresses: Mapping[NodeId, str],
        current: Current,
    ) -> None:
        self._replica = replica
        self._executor = executor
        self._completer = Completer(machine)
        self._front = front
        self._queries = queries
        self._config = config
        self._addresses = addresses
        self._current = current
        self._held_back = False
        """Whether somebody was told of no leader because this node is not current."""
        self._sessions: dict[ClientConnection, dict[bytes, Answer]] = {}
        self._asking: dict[ClientConnection, dict[_RemoteAsker, Questions]] = {}
        """Whose queries are not answered yet."""

    def greeting(self) -> pb.Greeting:
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
        self._asking[connection] = {}

    def on_disconnect(self, connection: ClientConnection) -> None:
        for random, answer in self._sessions.pop(connection, {}).items():
            self._front.forget(random, answer)
        for questions in self._asking.pop(connection, {}).values():
            self._queries.leave(questions)

    def on_turn(self) -> None:
        """Tell who leads to those who were not told, once this node is current."""
        if self._held_back and self._current.look():
            self._held_back = False
            self.on_leader_changed()

    def on_leader_changed(self) -> None:
        response = pb.CallResponse(leader=self._leader()).SerializeToString()
        for connection in self._sessions:
            connection.answer(response)

    def _leader(self) -> pb.Leader:
        leader = self._replica.leader
        if leader is not None and not self._current.look():
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
        completed = self._completer.complete_all(decoded.payloads)
        if completed is not decoded.payloads:
            # Called by name with fewer arguments: what stands in the log is complete.
            run = encode_run(msgspec.structs.replace(decoded, payloads=completed))
        settled = self._executor.find(decoded)
        if settled is not None:
            _answer(connection, settled)
            return None
        if not self._executor.has_room_for(decoded):
            # As the log would answer, without writing to it: not now.
            _answer(connection, RunOutcome(decoded.session, decoded.first, RunStatus.GAP, 1, ()))
            return None
        sessions = self._sessions.get(connection)
        if sessions is None:
            return None  # the stream ended, or the node did
        answer = sessions.get(decoded.random)
        if answer is None:
            answer = sessions[decoded.random] = partial(_answer, connection)
        # The stream that spoke last for a session hears its answers.
        self._front.expect(decoded.random, answer)
        self._front.submit(run, len(decoded.payloads))
        return self._front.wait_for_room()

    def _too_large(self, run: Run) -> tuple[tuple[int, str], ...]:
        limit = self._config.value_bytes_max
        if sum(map(len, run.payloads)) <= limit:
            return ()
        return tuple(
            (number, f"the command has {len(payload)} bytes, more than value_bytes_max={limit}")
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
                error = RejectedError(f"the query has {len(request)} bytes, more than {limit}")
                connection.answer(_failure(first_id + place, 1, error))
                start = place + 1
        self._ask(connection, first_id + start, requests[start:], queries)
        return None

    def _ask(self, connection: ClientConnection, first_id: int, requests: list[bytes], queries: pb.Queries) -> None:
        if requests and connection in self._sessions:
            asking = self._asking[connection]
            asker = _RemoteAsker(connection, first_id, len(requests), asking)
            questions = self._queries.ask_all(requests, queries.timeout_s or None, _consistency(queries), asker)
            if questions is not None:
                asking[asker] = questions

    def end(self) -> None:
        """Nobody is answered any more; what is open was failed by the queries."""
        self._sessions.clear()
        self._asking.clear()


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


def _answer(connection: ClientConnection, outcome: RunOutcome) -> None:
    first = outcome.first
    for outcomes in _cut(outcome.outcomes):
        answer = pb.RunAnswer(
            session=outcome.session.random,
            first=first,
            status=cast("pb.RunStatus", outcome.status),
            expected=outcome.expected,
            outcomes=outcomes,
        )
        connection.answer(pb.CallResponse(run_answer=answer))
        first += len(outcomes)


def _cut(outcomes: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """All of them in pieces that fit into messages; at least one piece."""
    if sum(map(len, outcomes)) <= ANSWER_BYTES_MAX:
        yield outcomes
        return
    piece: list[bytes] = []
    size = 0
    for outcome in outcomes:
        if len(outcome) > RESULT_BYTES_MAX:
            outcome = encode_raised(*_too_large(len(outcome)))
        if piece and size + len(outcome) > ANSWER_BYTES_MAX:
            yield piece
            piece, size = [], 0
        piece.append(outcome)
        size += len(outcome)
    yield piece


def _too_large(size: int) -> tuple[str, str]:
    return "ResultTooLargeError", f"the result has {size} bytes, more than the {RESULT_BYTES_MAX} that can be sent"


class _RemoteAsker:
    """Some queries of one client's stream."""

    def __init__(
        self, connection: ClientConnection, first_id: int, count: int, asking: dict[_RemoteAsker, Questions]
    ) -> None:
        self._connection = connection
        self._first_id = first_id
        self._count = count
        self._asking = asking
        self._is_told = False

    @property
    def waits(self) -> bool:
        return not self._is_told and not self._connection.closed

    def answer(self, results: Sequence[bytes | Exception]) -> None:
        """All that follow one another without a failure go as one message, as far as one holds."""
        self._end()
        answered: list[bytes] = []
        size = 0
        id = self._first_id
        for result in results:
            error: Exception | None = result if isinstance(result, Exception) else None
            if isinstance(result, bytes):
                if len(result) > RESULT_BYTES_MAX:
                    error = CommandError(*_too_large(len(result)))
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
        self._is_told = True
        self._asking.pop(self, None)


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
