"""Small domains: a few values of every type that a state machine may be annotated with.

``draws_of`` turns annotations into functions that draw values. The domains are small, so that the same values are drawn
again and again: four texts, small numbers, short lists, little nesting.
"""

from __future__ import annotations

import dataclasses
import typing
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from random import Random
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NewType, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec

from paxospp.state_machine.types import name_of

Draw = Callable[[Random, int], Any]
"""Draws a value; the number says how deep it is nested in the argument."""

TEXTS = ("a", "b", "c", "d")
"""Most drawn texts. A few others are drawn too, for sets of more than four and for text that is not ASCII."""

_RARE_TEXTS = ("", "e", "f", "g", "h", "ü", "a long text, longer than others are")
_INTS = (0, 1, 2, 3, 4, 5, 10, -1)
_FLOATS = (0.0, 0.5, 1.0, 2.0, 2.5, -1.0)
_DAY = date(2024, 2, 28)
_RARE = 0.15
_ITEMS_MAX = 3
_DEPTH_SHALLOW = 2
"""Deeper than this, containers are empty and optional values are None."""
_DEPTH_MAX = 40

_WRAPPERS = frozenset({typing.Required, typing.NotRequired, typing.Final})
_MAPPINGS = frozenset({dict, OrderedDict, Counter})
_SEQUENCES: frozenset[Any] = frozenset({list, deque, set, frozenset})


class NothingToDrawError(Exception):
    """No value of a type can be drawn; the text says why."""


def draws_of(annotations: Sequence[Any]) -> list[Draw]:
    """Return a function for each annotation that draws a value of it.

    Raises:
        NothingToDrawError: a type has no domain.
    """
    maker = _Maker()
    return [maker.make(annotation) for annotation in annotations]


def draw_text(random: Random, depth: int = 0) -> str:
    """Draw one of four texts, or occasionally another one."""
    return random.choice(_RARE_TEXTS if random.random() < _RARE else TEXTS)


def _draw_bytes(random: Random, depth: int) -> bytes:
    return random.choice((b"a", b"b", b"c", b"", b"\x00\xff"))


def _draw_any(random: Random, depth: int) -> Any:
    chosen = random.randrange(8 if depth < _DEPTH_SHALLOW else 6)
    if chosen < 6:
        return _draw_hashable(random, depth)
    if chosen == 6:
        return [_draw_any(random, depth + 1) for _ in range(random.randint(0, _ITEMS_MAX))]
    return {draw_text(random): _draw_any(random, depth + 1) for _ in range(random.randint(0, _ITEMS_MAX))}


def _draw_hashable(random: Random, depth: int) -> Any:
    match random.randrange(6):
        case 0:
            return None
        case 1:
            return random.random() < 0.5
        case 2:
            return random.choice(_FLOATS)
        case 3:
            return random.choice(_INTS)
        case _:
            return draw_text(random)


def _draw_datetime(random: Random, depth: int) -> datetime:
    return datetime(2024, 2, 28, 23, 59, 30, tzinfo=UTC) + timedelta(minutes=random.randrange(3))


_SCALARS: dict[Any, Draw] = {
    None: lambda random, depth: None,
    NoneType: lambda random, depth: None,
    bool: lambda random, depth: random.random() < 0.5,
    int: lambda random, depth: random.choice(_INTS) if random.random() > _RARE else random.randint(-3, 1000),
    float: lambda random, depth: random.choice(_FLOATS),
    str: draw_text,
    bytes: _draw_bytes,
    datetime: _draw_datetime,
    date: lambda random, depth: _DAY + timedelta(days=random.randrange(3)),
    time: lambda random, depth: time(random.choice((0, 12, 23)), 30),
    timedelta: lambda random, depth: timedelta(seconds=random.choice((0, 1, 60, 86_400, -1))),
    Decimal: lambda random, depth: Decimal(random.choice(("0", "1", "1.50", "2.25", "-1"))),
    UUID: lambda random, depth: UUID(int=random.randrange(1, 5)),
    Any: _draw_any,
}


class _Maker:
    """Makes functions that draw; remembers them by type, so that a type may contain itself."""

    def __init__(self) -> None:
        self._made: dict[Any, Draw] = {}

    def make(self, annotation: Any) -> Draw:
        scalar = _SCALARS.get(annotation)
        if scalar is not None:
            return scalar
        made = self._made.get(annotation)
        if made is not None:
            return made

        def later(random: Random, depth: int) -> Any:
            return self._made[annotation](random, depth)

        self._made[annotation] = later
        self._made[annotation] = made = self._make(annotation, get_origin(annotation), get_args(annotation))
        return made

    def _make(self, annotation: Any, origin: Any, arguments: tuple[Any, ...]) -> Draw:
        plain = origin or annotation
        if origin is Annotated:
            return self._constrained(arguments[0], arguments[1:])
        if origin in _WRAPPERS:
            return self.make(arguments[0])
        if origin is Union or origin is UnionType:
            return self._union(arguments)
        if origin is Literal:
            return lambda random, depth: random.choice(arguments)
        if plain in _SEQUENCES:
            return self._sequence(plain, arguments)
        if plain is tuple:
            return self._tuple(arguments)
        if plain in _MAPPINGS:
            return self._mapping(plain, arguments)
        if isinstance(annotation, NewType):
            return self.make(annotation.__supertype__)
        if hasattr(annotation, "__value__"):  # `type Name = …` of Python 3.12
            return self.make(annotation.__value__)
        if isinstance(annotation, type) and issubclass(annotation, Enum):
            return self._enum(annotation)
        if isinstance(plain, type):
            return self._fields(annotation, plain, arguments)
        raise NothingToDrawError(f"no value of `{name_of(annotation)}` can be drawn")

    def _union(self, members: tuple[Any, ...]) -> Draw:
        draws = [self.make(member) for member in members]
        # Draw None sometimes, but other members more often.
        weights = [1 if member in (None, NoneType) else 3 for member in members]
        simple = next((draw for draw, weight in zip(draws, weights, strict=True) if weight == 1), None)
        simple = simple or next((_SCALARS[member] for member in members if member in _SCALARS), None)

        def draw(random: Random, depth: int) -> Any:
            if depth > _DEPTH_SHALLOW and simple is not None:
                return simple(random, depth)
            return random.choices(draws, weights)[0](random, depth)

        return draw

    def _sequence(self, container: Any, arguments: tuple[Any, ...]) -> Draw:
        is_set = container is set or container is frozenset
        item = (
            self._key(arguments[0] if arguments else Any) if is_set else self.make(arguments[0] if arguments else Any)
        )
        return lambda random, depth: container(_items(item, random, depth))

    def _tuple(self, arguments: tuple[Any, ...]) -> Draw:
        if not arguments or (len(arguments) == 2 and arguments[1] is ...):
            item = self.make(arguments[0] if arguments else Any)
            return lambda random, depth: tuple(_items(item, random, depth))
        items = [self.make(argument) for argument in arguments]
        return lambda random, depth: tuple([item(random, _deeper(depth)) for item in items])

    def _mapping(self, container: Any, arguments: tuple[Any, ...]) -> Draw:
        key = self._key(arguments[0] if arguments else str)
        value = self.make(int if container is Counter else arguments[1] if arguments else Any)

        def draw(random: Random, depth: int) -> Any:
            return container({each: value(random, _deeper(depth)) for each in _items(key, random, depth)})

        return draw

    def _key(self, annotation: Any) -> Draw:
        return _draw_hashable if annotation is Any else self.make(annotation)

    def _enum(self, annotation: type[Enum]) -> Draw:
        members = list(annotation)
        if not members:
            raise NothingToDrawError(f"`{name_of(annotation)}` has no members to draw")
        return lambda random, depth: random.choice(members)

    def _constrained(self, annotation: Any, metadata: tuple[Any, ...]) -> Draw:
        draw = self.make(annotation)
        bounds = [each for each in metadata if isinstance(each, msgspec.Meta)]
        if not bounds or annotation is not int:
            return draw  # a value outside the bounds is refused with the whole call, and drawn again
        low, high = -3, 1000
        for meta in bounds:
            low = _inner(meta.ge, meta.gt, 1, low)
            high = max(low, _inner(meta.le, meta.lt, -1, high))
        step = next((int(meta.multiple_of) for meta in bounds if meta.multiple_of), 1)
        low += -low % step
        few = [value for value in _INTS if low <= value <= high and value % step == 0] or [low]

        def draw_between(random: Random, depth: int) -> int:
            return random.choice(few) if random.random() > _RARE else random.randrange(low, max(low, high) + 1, step)

        return draw_between

    def _fields(self, annotation: Any, plain: Any, arguments: tuple[Any, ...]) -> Draw:
        names = _field_names(plain)
        if names is None:
            raise NothingToDrawError(f"no value of `{name_of(annotation)}` can be drawn")
        try:
            hints = get_type_hints(plain, include_extras=True)
        except Exception as error:
            raise NothingToDrawError(f"the annotations of `{name_of(annotation)}` cannot be read: {error}") from error
        bound = dict(zip(getattr(plain, "__parameters__", ()), arguments, strict=False))
        draws = {name: self.make(_substitute(hints[name], bound)) for name in names}
        optional: frozenset[str] = (
            getattr(plain, "__optional_keys__", frozenset()) if typing.is_typeddict(plain) else frozenset()
        )

        def draw(random: Random, depth: int) -> Any:
            inside = _deeper(depth)
            return plain(
                **{
                    name: each(random, inside)
                    for name, each in draws.items()
                    if name not in optional or (depth <= _DEPTH_SHALLOW and random.random() < 0.5)
                }
            )

        return draw


def _items(item: Draw, random: Random, depth: int) -> list[Any]:
    inside = _deeper(depth)
    return [item(random, inside) for _ in range(random.randint(0, _ITEMS_MAX) if depth <= _DEPTH_SHALLOW else 0)]


def _deeper(depth: int) -> int:
    if depth >= _DEPTH_MAX:
        raise NothingToDrawError("a type contains itself, so that no finite value exists")
    return depth + 1


def _inner(inclusive: float | None, exclusive: float | None, step: int, otherwise: int) -> int:
    """Return a bound as the last integer inside it; ``otherwise`` if there is none."""
    if inclusive is not None:
        return int(inclusive)
    return otherwise if exclusive is None else int(exclusive) + step


def _field_names(plain: Any) -> list[str] | None:
    """Return the fields to pass to the class; None if they are not known."""
    if issubclass(plain, msgspec.Struct):
        return list(plain.__struct_fields__)
    if dataclasses.is_dataclass(plain):
        return [field.name for field in dataclasses.fields(plain) if field.init]
    if issubclass(plain, tuple) and hasattr(plain, "_fields"):
        return list(plain._fields)
    return list(get_type_hints(plain)) if typing.is_typeddict(plain) else None


def _substitute(hint: Any, bound: dict[Any, Any]) -> Any:
    """Return the type of a field of a generic class with its parameters replaced; an unbound parameter is Any."""
    if isinstance(hint, TypeVar):
        return bound.get(hint, Any)
    parameters = getattr(hint, "__parameters__", ())
    if not parameters or (isinstance(hint, type) and not get_args(hint)):
        return hint
    return hint[tuple(bound.get(parameter, Any) for parameter in parameters)]
