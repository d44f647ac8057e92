"""Values as the simulation looks at them: their runs, and the wall clock that stands in them."""

from __future__ import annotations

from typing import Any

import msgspec

from paxospp.execution.values import encode_commands

_HEAD_BYTES = 5


class _Wrapped(msgspec.Struct, array_like=True):
    log_time: int
    unix_time: int
    runs: list[msgspec.Raw]


_decode: Any = msgspec.msgpack.Decoder(_Wrapped).decode


def with_unix_time(value: bytes, unix_time: int) -> bytes:
    """The same value, stamped with another wall clock's time."""
    wrapped = _decode(memoryview(value)[_HEAD_BYTES:])
    return encode_commands(wrapped.log_time, unix_time, [bytes(run) for run in wrapped.runs])
