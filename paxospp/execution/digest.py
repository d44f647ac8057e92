"""The digest: one running hash over everything a replica has applied and what came of it.

Two replicas whose digests are equal at a slot have applied the same entries with the same
results. It covers, per entry, slot, kind and value, and, per run, what the session table made of
it and each command's encoded result or the type of its exception; not the exception's text,
which may hold an address or a path of one machine.
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
"""A run's status, the number its session expects next, and the results of the commands it executed."""


def extend_digest(digest: bytes, slot: int, kind: int, value: bytes, traces: Sequence[RunTrace] = ()) -> bytes:
    """The digest after an entry that was applied on top of ``digest``."""
    head = _HEAD.pack(digest, slot, kind, len(value))
    tail = _encode(traces)
    if len(value) > _COPIED_BYTES_MAX:
        hashed = sha256(head)
        hashed.update(value)
        hashed.update(tail)
    else:
        # One call over one piece of memory: hashlib gives the GIL away in each call on more than 2 KiB.
        hashed = sha256(b"".join((head, value, tail)))
    return hashed.digest()[:DIGEST_BYTES]
