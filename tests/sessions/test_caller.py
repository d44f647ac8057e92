"""The caller's side of a session: which runs it sends and what its calls resolve to, one event at a time."""

from __future__ import annotations

import pytest

from paxospp.errors import RejectedError
from paxospp.sessions.caller import Caller
from paxospp.sessions.runs import VOID, Run, SessionId, decode_run
from paxospp.sessions.table import UNACKNOWLEDGED_MAX, RunStatus
from paxospp.state_machine import encode_rejected, read_outcome

RANDOM = b"r" * 16


def caller(*, run_bytes_max: int = 10_000, run_commands_max: int = 100) -> Caller:
    caller = Caller(RANDOM, run_bytes_max=run_bytes_max, run_commands_max=run_commands_max)
    caller.open(7)
    return caller


def sent(caller: Caller, *calls: str) -> list[Run]:
    """Add each text as a call with that payload, and return the runs that are sent."""
    for call in calls:
        caller.add(call.encode(), call)
    return decoded(caller.next_runs())


def decoded(runs: list[bytes]) -> list[Run]:
    return [decode_run(run) for run in runs]


def numbers(runs: list[bytes]) -> list[tuple[int, list[bytes]]]:
    return [(run.first, run.payloads) for run in decoded(runs)]


def test_calls_of_one_turn_become_one_run_with_consecutive_numbers() -> None:
    c = caller()

    [run] = sent(c, "a", "b", "c")

    assert run == Run(7, RANDOM, 1, 0, [b"a", b"b", b"c"])
    assert sent(c, "d") == [Run(7, RANDOM, 4, 0, [b"d"])]
    assert c.next_runs() == []


def test_calls_get_no_numbers_before_the_session_is_open() -> None:
    c = Caller(RANDOM, run_bytes_max=10_000, run_commands_max=100)
    assert sent(c, "a") == []
    assert c.session is None

    c.open(3)

    assert c.session == SessionId(3, RANDOM)
    assert numbers(c.next_runs()) == [(1, [b"a"])]


def test_the_opening_time_may_be_raised_only_before_the_first_number_is_given() -> None:
    c = caller()
    c.open(9)
    c.open(8)
    assert c.session == SessionId(9, RANDOM)

    sent(c, "a")
    c.open(11)
    c.on_answer(1, RunStatus.APPLIED, 2, [b"A"])
    c.open(12)

    assert c.session == SessionId(9, RANDOM)


def test_runs_are_limited_in_commands_and_bytes_and_a_larger_call_travels_alone() -> None:
    c = caller(run_bytes_max=40, run_commands_max=3)

    runs = sent(c, "a", "b", "c", "d", "e" * 20, "f" * 20, "g" * 99, "h")

    assert [(run.first, len(run.payloads)) for run in runs] == [(1, 3), (4, 2), (6, 1), (7, 1), (8, 1)]


def test_answers_come_back_with_their_calls_and_are_acknowledged_in_the_next_run() -> None:
    c = caller()
    sent(c, "a", "b", "c")

    assert c.on_answer(1, RunStatus.APPLIED, 3, [b"A", b"B"]) == ([("a", b"A"), ("b", b"B")], False)
    assert c.acknowledged == 2
    assert sent(c, "d")[0].acknowledged == 2
    assert c.on_answer(3, RunStatus.APPLIED, 5, [b"C", b"D"]) == ([("c", b"C"), ("d", b"D")], False)
    assert not c.unanswered


def test_a_repeated_answer_is_delivered_once() -> None:
    c = caller()
    sent(c, "a", "b")
    c.on_answer(1, RunStatus.APPLIED, 2, [b"A"])

    assert c.on_answer(1, RunStatus.APPLIED, 3, [b"other", b"B"]) == ([("b", b"B")], False)
    assert c.on_answer(1, RunStatus.APPLIED, 3, [b"A", b"B"]) == ([], False)


def test_an_answer_out_of_order_is_delivered_but_acknowledged_only_with_all_before_it() -> None:
    c = caller()
    sent(c, "a", "b", "c", "d")

    assert c.on_answer(2, RunStatus.APPLIED, 4, [b"B", b"C"]) == ([("b", b"B"), ("c", b"C")], False)
    assert c.acknowledged == 0
    assert numbers(c.resend()) == [(1, [b"a"]), (4, [b"d"])]

    assert c.on_answer(1, RunStatus.APPLIED, 4, [b"A", b"B"]) == ([("a", b"A")], False)
    assert c.acknowledged == 3
    assert c.on_answer(4, RunStatus.APPLIED, 5, [b"D"]) == ([("d", b"D")], False)


def test_outcomes_beyond_the_calls_that_were_sent_are_ignored() -> None:
    c = caller()
    sent(c, "a")

    assert c.on_answer(1, RunStatus.APPLIED, 9, [b"A", b"B", b"C"]) == ([("a", b"A")], False)
    assert c.on_answer(50, RunStatus.APPLIED, 9, [b"A"]) == ([], False)
    assert c.acknowledged == 1


def test_a_call_cancelled_before_it_was_sent_uses_no_number() -> None:
    c = caller()
    c.add(b"a", "a")
    c.add(b"b", "b")

    assert c.cancel("a")

    assert numbers(c.next_runs()) == [(1, [b"b"])]


def test_a_call_cancelled_after_it_was_sent_still_uses_its_number() -> None:
    c = caller()
    sent(c, "a", "b")

    assert not c.cancel("a")
    assert c.unanswered
    assert numbers(c.resend()) == [(1, [b"a", b"b"])]
    assert not c.cancel("b")

    assert not c.unanswered
    assert c.outstanding
    assert c.held_bytes == 2
    assert numbers(c.resend()) == [(1, [b"a", b"b"])]
    assert c.on_answer(1, RunStatus.APPLIED, 3, [b"A", b"B"]) == ([], False)
    assert c.acknowledged == 2
    assert not c.outstanding
    assert c.held_bytes == 0


def test_cancelling_a_call_that_was_answered_or_never_added_changes_nothing() -> None:
    c = caller()
    sent(c, "a")
    c.on_answer(1, RunStatus.APPLIED, 2, [b"A"])

    assert not c.cancel("a")
    assert not c.cancel("nobody")


def test_a_gap_is_filled_in_order_from_the_number_expected() -> None:
    c = caller()
    sent(c, "a")
    sent(c, "b")
    sent(c, "c")
    c.on_answer(1, RunStatus.APPLIED, 2, [b"A"])

    assert c.on_answer(3, RunStatus.GAP, 2, ()) == ([], True)

    assert decoded(c.resend(2)) == [Run(7, RANDOM, 2, 1, [b"b", b"c"])]


def test_one_gap_reported_by_many_runs_is_filled_once_until_the_next_resend() -> None:
    c = caller()
    for call in "abcd":
        sent(c, call)

    assert [c.on_answer(first, RunStatus.GAP, 1, ())[1] for first in (2, 3, 4)] == [True, False, False]

    c.resend()
    assert c.on_answer(4, RunStatus.GAP, 1, ())[1]


def test_a_gap_at_the_number_expected_causes_no_immediate_resend() -> None:
    """The session table is full, so sending again at once would only fill the log."""
    c = caller()
    sent(c, "a")

    assert c.on_answer(1, RunStatus.GAP, 1, ()) == ([], False)
    assert c.unanswered


def test_a_gap_report_older_than_later_answers_is_ignored() -> None:
    c = caller()
    sent(c, "a", "b", "c")
    c.on_answer(1, RunStatus.APPLIED, 3, [b"A", b"B"])

    assert c.on_answer(3, RunStatus.GAP, 2, ()) == ([], False)


def test_the_number_of_a_refused_call_is_sent_as_void() -> None:
    c = caller()
    sent(c, "a", "b", "c")

    assert c.on_refused({2: "no such command"}) == [("b", "no such command")]
    assert c.unanswered
    assert numbers(c.resend()) == [(1, [b"a", VOID, b"c"])]

    answered, _ = c.on_answer(1, RunStatus.APPLIED, 4, [b"A", b"void", b"C"])
    assert answered == [("a", b"A"), ("c", b"C")]


def test_without_waiting_calls_a_refused_number_is_sent_with_the_next_call() -> None:
    c = caller()
    sent(c, "a")
    c.on_refused({1: "no such command"})
    assert not c.unanswered

    assert [(run.first, run.payloads) for run in sent(c, "b")] == [(1, [VOID, b"b"])]
    assert [(run.first, run.payloads) for run in sent(c, "c")] == [(3, [b"c"])]


def test_a_refused_call_that_may_have_been_proposed_before_waits_for_the_log() -> None:
    """A node of another version refused the call, and an earlier copy may be decided: only the log can tell."""
    c = caller()
    sent(c, "a")
    c.resend()

    assert c.on_refused({1: "unknown here"}) == []
    assert numbers(c.resend()) == [(1, [VOID])]
    assert c.on_answer(1, RunStatus.APPLIED, 2, [b"A"]) == ([("a", b"A")], False)


def test_a_call_that_the_log_rejects_gets_the_reason_of_the_node_that_refused_it() -> None:
    c = caller()
    sent(c, "a", "b")
    c.resend()
    c.on_refused({2: "there is no such command"})

    [(_, one), (_, two)], _ = c.on_answer(1, RunStatus.APPLIED, 3, [b"\0A", encode_rejected("refused")])

    assert one == b"\0A"
    with pytest.raises(RejectedError, match="no such command"):
        read_outcome(two)


def test_a_refusal_of_a_call_that_was_answered_or_never_sent_is_ignored() -> None:
    c = caller()
    sent(c, "a", "b", "c")
    c.on_answer(1, RunStatus.APPLIED, 2, [b"A"])
    c.on_answer(3, RunStatus.APPLIED, 4, [b"C"])

    assert c.on_refused({1: "late", 3: "late", 4: "never sent", 0: "no number"}) == []


def test_a_full_window_holds_calls_back_until_the_oldest_is_answered() -> None:
    c = caller(run_commands_max=UNACKNOWLEDGED_MAX, run_bytes_max=1 << 20)
    for call in range(UNACKNOWLEDGED_MAX + 2):
        c.add(b"x", call)
    assert [(run.first, len(run.payloads)) for run in decoded(c.next_runs())] == [(1, UNACKNOWLEDGED_MAX)]
    assert c.next_runs() == []

    c.on_answer(1, RunStatus.APPLIED, 2, [b"A"])

    assert decoded(c.next_runs()) == [Run(7, RANDOM, UNACKNOWLEDGED_MAX + 1, 1, [b"x"])]
    assert c.queued == 1


def test_a_window_full_of_cancelled_calls_is_resent_while_calls_are_queued() -> None:
    c = caller(run_commands_max=UNACKNOWLEDGED_MAX, run_bytes_max=1 << 20)
    for call in range(UNACKNOWLEDGED_MAX):
        c.add(b"x", call)
    c.next_runs()
    for call in range(UNACKNOWLEDGED_MAX):
        c.cancel(call)
    assert not c.unanswered
    assert not c.held_up

    c.add(b"y", "y")

    assert c.unanswered
    assert c.held_up


def test_an_expired_session_loses_calls_that_were_sent_and_keeps_queued_ones_for_the_next() -> None:
    c = caller()
    sent(c, "a", "b")
    c.on_answer(1, RunStatus.APPLIED, 2, [b"A"])
    c.add(b"c", "c")

    assert c.on_answer(2, RunStatus.EXPIRED, 0, ()) == ([], False)
    assert c.expire(b"n" * 16) == ["b"]

    assert c.session is None
    c.open(99)
    assert decoded(c.next_runs()) == [Run(99, b"n" * 16, 1, 0, [b"c"])]


def test_a_random_part_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        Caller(b"short", run_bytes_max=1, run_commands_max=1)
