"""Values to bytes and back: MessagePack, with what msgspec leaves to us.

Sets travel sorted by their encoded form: two replicas hold equal sets in different order, and
a digest over results must not see that. deque, OrderedDict and Counter come back as what they
were. Dicts keep their order, which is state.
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
"""How deep an argument annotated Any may nest.

A value that can just be decoded where it is checked could be too deep where it is applied, a few
frames further down the stack, and would stop every replica.
"""

PLAIN: Final = frozenset(
    {type(None), bool, int, float, str, bytes, datetime, date, time, timedelta, Decimal, UUID, msgspec.Raw}
)
"""Types whose values are encoded as they are, whatever they hold."""


def _encode_hook(value: Any) -> Any:
    if isinstance(value, deque):
        return list(value)
    raise TypeError(f"values of type {type(value).__qualname__} cannot be encoded")


def _encode_state_hook(value: Any) -> Any:
    if isinstance(value, deque) and value.maxlen is not None:
        return {"maxlen": value.maxlen, "items": list(value)}
    return _encode_hook(value)


encode_plain = msgspec.msgpack.Encoder(enc_hook=_encode_hook).encode
"""Encodes what holds no set and no OrderedDict."""

encode_plain_state = msgspec.msgpack.Encoder(enc_hook=_encode_state_hook).encode
"""As ``encode_plain``; a deque keeps its maxlen."""


def encode_call(value: Any) -> bytes:
    """The bytes of an argument list or a result."""
    return encode_plain(canonical(value, encode_plain))


def encode_state(value: Any) -> bytes:
    """The bytes of a piece of state, from which it comes back whole."""
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
    """``value`` as MessagePack alone gave it, as ``type``."""
    return msgspec.convert(value, type, dec_hook=_decode_hook)


def decoder(type: Any) -> Callable[[bytes], Any]:
    """A function that decodes the bytes of one ``type``; TypeError when msgspec cannot."""
    return msgspec.msgpack.Decoder(type, dec_hook=_decode_hook).decode


def array_header(count: int) -> bytes:
    """The MessagePack bytes before ``count`` items."""
    if count < 16:
        return bytes([0x90 | count])
    if count < 1 << 16:
        return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")


def map_header(count: int) -> bytes:
    if count < 16:
        return bytes([0x80 | count])
    if count < 1 << 16:
        return b"\xde" + count.to_bytes(2, "big")
    return b"\xdf" + count.to_bytes(4, "big")


def read_array_header(data: bytes) -> tuple[int, int] | None:
    """How many items follow and where the first begins; None when ``data`` begins with no array."""
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
    """Whether none of them needs a closer look; one pass in C."""
    return PLAIN.issuperset(map(type, values))


def canonical(value: Any, encode: Callable[[Any], bytes]) -> Any:
    """``value`` in a form that encodes alike on every replica: the same object when it already does."""
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
    """The encoded members of a set, in the order in which they travel."""
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
        # The order of an OrderedDict is its own: msgspec would write that of the dict beneath it.
        value = dict(value)
    if not is_plain(value):
        keys = {key: canonical(key, encode) for key in value}
        if any(new is not old for old, new in keys.items()):
            # A canonical key may not be hashable: the map is put together from encoded parts.
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
    """Whether what MessagePack alone gave back nests deeper than NESTING_MAX; level by level, without recursion."""
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
