"""The client's conversation alone: what it sends when. Time is an argument; there is no stream and no waiting."""

from __future__ import annotations

import asyncio
import math

import pytest

from paxospp.client.conversation import (
    ANSWER_TIMEOUT_MAX_S,
    ANSWER_TIMEOUT_MIN_S,
    QUERY_RETRY_S,
    SESSION_IDLE_MAX_S,
    Call,
    Conversation,
)
from paxospp.errors import OutcomeUnknownError, OverloadedError, RejectedError, UnavailableError
from paxospp.sessions.runs import VOID, Run, decode_run
from paxospp.wire.v1 import client_pb2 as wire
from tests.cluster.embedding import run

LEADS = wire.Leader(node="n1")
RESULT = b"\x00\xc0"


def greeting(log_time: int = 7, leader: wire.Leader = LEADS) -> wire.Greeting:
    return wire.Greeting(log_time=log_time, node="n1", leader=leader, value_bytes_max=1000)


def greeted(now: float = 0.0) -> Conversation:
    conversation = Conversation()
    conversation.on_stream(greeting(), now)
    assert conversation.requests(now) == []
    return conversation


def call(conversation: Conversation, payload: bytes, now: float = 0.0) -> Call:
    made: Call = asyncio.get_running_loop().create_future()
    conversation.add_command(made, payload, now)
    return made


def ask(conversation: Conversation, request: bytes, deadline: float = math.inf) -> Call:
    made: Call = asyncio.get_running_loop().create_future()
    conversation.add_query(made, request, "linearizable", deadline)
    return made


def runs(requests: list[wire.CallRequest]) -> list[Run]:
    return [decode_run(request.run) for request in requests if request.HasField("run")]


def applied(run: Run) -> wire.CallResponse:
    answer = wire.RunAnswer(
        session=run.random, first=run.first, status=wire.RUN_STATUS_APPLIED, outcomes=[RESULT] * len(run.payloads)
    )
    return wire.CallResponse(run_answer=answer)


def failed(id: int, kind: wire.FailureKind) -> wire.CallResponse:
    failure = wire.Failure(kind=kind, message="because", retry_after_s=0.5)
    return wire.CallResponse(query_failure=wire.QueryFailure(first_id=id, count=1, failure=failure))


def test_what_queued_is_one_run_under_the_log_time_of_the_greeting() -> None:
    async def main() -> None:
        conversation = greeted()
        calls = [call(conversation, payload) for payload in (b"a", b"b")]
        (sent,) = runs(conversation.requests(0.0))
        assert (sent.opened, sent.first, sent.payloads) == (7, 1, [b"a", b"b"])
        conversation.on_response(applied(sent), 0.1)
        assert [made.result() for made in calls] == [b"\xc0", b"\xc0"]
        call(conversation, b"c")
        (next_run,) = runs(conversation.requests(0.2))
        assert (next_run.first, next_run.acknowledged) == (3, 2)

    run(main)


def test_a_new_stream_says_again_what_is_unanswered_and_nothing_else() -> None:
    async def main() -> None:
        conversation = greeted()
        first, second = call(conversation, b"a"), call(conversation, b"b")
        (sent,) = runs(conversation.requests(0.0))
        answer = applied(sent)
        del answer.run_answer.outcomes[1:]
        conversation.on_response(answer, 0.1)
        assert first.done()
        conversation.on_stream(greeting(log_time=99), 0.2)
        (again,) = runs(conversation.requests(0.2))
        assert (again.opened, again.first, again.payloads) == (7, 2, [b"b"])
        assert not second.done()

    run(main)


def test_what_was_sent_and_given_up_is_said_on_the_next_stream_with_its_number_until_it_is_answered() -> None:
    async def main() -> None:
        conversation = greeted()
        made = [call(conversation, payload) for payload in (b"a", b"b")]
        (sent,) = runs(conversation.requests(0.0))
        for each in made:
            conversation.give_up(each)
        assert conversation.requests(0.1) == []
        assert conversation.answer_due_at() == math.inf
        conversation.on_stream(greeting(log_time=99), 0.2)
        assert runs(conversation.requests(0.2)) == [sent]
        assert conversation.answer_due_at() == math.inf
        assert conversation.held_bytes == 2
        conversation.on_response(applied(sent), 0.3)
        assert conversation.held_bytes == 0
        conversation.on_stream(greeting(log_time=99), 0.4)
        assert conversation.requests(0.4) == []

    run(main)


def test_silence_about_what_nobody_waits_for_counts_once_the_room_it_takes_is_wanted() -> None:
    async def main() -> None:
        conversation = greeted()
        made = call(conversation, b"a")
        (sent,) = runs(conversation.requests(0.0))
        conversation.give_up(made)
        conversation.on_stream(greeting(), 1.0)
        conversation.requests(1.0)
        conversation.reclaim_space(5.0)
        conversation.reclaim_space(5.5)
        assert conversation.requests(5.5) == []
        assert conversation.answer_due_at() == 5.0 + ANSWER_TIMEOUT_MIN_S
        conversation.on_answer_overdue()
        conversation.on_stream(greeting(), 6.0)
        assert runs(conversation.requests(6.0)) == [sent]
        assert conversation.answer_due_at() == math.inf
        conversation.reclaim_space(7.0)
        conversation.on_response(applied(sent), 7.1)
        conversation.reclaim_space(7.2)
        assert conversation.answer_due_at() == math.inf

    run(main)


def test_a_session_silent_for_long_is_given_up_with_what_it_holds_when_room_is_wanted() -> None:
    async def main() -> None:
        conversation = greeted()
        made = call(conversation, b"a")
        conversation.requests(0.0)
        conversation.give_up(made)
        conversation.reclaim_space(SESSION_IDLE_MAX_S - 1)
        assert conversation.held_bytes == 1
        conversation.reclaim_space(SESSION_IDLE_MAX_S + 1)
        assert conversation.held_bytes == 0

    run(main)


def test_a_run_refused_when_nobody_waits_is_said_again_at_once_if_room_is_wanted() -> None:
    async def main() -> None:
        conversation = greeted()
        made = [call(conversation, payload) for payload in (b"a", b"b")]
        (sent,) = runs(conversation.requests(0.0))
        for each in made:
            conversation.give_up(each)
        conversation.reclaim_space(0.1)
        refused = wire.RunRefused(session=sent.random, requests=[wire.RefusedRequest(number=1, reason="because")])
        conversation.on_response(wire.CallResponse(run_refused=refused), 0.2)
        (again,) = runs(conversation.requests(0.2))
        assert (again.first, again.payloads) == (1, [VOID, b"b"])

    run(main)


def test_a_node_that_knows_no_leader_is_told_no_command_and_opens_no_session() -> None:
    async def main() -> None:
        conversation = Conversation()
        conversation.on_stream(greeting(log_time=1, leader=wire.Leader()), 0.0)
        made = call(conversation, b"a")
        assert conversation.requests(0.0) == []
        assert conversation.answer_due_at() == ANSWER_TIMEOUT_MIN_S
        conversation.on_leader(LEADS)
        (request,) = conversation.requests(0.5)
        assert request.HasField("open_session")
        conversation.on_response(wire.CallResponse(greeting=greeting(log_time=5)), 0.6)
        (sent,) = runs(conversation.requests(0.6))
        assert sent.opened == 5
        assert isinstance(conversation.give_up(made), OutcomeUnknownError)

    run(main)


def test_silence_is_borne_longer_each_time_and_an_answer_makes_up_for_it() -> None:
    async def main() -> None:
        conversation = greeted()
        assert conversation.answer_due_at() == math.inf
        call(conversation, b"a")
        conversation.requests(10.0)
        assert conversation.answer_due_at() == 10.0 + ANSWER_TIMEOUT_MIN_S
        for _ in range(10):
            conversation.on_answer_overdue()
            conversation.on_stream(greeting(), 20.0)
            (sent,) = runs(conversation.requests(20.0))
        assert conversation.answer_due_at() == 20.0 + ANSWER_TIMEOUT_MAX_S
        conversation.on_response(applied(sent), 21.0)
        assert conversation.answer_due_at() == math.inf
        call(conversation, b"b", 30.0)
        conversation.requests(30.0)
        assert conversation.answer_due_at() == 30.0 + ANSWER_TIMEOUT_MIN_S

    run(main)


def test_a_session_silent_for_long_is_not_used_again() -> None:
    async def main() -> None:
        conversation = greeted()
        call(conversation, b"a")
        (first,) = runs(conversation.requests(0.0))
        conversation.on_response(applied(first), 0.0)
        made = call(conversation, b"b", SESSION_IDLE_MAX_S + 1)
        (request,) = conversation.requests(SESSION_IDLE_MAX_S + 1)
        assert request.HasField("open_session")
        conversation.on_response(wire.CallResponse(greeting=greeting(log_time=99)), SESSION_IDLE_MAX_S + 1)
        (second,) = runs(conversation.requests(SESSION_IDLE_MAX_S + 1))
        assert (second.opened, second.first) == (99, 1)
        assert second.random != first.random
        conversation.on_response(applied(first), SESSION_IDLE_MAX_S + 1)  # a late answer to the old session
        assert not made.done()

    run(main)


def test_a_query_that_a_node_cannot_answer_now_is_asked_again() -> None:
    async def main() -> None:
        conversation = greeted()
        made = ask(conversation, b"q", deadline=5.0)
        (request,) = conversation.requests(1.0)
        assert request.queries.timeout_s == 4.0
        conversation.on_response(failed(request.queries.first_id, wire.FAILURE_KIND_UNAVAILABLE), 2.0)
        assert conversation.requests(2.0) == []
        assert conversation.retry_queries_at == 2.0 + QUERY_RETRY_S
        conversation.resend_queries()
        (again,) = conversation.requests(3.0)
        assert again.queries.first_id == request.queries.first_id
        assert again.queries.timeout_s == 2.0
        answers = wire.QueryAnswers(first_id=again.queries.first_id, results=[b"\xc0"])
        conversation.on_response(wire.CallResponse(query_answers=answers), 4.0)
        assert made.result() == b"\xc0"
        assert conversation.answer_due_at() == math.inf

    run(main)


def test_queries_asked_in_one_breath_travel_together_and_are_answered_each() -> None:
    async def main() -> None:
        conversation = greeted()
        first, given_up, third, fourth = (ask(conversation, bytes([number])) for number in range(4))
        conversation.give_up(given_up)
        local = asyncio.get_running_loop().create_future()
        conversation.add_query(local, b"local", "local", 9.0)
        together = [request.queries for request in conversation.requests(0.0)]
        assert [list(queries.requests) for queries in together] == [[b"\x00"], [b"\x02", b"\x03"], [b"local"]]

        answers = wire.QueryAnswers(first_id=together[1].first_id, results=[b"3rd", b"4th"])
        conversation.on_response(wire.CallResponse(query_answers=answers), 0.0)
        assert (third.result(), fourth.result()) == (b"3rd", b"4th")
        failure = wire.Failure(kind=wire.FAILURE_KIND_REJECTED, message="because")
        everything = wire.QueryFailure(first_id=1, count=1 << 31, failure=failure)
        conversation.on_response(wire.CallResponse(query_failure=everything), 0.0)
        for call in (first, local):
            with pytest.raises(RejectedError, match="because"):
                call.result()

    run(main)


@pytest.mark.parametrize(
    ("kind", "error"),
    [(wire.FAILURE_KIND_REJECTED, RejectedError), (wire.FAILURE_KIND_OVERLOADED, OverloadedError)],
)
def test_a_query_that_failed_for_good_is_not_asked_again(kind: wire.FailureKind, error: type[Exception]) -> None:
    async def main() -> None:
        conversation = greeted()
        made = ask(conversation, b"q")
        (request,) = conversation.requests(0.0)
        assert request.queries.timeout_s == 0.0
        conversation.on_response(failed(request.queries.first_id, kind), 0.0)
        with pytest.raises(error, match="because"):
            made.result()
        conversation.on_stream(greeting(), 0.0)
        assert conversation.requests(0.0) == []

    run(main)


def test_what_is_given_up_is_not_said_if_it_was_not_yet() -> None:
    async def main() -> None:
        conversation = greeted()
        command, query = call(conversation, b"a"), ask(conversation, b"q")
        assert isinstance(conversation.give_up(command), UnavailableError)
        assert isinstance(conversation.give_up(query), UnavailableError)
        assert conversation.requests(0.0) == []
        assert conversation.answer_due_at() == math.inf

    run(main)


def test_an_answer_with_a_mark_that_nobody_knows_fails_the_call_only() -> None:
    async def main() -> None:
        conversation = greeted()
        made = call(conversation, b"a")
        (sent,) = runs(conversation.requests(0.0))
        answer = applied(sent)
        answer.run_answer.outcomes[0] = b"\x09"
        conversation.on_response(answer, 0.0)
        assert isinstance(made.exception(), ValueError)

    run(main)
