"""The digest: a running hash over everything that a replica has applied, and the results.

Two replicas with equal digests at a slot have applied the same entries with the same results. The digest covers slot,
kind and value of every entry; for every run, what the session table decided; and for every command, its encoded result
or the type of its exception. The text of an exception is left out, because it may contain an address or a path that
differs between machines.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import sha256

import msgspec

DIGEST_BYTES = 16
EMPTY_DIGEST = bytes(DIGEST_BYTES)
"""The digest before slot 1."""

_COPIED_BYTES_MAX = 64 << 10
_HEAD = struct.Struct(">16sQBQ")  # the digest before, slot, kind, length of the value
_encode = msgspec.msgpack.Encoder().encode

RunTrace = tuple[int, int, Sequence[bytes]]
"""A run's status, the next number of its session, and the outcomes of what it executed, without exceptions' texts."""


def extend_digest(digest: bytes, slot: int, kind: int, value: bytes, traces: Sequence[RunTrace] = ()) -> bytes:
    """Return the digest after an entry, given the ``digest`` before it; 16 bytes."""
    head = _HEAD.pack(digest, slot, kind, len(value))
    tail = _encode(traces)
    if len(value) > _COPIED_BYTES_MAX:
        hashed = sha256(head)
        hashed.update(value)
        hashed.update(tail)
    else:
        # Hash one piece of memory in one call: hashlib releases the GIL in every call on more than 2 KiB.
        hashed = sha256(b"".join((head, value, tail)))
    return hashed.digest()[:DIGEST_BYTES]
