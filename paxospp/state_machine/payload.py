"""What travels for one call: the payload that goes up, the outcome that comes back.

A *payload* is ``bytes([len(name)]) + name + arguments`` where the arguments are one complete
MessagePack array; a command for a machine in full control is ``b"\\x00"`` and the raw bytes.
An *outcome* is one tag byte and what the tag says. Nothing here knows a machine.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from paxospp.errors import COMMAND_MESSAGE_BYTES_MAX, CommandError, RejectedError
from paxospp.state_machine.encoding import encode_call

NAME_BYTES_MAX: Final = 255
"""The longest stored name of an operation, in UTF-8 bytes: its length is one byte."""

RESERVED_PREFIX: Final = "paxospp."
"""Names that begin so belong to paxospp; no machine of a user may have one."""

OUTCOME_RESULT: Final = 0
"""The rest is the encoded result (raw bytes from a machine in full control)."""

OUTCOME_RAISED: Final = 1
"""The rest is MessagePack ``[type, message]`` of what the method raised."""

OUTCOME_REJECTED: Final = 2
"""The rest is a MessagePack str: why the command had no effect."""

_RAISED = bytes([OUTCOME_RAISED])
_REJECTED = bytes([OUTCOME_REJECTED])

_encode = msgspec.msgpack.Encoder().encode
_decode_raised = msgspec.msgpack.Decoder(tuple[str, str]).decode
_decode_reason = msgspec.msgpack.Decoder(str).decode


class NotUnderstoodError(BaseException):
    """A decided call that this machine's code does not understand: another version wrote it.

    Not an ``Exception``, so that nobody takes it for a result of the command: the replica has
    to stop, and code that knows the call has to be started instead.
    """


def encode_name(name: str) -> bytes:
    """The first bytes of every payload for ``name``; RejectedError when it is no name."""
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        raise RejectedError(f"{name!r} is no name of a command or query: it is not valid Unicode") from None
    if not 0 < len(encoded) <= NAME_BYTES_MAX:
        raise RejectedError(f"a name of a command or query has 1 to {NAME_BYTES_MAX} bytes, not {len(encoded)}")
    return bytes([len(encoded)]) + encoded


def pack_call(name: str, arguments: bytes) -> bytes:
    """The payload of a call by name; ``arguments`` is one MessagePack array."""
    return encode_name(name) + arguments


def pack_raw(command: bytes) -> bytes:
    """The payload for a machine in full control."""
    return b"\x00" + command


def unpack_call(payload: bytes) -> tuple[str, bytes]:
    """Undo ``pack_call`` and ``pack_raw``, for which the name is ``""``; RejectedError for anything else."""
    if not payload:
        raise RejectedError("an empty payload is no call")
    end = payload[0] + 1
    if len(payload) < end:
        raise RejectedError("the payload ends within the name of the call")
    try:
        return payload[1:end].decode(), payload[end:]
    except UnicodeDecodeError:
        raise RejectedError("the name of the call is not UTF-8") from None


def _cut(text: str) -> str:
    """At most 1 KiB of ``text``, without what MessagePack cannot hold."""
    return text.encode("utf-8", "backslashreplace")[:COMMAND_MESSAGE_BYTES_MAX].decode("utf-8", "ignore")


def encode_raised(type: str, message: str) -> bytes:
    """The outcome of a command that raised."""
    return _RAISED + _encode((_cut(type), _cut(message)))


def encode_rejected(reason: str) -> bytes:
    """The outcome of a number whose call was refused before it was proposed."""
    return _REJECTED + _encode(_cut(reason))


def read_outcome(outcome: bytes) -> bytes:
    """The encoded result in ``outcome``; raises CommandError or RejectedError when it holds none."""
    tag = outcome[0] if outcome else -1
    if tag == OUTCOME_RESULT:
        return outcome[1:]
    if tag == OUTCOME_RAISED:
        type, message = _decode_raised(outcome[1:])
        raise CommandError(type, message)
    if tag == OUTCOME_REJECTED:
        raise RejectedError(_decode_reason(outcome[1:]))
    raise ValueError(f"an outcome cannot begin with {outcome[:1]!r}")


def encode_untyped(name: str, arguments: tuple[Any, ...] | list[Any]) -> bytes:
    """The payload of a call by name whose annotations are not at hand; RejectedError when it cannot be encoded."""
    head = encode_name(name)
    try:
        return head + encode_call(list(arguments))
    except (TypeError, ValueError, OverflowError, RecursionError, NotImplementedError) as error:
        raise RejectedError(f"{name}: the arguments cannot be encoded: {error}") from error


def decode_untyped(result: bytes) -> Any:
    """What MessagePack alone makes of a result: tuples and sets are lists, dataclasses dicts."""
    return msgspec.msgpack.decode(result)
