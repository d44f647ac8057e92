"""Every checker that accepts a history refuses the impossible ones and explains the possible ones."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import paxospp
from paxospp.machines import KeyValue
from paxospp.testing.checkers import (
    History,
    Judgement,
    KeyValueModel,
    MachineModel,
    NotLinearizableError,
    Operation,
    Raised,
    check_linearizable,
)
from paxospp.testing.checkers.wing_gong import search
from paxospp.testing.checkers.zones import check_zones, fits_zones
from tests.examples import examples


def op(call: int, ret: int | None, kind: str, *arguments: Any, result: Any = None) -> Operation:
    return Operation(id=call, call=call, ret=ret, kind=kind, arguments=("x", *arguments), result=result)


def put(call: int, ret: int | None, value: Any) -> Operation:
    return op(call, ret, "put", value)


def get(call: int, ret: int | None, value: Any) -> Operation:
    return op(call, ret, "get", result=value)


def cas(call: int, ret: int | None, expected: Any, new: Any, result: bool = True) -> Operation:
    return op(call, ret, "cas", expected, new, result=result)


IMPOSSIBLE = {
    "a stale read": [put(1, 2, 1), put(3, 4, 2), get(5, 6, 1)],
    "a stale read of what was there at the start": [put(1, 2, 1), get(3, 4, None)],
    "a stale read after a new one": [put(1, 2, 1), put(3, 10, 2), get(4, 5, 2), get(6, 7, 1)],
    "a lost update": [put(1, 2, 1), get(3, 4, None), get(5, 6, None)],
    "a read from the future": [get(1, 2, 1), put(3, 4, 1)],
    "a read of what nobody wrote": [put(1, 2, 1), get(3, 4, 7)],
    "an unknown put seen and then unseen": [put(1, 2, 1), put(3, None, 2), get(4, 5, 2), get(6, 7, 1)],
    "an unknown put read before it was called": [put(1, 2, 1), get(3, 4, 2), put(5, None, 2)],
    "two readers who disagree on the order": [
        put(1, 10, 1),
        put(2, 11, 2),
        get(3, 4, 1),
        get(5, 6, 2),
        get(7, 8, 1),
    ],
    "two compare-and-sets that both succeed": [put(1, 2, 1), cas(3, 6, 1, 2), cas(4, 5, 1, 3)],
    "a compare-and-set that fails for no reason": [put(1, 2, 1), cas(3, 4, 1, 2, False), get(5, 6, 1)],
    "an update lost between two compare-and-sets": [put(1, 2, 1), cas(3, 4, 1, 2), cas(5, 6, 1, 3)],
    "a key deleted twice": [put(1, 2, 1), op(3, 4, "delete", result=True), op(5, 6, "delete", result=True)],
}

POSSIBLE = {
    "nothing at all": [],
    "one after another": [put(1, 2, 1), get(3, 4, 1), put(5, 6, 2), get(7, 8, 2)],
    "a read during a write sees either": [put(1, 2, 1), put(3, 8, 2), get(4, 5, 1), get(6, 7, 2)],
    "an unknown put that nobody saw": [put(1, 2, 1), put(3, None, 2), get(4, 5, 1)],
    "an unknown put that took effect late": [put(1, 2, 1), put(3, None, 2), get(4, 5, 1), get(6, 7, 2)],
    "an unknown put seen, and overwritten": [put(1, None, 1), get(2, 3, 1), put(4, 5, 2), get(6, 7, 2)],
    "an unanswered read": [put(1, 2, 1), get(3, None, None)],
    "one of two compare-and-sets": [put(1, 2, 1), cas(3, 6, 1, 2), cas(4, 5, 1, 3, False), get(7, 8, 2)],
    "an unknown compare-and-set explains the value": [put(1, 2, 1), cas(3, None, 1, 2), get(4, 5, 2)],
    "a value written twice": [put(1, 2, 1), put(3, 4, 2), put(5, 6, 1), get(7, 8, 1)],
}

HARD = [*(put(call, call + 100, call % 15) for call in range(1, 17)), get(200, 201, 99)]
"""Sixteen concurrent writes, two of one value, and a read that fits none: the search would have to try every order."""


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_an_impossible_history_is_a_violation(name: str) -> None:
    verdict = check_linearizable(IMPOSSIBLE[name])

    assert verdict.judgement is Judgement.VIOLATION
    assert verdict.operations, "a violation shows the operations that make it one"
    with pytest.raises(NotLinearizableError):
        verdict.expect()


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_the_search_alone_finds_it_with_either_model(name: str) -> None:
    assert search(IMPOSSIBLE[name], KeyValueModel(), 1000).violated
    assert search(IMPOSSIBLE[name], MachineModel(KeyValue), 1000).violated


@pytest.mark.parametrize("name", POSSIBLE)
def test_a_possible_history_is_no_violation(name: str) -> None:
    check_linearizable(POSSIBLE[name]).expect()
    search(POSSIBLE[name], KeyValueModel(), 1000).expect()
    check_linearizable(POSSIBLE[name], KeyValue).expect()


def test_keys_are_checked_one_by_one() -> None:
    history = History()
    for key in ("a", "b"):
        history.answer(history.call("put", key, 1), None)
    history.answer(history.call("get", "a"), 1)
    history.answer(history.call("get", "b"), None)

    verdict = check_linearizable(history)

    assert verdict.violated
    assert all(operation.arguments[0] == "b" for operation in verdict.operations)


def test_a_search_that_spends_its_budget_proves_nothing() -> None:
    verdict = check_linearizable(HARD, budget=50)

    assert verdict.judgement is Judgement.BUDGET_SPENT
    assert not verdict.ok
    assert not verdict.violated
    assert verdict.steps == 51


def test_a_violation_of_one_key_counts_more_than_a_budget_spent_on_another() -> None:
    bad = [
        Operation(id=300, call=300, ret=301, kind="put", arguments=("y", 1)),
        Operation(id=302, call=302, ret=303, kind="get", arguments=("y",), result=2),
    ]

    assert check_linearizable([*HARD, *bad], budget=50).violated


def test_histories_of_the_size_that_clients_make_are_settled() -> None:
    """A history of 200 operations of 8 clients on one key takes thousands of steps, not millions."""
    operations, state = [], None
    for round in range(25):
        start = round * 100
        for client in range(8):
            new = round * 8 + client
            operations.append(cas(start + client, start + 50 + client, state, new, client == 5))
        state = round * 8 + 5

    verdict = check_linearizable(operations)

    verdict.expect()
    assert verdict.steps < 100_000


class Till(paxospp.StateMachine):
    """A machine that is not a register, and that raises."""

    total: int

    def __init__(self) -> None:
        self.total = 0

    @paxospp.command
    def take(self, amount: int) -> int:
        if amount > self.total:
            raise ValueError("not enough")
        self.total -= amount
        return self.total

    @paxospp.command(name="give")
    def give_it(self, amount: int) -> int:
        self.total += amount
        return self.total


def test_any_machine_is_a_model_and_an_exception_is_an_answer() -> None:
    history = History()
    for kind, amount, result in [("give", 3, 3), ("take", 5, Raised("ValueError")), ("take", 2, 1)]:
        history.answer(history.call(kind, amount), result)

    check_linearizable(history, Till).expect()

    history.answer(history.call("take", 1), Raised("ValueError"))
    assert check_linearizable(history, Till).violated


def test_a_history_keeps_operations_that_may_have_happened_and_drops_unanswered_queries() -> None:
    history = History()
    asked, unanswered, lost, refused, under_way = (
        history.call("get", "x", query=True),
        history.call("get", "x", query=True),
        history.call("put", "x", 1),
        history.call("put", "x", 2),
        history.call("put", "x", 3),
    )
    history.answer(asked, None)
    history.unknown(unanswered)
    history.unknown(lost)
    history.refuse(refused)

    assert [(o.id, o.unknown) for o in history] == [(asked, False), (lost, True), (under_way, True)]
    assert [o.id for o in history.refused] == [refused]


# The layers against each other, and against the definition.


@st.composite
def register_histories(draw: st.DrawFn) -> Sequence[Operation]:
    """Draw up to six puts and gets at arbitrary times with arbitrary answers; most histories are impossible."""
    count = draw(st.integers(1, 6))
    moments = draw(st.permutations(range(1, 2 * count + 1)))
    operations = []
    for number in range(count):
        call, ret = sorted(moments[2 * number : 2 * number + 2])
        if draw(st.booleans()):
            operations.append(put(call, None if draw(st.integers(0, 4)) == 0 else ret, number))
        else:
            operations.append(get(call, ret, draw(st.sampled_from([None, *range(count)]))))
    return operations


def by_definition(operations: Sequence[Operation]) -> bool:
    """Try every order of the answered operations and any unknown ones, and return whether one explains the history."""
    unknown = [o for o in operations if o.unknown]
    answered = [o for o in operations if not o.unknown]
    model = KeyValueModel()
    for size in range(len(unknown) + 1):
        for taken in itertools.combinations(unknown, size):
            for order in itertools.permutations([*answered, *taken]):
                state: Any = model.initial()
                fits = True
                for place, operation in enumerate(order):
                    state, result = model.apply(state, operation)
                    early = any(o.ret is not None and o.ret < operation.call for o in order[place + 1 :])
                    if early or (not operation.unknown and result != operation.result):
                        fits = False
                        break
                if fits:
                    return True
    return False


@examples(400)
@given(register_histories())
def test_zones_and_search_agree_with_the_definition(operations: Sequence[Operation]) -> None:
    expected = by_definition(operations)

    assert fits_zones(operations)
    assert check_zones(operations).ok == expected
    assert search(operations, KeyValueModel(), 100_000).ok == expected


@st.composite
def larger_histories(draw: st.DrawFn) -> Sequence[Operation]:
    """Draw histories from a true order, and change one answer in some: possible and nearly possible ones."""
    count = draw(st.integers(1, 24))
    value: int | None = None
    operations: list[tuple[int, int, bool, int | None]] = []
    for number in range(count):
        moment = 10 * number
        call = moment - draw(st.integers(0, 30))
        ret = moment + draw(st.integers(1, 30))
        if draw(st.booleans()):
            value = number
            operations.append((call, ret, True, number))
        else:
            operations.append((call, ret, False, value))
    if draw(st.booleans()):
        place = draw(st.integers(0, count - 1))
        call, ret, _, _ = operations[place]
        operations[place] = (call, ret, False, draw(st.integers(0, count - 1)))
    numbered = sorted({moment for o in operations for moment in ((o[0], 0), (o[1], 1))})
    order = {moment: number for number, moment in enumerate(numbered)}
    return [
        put(order[call, 0], order[ret, 1], value) if is_put else get(order[call, 0], order[ret, 1], value)
        for call, ret, is_put, value in operations
    ]


@examples(300)
@given(larger_histories())
def test_zones_and_search_agree_on_larger_histories(operations: Sequence[Operation]) -> None:
    verdict = search(operations, KeyValueModel(), 100_000)

    assert verdict.judgement is not Judgement.BUDGET_SPENT
    assert check_zones(operations).ok == verdict.ok
