"""Calls are drawn from annotations: of every type, from small domains, and the same calls for the same seed."""

from __future__ import annotations

import enum
import subprocess
import sys
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from random import Random
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, TypedDict, TypeVar
from uuid import UUID

import msgspec
import pytest

import paxospp
from paxospp.machines import KeyValue
from paxospp.state_machine import Command, MachineError, Query, unpack_call
from paxospp.testing.workload import draw_call, encode_call, workload_of

Money = NewType("Money", int)
T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Point:
    x: int
    y: int = 0


@dataclass
class Tree:
    name: str
    left: Tree | None = None
    children: list[Tree] = field(default_factory=list)
    size: int = field(init=False, default=7)


@dataclass
class Box(Generic[T]):
    inside: T


class Pair(NamedTuple):
    first: str
    second: Point


class Options(TypedDict):
    loud: bool
    colour: NotRequired[Colour]


class Record(msgspec.Struct):
    key: str
    when: datetime


class Positive(msgspec.Struct):
    """Refuses half of the drawn values."""

    amount: int

    def __post_init__(self) -> None:
        if self.amount <= 0:
            raise ValueError("not positive")


class Chain(msgspec.Struct):
    """Contains itself, without end."""

    next: Chain


TYPES = [
    None, bool, int, float, str, bytes, list[int], list, tuple[int, str], tuple[int, ...], tuple[()], set[str],
    frozenset[int], dict[str, int], dict[Point, list[str]], dict[tuple[int, str], int], dict[Any, Any], deque[int],
    OrderedDict[str, int], Counter[str], Point, Tree, Box[int], Box[list[str]], Pair, Options, Record, Positive, Colour,
    Level, datetime, date, time, timedelta, Decimal, UUID, int | None, int | str | None, Point | None,
    Literal["on", "off", 3, None], Money, list[Money], Any, Annotated[int, msgspec.Meta(ge=1, le=4)],
    Annotated[int, msgspec.Meta(gt=10, lt=12)], Annotated[int, msgspec.Meta(ge=5000)],
    Annotated[int, msgspec.Meta(multiple_of=7)], Annotated[str, msgspec.Meta(min_length=1)],
    Annotated[float, msgspec.Meta(ge=0)], set[frozenset[str]], dict[Colour, set[Point]], set[Any], set, dict,
]  # fmt: skip


@pytest.mark.parametrize("drawn", TYPES, ids=str)
def test_arguments_of_every_type_are_drawn_and_survive_encoding(drawn: Any) -> None:
    class Machine(paxospp.StateMachine):
        @paxospp.command
        def take(self, value: drawn) -> None: ...

    random = Random(1)

    for _ in range(200):
        operation, argument = draw_call(Machine, random)
        payload = operation.encode([argument])
        name, arguments = unpack_call(payload)
        assert name == "take"
        (back,) = operation.codec._decode(arguments)
        assert back == argument or isinstance(argument, (Tree, list, dict, tuple))


def test_the_domain_is_small_so_that_calls_meet() -> None:
    random = Random(1)
    keys = Counter(
        arguments[0] for operation, *arguments in (draw_call(KeyValue, random) for _ in range(1000)) if arguments
    )

    assert sum(keys[key] for key in "abcd") > 700
    assert {"", "ü"} < keys.keys()
    assert len(keys) < 15


def test_commands_and_queries_are_drawn_and_defaults_are_used() -> None:
    random = Random(1)
    calls = [draw_call(KeyValue, random) for _ in range(400)]
    kinds = Counter(type(operation) for operation, *_ in calls)

    assert {operation.name for operation, *_ in calls} == {"put", "delete", "cas", "get", "keys"}
    assert kinds[Command] > 2 * kinds[Query] > 100


def test_the_same_seed_draws_the_same_calls_in_every_interpreter() -> None:
    code = (
        "from random import Random; from tests.machine_checks.test_workload import *; "
        "drawn = dict(enumerate(TYPES))\n"
        "class M(paxospp.StateMachine): pass\n"
        "for number, type_ in enumerate(TYPES):\n"
        "    def take(self, value): ...\n"
        "    take.__annotations__ = {'value': type_, 'return': None}\n"
        "    take.__name__ = f'take{number}'\n"
        "    setattr(M, take.__name__, paxospp.command(take))\n"
        "random = Random(5)\n"
        "import hashlib; print(hashlib.md5(b''.join("
        "encode_call(M, draw_call(M, random)).payload for _ in range(1000))).hexdigest())\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(outputs) == 1


def test_the_error_for_a_type_that_contains_itself_names_the_operation() -> None:
    class Machine(paxospp.StateMachine):
        @paxospp.command
        def take(self, value: Chain) -> None: ...

    with pytest.raises(
        paxospp.ConfigError,
        match=r"Machine\.take: a type contains itself, .*; pass a workload",
    ):
        draw_call(Machine, Random(1))


def test_the_error_for_arguments_that_never_fit_names_the_operation() -> None:
    class Machine(paxospp.StateMachine):
        @paxospp.command
        def take(self, value: Annotated[str, msgspec.Meta(pattern="^[0-9]{9}$")]) -> None: ...

    with pytest.raises(
        paxospp.ConfigError,
        match=r"(?s)Machine\.take: none of 200 drawn calls .*; pass a workload",
    ):
        draw_call(Machine, Random(1))


def test_a_type_that_cannot_be_encoded_is_refused_by_name() -> None:
    class Machine(paxospp.StateMachine):
        @paxospp.command
        def take(self, value: complex) -> None: ...

    with pytest.raises(MachineError, match="complex"):
        draw_call(Machine, Random(1))


def test_a_machine_without_operations_has_nothing_to_call() -> None:
    class Machine(paxospp.StateMachine):
        value: int = 0

    with pytest.raises(paxospp.ConfigError, match="no commands and no queries to call"):
        workload_of(Machine)


def test_calls_are_encoded_whether_typed_or_by_name() -> None:
    by_type = encode_call(KeyValue, (KeyValue.put, "a", 1))

    assert by_type == encode_call(KeyValue, ("put", "a", 1)) == (KeyValue.put.encode(["a", 1]), False)
    assert encode_call(KeyValue, ("get", "a")).is_query


@pytest.mark.parametrize("call", [("nothing", 1), (1, 2), (), "put", ["put", "a", 1]])
def test_a_workload_that_returns_something_else_than_a_call_is_refused(call: Any) -> None:
    with pytest.raises(paxospp.ConfigError, match="workload"):
        encode_call(KeyValue, call)


def test_arguments_that_do_not_fit_are_rejected() -> None:
    with pytest.raises(paxospp.RejectedError, match="put"):
        encode_call(KeyValue, (KeyValue.put, "a"))
