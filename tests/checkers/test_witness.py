"""The witness check: a log explains a history, or it does not."""

from __future__ import annotations

from typing import Any

import pytest

from paxospp.machines import KeyValue
from paxospp.testing.checkers import Logged, Operation, Verdict, check_order, check_witness, run_on


def put(id: str, call: int, ret: int | None, value: int) -> Operation:
    return Operation(id=id, call=call, ret=ret, kind="put", arguments=("x", value))


def get(call: int, ret: int, value: Any, read_at: int) -> Operation:
    return Operation(id=call, call=call, ret=ret, kind="get", arguments=("x",), result=value, read_at=read_at)


def cas(id: str, call: int, ret: int, expected: int, new: int, result: bool) -> Operation:
    return Operation(id=id, call=call, ret=ret, kind="cas", arguments=("x", expected, new), result=result)


def logged(slot: int, *operations: Operation) -> list[Logged]:
    return [Logged(o.id, slot, position, o.kind, o.arguments) for position, o in enumerate(operations)]


def check(operations: list[Operation], log: list[Logged], **options: Any) -> Verdict:
    return check_witness(operations, log, run_on(KeyValue()), **options)


A, B = put("a", 1, 2, 1), put("b", 3, 4, 2)


def test_a_log_that_explains_the_history_proves_it() -> None:
    one, other = cas("c", 5, 9, 2, 3, True), cas("d", 6, 8, 2, 4, False)
    reads = [get(7, 10, 2, read_at=3), get(11, 12, 3, read_at=4), get(13, 14, 3, read_at=9)]

    check([A, B, one, other, *reads], logged(2, A) + logged(3, B) + logged(4, one, other)).expect()


def test_an_unknown_command_may_be_in_the_log_or_not() -> None:
    unknown = put("u", 5, None, 7)

    check([A, unknown, get(6, 7, 7, read_at=3)], logged(2, A) + logged(3, unknown)).expect()
    check([A, unknown, get(6, 7, 1, read_at=3)], logged(2, A)).expect()


def test_commands_of_others_count_in_the_log() -> None:
    check([get(5, 6, 1, read_at=2)], logged(2, A)).expect()


UNKNOWN = put("u", 5, None, 7)
STALE = get(5, 6, 1, read_at=2)
WRONG = {
    "answered, but not in the log": ([A, B], logged(2, A), [], [B]),
    "applied twice": ([A], logged(2, A) + logged(3, A), [], [A]),
    "refused, but applied": ([A], logged(2, A, B), [B], [B]),
    "where its result is": (
        [A, cas("c", 3, 4, 1, 2, True), cas("d", 5, 6, 1, 3, True)],
        logged(2, A, cas("c", 3, 4, 1, 2, True), cas("d", 5, 6, 1, 3, True)),
        [],
        [cas("d", 5, 6, 1, 3, True)],
    ),
    "after slot 3 the answer is 2": ([A, B, get(5, 6, 1, read_at=3)], logged(2, A) + logged(3, B), [], None),
    "one returned before the other was called": ([A, B, STALE], logged(2, A) + logged(3, B), [], [B, STALE]),
    "but their places are": ([A, B], logged(2, B) + logged(3, A), [], [A, B]),
    "the log has put": ([A], [Logged("a", 2, 0, "put", ("x", 9))], [], [A]),
    "after _Place": ([A, B], logged(3, A) + logged(2, B), [], []),
}


@pytest.mark.parametrize("reason", WRONG)
def test_a_log_that_does_not_explain_it_is_a_violation(reason: str) -> None:
    operations, log, refused, shown = WRONG[reason]

    verdict = check(operations, log, refused=refused)

    assert verdict.violated
    assert reason in verdict.reason
    assert shown is None or list(verdict.operations) == shown


def test_a_read_at_the_slot_of_a_command_sees_it() -> None:
    verdict = check([A, B, get(5, 6, 2, read_at=3)], logged(2, A) + logged(3, B))

    verdict.expect()


def test_an_unknown_put_seen_and_then_unseen_is_a_violation() -> None:
    seen, unseen = get(6, 7, 7, read_at=3), get(8, 9, 1, read_at=2)

    assert check([A, UNKNOWN, seen, unseen], logged(2, A) + logged(3, UNKNOWN)).violated


def test_operations_that_overlap_may_have_any_order() -> None:
    one, other = put("a", 1, 4, 1), put("b", 2, 3, 2)

    assert check_order([(one, (3, 0)), (other, (2, 0))]).ok
    assert check_order([(one, (2, 0)), (other, (3, 0))]).ok
