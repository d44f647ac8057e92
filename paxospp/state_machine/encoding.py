"""Encodes values as MessagePack, and handles the types that msgspec does not.

Sets are encoded in the order of their encoded members: two replicas may hold equal sets in
different orders, and a digest over results must be the same. deque, OrderedDict and Counter are
decoded to their own types. Dicts keep their order, which is part of the state.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Iterable
from copy import copy
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final, TypeVar, get_args, get_origin
from uuid import UUID

import msgspec

T = TypeVar("T")

NESTING_MAX: Final = 128
"""The number of levels that an argument annotated Any may nest.

The depth that can be decoded depends on how deep the stack is already. Without this limit, a value that
passes the check could be too deep where it is applied, and would stop every replica.
"""

PLAIN: Final = frozenset(
    {type(None), bool, int, float, str, bytes, datetime, date, time, timedelta, Decimal, UUID, msgspec.Raw}
)
"""Types whose values are encoded as they are: they hold no sets or OrderedDicts."""


def _encode_hook(value: Any) -> Any:
    if isinstance(value, deque):
        return list(value)
    raise TypeError(f"values of type {type(value).__qualname__} cannot be encoded")


def _encode_state_hook(value: Any) -> Any:
    if isinstance(value, deque) and value.maxlen is not None:
        return {"maxlen": value.maxlen, "items": list(value)}
    return _encode_hook(value)


encode_plain = msgspec.msgpack.Encoder(enc_hook=_encode_hook).encode
"""Encode a value that holds no set and no OrderedDict."""

encode_plain_state = msgspec.msgpack.Encoder(enc_hook=_encode_state_hook).encode
"""Encode like ``encode_plain``, and keep the maxlen of a deque."""


def encode_call(value: Any) -> bytes:
    """Encode an argument list or a result."""
    return encode_plain(canonical(value, encode_plain))


def encode_state(value: Any) -> bytes:
    """Encode a piece of state, so that decoding returns an equal one."""
    return encode_plain_state(canonical(value, encode_plain_state))


def _decode_hook(type: Any, value: Any) -> Any:
    origin = get_origin(type) or type
    arguments = get_args(type)
    if origin is deque:
        items, maxlen = (value["items"], value["maxlen"]) if isinstance(value, dict) else (value, None)
        inner = list[arguments[0]] if arguments else list  # type: ignore[valid-type]
        return deque(convert(items, inner), maxlen)
    if origin is OrderedDict:
        plain = dict[arguments[0], arguments[1]] if arguments else dict  # type: ignore[valid-type]
        return OrderedDict(convert(value, plain))
    if origin is Counter:
        key = arguments[0] if arguments else Any
        return Counter(convert(value, dict[key, int]))  # type: ignore[valid-type]
    raise TypeError(f"values of type {type} cannot be decoded")


def convert(value: Any, type: Any) -> Any:
    """Convert ``value``, decoded without types, to ``type``."""
    return msgspec.convert(value, type, dec_hook=_decode_hook)


def decoder(type: Any) -> Callable[[bytes], Any]:
    """Return a function that decodes the bytes of a ``type``. Raises TypeError if msgspec does not support it."""
    return msgspec.msgpack.Decoder(type, dec_hook=_decode_hook).decode


def array_header(count: int) -> bytes:
    """Return the MessagePack header of an array of ``count`` items."""
    if count < 16:
        return bytes([0x90 | count])
    if count < 1 << 16:
        return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")


def map_header(count: int) -> bytes:
    """Return the MessagePack header of a map of ``count`` keys."""
    if count < 16:
        return bytes([0x80 | count])
    if count < 1 << 16:
        return b"\xde" + count.to_bytes(2, "big")
    return b"\xdf" + count.to_bytes(4, "big")


def read_array_header(data: bytes) -> tuple[int, int] | None:
    """Return the number of items and the offset of the first one; None if ``data`` does not begin with an array."""
    if not data:
        return None
    first = data[0]
    if first & 0xF0 == 0x90:
        return first & 0x0F, 1
    if first == 0xDC and len(data) >= 3:
        return int.from_bytes(data[1:3], "big"), 3
    if first == 0xDD and len(data) >= 5:
        return int.from_bytes(data[1:5], "big"), 5
    return None


def is_plain(values: Iterable[Any]) -> bool:
    """Return whether all ``values`` are of ``PLAIN`` types; one pass in C."""
    return PLAIN.issuperset(map(type, values))


def canonical(value: Any, encode: Callable[[Any], bytes]) -> Any:
    """Return ``value`` in a form that encodes equally on every replica; the same object if it already does."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind is list or kind is tuple or kind is deque:
        return value if is_plain(value) else _canonical_items(value, encode)
    if isinstance(value, dict):
        return _canonical_dict(value, encode)
    if isinstance(value, (set, frozenset)):
        encoded = sorted_members(value, encode)
        return msgspec.Raw(array_header(len(encoded)) + b"".join(encoded))
    if isinstance(value, (list, tuple, deque)):
        return _canonical_items(value, encode)
    if isinstance(value, (Enum, type)):
        return value
    if isinstance(value, msgspec.Struct):
        return _canonical_fields(value, value.__struct_fields__, msgspec.structs.force_setattr, encode)
    if dataclasses.is_dataclass(value):
        return _canonical_fields(value, (field.name for field in dataclasses.fields(value)), object.__setattr__, encode)
    return value


def sorted_members(members: Collection[Any], encode: Callable[[Any], bytes]) -> list[bytes]:
    """Return the encoded members of a set, sorted."""
    if is_plain(members):
        return sorted(map(encode, members))
    return sorted([encode(canonical(member, encode)) for member in members])


def _canonical_items(value: Any, encode: Callable[[Any], bytes]) -> Any:
    items = [canonical(item, encode) for item in value]
    if all(new is old for new, old in zip(items, value, strict=True)):
        return value
    return deque(items, value.maxlen) if isinstance(value, deque) else items


def _canonical_dict(value: dict[Any, Any], encode: Callable[[Any], bytes]) -> Any:
    if isinstance(value, OrderedDict):
        # msgspec would encode an OrderedDict in the order of the underlying dict, which may differ.
        value = dict(value)
    if not is_plain(value):
        keys = {key: canonical(key, encode) for key in value}
        if any(new is not old for old, new in keys.items()):
            # A canonical key may not be hashable, so build the map from encoded keys and values.
            parts = [encode(part) for key in value for part in (keys[key], canonical(value[key], encode))]
            return msgspec.Raw(map_header(len(value)) + b"".join(parts))
    if is_plain(value.values()):
        return value
    items = {key: canonical(item, encode) for key, item in value.items()}
    return value if all(items[key] is item for key, item in value.items()) else items


def _canonical_fields(
    value: T, names: Iterable[str], assign: Callable[[Any, str, Any], None], encode: Callable[[Any], bytes]
) -> T:
    changed: T | None = None
    for name in names:
        old = getattr(value, name, None)
        new = canonical(old, encode)
        if new is not old:
            if changed is None:
                changed = copy(value)
            assign(changed, name, new)
    return value if changed is None else changed


def nests_too_deep(values: Iterable[Any]) -> bool:
    """Return whether ``values``, decoded without types, nest deeper than NESTING_MAX; works without recursion."""
    level = [values]
    for _ in range(NESTING_MAX + 1):
        below: list[Any] = []
        for container in level:
            if not is_plain(container):
                below += [item for item in container if type(item) not in PLAIN]
            if isinstance(container, dict) and not is_plain(container.values()):
                below += [item for item in container.values() if type(item) not in PLAIN]
        level = [item for item in below if isinstance(item, (list, tuple, dict))]
        if not level:
            return False
    return True
