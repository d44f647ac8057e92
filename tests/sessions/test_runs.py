"""The encoding of values: large and small values have the same form, although they are built differently."""

from __future__ import annotations

import zlib

import msgspec
import pytest

from paxospp.errors import CorruptedError
from paxospp.sessions.runs import Commands, Run, decode_commands, encode_commands, encode_run


@pytest.mark.parametrize("count", [1, 15, 16, 70])
@pytest.mark.parametrize("size", [0, 900, 65_000, 70_000])
def test_large_and_small_values_have_the_same_form(count: int, size: int) -> None:
    runs = [Run(1 << 50, bytes(16), number + 1, number, [bytes([number]) * size]) for number in range(count)]

    value = encode_commands(1 << 50, 7, [encode_run(run) for run in runs])

    assert value[5:] == msgspec.msgpack.encode(Commands(1 << 50, 7, runs))
    assert value[:5] == b"\x01" + zlib.crc32(value[5:]).to_bytes(4, "big")
    assert decode_commands(value) == Commands(1 << 50, 7, runs)
    with pytest.raises(CorruptedError):
        decode_commands(value[:-1] + bytes([value[-1] ^ 1]))
