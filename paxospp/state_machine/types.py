"""Checks that an annotated type can be stored, and rejects any other type by name.

Each annotation is walked once, when its class is first used. The walk finds three things: a type that
cannot be stored, a type that may hold a set or OrderedDict (its values are sorted before they are
encoded), and a type that may nest without bound (the depth of its values is checked before a call
is proposed).
"""

from __future__ import annotations

import collections
import dataclasses
import typing
from collections import Counter, OrderedDict, deque
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec

from paxospp.state_machine.annotations import MachineError, short_name
from paxospp.state_machine.encoding import decoder

SUPPORTED = (
    "None, bool, int, float, str, bytes, list, tuple, set, frozenset, dict, deque, OrderedDict, Counter, dataclass, "
    "NamedTuple, TypedDict, msgspec.Struct, Enum, datetime, date, time, timedelta, Decimal, UUID, Optional, Literal, "
    "Any"
)

_SCALARS = frozenset({None, NoneType, bool, int, float, str, bytes, datetime, date, time, timedelta, Decimal, UUID})
_SEQUENCES = frozenset({list, tuple, set, frozenset, deque})
_MAPPINGS = frozenset({dict, OrderedDict, Counter})
_WRAPPERS = frozenset({Annotated, typing.Required, typing.NotRequired, typing.Final})
_UNHASHABLE = frozenset({list, set, dict, deque, OrderedDict, Counter})

_INSTEAD: dict[Any, str] = {
    collections.defaultdict: "dict (a default's factory cannot be stored)",
    collections.abc.Sequence: "list or tuple",
    collections.abc.MutableSequence: "list",
    collections.abc.Iterable: "list",
    collections.abc.Collection: "list",
    collections.abc.Mapping: "dict",
    collections.abc.MutableMapping: "dict",
    collections.abc.Set: "set or frozenset",
    bytearray: "bytes",
    memoryview: "bytes",
    complex: "tuple[float, float]",
    object: "Any",
}


class Traits(NamedTuple):
    """``unordered``: the type may hold a set or OrderedDict. ``unbounded``: it may nest without bound."""

    unordered: bool
    unbounded: bool


def name_of(annotation: Any) -> str:
    """Return the annotation as its author wrote it, as nearly as possible."""
    if isinstance(annotation, type) and not get_args(annotation):
        return short_name(annotation)
    return str(annotation).replace("typing.", "")


def check_type(annotation: Any, where: str) -> Traits:
    """Return the traits of a supported type; for any other, raise MachineError, whose text begins with ``where``."""
    walk = _TypeWalk(where)
    walk.visit(annotation)
    _check_decodable(annotation, annotation, where)
    return Traits(walk.unordered, walk.unbounded)


def _check_decodable(part: Any, whole: Any, where: str) -> None:
    """Raise MachineError if msgspec cannot decode the type; the walk does not know all of its rules for unions."""
    try:
        decoder(part)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MachineError(f"{where}: `{name_of(whole)}` cannot be stored: {reason}") from error


class _TypeWalk:
    """Visits an annotated type and the types inside it; ``where`` begins the message of each error."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.unordered = False
        self.unbounded = False
        self._above: list[Any] = []
        """The classes with fields that surround the type being visited."""
        self._done: set[Any] = set()

    def visit(self, annotation: Any) -> None:
        origin = get_origin(annotation)
        arguments = get_args(annotation)
        if annotation in _SCALARS:
            return
        if annotation is Any or annotation in _SEQUENCES or annotation in _MAPPINGS:
            self.unordered = self.unbounded = True
        elif origin in _WRAPPERS:
            self.visit(arguments[0])
        elif origin is Union or origin is UnionType:
            for argument in arguments:
                self.visit(argument)
        elif origin is Literal:
            self._visit_literal(annotation, arguments)
        elif origin in _SEQUENCES:
            self._visit_sequence(annotation, origin, arguments)
        elif origin in _MAPPINGS:
            self._visit_mapping(annotation, origin, arguments)
        elif isinstance(annotation, NewType):
            self.visit(annotation.__supertype__)
        elif hasattr(annotation, "__value__"):  # `type Name = …` of Python 3.12
            self.visit(annotation.__value__)
        elif isinstance(annotation, type) and issubclass(annotation, Enum):
            self._visit_enum(annotation)
        elif _has_fields(origin or annotation):
            self._visit_fields(annotation, origin or annotation, arguments)
        else:
            self._refuse(annotation)

    def _refuse(self, annotation: Any, reason: str = "") -> typing.NoReturn:
        instead = _INSTEAD.get(get_origin(annotation) or annotation)
        advice = reason or (f"use {instead}" if instead else f"use one of {SUPPORTED}")
        raise MachineError(f"{self.where}: `{name_of(annotation)}` cannot be stored; {advice}")

    def _visit_literal(self, annotation: Any, values: tuple[Any, ...]) -> None:
        if any(value is not None and type(value) not in (int, str) for value in values):
            self._refuse(annotation, "the values of a Literal must be str, int or None")

    def _visit_sequence(self, annotation: Any, origin: Any, arguments: tuple[Any, ...]) -> None:
        if origin is set or origin is frozenset:
            self.unordered = True
            self._visit_key(annotation, arguments[0])
        for argument in arguments:
            if argument is not ...:
                self.visit(argument)
        if origin is deque:
            _check_decodable(list[arguments[0]], annotation, self.where)  # type: ignore[valid-type]

    def _visit_mapping(self, annotation: Any, origin: Any, arguments: tuple[Any, ...]) -> None:
        if origin is OrderedDict:
            self.unordered = True
        self._visit_key(annotation, arguments[0])
        for argument in arguments:
            self.visit(argument)
        if origin is not dict:
            value = int if origin is Counter else arguments[1]
            _check_decodable(dict[arguments[0], value], annotation, self.where)  # type: ignore[valid-type]

    def _visit_key(self, annotation: Any, key: Any) -> None:
        plain = get_origin(key) or key
        if plain in _UNHASHABLE or (dataclasses.is_dataclass(plain) and getattr(plain, "__hash__", None) is None):
            self._refuse(annotation, f"a `{name_of(key)}` cannot be a key, because it is not hashable")

    def _visit_enum(self, annotation: type[Enum]) -> None:
        values = {type(member.value) for member in annotation}
        if not all(issubclass(value, int) for value in values) and not all(issubclass(value, str) for value in values):
            self._refuse(annotation, "the values of an Enum must be all str or all int")

    def _visit_fields(self, annotation: Any, origin: Any, arguments: tuple[Any, ...]) -> None:
        if annotation in self._above:
            self.unbounded = True
            return
        if annotation in self._done:
            return
        try:
            hints = get_type_hints(origin, include_extras=True)
        except Exception as error:
            self._refuse(annotation, f"the annotations in it cannot be evaluated: {error}")
        names = origin.__struct_fields__ if issubclass(origin, msgspec.Struct) else _field_names(origin, hints)
        bound = dict(zip(getattr(origin, "__parameters__", ()), arguments, strict=False))
        self._above.append(annotation)
        for name in names:
            self.visit(_substitute(hints[name], bound))
        self._above.pop()
        self._done.add(annotation)


def _has_fields(origin: Any) -> bool:
    return isinstance(origin, type) and (
        dataclasses.is_dataclass(origin)
        or issubclass(origin, msgspec.Struct)
        or (issubclass(origin, tuple) and hasattr(origin, "_fields"))
        or typing.is_typeddict(origin)
    )


def _field_names(origin: Any, hints: dict[str, Any]) -> list[str]:
    if dataclasses.is_dataclass(origin):
        return [field.name for field in dataclasses.fields(origin)]
    if typing.is_typeddict(origin):
        return list(hints)
    return [name for name in origin._fields if name in hints]


def _substitute(hint: Any, bound: dict[Any, Any]) -> Any:
    """Return the type of a generic class's field with its type parameters filled in; Any for unknown ones."""
    if isinstance(hint, TypeVar):
        return bound.get(hint, Any)
    parameters = getattr(hint, "__parameters__", ())
    if not parameters or (isinstance(hint, type) and not get_args(hint)):
        return hint
    return hint[tuple(bound.get(parameter, Any) for parameter in parameters)]
