"""The encoding of runs, and of the values that carry them through the log.

A *run* is a sequence of consecutive calls of one session. A client encodes it once; the leader wraps the queued runs
into one *value* without decoding them; the same bytes go to the disks and the peers, and are decoded when they are
applied. A value carries a CRC-32, which is checked before the value is applied.

The bytes are MessagePack arrays after a format byte and the checksum. A field may be added at the end of an array
without a new format.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from paxospp.errors import CorruptedError
from paxospp.state_machine.encoding import array_header

VOID = b""
"""The payload of a number whose call was refused before it was proposed; it has no effect."""

_FORMAT = 1
_COPIED_BYTES_MAX = 64 << 10
_HEAD = struct.Struct(">BI")


class SessionId(NamedTuple):
    """The id of a session: the log's time when it was requested, in microseconds, and 16 random bytes."""

    opened: int
    random: bytes


class Run(msgspec.Struct, frozen=True, array_like=True):
    """Calls ``first``, ``first + 1``, … of one session, as payloads.

    ``acknowledged`` is the number up to which the caller has all answers and will not ask for them again.
    """

    opened: int
    random: bytes
    first: int
    acknowledged: int
    payloads: list[bytes]

    @property
    def session(self) -> SessionId:
        return SessionId(self.opened, self.random)


class Commands(msgspec.Struct, frozen=True, array_like=True):
    """The content of a value of kind COMMANDS.

    ``log_time`` is the time of the log in microseconds, which counts elapsed time and expires sessions. ``unix_time``
    is the leader's wall clock in microseconds since 1970, which commands see as ``context.time``.
    """

    log_time: int
    unix_time: int
    runs: list[Run]


class _Wrapped(msgspec.Struct, frozen=True, array_like=True):
    log_time: int
    unix_time: int
    runs: list[msgspec.Raw]


_encode = msgspec.msgpack.Encoder().encode
_decode_run = msgspec.msgpack.Decoder(Run).decode
_decode_commands = msgspec.msgpack.Decoder(Commands).decode


def encode_run(run: Run) -> bytes:
    """Encode ``run`` for the way from the caller into a value."""
    return _encode(run)


def decode_run(data: bytes) -> Run:
    """Decode what ``encode_run`` returned.

    Raises:
        CorruptedError: ``data`` is anything else, including hostile bytes.
    """
    try:
        run = _decode_run(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CorruptedError(f"run: {error}") from error
    if len(run.random) != 16 or run.first < 1 or run.acknowledged < 0 or run.opened < 0 or not run.payloads:
        raise CorruptedError("run: a field is out of its bounds")
    return run


def encode_commands(log_time: int, unix_time: int, runs: Sequence[bytes]) -> bytes:
    """Wrap encoded runs into one value; times are in microseconds, see ``Commands``."""
    if sum(map(len, runs)) > _COPIED_BYTES_MAX:
        return _join_commands(log_time, unix_time, runs)
    body = _encode(_Wrapped(log_time, unix_time, [msgspec.Raw(run) for run in runs]))
    return _HEAD.pack(_FORMAT, zlib.crc32(body)) + body


def _join_commands(log_time: int, unix_time: int, runs: Sequence[bytes]) -> bytes:
    """Return the same bytes while copying the runs once instead of three or four times, for large values."""
    head = b"".join((array_header(3), _encode(log_time), _encode(unix_time), array_header(len(runs))))
    checksum = zlib.crc32(head)
    for run in runs:
        checksum = zlib.crc32(run, checksum)
    return b"".join((_HEAD.pack(_FORMAT, checksum), head, *runs))


def decode_commands(value: bytes) -> Commands:
    """Decode what ``encode_commands`` returned.

    Raises:
        CorruptedError: the format is unknown, the checksum does not match, or a field is malformed.
    """
    if len(value) < _HEAD.size:
        raise CorruptedError("value: too short")
    version, checksum = _HEAD.unpack_from(value)
    if version != _FORMAT:
        raise CorruptedError(f"value: format {version} is not one that this version of paxospp knows")
    body = memoryview(value)[_HEAD.size :]
    if zlib.crc32(body) != checksum:
        raise CorruptedError("value: the checksum does not match")
    try:
        return _decode_commands(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CorruptedError(f"value: {error}") from error
