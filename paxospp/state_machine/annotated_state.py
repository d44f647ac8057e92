"""Encodes the annotated attributes of a state machine as a snapshot, and decodes them.

A snapshot is a sequence of pieces. A piece is the length of a value, the length of an attribute's
name, the name, and the value in MessagePack. A large dict, list, set or deque is split into several
pieces, so that no single call of the decoder blocks the node's event loop for long. The last piece
has no name and holds the number of the others, so a truncated snapshot is noticed.
"""

from __future__ import annotations

import struct
import sys
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Annotated, Any, Final, NamedTuple, get_args, get_origin

import msgspec

from paxospp.errors import CorruptedError
from paxospp.state_machine.annotations import MachineError, Namespace, raw_annotations, resolve_class, short_name
from paxospp.state_machine.encoding import (
    array_header,
    decoder,
    encode_plain_state,
    encode_state,
    map_header,
    sorted_members,
)
from paxospp.state_machine.types import check_type

CHUNK_BYTES_MAX: Final = 1 << 20
"""The largest chunk of a snapshot."""

_PIECE_BYTES_GOAL: Final = 256 << 10
_PIECE_ITEMS_FIRST: Final = 64
_PIECE_ITEMS_MAX: Final = 8192

_FORMAT: Final = 1
_HEAD = struct.Struct(">QB")  # length of the value, length of the name
_END = struct.Struct(">BQ")  # format, number of pieces before

_MAPPINGS = (dict, OrderedDict, Counter)
_CONTAINERS = (*_MAPPINGS, list, set, deque)


class StateField(NamedTuple):
    """One attribute of the state; ``container`` is its type if the value may be split into several pieces."""

    name: str
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    container: type | None


def fields_of(cls: type) -> dict[str, StateField]:
    """Return the attributes that the class and its bases annotate, by name.

    Raises:
        MachineError: a type cannot be resolved or stored.
    """
    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        annotations = raw_annotations(base)
        if annotations and not base.__module__.startswith("paxospp.state_machine."):
            hints |= resolve_class(base, annotations, _namespace_of(base))
    where = short_name(cls)
    return {name: _field(f"{where}.{name}", name, hint) for name, hint in hints.items()}


def _namespace_of(base: type) -> Namespace:
    """Return the names for the annotations of ``base``, which need not be a state machine."""
    module = vars(sys.modules[base.__module__]) if base.__module__ in sys.modules else {}
    namespace = base.__dict__.get("_paxospp_namespace")
    if isinstance(namespace, Namespace):
        return Namespace(module or namespace.module, namespace.around)
    return Namespace(module, {})


def _field(where: str, name: str, hint: Any) -> StateField:
    traits = check_type(hint, where)
    plain = hint
    while get_origin(plain) is Annotated:
        plain = get_args(plain)[0]
    container = get_origin(plain) or plain
    encode = encode_state if traits.unordered else encode_plain_state
    return StateField(name, encode, decoder(hint), container if container in _CONTAINERS else None)


def encode_fields(machine: object, fields: Mapping[str, StateField]) -> list[bytes]:
    """Encode all attributes at once, as chunks; an attribute that is not set is left out."""
    chunks: list[bytes] = []
    waiting: list[bytes] = []
    size = count = 0
    for name, value in _pieces(machine, fields):
        head = _HEAD.pack(len(value), len(name)) + name
        waiting += (head, value)
        size += len(head) + len(value)
        count += 1
        if size >= _PIECE_BYTES_GOAL:
            chunks += _cut(b"".join(waiting))
            waiting, size = [], 0
    waiting += (_HEAD.pack(_END.size, 0), _END.pack(_FORMAT, count))
    return chunks + _cut(b"".join(waiting))


def _cut(data: bytes) -> list[bytes]:
    """Split ``data`` into chunks of at most ``CHUNK_BYTES_MAX``."""
    if len(data) <= CHUNK_BYTES_MAX:
        return [data]
    return [data[at : at + CHUNK_BYTES_MAX] for at in range(0, len(data), CHUNK_BYTES_MAX)]


def _pieces(machine: object, fields: Mapping[str, StateField]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and the encoded value of each piece."""
    for name, field in fields.items():
        try:
            value = getattr(machine, name)
        except AttributeError:
            continue
        try:
            for piece in _encode_value(value, field):
                yield name.encode(), piece
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise TypeError(f"{short_name(type(machine))}.{name} cannot be encoded: {error}") from error


def _encode_value(value: Any, field: StateField) -> Iterator[bytes]:
    """Yield the value in one piece, or a large container in several.

    The number of items per piece grows or shrinks so that a piece has about ``_PIECE_BYTES_GOAL`` bytes.
    """
    container: Any = field.container
    if type(value) is not container or len(value) <= _PIECE_ITEMS_FIRST:
        yield field.encode(value)
        return
    is_mapping = container in _MAPPINGS
    members = iter(sorted_members(value, encode_plain_state) if container is set else value)
    values = iter(value.values() if is_mapping else ())
    limit = _PIECE_ITEMS_FIRST
    first = True
    while taken := list(islice(members, limit)):
        if container is set:
            piece = array_header(len(taken)) + b"".join(taken)
        elif is_mapping:
            piece = _encode_mapping(taken, list(islice(values, limit)), field.encode)
        elif container is deque and first:
            piece = field.encode(deque(taken, value.maxlen))  # with its maxlen, if it has one
        else:
            piece = field.encode(taken)
        yield piece
        first = False
        if len(piece) > 2 * _PIECE_BYTES_GOAL:
            limit = max(1, limit * _PIECE_BYTES_GOAL // len(piece))
        elif len(piece) < _PIECE_BYTES_GOAL:
            limit = min(2 * limit, _PIECE_ITEMS_MAX)


def _encode_mapping(keys: list[Any], values: list[Any], encode: Callable[[Any], bytes]) -> bytes:
    """Encode a map through a list of alternating keys and values, which is faster than building a dict.

    MessagePack writes both in the same way after the header.
    """
    both: list[Any] = [None] * (2 * len(keys))
    both[::2] = keys
    both[1::2] = values
    return map_header(len(keys)) + encode(both)[len(array_header(len(both))) :]


def decode_fields(cls: type, chunks: Iterable[bytes], fields: Mapping[str, StateField]) -> dict[str, Any]:
    """Decode the attributes in ``chunks``, which may be split anywhere; return their values by name.

    An attribute that did not exist yet when the snapshot was taken is missing from the result.

    Raises:
        CorruptedError: the snapshot is truncated or damaged.
        MachineError: the snapshot holds an attribute or a value that this class does not allow.
    """
    values: dict[str, Any] = {}
    count = 0
    ended = False
    for name, data in _split(chunks):
        if ended:
            raise CorruptedError("snapshot: it goes on after its end")
        if name:
            _take(cls, name, data, fields, values)
            count += 1
            continue
        ended = True
        if len(data) != _END.size or data[0] != _FORMAT:
            raise CorruptedError("snapshot: this version of paxospp does not know its format")
        if _END.unpack(data)[1] != count:
            raise CorruptedError("snapshot: a part of it is missing")
    if not ended:
        raise CorruptedError("snapshot: it is truncated")
    return values


def _take(cls: type, name: str, data: bytes, fields: Mapping[str, StateField], values: dict[str, Any]) -> None:
    """Decode one piece into ``values``, or add it to the container that is there already."""
    field = fields.get(name)
    if field is None:
        # Dropping it silently would lose state if an older version were started by mistake.
        raise MachineError(
            f"the snapshot holds `{name}`, which {short_name(cls)} does not annotate: "
            f"start the version that does, or keep `{name}: <type>` in the class body"
        )
    try:
        value = field.decode(data)
    except (msgspec.DecodeError, TypeError, ValueError, RecursionError) as error:
        raise MachineError(f"{short_name(cls)}.{name}: the snapshot does not match its annotation: {error}") from error
    if name not in values:
        values[name] = value
    elif field.container is Counter:
        dict.update(values[name], value)  # Counter.update would add
    elif field.container in (dict, OrderedDict, set):
        values[name].update(value)
    elif field.container in (list, deque):
        values[name].extend(value)
    else:
        raise CorruptedError(f"snapshot: it holds `{name}` twice")


def _split(chunks: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the encoded value of each piece in ``chunks``."""
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        at = 0
        while len(buffer) - at >= _HEAD.size:
            length, name_length = _HEAD.unpack_from(buffer, at)
            value_at = at + _HEAD.size + name_length
            if len(buffer) < value_at + length:
                break
            try:
                name = buffer[at + _HEAD.size : value_at].decode()
            except UnicodeDecodeError as error:
                raise CorruptedError(f"snapshot: {error}") from error
            yield name, bytes(buffer[value_at : value_at + length])
            at = value_at + length
        del buffer[:at]
    if buffer:
        raise CorruptedError("snapshot: it is truncated")
