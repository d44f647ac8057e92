"""Encodes protobuf fields by hand where that saves copying large values.

It relies on two rules of the protobuf encoding: serialized fields may be concatenated, and a length is written seven
bits per byte, the lowest first. Nothing is *decoded* by hand.

Reference: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

_ONE_BYTE = tuple(bytes([number]) for number in range(0x80))
_TWO_BYTES = struct.Struct("BB")


def varint(number: int) -> bytes:
    """Return ``number`` (0 or more) as a protobuf varint, the encoding of lengths."""
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
    """Return a repeated length-delimited field: ``tag``, length and body for each of ``bodies``; copies each once."""
    pieces: list[bytes] = []
    for body in bodies:
        pieces += (tag, varint(len(body)), body)
    return b"".join(pieces)
