"""Frames: who speaks, to whom, and the messages that queued, under one checksum.

A frame is a serialized LinkRequest. Its CRC-32 covers every identity field and, for each
message, its length and its own CRC-32; nothing of a message is decoded before it fits. What a
message costs (encoding, checksum) is therefore independent of whom it goes to, and who speaks to
whom is the same in every frame of a link: a ``FrameEncoder`` pays each once.

Refuses: to judge the sender. Cluster id, group, incarnation and boot are the engine's to check
(rule 8 of ``paxospp/engine/README.md``); damage, form and the address are checked here.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from google.protobuf.message import DecodeError

from paxospp.messages import Accept, Decided, ForwardRuns, Heartbeat, Message, Promise, Sender, SnapshotChunk
from paxospp.model import NodeId
from paxospp.wire.fields import varint
from paxospp.wire.peer_messages import (
    MalformedFrameError,
    MessageEncoder,
    decode_message,
    node_name,
)
from paxospp.wire.v1 import peer_pb2 as pb

__all__ = ["FrameDecoder", "FrameEncoder", "MalformedFrameError", "decode_frame", "encode_frame", "size_of"]

_FORMAT = 1
_CLUSTER_ID_BYTES_MAX = 64
_BOOT_MAX = (1 << 63) - 1
_KEPT_BYTES_MAX = 4 << 20
_KNOWN_MAX = 8
_MESSAGE_TAG = b"\x4a"
"""The tag of LinkRequest.messages: field 9, length-delimited."""
_CHECKSUM = struct.Struct("<BI")
_CHECKSUM_TAG = 0x45
"""LinkRequest.checksum: field 8, four bytes, the lowest first."""

_IDENTITY = struct.Struct(">BIQQQBBB")
"""Format, group, incarnation, boot, nonce, and the lengths of cluster id, node and to, which follow."""
_PART = struct.Struct(">II")
"""Length and CRC-32 of one message."""


class _Encoded(NamedTuple):
    message: Message
    pieces: Sequence[bytes]
    length: int
    """Of all pieces together."""
    checksum: int


class _Address(NamedTuple):
    """What is the same in every frame from one sender to one peer."""

    sender: Sender
    head: bytes
    """The fields of the frame that say it."""
    checksum: int
    """Of these fields; that of the messages goes on from it."""


def encode_frame(sender: Sender, to: NodeId, messages: Sequence[Message]) -> bytes:
    """One frame from ``sender`` to ``to``."""
    return FrameEncoder().encode(sender, to, messages)


class FrameEncoder:
    """``encode_frame`` that encodes an Accept once, however many peers it goes to, and an address once.

    Remembers the last few Accepts by identity, at most 4 MiB of them; use one per node.
    """

    def __init__(self) -> None:
        self._messages = MessageEncoder()
        self._addresses: dict[NodeId, _Address] = {}
        self._kept: dict[int, _Encoded] = {}  # by id(); holding the message keeps its id from being used anew
        self._kept_bytes = 0

    def encode(self, sender: Sender, to: NodeId, messages: Sequence[Message]) -> bytes:
        """One frame from ``sender`` to ``to``."""
        address = self._addresses.get(to)
        if address is None or address.sender is not sender:
            address = self._addresses[to] = _address(sender, to)
        checksum = address.checksum
        pieces = [address.head, b""]
        for message in messages:
            _, parts, length, own = self._encode(message)
            checksum = zlib.crc32(_PART.pack(length, own), checksum)
            pieces += (_MESSAGE_TAG, varint(length), *parts)
        pieces[1] = _CHECKSUM.pack(_CHECKSUM_TAG, checksum)
        return b"".join(pieces)

    def _encode(self, message: Message) -> _Encoded:
        if type(message) is not Accept:
            body = self._messages.encode(message)
            return _Encoded(message, (body,), len(body), zlib.crc32(body))
        encoded = self._kept.get(id(message))
        if encoded is None:
            head, value = self._messages.encode_accept(message)
            encoded = self._kept[id(message)] = _Encoded(
                message, (head, value), len(head) + len(value), zlib.crc32(value, zlib.crc32(head))
            )
            self._kept_bytes += encoded.length
            while self._kept_bytes > _KEPT_BYTES_MAX or len(self._kept) > 256:
                oldest = self._kept.pop(next(iter(self._kept)))
                self._kept_bytes -= oldest.length
        return encoded


class FrameDecoder:
    """Undoes ``FrameEncoder`` at the node named ``to``.

    Frames of one sender begin with the same bytes, which say who speaks to whom; of a sender heard before
    only what comes behind them is decoded, for that is half of the cost of a small frame.
    """

    def __init__(self, to: NodeId) -> None:
        self._to = to
        self._known: list[_Address] = []

    def decode(self, data: bytes) -> tuple[Sender, list[Message]]:
        """Who speaks, and what is said.

        Raises:
            MalformedFrameError: the bytes are damaged, for another node, or hold what cannot be;
                nothing of the frame is to be used.
        """
        for address in self._known:
            if data.startswith(address.head):
                frame = _parse(memoryview(data)[len(address.head) :])
                if frame.to or frame.node:
                    break  # it says again who speaks, perhaps otherwise
                return address.sender, _messages(frame, address.checksum)
        frame = _parse(data)
        if len(frame.cluster_id) > _CLUSTER_ID_BYTES_MAX or frame.boot > _BOOT_MAX:
            raise MalformedFrameError("identity out of bounds")
        sender = Sender(
            frame.cluster_id, frame.group, node_name(frame.node), frame.incarnation, frame.boot, frame.nonce
        )
        checksum = _checksum_of(sender, node_name(frame.to))
        messages = _messages(frame, checksum)
        if frame.to != self._to:
            raise MalformedFrameError("for another node")
        self._remember(_address(sender, self._to))
        return sender, messages

    def _remember(self, address: _Address) -> None:
        """What was said was whole, and said to this node; each life of each peer begins otherwise."""
        self._known = [address, *self._known[: _KNOWN_MAX - 1]]


def decode_frame(data: bytes, to: NodeId) -> tuple[Sender, list[Message]]:
    """Undo ``encode_frame`` at the node named ``to``; raises as ``FrameDecoder.decode`` does."""
    return FrameDecoder(to).decode(data)


def _parse(data: bytes | memoryview) -> pb.LinkRequest:
    try:
        return pb.LinkRequest.FromString(data)  # type: ignore[arg-type]  # a memoryview will do
    except DecodeError as error:
        raise MalformedFrameError("not a frame") from error


def _messages(frame: pb.LinkRequest, checksum: int) -> list[Message]:
    """The messages, if the checksum that began with ``checksum`` is the frame's in the end."""
    bodies = list(frame.messages)
    for body in bodies:
        checksum = zlib.crc32(_PART.pack(len(body), zlib.crc32(body)), checksum)
    if checksum != frame.checksum:
        raise MalformedFrameError("checksum")
    return [decode_message(body) for body in bodies]


def size_of(message: Message) -> int:
    """About how many bytes ``message`` adds to a frame, without encoding it."""
    match message:
        case Accept():
            return 128 + len(message.value)
        case Promise() | Decided():
            return 256 + sum(128 + len(entry.value) for entry in message.entries)
        case ForwardRuns():
            return 128 + sum(8 + len(run) for run in message.runs)
        case SnapshotChunk():
            return 128 + len(message.data)
        case Heartbeat():
            return 256
        case _:
            return 128


def _address(sender: Sender, to: NodeId) -> _Address:
    head = pb.LinkRequest(
        cluster_id=sender.cluster_id,
        group=sender.group,
        node=sender.node,
        incarnation=sender.incarnation,
        boot=sender.boot,
        nonce=sender.nonce,
        to=to,
    )
    return _Address(sender, head.SerializeToString(), _checksum_of(sender, to))


@lru_cache(maxsize=64)
def _checksum_of(sender: Sender, to: NodeId) -> int:
    """Of who speaks to whom: what the checksum of each frame between them begins with."""
    cluster_id, group, node, incarnation, boot, nonce = sender
    names = (cluster_id, node.encode(), to.encode())
    identity = _IDENTITY.pack(_FORMAT, group, incarnation, boot, nonce, *map(len, names))
    return zlib.crc32(b"".join((identity, *names)))
