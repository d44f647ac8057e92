"""The state of a replica as one hashable value, and a copy of a replica that shares nothing mutable with it.

A model checker needs both: the picture tells whether a state was met before, and the copy lets it try several
messages in one state. Both walk the objects that make up a replica, field by field, so a new field is part of the
picture and of the copy without being named here. ``IRRELEVANT`` names the fields that a picture leaves out, each
with its reason; copies include them.

Two replicas with equal pictures behave the same from then on. The order of dictionaries and sets does not count.
Frozen values (messages, entries, settings) are shared by copies and are part of pictures unchanged.

Reference: Holzmann, "The SPIN Model Checker" (2003): state vectors and their comparison.
"""

from __future__ import annotations

import dataclasses
import enum
from collections import Counter, deque
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from copy import copy
from operator import itemgetter
from random import Random
from typing import Any

from paxospp.engine.replica import Replica
from paxospp.engine.rules.observer import Observer
from paxospp.markers import Markers

IRRELEVANT: Mapping[tuple[str, str], str] = {
    ("Admission", "dropped"): "counts what status shows; nothing is decided on it",
    ("Admission", "_said"): "says which events were emitted already; nothing else is decided on it",
    ("ClusterView", "founding_refused"): "a sentence for status",
    ("ClusterView", "others"): "follows from the identity and the membership",
    ("Promises", "_clean_from"): "follows from the reports and the voters, and is computed again when it is missing",
    ("Replica", "_boot_time"): "a function of the driver's clock, the same in every state of one boot",
    ("Replica", "_leader_told"): "says which event was emitted last; nothing else is decided on it",
    ("Replica", "_wakes_at"): "repeats to the driver what the last output said",
}
"""The fields that a picture leaves out, by class and field, and why."""

Changes = Callable[[Any], Mapping[str, object]]
"""Returns the fields of an object that a walk replaces, with the values to use instead."""

_ATOMS: frozenset[type] = frozenset({int, float, str, bytes, bool, type(None), range})
_CONTAINERS = (dict, list, tuple, set, frozenset, deque)


def picture(replica: Replica) -> Hashable:
    """Return all of the replica's state that decides what it does from now on, as one hashable value."""
    return _EXACT.picture(replica)


def duplicate(replica: Replica, observer: Observer | None = None) -> Replica:
    """Return a replica in the same state, which shares nothing mutable with the original.

    Both report to the same observer, unless the copy is given its own ``observer``.
    """
    return _EXACT.duplicate(replica, observer)


class _Shape:
    """The fields of one class, and which of them have ever held something mutable.

    Walks are fast because they read all other fields together. Each walk checks that none of those holds something
    mutable now; a field that does is walked separately from then on.
    """

    def __init__(self, kind: type, left_out: Collection[str], changes: Changes | None) -> None:
        self._slots = None if kind.__dictoffset__ else _slots_of(kind)
        self._left_out = left_out
        self._changes = changes
        self._count = -1
        self._compound: set[str] = set()
        self._names: list[str] = []
        self.places: list[tuple[int, str]] = []
        """The fields that may hold something mutable, with their indices among all fields."""
        self.read: Callable[[Mapping[str, Any]], Sequence[Any]] = _read([])
        """Reads all fields, in order."""
        self._read_plain = _read([])

    def fields(self, value: Any, plain: set[type]) -> Mapping[str, Any]:
        """Return the fields of ``value``; those that are not in ``places`` are of ``plain`` types."""
        slots = self._slots
        fields = value.__dict__ if slots is None else {slot: getattr(value, slot) for slot in slots}
        if self._changes is not None:
            fields = {**fields, **self._changes(value)}
        if len(fields) != self._count or not plain.issuperset(map(type, self._read_plain(fields))):
            self._learn(fields, plain)
        return fields

    def _learn(self, fields: Mapping[str, Any], plain: set[type]) -> None:
        self._count = len(fields)
        self._names = [name for name in fields if name not in self._left_out]
        self._compound |= {name for name in self._names if type(fields[name]) not in plain}
        self.places = [(place, name) for place, name in enumerate(self._names) if name in self._compound]
        self.read = _read(self._names)
        self._read_plain = _read([name for name in self._names if name not in self._compound])


def _read(names: Sequence[str]) -> Callable[[Mapping[str, Any]], Sequence[Any]]:
    if len(names) > 1:
        return itemgetter(*names)
    return lambda fields: [fields[name] for name in names]


class Walk:
    """Walks replicas to make pictures and copies. How to walk a class is worked out once and kept.

    ``changes`` says, by the name of a class, which fields pictures and copies replace.
    """

    def __init__(self, changes: Mapping[str, Changes] | None = None) -> None:
        self._changes = changes or {}
        self._pictures: dict[type, Callable[[Any, dict[int, int]], Hashable]] = {}
        self._copies: dict[type, Callable[[Any, dict[Any, Any]], Any]] = {}
        self._pictured_as_they_are: set[type] = set(_ATOMS)
        self._shared: set[type] = set(_ATOMS)

    def picture(self, replica: Replica) -> Hashable:
        """See the function of that name."""
        return self._picture(replica, {})

    def duplicate(
        self,
        replica: Replica,
        observer: Observer | None = None,
        also: Mapping[str, Mapping[str, object]] | None = None,
    ) -> Replica:
        """See the function of that name. ``also`` sets further fields of the copy, by class and field."""
        memo: dict[Any, Any] = {"also": also or {}}
        if observer is not None:
            memo["observer"] = observer
        duplicated: Replica = self._copy(replica, memo)
        return duplicated

    # Pictures. ``seen`` numbers the objects met so far, because some can be reached by several paths.

    def _picture(self, value: Any, seen: dict[int, int]) -> Hashable:
        kind = type(value)
        if kind in self._pictured_as_they_are:
            return value  # type: ignore[no-any-return]
        return (self._pictures.get(kind) or self._learn_picture(kind))(value, seen)

    def _learn_picture(self, kind: type) -> Callable[[Any, dict[int, int]], Hashable]:
        handler = self._pictures[kind] = self._how_to_picture(kind)
        return handler

    def _how_to_picture(self, kind: type) -> Callable[[Any, dict[int, int]], Hashable]:
        picture = self._picture
        if issubclass(kind, dict):
            return self._picture_dict
        if issubclass(kind, (list, deque)) or kind is tuple:
            return lambda value, seen: tuple([picture(item, seen) for item in value])
        if issubclass(kind, (set, frozenset)):
            return lambda value, _: frozenset(value)
        if issubclass(kind, Random):
            return lambda value, _: hash(value.getstate())
        if issubclass(kind, Markers):
            return lambda value, _: None
        if _is_frozen(kind) and not _has_mappings(kind):
            self._pictured_as_they_are.add(kind)
            return lambda value, _: value
        return self._picture_fields(kind)

    def _picture_dict(self, value: dict[Any, Any], seen: dict[int, int]) -> Hashable:
        if self._pictured_as_they_are.issuperset(map(type, value.values())):
            return frozenset(value.items())
        return frozenset([(key, self._picture(item, seen)) for key, item in value.items()])

    def _picture_fields(self, kind: type) -> Callable[[Any, dict[int, int]], Hashable]:
        name, plain, picture, known = kind.__name__, self._pictured_as_they_are, self._picture, self._pictures
        left_out = {field for owner, field in IRRELEVANT if owner == name}
        shape = _Shape(kind, left_out, self._changes.get(name))

        def handler(value: Any, seen: dict[int, int]) -> Hashable:
            number = seen.get(id(value))
            if number is not None:
                return ("as before", number)
            seen[id(value)] = len(seen)
            fields = shape.fields(value, plain)
            held = [*shape.read(fields), name]
            for place, _ in shape.places:
                item = held[place]
                item_kind = type(item)
                if item_kind not in plain:
                    held[place] = (known.get(item_kind) or picture)(item, seen)
            return tuple(held)

        return handler

    # Copies. ``memo`` holds the copies made so far, by the identity of the original.

    def _copy(self, value: Any, memo: dict[Any, Any]) -> Any:
        kind = type(value)
        if kind in self._shared:
            return value
        return (self._copies.get(kind) or self._learn_copy(kind))(value, memo)

    def _learn_copy(self, kind: type) -> Callable[[Any, dict[Any, Any]], Any]:
        handler = self._copies[kind] = self._how_to_copy(kind)
        return handler

    def _how_to_copy(self, kind: type) -> Callable[[Any, dict[Any, Any]], Any]:
        copied, shared = self._copy, self._shared
        if kind is Counter:
            return lambda value, _: Counter(value)
        if issubclass(kind, dict):
            return lambda value, memo: (
                dict(value)
                if shared.issuperset(map(type, value.values()))
                else {key: copied(item, memo) for key, item in value.items()}
            )
        if kind in (list, tuple, deque):
            return lambda value, memo: kind([copied(item, memo) for item in value])
        if issubclass(kind, set):
            return lambda value, _: set(value)
        if issubclass(kind, Random):
            return _copy_random
        if issubclass(kind, Observer):
            return lambda value, memo: memo.get("observer", value)
        if _is_frozen(kind):
            shared.add(kind)
            return lambda value, _: value
        return self._copy_fields(kind)

    def _copy_fields(self, kind: type) -> Callable[[Any, dict[Any, Any]], Any]:
        name, shared, copy_of, known = kind.__name__, self._shared, self._copy, self._copies
        shape = _Shape(kind, (), self._changes.get(name))
        has_slots = not kind.__dictoffset__
        new: Callable[[type], Any] = object.__new__

        def handler(value: Any, memo: dict[Any, Any]) -> Any:
            copied = memo.get(id(value))
            if copied is not None:
                return copied
            copied = memo[id(value)] = new(kind)
            fields = shape.fields(value, shared)
            held: dict[str, Any] = {} if has_slots else copied.__dict__
            held.update(fields)
            for _, field in shape.places:
                item = held[field]
                item_kind = type(item)
                if item_kind not in shared:
                    held[field] = (known.get(item_kind) or copy_of)(item, memo)
            if name in memo["also"]:
                held.update(memo["also"][name])
            if has_slots:
                for field, item in held.items():
                    setattr(copied, field, item)
            return copied

        return handler


def _copy_random(value: Random, memo: dict[Any, Any]) -> Random:
    copied: Random | None = memo.get(id(value))
    if copied is None:
        copied = memo[id(value)] = copy(value)
    return copied


_EXACT = Walk()


def parts(replica: Replica) -> Iterator[object]:
    """Yield every mutable object and container in the state of a replica, each once."""
    seen: set[int] = set()
    waiting: list[object] = [replica]
    while waiting:
        value: Any = waiting.pop()
        is_container = isinstance(value, _CONTAINERS)
        if id(value) in seen or (_is_frozen(type(value)) and not is_container):
            continue
        seen.add(id(value))
        if not isinstance(value, (tuple, frozenset)):
            yield value
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif is_container:
            waiting.extend(value)
        else:
            waiting.extend(getattr(value, name) for name in fields_of(value))


def fields_of(value: object) -> list[str]:
    """Return the names of the fields of ``value``, slots included."""
    return [] if isinstance(value, Random) else [*getattr(value, "__dict__", ()), *_slots_of(type(value))]


def _slots_of(kind: type) -> tuple[str, ...]:
    """Return the slots of ``kind`` and its bases; engine modules assign each of them when an object is made."""
    found: list[str] = []
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        found.extend((slots,) if isinstance(slots, str) else slots)
    return tuple(found)


def _is_frozen(kind: type) -> bool:
    """Whether copies may share values of ``kind``: they never change, or they only observe."""
    if issubclass(kind, Random):
        return False
    if kind in _ATOMS or issubclass(kind, (enum.Enum, Markers, tuple)):
        return True
    if dataclasses.is_dataclass(kind):
        return bool(kind.__dataclass_params__.frozen)  # type: ignore[attr-defined]
    if (config := getattr(kind, "__struct_config__", None)) is not None:
        return bool(config.frozen)
    return not kind.__module__.startswith("paxospp")  # a function


def _has_mappings(kind: type) -> bool:
    """Whether values of a frozen dataclass cannot be hashed."""
    return dataclasses.is_dataclass(kind) and any("Mapping" in str(field.type) for field in dataclasses.fields(kind))
