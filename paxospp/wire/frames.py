"""Frames between nodes: sender, receiver and the queued messages, under one checksum.

A frame is a serialized LinkRequest. Its CRC-32 covers every identity field and, for each message, the length and the
CRC-32 of that message; no message is decoded before the checksum matches. A message is therefore encoded and
checksummed independently of its receiver, and the identity fields are the same in every frame of a link, so a
``FrameEncoder`` does each of these once.

This module checks for damage, malformed fields and frames for another node. The engine checks cluster id, group,
incarnation and boot of the sender (``paxospp/engine/README.md``, rule 8).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, assert_never

from google.protobuf.message import DecodeError

from paxospp.messages import (
    Accept,
    Accepted,
    CatchUp,
    DecidedEntries,
    ForwardRuns,
    Heartbeat,
    HeartbeatAnswer,
    Message,
    Nack,
    Prepare,
    Promise,
    ReadAnswer,
    ReadRequest,
    Sender,
    SnapshotChunk,
    SnapshotRequest,
)
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
_REMEMBERED_SENDERS_MAX = 8
"""How many identities a ``FrameDecoder`` remembers: one per peer, and the last one of peers that were restarted."""
_MESSAGE_TAG = b"\x4a"
"""The tag of LinkRequest.messages: field 9, length-delimited."""
_CHECKSUM = struct.Struct("<BI")
_CHECKSUM_TAG = 0x45
"""The tag of LinkRequest.checksum: field 8, four bytes, little-endian."""

_IDENTITY = struct.Struct(">BIQQQBBB")
"""Format, group, incarnation, boot and nonce, then the lengths of cluster id, sender and receiver, which follow."""
_PART = struct.Struct(">II")
"""Length and CRC-32 of one message."""


class _Encoded(NamedTuple):
    message: Message
    pieces: Sequence[bytes]
    length: int
    """The length of all pieces together."""
    checksum: int


class _Address(NamedTuple):
    """The part that is the same in every frame from one sender to one receiver."""

    sender: Sender
    head: bytes
    """The serialized identity fields."""
    checksum: int
    """The CRC-32 of these fields, from which the checksum of a frame continues with its messages."""


def encode_frame(sender: Sender, to: NodeId, messages: Sequence[Message]) -> bytes:
    """Return one frame from ``sender`` to ``to``."""
    return FrameEncoder().encode(sender, to, messages)


class FrameEncoder:
    """Encodes frames; encodes each Accept once for all receivers, and each address once for all frames.

    It keeps the last few Accepts by identity, at most 4 MiB of them. Use one per node.
    """

    def __init__(self) -> None:
        self._messages = MessageEncoder()
        self._addresses: dict[NodeId, _Address] = {}
        self._kept: dict[int, _Encoded] = {}  # by id(); holding the message keeps its id from being reused
        self._kept_bytes = 0

    def encode(self, sender: Sender, to: NodeId, messages: Sequence[Message]) -> bytes:
        """Return one frame from ``sender`` to ``to``."""
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
    """Decodes the frames sent to the node named ``to``.

    All frames of one sender begin with the same bytes, the identity fields. For a known sender only the rest is
    decoded: the identity fields are half of the cost of a small frame.
    """

    def __init__(self, to: NodeId) -> None:
        self._to = to
        self._known: list[_Address] = []

    def decode(self, data: bytes) -> tuple[Sender, list[Message]]:
        """Return the sender and the messages of one frame.

        Raises:
            MalformedFrameError: the bytes are damaged, addressed to another node, or hold an invalid
                value; no message of the frame may be used.
        """
        for address in self._known:
            if data.startswith(address.head):
                frame = _parse(memoryview(data)[len(address.head) :])
                if frame.to or frame.node:
                    break  # identity fields follow a second time and may differ: decode the whole frame
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
        """Remember the identity fields of an intact frame to this node; they change with every start of the sender."""
        self._known = [address, *self._known[: _REMEMBERED_SENDERS_MAX - 1]]


def decode_frame(data: bytes, to: NodeId) -> tuple[Sender, list[Message]]:
    """Return the sender and the messages of one frame to the node ``to``; raises as ``FrameDecoder.decode`` does."""
    return FrameDecoder(to).decode(data)


def _parse(data: bytes | memoryview) -> pb.LinkRequest:
    try:
        return pb.LinkRequest.FromString(data)  # type: ignore[arg-type]  # a memoryview works too
    except DecodeError as error:
        raise MalformedFrameError("not a frame") from error


def _messages(frame: pb.LinkRequest, checksum: int) -> list[Message]:
    """Return the decoded messages; ``checksum`` is that of the identity fields, from which the frame's continues."""
    bodies = list(frame.messages)
    for body in bodies:
        checksum = zlib.crc32(_PART.pack(len(body), zlib.crc32(body)), checksum)
    if checksum != frame.checksum:
        raise MalformedFrameError("checksum")
    return [decode_message(body) for body in bodies]


def size_of(message: Message) -> int:
    """Estimate how many bytes ``message`` adds to a frame, without encoding it."""
    match message:
        case Accept():
            return 128 + len(message.value)
        case Promise() | DecidedEntries():
            return 256 + sum(128 + len(entry.value) for entry in message.entries)
        case ForwardRuns():
            return 128 + sum(8 + len(run) for run in message.runs)
        case SnapshotChunk():
            return 128 + len(message.data)
        case Heartbeat():
            return 256
        case (
            Prepare()
            | Accepted()
            | Nack()
            | HeartbeatAnswer()
            | CatchUp()
            | ReadRequest()
            | ReadAnswer()
            | SnapshotRequest()
        ):
            return 128
        case _:
            assert_never(message)


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
    """Return the CRC-32 of the identity fields, from which the checksum of every frame continues."""
    cluster_id, group, node, incarnation, boot, nonce = sender
    names = (cluster_id, node.encode(), to.encode())
    identity = _IDENTITY.pack(_FORMAT, group, incarnation, boot, nonce, *map(len, names))
    return zlib.crc32(b"".join((identity, *names)))
