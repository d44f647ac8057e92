"""Arguments: complete when sent, checked before they are proposed, and decoded if an older version sent them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import msgspec
import pytest

from paxospp.errors import CommandError, RejectedError
from paxospp.state_machine import (
    Context,
    MachineError,
    NotUnderstoodError,
    StateMachine,
    check_command,
    command,
    complete_call,
    encode_untyped,
    pack_call,
    prepare,
    query,
)

CONTEXT = Context(1, 0, 0.0)


@dataclass
class Item:
    name: str
    sizes: list[int]


class Shop(StateMachine):
    log: list[Any]

    def __init__(self) -> None:
        self.log = []

    @command
    def put(self, key: str, value: str) -> None:
        self.log.append((key, value))

    @command
    def add(self, key: str, n: int = 1, note: str | None = None) -> int:
        self.log.append((key, n, note))
        return n

    @command
    def order(self, item: Item, /, *, when: datetime | None = None, urgent: bool = False) -> None:
        self.log.append((item, when, urgent))

    @command
    def keep(self, value: Any) -> None:
        self.log.append(value)

    @command
    def nothing(self) -> None:
        self.log.append(None)

    @query
    def promise(self) -> int:
        return "not an int"  # type: ignore[return-value]


def applied(payload: bytes) -> Any:
    machine = Shop()
    check_command(machine, payload)
    machine.apply(payload, CONTEXT)
    return machine.log[0]


def reason(payload: bytes) -> str:
    """Return why a node refuses ``payload``, and check that a replica stops if the payload was decided anyway."""
    with pytest.raises(RejectedError) as refused:
        check_command(Shop(), payload)
    with pytest.raises(NotUnderstoodError):
        Shop().apply(payload, CONTEXT)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_arguments_are_one_array_in_the_order_of_the_parameters() -> None:
    assert Shop.put.encode(["a", "b"]) == pack_call("put", msgspec.msgpack.encode(["a", "b"]))


def test_defaults_are_filled_in_before_the_call_leaves() -> None:
    assert Shop.add.encode(["a"]) == pack_call("add", msgspec.msgpack.encode(["a", 1, None]))
    assert Shop.add.encode(["a"], {"note": "x"}) == pack_call("add", msgspec.msgpack.encode(["a", 1, "x"]))


def test_keywords_find_their_place() -> None:
    assert Shop.put.encode([], {"value": "b", "key": "a"}) == Shop.put.encode(["a", "b"])


def test_keyword_only_and_positional_only_parameters_are_called_as_they_must_be() -> None:
    item = Item("a", [1, 2])

    assert applied(Shop.order.encode([item])) == (item, None, False)
    assert applied(Shop.order.encode([item], {"urgent": True})) == (item, None, True)
    assert applied(pack_call("order", msgspec.msgpack.encode([item]))) == (item, None, False)


@pytest.mark.parametrize(
    ("arguments", "keywords", "text"),
    [
        (["a"], {}, "put needs `value`: put(key: str, value: str)"),
        (["a", "b", "c"], {}, "put(key: str, value: str) takes 2 arguments, not 3"),
        (["a"], {"valu": "b"}, "put has no parameter `valu`: put(key: str, value: str)"),
        (["a"], {"key": "b"}, "put was given `key` twice: put(key: str, value: str)"),
    ],
)
def test_a_typed_call_that_does_not_fit_is_rejected(arguments: list[Any], keywords: dict[str, Any], text: str) -> None:
    with pytest.raises(RejectedError) as caught:
        Shop.put.encode(arguments, keywords)

    assert str(caught.value) == text


@pytest.mark.parametrize("value", [1 << 64, -(1 << 63) - 1, "\ud800", 1j, object(), print, [[1 << 64]]])
def test_an_argument_that_cannot_be_encoded_is_rejected(value: Any) -> None:
    with pytest.raises(RejectedError, match="keep: the arguments cannot be encoded: "):
        Shop.keep.encode([value])
    with pytest.raises(RejectedError, match="keep: the arguments cannot be encoded: "):
        encode_untyped("keep", [value])


def test_an_argument_that_holds_itself_is_rejected() -> None:
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(RejectedError):
        Shop.keep.encode([endless])
    with pytest.raises(RejectedError):
        encode_untyped("keep", [endless])


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("put", [], "put(key: str, value: str) takes 2 arguments, not 0"),
        ("put", ["a"], "put(key: str, value: str) takes 2 arguments, not 1"),
        ("put", ["a", "b", "c"], "put(key: str, value: str) takes 2 arguments, not 3"),
        ("put", ["a", 1], "put: argument `value`: expected `str`, got `int`"),
        ("put", [None, "b"], "put: argument `key`: expected `str`, got `None`"),
        ("add", [], "add(key: str, n: int = 1, note: str | None = None) takes 1 to 3 arguments, not 0"),
        ("add", ["a", 1.5], "add: argument `n`: expected `int`, got `float`"),
        ("add", ["a", True], "add: argument `n`: expected `int`, got `bool`"),
        ("nothing", [1], "nothing() takes 0 arguments, not 1"),
        ("order", [{"name": "a", "sizes": [1, "b"]}], "order: argument `item` at `.sizes[1]`: expected `int`"),
        ("order", [{"name": "a"}], "order: argument `item`: object missing required field `sizes`"),
    ],
)
def test_arguments_that_do_not_fit_are_rejected_before_they_are_proposed(
    name: str, arguments: list[Any], text: str
) -> None:
    assert reason(encode_untyped(name, arguments)).startswith(text)


@pytest.mark.parametrize(
    "arguments", [b"", b"\x80", b"\xc0", b"\x92\xa1a", b"\x92\xa1a\xa1b\x00", b"\x92\xa1a\xa1\xff", b"\xdc", b"\xc1"]
)
def test_arguments_that_are_no_messagepack_array_are_rejected(arguments: bytes) -> None:
    assert reason(pack_call("put", arguments)).startswith("put")


def test_fewer_arguments_than_today_get_the_defaults_of_the_parameters_added_since() -> None:
    old = encode_untyped("add", ["a"])

    assert applied(old) == ("a", 1, None)
    assert applied(encode_untyped("add", ["a", 2])) == ("a", 2, None)


def test_a_call_by_name_is_completed_before_it_is_proposed() -> None:
    machine = Shop()
    whole = Shop.add.encode(["a"])

    assert complete_call(machine, encode_untyped("add", ["a"])) == whole
    assert complete_call(machine, whole) is whole
    for other in (b"", b"\x00raw", encode_untyped("unknown", []), encode_untyped("put", ["a"])):
        assert complete_call(machine, other) is other


def test_many_parameters_are_completed_too() -> None:
    names = ", ".join(f"a{number}: int = {number}" for number in range(20))
    namespace: dict[str, Any] = {}
    exec(f"def put(self, {names}) -> int: return a0 + a19", namespace)
    machine_type = type("Wide", (StateMachine,), {"put": command(namespace["put"])})
    machine = machine_type()

    assert machine.apply(encode_untyped("put", [5]), CONTEXT) == bytes([24])
    assert complete_call(machine, encode_untyped("put", [])) == machine_type.put.encode([])  # type: ignore[attr-defined]


def test_every_call_gets_its_own_copy_of_a_default() -> None:
    class Lists(StateMachine):
        last: list[int]

        def __init__(self) -> None:
            self.last = []

        @command
        def put(self, items: list[int] = []) -> None:  # noqa: B006
            items.append(len(items))
            self.last = items

    machine = Lists()
    for _ in range(2):
        machine.apply(encode_untyped("put", []), CONTEXT)
        machine.apply(Lists.put.encode(), CONTEXT)

    assert machine.last == [0]


def test_a_default_that_does_not_fit_its_annotation_is_refused() -> None:
    class Machine(StateMachine):
        @command
        def put(self, n: int = "one") -> None: ...  # type: ignore[assignment]

    with pytest.raises(MachineError, match=r"Machine\.put: the default of `n` does not match its annotation"):
        prepare(Machine())


def test_json_gives_what_annotations_take() -> None:
    """A command line passes the types of JSON: text for dates, arrays for tuples and sets."""

    class Typed(StateMachine):
        @command
        def put(self, when: datetime, pair: tuple[int, int], tags: set[str], kind: Literal["a", "b"]) -> int:
            assert isinstance(when, datetime)
            assert (pair, tags) == ((1, 2), {"x"})
            return when.year

    payload = encode_untyped("put", ["2024-01-02T03:04:05", [1, 2], ["x"], "a"])
    check_command(Typed(), payload)

    assert Typed().apply(payload, CONTEXT) == msgspec.msgpack.encode(2024)


def test_a_caller_that_changes_its_arguments_later_does_not_change_the_state() -> None:
    given = ["a"]
    machine = Shop()

    machine.apply(Shop.keep.encode([given]), CONTEXT)
    given.append("b")

    assert machine.log == [["a"]]


@pytest.mark.parametrize("levels", [100, 128])
def test_arguments_may_nest(levels: int) -> None:
    value: Any = 1
    for _ in range(levels):
        value = [value]

    check_command(Shop(), encode_untyped("keep", [value]))


@pytest.mark.parametrize("levels", [129, 400, 100_000])
def test_arguments_that_nest_too_deep_are_rejected_because_every_replica_has_to_decode_them(levels: int) -> None:
    for opening in (b"\x91", b"\x81\xa1a"):
        payload = pack_call("keep", b"\x91" + opening * levels + b"\x01")
        with pytest.raises(RejectedError, match="keep: "):
            check_command(Shop(), payload)


@pytest.mark.parametrize(
    "items", [{}, {"maxlen": -1, "items": []}, {"maxlen": "a", "items": []}, 3, None, {"items": 1}]
)
def test_a_value_that_does_not_encode_a_deque_is_rejected(items: Any) -> None:
    class Machine(StateMachine):
        @command
        def put(self, items: deque[int]) -> None: ...

    payload = encode_untyped("put", [items])
    with pytest.raises(RejectedError, match="put: "):
        check_command(Machine(), payload)
    with pytest.raises(NotUnderstoodError):
        Machine().apply(payload, CONTEXT)


def test_hostile_keys_are_rejected() -> None:
    assert reason(pack_call("keep", b"\x91\x81\x81\x01\x02\x03")).startswith("keep: ")


def test_a_result_that_is_not_what_the_annotation_says_is_an_error_of_the_command() -> None:
    answer = Shop().answer(Shop.promise.encode())

    with pytest.raises(CommandError, match="promise was run, but its result does not match its annotation"):
        Shop.promise.decode_result(answer)


@pytest.mark.parametrize("value", [1 << 64, "\ud800", 1j, object(), [print]])
def test_a_result_that_cannot_be_encoded_is_an_ordinary_exception(value: Any) -> None:
    class Machine(StateMachine):
        @command
        def give(self) -> Any:
            return value

    with pytest.raises(TypeError, match="give: the result cannot be encoded: "):
        Machine().apply(Machine.give.encode(), CONTEXT)


def test_a_result_that_holds_itself_is_an_ordinary_exception() -> None:
    """It is not a RecursionError, which would stop every replica."""
    endless: list[Any] = []
    endless.append(endless)

    class Machine(StateMachine):
        @command
        def any(self) -> Any:
            return endless

        @command
        def typed(self) -> list[list[int]]:
            return endless

    for operation in (Machine.any, Machine.typed):
        with pytest.raises(TypeError, match="the result cannot be encoded: "):
            Machine().apply(operation.encode(), CONTEXT)
