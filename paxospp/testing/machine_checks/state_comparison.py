"""Compare two states, find objects that are shared, and change the order of sets.

States are compared attribute by attribute, with types and with the order of dicts, which is part of the state; the
order of a set is not. Comparing encoded bytes would hide a lost type, and report an attribute that was never set.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from enum import Enum
from random import Random
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import msgspec

_MISSING: Any = type("Missing", (), {"__repr__": lambda self: "not set"})()
_SHOWN_MAX = 120


class Difference(NamedTuple):
    """One place where two states differ, with the value that each has there."""

    path: str
    one: str
    other: str

    def __str__(self) -> str:
        return f"{self.path}: {self.one} on one, {self.other} on the other"


def states_differ(one: Mapping[str, Any], other: Mapping[str, Any]) -> Difference | None:
    """Return the first difference between the attributes of two machines; None if they are equal."""
    comparison = _Comparison()
    for name in dict.fromkeys((*one, *other)):
        found = comparison.difference(one.get(name, _MISSING), other.get(name, _MISSING), f"self.{name}")
        if found is not None:
            return found
    return None


class _Comparison:
    """Compares two states; remembers which pairs of objects it has visited, because references may form cycles."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, int]] = set()

    def difference(self, one: Any, other: Any, path: str) -> Difference | None:
        """Return the first difference between two values; None if they are equal."""
        if type(one) is not type(other):
            if one is _MISSING or other is _MISSING:
                return Difference(path, _show(one), _show(other))
            return Difference(path, f"{_show(one)} of type {_type(one)}", f"{_show(other)} of type {_type(other)}")
        if not may_change(one):
            return None if _is_equal(one, other) else Difference(path, _show(one), _show(other))
        pair = id(one), id(other)
        if one is other or pair in self._seen:
            return None
        self._seen.add(pair)
        if isinstance(one, dict):
            return self._dicts(one, other, path)
        if isinstance(one, (set, frozenset)):
            return self._sets(one, other, path)
        if isinstance(one, (list, tuple, deque)):
            return self._sequences(one, other, path)
        names = _names_of(one)
        if names is not None:
            return self._records(one, other, (*names, *(_names_of(other) or ())), path)
        return None if _is_equal(one, other) else Difference(path, _show(one), _show(other))

    def _records(self, one: Any, other: Any, names: Iterable[str], path: str) -> Difference | None:
        for name in dict.fromkeys(names):
            mine, theirs = getattr(one, name, _MISSING), getattr(other, name, _MISSING)
            found = self.difference(mine, theirs, f"{path}.{name}")
            if found is not None:
                return found
        return None

    def _dicts(self, one: dict[Any, Any], other: dict[Any, Any], path: str) -> Difference | None:
        keys, others = list(one), list(other)
        if keys != others:
            for key in keys:
                if key not in other:
                    return Difference(f"{path}[{key!r}]", _show(one[key]), _show(_MISSING))
            for key in others:
                if key not in one:
                    return Difference(f"{path}[{key!r}]", _show(_MISSING), _show(other[key]))
            return Difference(f"{path}, the order of its keys", _show(keys), _show(others))
        for key, theirs in zip(keys, others, strict=True):
            found = self.difference(key, theirs, f"{path}, the key {key!r}")
            found = found or self.difference(one[key], other[key], f"{path}[{key!r}]")
            if found is not None:
                return found
        return None

    def _sets(self, one: Any, other: Any, path: str) -> Difference | None:
        if one != other:
            return Difference(path, f"{_show(list(one - other))} more", f"{_show(list(other - one))} more")
        theirs = {member: member for member in other}
        for member in one:
            found = self.difference(member, theirs[member], f"{path}, the member {member!r}")
            if found is not None:
                return found
        return None

    def _sequences(self, one: Any, other: Any, path: str) -> Difference | None:
        if isinstance(one, deque) and one.maxlen != other.maxlen:
            return Difference(f"{path}.maxlen", str(one.maxlen), str(other.maxlen))
        for index, (mine, theirs) in enumerate(zip(one, other, strict=False)):
            found = self.difference(mine, theirs, f"{path}[{index}]")
            if found is not None:
                return found
        if len(one) != len(other):
            return Difference(path, f"{len(one)} items", f"{len(other)} items")
        return None


def _names_of(value: Any) -> Iterable[str] | None:
    """Return the attribute names of a record; None for a value that is compared as a whole."""
    if isinstance(value, (type, FunctionType, ModuleType, Enum)):
        return None
    if isinstance(value, msgspec.Struct):
        return (*value.__struct_fields__, *getattr(value, "__dict__", ()))
    if dataclasses.is_dataclass(value):
        return (*(field.name for field in dataclasses.fields(value)), *getattr(value, "__dict__", ()))
    if _has_no_equality(type(value)):  # == would compare identities, so compare attributes
        return tuple(getattr(value, "__dict__", ()))
    return None


def _has_no_equality(kind: type) -> bool:
    own: Any = kind.__eq__
    return own is object.__eq__


def _is_equal(one: Any, other: Any) -> bool:
    if isinstance(one, Enum):
        return one is other
    if isinstance(one, (float, Decimal)):
        return repr(one) == repr(other)  # nan is nan, -0.0 is not 0.0, and Decimal("1.0") not Decimal("1.00")
    if isinstance(one, datetime):
        return bool(one == other) and one.utcoffset() == other.utcoffset()
    return bool(one == other)


def _show(value: Any) -> str:
    try:
        text = repr(value)
    except Exception as error:
        text = f"<a {type(value).__qualname__} whose repr raises {type(error).__name__}>"
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…"


def _type(value: Any) -> str:
    return type(value).__qualname__.rpartition("<locals>.")[2]


# ----------------------------------------------------------------------------- what is shared


class Shared(NamedTuple):
    """One object that can be reached by two paths."""

    one: str
    other: str
    type: str


def shared_within(state: Mapping[str, Any]) -> Shared | None:
    """Return a mutable object that belongs to two attributes: after a snapshot it would be two objects."""
    seen: dict[int, str] = {}
    for name, value in state.items():
        own: dict[int, str] = {}
        for path, part in _changeable(value, f"self.{name}", own):
            if id(part) in seen:
                return Shared(seen[id(part)], path, _type(part))
        seen |= own
    return None


def shared_between(one: Mapping[str, Any], other: Mapping[str, Any]) -> Shared | None:
    """Return a mutable object that belongs to two machines; None if they share none."""
    seen: dict[int, str] = {}
    for name, value in one.items():
        for _ in _changeable(value, f"self.{name}", seen):
            pass
    for name, value in other.items():
        for path, part in _changeable(value, f"self.{name}", {}):
            if id(part) in seen:
                return Shared(seen[id(part)], path, _type(part))
    return None


def _changeable(value: Any, path: str, seen: dict[int, str]) -> Iterator[tuple[str, Any]]:
    """Yield every mutable object within ``value`` once, with its path; add them to ``seen``."""
    waiting = [(path, value)]
    while waiting:
        path, value = waiting.pop()
        if id(value) in seen or not may_change(value):
            continue
        parts, changes = _parts(value, path)
        if changes:
            seen[id(value)] = path
            yield path, value
        waiting += parts


def _parts(value: Any, path: str) -> tuple[list[tuple[str, Any]], bool]:
    """Return the parts of ``value`` that may be or contain mutable objects, and whether ``value`` itself is mutable."""
    if isinstance(value, dict):
        return [(f"{path}[{key!r}]", item) for key, item in value.items() if may_change(item)], True
    if isinstance(value, (list, tuple, deque)):
        parts = [(f"{path}[{index}]", item) for index, item in enumerate(value) if may_change(item)]
        return parts, not isinstance(value, tuple)
    if isinstance(value, (set, frozenset)):
        return [], isinstance(value, set)
    names = _names_of(value)
    if not names:
        return [], False
    fields = [(f"{path}.{name}", getattr(value, name, None)) for name in names]
    return [(inner, part) for inner, part in fields if may_change(part)], not _is_frozen(value)


def _is_frozen(record: Any) -> bool:
    if isinstance(record, msgspec.Struct):
        return bool(record.__struct_config__.frozen)
    parameters = getattr(type(record), "__dataclass_params__", None)
    return parameters is not None and bool(parameters.frozen)


def may_change(value: Any) -> bool:
    """Whether ``value`` is mutable, or may contain something mutable."""
    return not isinstance(value, (str, int, float, bytes, type(None), Enum))


# ----------------------------------------------------------------------------- the order of sets


def disturb_sets(state: Mapping[str, Any], random: Random) -> int:
    """Make the sets within ``state`` iterate in another order, where possible; return how many do.

    A restart or a snapshot may do the same to a set that stays equal.
    """
    return sum(
        _disturb(part, random)
        for name, value in state.items()
        for _, part in _changeable(value, name, {})
        if isinstance(part, set) and len(part) > 1
    )


def set_in_another_order(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """Return the path of a set that is equal in both states but iterates in another order; None: no set does."""
    there = {
        path: part
        for name, value in other.items()
        for path, part in _changeable(value, f"self.{name}", {})
        if isinstance(part, set)
    }
    for name, value in one.items():
        for path, part in _changeable(value, f"self.{name}", {}):
            if isinstance(part, set) and part == there.get(path) and list(part) != list(there[path]):
                return path
    return None


def _disturb(members: set[Any], random: Random) -> bool:
    before = list(members)
    shuffled = before.copy()
    # The order of a set depends on the size of its hash table and on the order of insertion.
    for size in (0, 64, 512, 4096):
        random.shuffle(shuffled)
        padding = [object() for _ in range(size)]
        members.clear()
        members.update(padding)
        for each in padding:
            members.discard(each)  # discarding one by one keeps the table's size
        for member in shuffled:
            members.add(member)
        if list(members) != before:
            return True
    return False
