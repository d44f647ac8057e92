"""The bytes of one call: the payload that is sent, and the outcome that comes back.

A *payload* is ``bytes([len(name)]) + name + arguments``, where the arguments are one complete
MessagePack array. A command for a machine in full control is ``b"\\x00"`` and the raw bytes.
An *outcome* is a tag byte and the bytes that the tag announces. This module knows no machine.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from paxospp.errors import COMMAND_MESSAGE_BYTES_MAX, CommandError, RejectedError
from paxospp.state_machine.encoding import encode_call

NAME_BYTES_MAX: Final = 255
"""The longest name of an operation, in UTF-8 bytes, because its length is stored in one byte."""

RESERVED_PREFIX: Final = "paxospp."
"""Names with this prefix are reserved for paxospp; an operation of a user may not have one."""

OUTCOME_RESULT: Final = 0
"""Tag of an outcome whose rest is the encoded result (raw bytes from a machine in full control)."""

OUTCOME_RAISED: Final = 1
"""Tag of an outcome whose rest is MessagePack ``[type, message]`` of the exception that the method raised."""

OUTCOME_REJECTED: Final = 2
"""Tag of an outcome whose rest is a MessagePack str, the reason why the command had no effect."""

_RAISED = bytes([OUTCOME_RAISED])
_REJECTED = bytes([OUTCOME_REJECTED])

_encode = msgspec.msgpack.Encoder().encode
_decode_raised = msgspec.msgpack.Decoder(tuple[str, str]).decode
_decode_reason = msgspec.msgpack.Decoder(str).decode


class NotUnderstoodError(BaseException):
    """A decided call that this machine does not have, or whose arguments are wrong: another version wrote it.

    It is not an ``Exception``, so that it is never taken for a result of the command. The replica has
    to stop, and be started again with code that knows the call.
    """


def encode_name(name: str) -> bytes:
    """Return the first bytes of every payload for ``name``. Raises RejectedError if the name is not valid."""
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        raise RejectedError(f"{name!r} cannot name a command or query: it is not valid Unicode") from None
    if not 0 < len(encoded) <= NAME_BYTES_MAX:
        raise RejectedError(f"the name of a command or query must have 1 to {NAME_BYTES_MAX} bytes, not {len(encoded)}")
    return bytes([len(encoded)]) + encoded


def pack_call(name: str, arguments: bytes) -> bytes:
    """Return the payload of a call by name; ``arguments`` is one MessagePack array."""
    return encode_name(name) + arguments


def pack_raw(command: bytes) -> bytes:
    """Return the payload of a command or query for a machine in full control."""
    return b"\x00" + command


def unpack_call(payload: bytes) -> tuple[str, bytes]:
    """Return the name and the arguments in ``payload``. A raw payload has the name ``""``.

    Raises:
        RejectedError: neither ``pack_call`` nor ``pack_raw`` made it.
    """
    if not payload:
        raise RejectedError("an empty payload is not a call")
    end = payload[0] + 1
    if len(payload) < end:
        raise RejectedError("the payload ends within the name of the call")
    try:
        return payload[1:end].decode(), payload[end:]
    except UnicodeDecodeError:
        raise RejectedError("the name of the call is not UTF-8") from None


def _cut(text: str) -> str:
    """Return at most 1 KiB of ``text``, with characters that UTF-8 cannot encode escaped."""
    return text.encode("utf-8", "backslashreplace")[:COMMAND_MESSAGE_BYTES_MAX].decode("utf-8", "ignore")


def encode_raised(type: str, message: str) -> bytes:
    """Return the outcome of a command that raised an exception."""
    return _RAISED + _encode((_cut(type), _cut(message)))


def encode_rejected(reason: str) -> bytes:
    """Return the outcome of a call that was refused before it was proposed."""
    return _REJECTED + _encode(_cut(reason))


def read_outcome(outcome: bytes) -> bytes:
    """Return the encoded result in ``outcome``, or raise the CommandError or RejectedError that it holds."""
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
    """Return the payload of a call by name, without annotations. Raises RejectedError if it cannot be encoded."""
    head = encode_name(name)
    try:
        return head + encode_call(list(arguments))
    except (TypeError, ValueError, OverflowError, RecursionError, NotImplementedError) as error:
        raise RejectedError(f"{name}: the arguments cannot be encoded: {error}") from error


def decode_untyped(result: bytes) -> Any:
    """Decode a result without annotations: tuples and sets become lists, dataclasses become dicts."""
    return msgspec.msgpack.decode(result)
