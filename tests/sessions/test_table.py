"""The session table, one rule of ``paxospp/sessions/table.py`` per test."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from paxospp.errors import CorruptedError
from paxospp.sessions.runs import Run, SessionId
from paxospp.sessions.table import (
    UNACKNOWLEDGED_MAX,
    RunAnswer,
    RunStatus,
    Session,
    SessionTable,
    decode_sessions,
)

EXPIRY = 1_000


def run(
    first: int, payloads: Sequence[bytes] = (b"x",), *, opened: int = 0, session: int = 1, acknowledged: int = 0
) -> Run:
    return Run(opened, bytes([session]) * 16, first, acknowledged, list(payloads))


def applied(table: SessionTable, run: Run) -> RunAnswer:
    """Apply a decided run as the executor does; the outcome of a command is its payload with its number."""
    session = table.admit(run)
    if isinstance(session, RunAnswer):
        return session
    known = session.applied + 1 - run.first
    session.keep([b"%d:" % (run.first + i) + payload for i, payload in enumerate(run.payloads)][known:])
    return session.answer(run)


def decoded(table: SessionTable) -> list[Session]:
    return [session for piece in table.encode() for session in decode_sessions(piece)]


def test_the_first_run_of_a_session_is_applied_and_answered() -> None:
    table = SessionTable()

    answer = applied(table, run(1, [b"a", b"b"]))

    assert answer == RunAnswer(SessionId(0, b"\1" * 16), 1, RunStatus.APPLIED, 3, [b"1:a", b"2:b"])


def test_a_number_is_applied_once_and_its_copy_gets_the_kept_outcome() -> None:
    table = SessionTable()
    first = applied(table, run(1, [b"a"]))

    again = applied(table, run(1, [b"another payload under an old number"]))

    assert again == first


def test_a_run_that_overlaps_what_was_applied_gets_kept_outcomes_and_applies_the_rest() -> None:
    table = SessionTable()
    applied(table, run(1, [b"a", b"b"]))

    answer = applied(table, run(2, [b"?", b"c", b"d"]))

    assert (answer.first, answer.expected, answer.outcomes) == (2, 5, [b"2:b", b"3:c", b"4:d"])


def test_a_run_after_a_gap_has_no_effect_and_is_answered_with_the_number_expected() -> None:
    table = SessionTable()
    applied(table, run(1, [b"a"]))

    assert applied(table, run(3, [b"c"])) == RunAnswer(SessionId(0, b"\1" * 16), 3, RunStatus.GAP, 2, ())
    assert applied(table, run(2, [b"b"])).outcomes == [b"2:b"]


def test_acknowledged_outcomes_are_dropped_and_left_out_of_answers() -> None:
    table = SessionTable()
    applied(table, run(1, [b"a", b"b", b"c"]))
    applied(table, run(4, [b"d"], acknowledged=2))

    overlap = applied(table, run(1, [b"a", b"b", b"c", b"d"]))
    old = applied(table, run(1, [b"a", b"b"]))

    assert (overlap.first, overlap.outcomes) == (3, [b"3:c", b"4:d"])
    assert (old.status, old.first, old.outcomes) == (RunStatus.APPLIED, 3, [])


def test_an_acknowledgement_never_goes_back_and_never_beyond_what_was_applied() -> None:
    table = SessionTable()
    applied(table, run(1, [b"a", b"b"], acknowledged=99))
    assert applied(table, run(1, [b"a", b"b"])).outcomes == [b"1:a", b"2:b"]

    applied(table, run(1, [b"a"], acknowledged=99))
    applied(table, run(1, [b"a"], acknowledged=1))

    [session] = table
    assert (session.applied, session.acknowledged, session.outcomes) == (2, 2, [])


def test_a_session_that_does_not_begin_with_number_one_is_not_opened() -> None:
    table = SessionTable()

    assert applied(table, run(2)).status == RunStatus.GAP
    assert applied(table, run(2)).expected == 1
    assert len(table) == 0


def test_a_session_opened_later_than_the_log_or_with_a_short_random_part_is_not_opened() -> None:
    table = SessionTable()
    table.advance(10, EXPIRY)

    assert applied(table, run(1, opened=11)).status == RunStatus.EXPIRED
    assert applied(table, Run(5, b"short", 1, 0, [b"x"])).status == RunStatus.EXPIRED
    assert applied(table, run(1, opened=10)).status == RunStatus.APPLIED


def test_a_session_that_was_silent_for_the_expiry_time_is_dropped_and_others_stay() -> None:
    table = SessionTable()
    applied(table, run(1, session=1))
    applied(table, run(1, session=2))
    table.advance(600, EXPIRY)
    applied(table, run(1, session=2))

    table.advance(EXPIRY, EXPIRY)

    assert table.horizon == 0
    assert [session.id.random[0] for session in table] == [2]


def test_a_gap_and_a_copy_keep_a_session_from_expiring() -> None:
    table = SessionTable()
    applied(table, run(1, session=1))
    applied(table, run(1, session=2))
    table.advance(600, EXPIRY)
    applied(table, run(9, session=1))
    applied(table, run(1, session=2))

    table.advance(1_500, EXPIRY)

    assert len(table) == 2


def test_a_late_retry_does_not_open_an_expired_session_again() -> None:
    table = SessionTable()
    table.advance(5, EXPIRY)
    applied(table, run(1, opened=5))
    table.advance(5 + EXPIRY, EXPIRY)
    assert len(table) == 0

    for late in (run(1, opened=5), run(2, opened=5)):
        assert applied(table, late).status == RunStatus.EXPIRED
    assert len(table) == 0


def test_log_time_and_expiry_horizon_never_go_back() -> None:
    table = SessionTable()
    table.advance(5_000, EXPIRY)
    table.advance(100, EXPIRY)

    assert (table.log_time, table.horizon) == (5_000, 4_000)


def test_a_session_opened_before_anything_was_applied_is_above_the_first_horizon() -> None:
    table = SessionTable()
    table.advance(1, EXPIRY)

    assert applied(table, run(1, opened=0)).status == RunStatus.APPLIED


def test_a_full_table_opens_no_session_and_evicts_none_until_one_expires() -> None:
    table = SessionTable(sessions_max=2)
    applied(table, run(1, session=1))
    table.advance(500, EXPIRY)
    applied(table, run(1, session=2, opened=500))

    refused = applied(table, run(1, session=3, opened=500))

    assert (refused.status, refused.first, refused.expected) == (RunStatus.GAP, 1, 1)
    assert applied(table, run(1, session=1)).outcomes == [b"1:x"]
    assert table.full

    table.advance(500 + EXPIRY, EXPIRY)

    assert applied(table, run(1, session=3, opened=501)).status == RunStatus.APPLIED


def test_more_unacknowledged_numbers_than_allowed_have_no_effect() -> None:
    table = SessionTable()
    applied(table, run(1, [b"x"] * UNACKNOWLEDGED_MAX))

    beyond = applied(table, run(UNACKNOWLEDGED_MAX + 1))
    within = applied(table, run(UNACKNOWLEDGED_MAX + 1, acknowledged=1))

    assert (beyond.status, beyond.expected) == (RunStatus.GAP, UNACKNOWLEDGED_MAX + 1)
    assert within.status == RunStatus.APPLIED
    assert applied(table, run(1, [b"x"] * (UNACKNOWLEDGED_MAX + 1), session=2)).status == RunStatus.GAP


def test_numbers_that_no_caller_sends_have_no_effect() -> None:
    table = SessionTable()
    applied(table, run(1, [b"a", b"b"]))

    assert applied(table, run(-3, [b"?"] * 4)).outcomes == []
    assert applied(table, run(0, [b"?"] * 2)).outcomes == [b"1:a"]
    assert applied(table, run(1, session=2, opened=-1)).status == RunStatus.EXPIRED
    assert len(table) == 1


def test_looking_up_an_answer_changes_nothing() -> None:
    table = SessionTable()
    applied(table, run(1, [b"a", b"b"]))
    table.advance(EXPIRY - 1, EXPIRY)
    before = table.encode()

    assert table.find(run(2, acknowledged=1)) == RunAnswer(SessionId(0, b"\1" * 16), 2, RunStatus.APPLIED, 3, [b"2:b"])
    assert table.find(run(2, [b"b", b"c"])) is None
    assert table.find(run(1, session=2)) is None
    assert table.encode() == before

    table.advance(EXPIRY, EXPIRY)
    answer = table.find(run(2, [b"b", b"c"]))
    assert answer is not None
    assert answer.status == RunStatus.EXPIRED


def test_a_restored_table_is_equal_and_stays_equal() -> None:
    table = SessionTable()
    for session in (1, 2, 3):
        applied(table, run(1, [b"a", b"b"], session=session))
    table.advance(400, EXPIRY)
    applied(table, run(3, session=2, acknowledged=1))

    restored = SessionTable()
    restored.restore(table.log_time, table.horizon, decoded(table))

    for each in (table, restored):
        each.advance(1_000, EXPIRY)
    assert restored.encode() == table.encode()
    assert [session.id.random[0] for session in restored] == [2]


def test_an_encoded_table_does_not_contain_later_changes() -> None:
    table = SessionTable()
    applied(table, run(1, [b"a"]))

    pieces = table.encode()
    applied(table, run(2, [b"b"]))

    assert [decode_sessions(piece) for piece in pieces] == [[Session(SessionId(0, b"\1" * 16), 1, 0, 0, [b"1:a"])]]


def test_a_large_table_keeps_the_order_of_sessions_and_a_damaged_one_is_refused() -> None:
    table = SessionTable()
    for opened in range(2_500):
        table.advance(opened, 10_000)
        applied(table, run(1, opened=opened))

    restored = SessionTable()
    restored.restore(table.log_time, table.horizon, decoded(table))

    assert list(restored) == list(table)
    for damage in (b"", b"\x91\xc0", table.encode()[0][:-1]):
        with pytest.raises(CorruptedError):
            decode_sessions(damage)


@pytest.mark.parametrize("acknowledged", [0, 1, 2, 3])
@pytest.mark.parametrize("first", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_an_answer_covers_only_numbers_that_were_asked_for_and_are_not_acknowledged(
    acknowledged: int, first: int, count: int
) -> None:
    session = Session(SessionId(0, b"\1" * 16), 3, 0, 0, [b"1", b"2", b"3"])
    session.acknowledge(acknowledged)
    asked = [number for number in range(first, first + count) if number <= 3]

    answer = session.answer(run(first, [b"x"] * len(asked)))

    expected = [number for number in asked if number > acknowledged]
    assert answer.outcomes == [b"%d" % number for number in expected]
    assert answer.first == max(first, acknowledged + 1)
