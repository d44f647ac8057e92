"""The two rules of protobuf's encoding that we use by hand, where it saves copies of large values.

Serialized fields may be put end to end, and a length is written seven bits a byte, the lowest
first. Nothing is *decoded* by hand anywhere.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

_ONE_BYTE = tuple(bytes([number]) for number in range(0x80))
_TWO_BYTES = struct.Struct("BB")


def varint(number: int) -> bytes:
    """``number`` as protobuf writes lengths."""
    if number < 0x80:
        return _ONE_BYTE[number]
    if number < 0x4000:
        return _TWO_BYTES.pack(number & 0x7F | 0x80, number >> 7)
    groups = bytearray()
    while number >= 0x80:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def repeated(tag: bytes, bodies: Iterable[bytes]) -> bytes:
    """A repeated length-delimited field: each body after ``tag`` and its length, with one copy in all."""
    pieces: list[bytes] = []
    for body in bodies:
        pieces += (tag, varint(len(body)), body)
    return b"".join(pieces)
