"""Which annotated types can be stored, and the errors for all others."""

from __future__ import annotations

import collections
import math
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, IntFlag, StrEnum
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    TypedDict,
    TypeVar,
)
from uuid import UUID

import msgspec
import pytest

from paxospp.state_machine import Context, MachineError, StateMachine, command, prepare, query
from paxospp.state_machine.encoding import decoder, encode_call
from paxospp.state_machine.types import check_type

if TYPE_CHECKING:
    from fractions import Fraction

T = TypeVar("T")


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Mode(StrEnum):
    ON = "on"


class Flags(IntFlag):
    A = 1
    B = 2


class Mixed(Enum):
    A = 1
    B = "b"


@dataclass
class Point:
    x: int
    y: int = 0


@dataclass(frozen=True, slots=True)
class Frozen:
    tags: frozenset[str]


@dataclass
class Tree:
    name: str
    children: list[Tree] = field(default_factory=list)


@dataclass
class Box(Generic[T]):
    content: T


class Pair(NamedTuple):
    left: int
    right: str = ""


class Options(TypedDict):
    name: str
    size: NotRequired[int]


class Record(msgspec.Struct):
    name: str
    members: set[str]


Name = NewType("Name", str)

SUPPORTED: list[tuple[Any, Any]] = [
    (None, None),
    (bool, True),
    (int, -(2**63)),
    (int, 2**64 - 1),
    (float, 0.1),
    (float, math.inf),
    (str, "grüße\0"),
    (bytes, b"\xff\0"),
    (list[int], [1, 2]),
    (list, [1, "a", None]),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], (1, 2, 3)),
    (tuple[()], ()),
    (set[str], {"a", "b"}),
    (frozenset[int], frozenset({1, 2})),
    (dict[str, int], {"b": 1, "a": 2}),
    (dict[int, str], {1: "a"}),
    (dict[bytes, int], {b"a": 1}),
    (dict[tuple[str, int], int], {("a", 1): 1}),
    (dict[frozenset[str], int], {frozenset({"a", "b"}): 1}),
    (dict[date, int], {date(2024, 1, 1): 1}),
    (dict[UUID, int], {UUID(int=1): 1}),
    (dict[Color, int], {Color.RED: 1}),
    (deque[int], deque([1, 2])),
    (deque, deque([1, "a"])),
    (deque[Point], deque([Point(1, 2)])),
    (deque[set[str]], deque([{"a", "b"}])),
    (OrderedDict[str, int], OrderedDict(b=1, a=2)),
    (OrderedDict[str, Point], OrderedDict(b=Point(1))),
    (Counter[str], Counter("abca")),
    (Counter[tuple[str, int]], Counter([("a", 1), ("a", 1)])),
    (Counter, Counter("ab")),
    (dict[str, deque[int]], {"a": deque([1])}),
    (deque[int] | None, deque([1])),
    (Point, Point(1, 2)),
    (list[Point], [Point(1)]),
    (Frozen, Frozen(frozenset({"a", "b"}))),
    (set[tuple[str, frozenset[int]]], {("a", frozenset({1, 2})), ("b", frozenset())}),
    (Tree, Tree("a", [Tree("b", [Tree("c")])])),
    (Box[int], Box(1)),
    (Box[set[str]], Box({"a", "b"})),
    (Pair, Pair(1, "a")),
    (Options, {"name": "a"}),
    (Options, {"name": "a", "size": 1}),
    (Record, Record("a", {"b", "c"})),
    (Color, Color.BLUE),
    (Level, Level.HIGH),
    (Mode, Mode.ON),
    (Flags, Flags.A | Flags.B),
    (datetime, datetime(2024, 1, 2, 3, 4, 5, 678)),
    (datetime, datetime(2024, 1, 2, 3, 4, 5, 678, tzinfo=UTC)),
    (date, date(2024, 1, 2)),
    (time, time(1, 2, 3)),
    (timedelta, timedelta(days=1, microseconds=1)),
    (Decimal, Decimal("1.10")),
    (UUID, UUID(int=7)),
    (Optional[int], None),  # noqa: UP045
    (int | str | None, "a"),
    (Point | None, Point(1)),
    (Point | int, 3),
    (Literal["a", 1, None], "a"),
    (Annotated[int, msgspec.Meta(ge=0)], 3),
    (Name, Name("n1")),
    (Any, {"a": [1, None, "b"]}),
]


@pytest.mark.parametrize(
    ("annotation", "value"),
    SUPPORTED,
    ids=[f"{str(annotation)[:40]} {number}" for number, (annotation, _) in enumerate(SUPPORTED)],
)
def test_every_supported_type_comes_back_as_it_was(annotation: Any, value: Any) -> None:
    check_type(annotation, "here")

    back = decoder(annotation)(encode_call(value))

    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (complex, "`complex` cannot be stored; use tuple[float, float]"),
        (defaultdict[str, int], "use dict (a default's factory cannot be stored)"),
        (collections.defaultdict, "use dict (a default's factory cannot be stored)"),
        (object, "use Any"),
        (bytearray, "use bytes"),
        (Sequence[str], "use list or tuple"),
        (Mapping[str, int], "use dict"),
        (StateMachine, "`StateMachine` cannot be stored; use one of None, bool, int"),
        (dict[str, complex], "`complex` cannot be stored"),
        (Box[complex], "`complex` cannot be stored"),
        (Point | Tree, "may not contain more than one"),
        (Point | dict[str, int], "may not contain more than one dict-like type"),
        (Mixed, "the values of an Enum must be all str or all int"),
        (Literal[True], "the values of a Literal must be str, int or None"),
        (dict[list[int], int], "a `list[int]` cannot be a key"),
        (set[Point], "a `Point` cannot be a key"),
        (T, "`~T` cannot be stored"),
        (type[int], "`type[int]` cannot be stored"),
        ("Point", "cannot be stored"),
        (3, "cannot be stored"),
    ],
    ids=str,
)
def test_every_other_type_is_refused_by_name(annotation: Any, reason: str) -> None:
    with pytest.raises(MachineError) as caught:
        check_type(annotation, "Machine.put: parameter `x`")

    assert str(caught.value).startswith("Machine.put: parameter `x`: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_traits_tell_what_needs_order_and_what_nests_without_end() -> None:
    assert check_type(dict[str, int], "") == (False, False)
    assert check_type(dict[str, set[int]], "") == (True, False)
    assert check_type(Frozen, "") == (True, False)
    assert check_type(OrderedDict[str, int], "") == (True, False)
    assert check_type(Tree, "") == (False, True)
    assert check_type(Any, "") == (True, True)
    assert check_type(list, "") == (True, True)


def test_sets_travel_sorted_by_their_encoded_form() -> None:
    names = [f"name{number}" for number in range(100)]
    encoded = encode_call(names)

    for order in (names, names[::-1], sorted(names, key=hash)):
        assert decoder(list[str])(encode_call(set(order))) == sorted(names, key=lambda name: (len(name), name))
        assert encode_call({"a": [Frozen(frozenset(order))]}) == encode_call({"a": [Frozen(frozenset(names))]})
    assert len(encode_call(set(names))) == len(encoded)


def test_sets_are_sorted_wherever_they_stand() -> None:
    one, other = frozenset({"a", "bb", "c"}), frozenset({"c", "bb", "a"})

    for wrap in (
        lambda members: [members],
        lambda members: (1, members),
        lambda members: {"key": members},
        lambda members: {members: 1},
        lambda members: {(1, members): {"b": members}},
        lambda members: deque([members]),
        lambda members: OrderedDict(a=members),
        lambda members: Box(Box(members)),
        lambda members: Record("a", set(members)),
        lambda members: Pair(members, ""),
        lambda members: {members, frozenset({members})},
    ):
        value = wrap(one)
        assert encode_call(value) == encode_call(wrap(other))
        msgspec.msgpack.decode(encode_call(value))


def test_encoding_leaves_the_value_as_it_is() -> None:
    value = Record("a", {"b", "c"})
    frozen = Frozen(frozenset({"a", "b"}))

    encode_call([value, frozen])

    assert value == Record("a", {"b", "c"})
    assert frozen == Frozen(frozenset({"a", "b"}))


def test_an_ordered_dict_keeps_its_own_order() -> None:
    ordered = OrderedDict(a=1, b=2)
    ordered.move_to_end("a")

    assert list(decoder(OrderedDict[str, int])(encode_call(ordered))) == ["b", "a"]
    assert list(decoder(dict[str, int])(encode_call({"b": 1, "a": 2}))) == ["b", "a"]


def test_any_gives_back_what_messagepack_alone_gives() -> None:
    assert decoder(Any)(encode_call([(1, 2), {"b", "a"}, Point(1)])) == [[1, 2], ["a", "b"], {"x": 1, "y": 0}]


def test_a_type_imported_for_type_checkers_only_is_one_error_that_names_it() -> None:
    class Machine(StateMachine):
        @command
        def put(self, value: Fraction) -> None: ...

    with pytest.raises(MachineError, match=r"Machine.put: name 'Fraction' is not defined.*`if TYPE_CHECKING:`"):
        prepare(Machine())
    with pytest.raises(MachineError, match="Fraction"):
        Machine.put.encode([1])


def test_a_state_type_imported_for_type_checkers_only_is_one_error_that_names_it() -> None:
    class Machine(StateMachine):
        value: Fraction

    with pytest.raises(MachineError, match="Machine: name 'Fraction' is not defined"):
        prepare(Machine())


def test_a_type_that_is_defined_later_in_the_function_is_one_error_that_names_it() -> None:
    class Machine(StateMachine):
        @command
        def put(self, value: Later) -> None: ...

    @dataclass
    class Later:
        x: int

    with pytest.raises(MachineError, match="name 'Later' is not defined"):
        prepare(Machine())


def test_types_local_to_a_function_or_to_the_class_body_are_found() -> None:
    @dataclass
    class Local:
        x: int

    class Machine(StateMachine):
        @dataclass
        class Inner:
            y: int

        places: dict[str, Local]
        inner: Inner | None = None

        def __init__(self) -> None:
            self.places = {}

        @command
        def put(self, key: str, place: Local, inner: Inner) -> Local:
            self.places[key] = place
            self.inner = inner
            return place

        @query
        def get(self, key: str) -> Optional[Local]:  # noqa: UP045
            return self.places.get(key)

    machine = Machine()
    prepare(machine)
    result = machine.apply(Machine.put.encode(["a", Local(1), Machine.Inner(2)]), Context(1, 0, 0.0))

    assert Machine.put.decode_result(result) == Local(1)
    copy = Machine()
    copy.restore(machine.snapshot())
    assert (copy.places, copy.inner) == ({"a": Local(1)}, Machine.Inner(2))


def test_an_annotation_means_the_type_and_not_the_method_of_that_name() -> None:
    class Machine(StateMachine):
        items: dict[str, int]

        def __init__(self) -> None:
            self.items = {}

        @command
        def set(self, key: str) -> None:
            self.items[key] = 1

        @query
        def list(self) -> list[str]:
            return [*self.items]

        @query
        def all(self) -> set[str]:  # type: ignore[valid-type]
            return {*self.items}

    machine = Machine()
    prepare(machine)
    machine.set("a")

    assert Machine.list.decode_result(machine.answer(Machine.list.encode())) == ["a"]
    assert Machine.all.decode_result(machine.answer(Machine.all.encode())) == {"a"}
