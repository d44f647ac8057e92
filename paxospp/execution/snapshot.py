"""The form of a snapshot: frames with a checksum each, and a digest over all of them.

A snapshot is what an executor knows after some slot: the head (slot, the log's and the wall
clock's time, horizon, digest, memberships), the sessions with the replies nobody acknowledged,
and the chunks of the state machine. It never holds a promise: what an acceptor said belongs to
its own disk. This module writes and reads the form and decides nothing.

The form, which stands on disks and travels between nodes. Numbers are big-endian. A snapshot is
a sequence of frames, cut by whoever carries it wherever he likes::

    frame   format u8 = 1 | kind u8 | more u8 | number u32 | length u32 | CRC-32 u32 | body

``number`` counts frames from 0; the CRC-32 covers the fields before it and the body, which has at
most ``BODY_BYTES_MAX`` bytes. An *item* is the joined bodies of consecutive frames of one kind, all
but the last of which have ``more`` = 1. The items, in this order:

1. HEAD, once: a MessagePack array, the fields of ``Head`` in their order.
2. SESSIONS, any number: a MessagePack array of sessions, each the fields of ``Session``.
3. MACHINE, any number: one chunk of ``StateMachine.snapshot()`` each, its bounds preserved; first
   those of ``Instances``, whose number stands in the head, then those of the user's machine.
4. END, once: BLAKE2b of 32 bytes over every byte before this frame. Nothing follows.

Fields may be added at the end of ``Head`` and ``Session`` without a new format number.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from hashlib import blake2b

import msgspec

from paxospp.errors import CorruptedError
from paxospp.model import Ballot, Membership, Slot
from paxospp.sessions.table import Session, decode_sessions

BODY_BYTES_MAX = 256 * 1024
"""Bytes in the body of one frame at most."""

_FORMAT = 1
_FIELDS = struct.Struct(">BBBII")  # format, kind, more, number, length
_CHECKSUM = struct.Struct(">I")
_FRAME_HEAD_BYTES = _FIELDS.size + _CHECKSUM.size
_DIGEST_BYTES = 32


class ItemKind(IntEnum):
    """What an item of a snapshot holds."""

    HEAD = 1
    SESSIONS = 2
    MACHINE = 3
    END = 4


class Head(msgspec.Struct, frozen=True, array_like=True):
    """Everything but the sessions and the machine, as of slot ``applied``."""

    applied: Slot
    log_time: int
    unix_time: int
    horizon: int
    digest: bytes
    memberships: tuple[tuple[Slot, bytes], ...]
    """Every membership that governs a slot above ``applied``, with the slot it was decided in."""
    sessions: int
    """How many sessions follow."""
    own: int = 0
    """How many of the machine's chunks, the first ones, are of the machine beside it (``instances``)."""
    effects: bytes = b""
    """See ``effects``."""
    ballot: Ballot | None = None
    """No slot up to ``applied`` was decided under a higher ballot; None in snapshots of versions that did not say."""

    def decoded_memberships(self) -> tuple[tuple[Slot, Membership], ...]:
        return tuple((slot, Membership.from_bytes(data)) for slot, data in self.memberships)


_encode = msgspec.msgpack.Encoder().encode
_decode_head = msgspec.msgpack.Decoder(Head).decode


def write_snapshot(head: Head, sessions: Sequence[bytes], machine: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes of a snapshot, a frame at a time. May be consumed in another thread.

    ``sessions`` are the pieces that ``SessionTable.encode`` made.
    """
    frames = _FrameWriter()
    yield from frames.item(ItemKind.HEAD, _encode(head))
    for piece in sessions:
        yield from frames.item(ItemKind.SESSIONS, piece)
    for chunk in machine:
        yield from frames.item(ItemKind.MACHINE, chunk)
    yield from frames.item(ItemKind.END, frames.hash.digest())


class SnapshotReader:
    """Reads what ``write_snapshot`` wrote, cut in any way: ``head``, then ``sessions``, then ``machine``.

    Every frame is checked before anything in it is used; that nothing is missing at the end is
    known once ``machine`` is exhausted. All of it raises CorruptedError.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.damage: CorruptedError | None = None
        """What ``machine`` raised: whoever consumes it may have caught that."""
        self._items = _items(chunks)
        self.head = _read_head(*self._next())
        self._ahead = self._next()

    def _next(self) -> tuple[ItemKind, bytes]:
        for item in self._items:
            return item
        raise CorruptedError("snapshot: it ends before its end")

    def sessions(self) -> list[Session]:
        """All sessions. Comes once, before ``machine``."""
        sessions: list[Session] = []
        kind, body = self._ahead
        while kind == ItemKind.SESSIONS:
            sessions += decode_sessions(body)
            kind, body = self._next()
        if len(sessions) != self.head.sessions:
            raise CorruptedError(f"snapshot: {len(sessions)} sessions where {self.head.sessions} should be")
        self._ahead = kind, body
        return sessions

    def machine(self) -> Iterator[bytes]:
        """The machine's chunks as it gave them. Comes once, after ``sessions``."""
        try:
            kind, body = self._ahead
            while kind == ItemKind.MACHINE:
                yield body
                kind, body = self._next()
            if kind != ItemKind.END:
                raise CorruptedError(f"snapshot: {kind.name} stands where it should end")
            for _ in self._items:
                raise CorruptedError("snapshot: something follows its end")
        except CorruptedError as error:
            self.damage = error
            raise


class SnapshotCheck:
    """Reads a snapshot without using it, as its bytes come in; for whoever has to know before it counts.

    ``feed`` and ``finish`` raise CorruptedError for anything that ``write_snapshot`` did not write.
    """

    def __init__(self) -> None:
        self.head: Head | None = None
        """What the snapshot says of itself, as soon as that was read."""
        self._frames = _Frames()
        self._items = _Items()
        self._stage = ItemKind.HEAD
        self._sessions = 0

    def feed(self, data: bytes) -> None:
        """The next bytes, cut in any way."""
        for frame in self._frames.feed(data):
            item = self._items.take(*frame)
            if item is not None:
                self._take(*item)

    def _take(self, kind: ItemKind, body: bytes) -> None:
        if self.head is None:
            self.head = _read_head(kind, body)
            return
        if kind < self._stage or kind == ItemKind.HEAD or self._stage == ItemKind.END:
            raise CorruptedError(f"snapshot: {kind.name} does not belong where it stands")
        self._stage = kind
        if kind == ItemKind.SESSIONS:
            self._sessions += len(decode_sessions(body))

    def finish(self) -> Head:
        """That was all of it; what it is."""
        self._frames.end()
        self._items.end()
        if self.head is None or self._stage != ItemKind.END:
            raise CorruptedError("snapshot: it ends before its end")
        if self._sessions != self.head.sessions:
            raise CorruptedError(f"snapshot: {self._sessions} sessions where {self.head.sessions} should be")
        return self.head


def check_snapshot(chunks: Iterable[bytes]) -> Head:
    """Read a snapshot to its end without using it, and say what it is; raises CorruptedError."""
    check = SnapshotCheck()
    for chunk in chunks:
        check.feed(chunk)
    return check.finish()


def _read_head(kind: ItemKind, body: bytes) -> Head:
    if kind != ItemKind.HEAD:
        raise CorruptedError("snapshot: it does not begin with its head")
    try:
        return _decode_head(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CorruptedError(f"snapshot's head: {error}") from error


class _FrameWriter:
    def __init__(self) -> None:
        self.hash = blake2b(digest_size=_DIGEST_BYTES)
        self._number = 0

    def item(self, kind: ItemKind, body: bytes) -> Iterator[bytes]:
        start = 0
        while True:
            part = body[start : start + BODY_BYTES_MAX]
            start += BODY_BYTES_MAX
            more = start < len(body)
            fields = _FIELDS.pack(_FORMAT, kind, more, self._number, len(part))
            frame = b"".join((fields, _CHECKSUM.pack(zlib.crc32(part, zlib.crc32(fields))), part))
            self.hash.update(frame)
            self._number += 1
            yield frame
            if not more:
                return


_Frame = tuple[ItemKind, bool, bytes, bytes]
"""A frame's kind, whether its item goes on, its body and its own bytes."""


def _items(chunks: Iterable[bytes]) -> Iterator[tuple[ItemKind, bytes]]:
    frames, items = _Frames(), _Items()
    for chunk in chunks:
        for frame in frames.feed(chunk):
            item = items.take(*frame)
            if item is not None:
                yield item
    frames.end()
    items.end()


class _Items:
    """Joins frames to items, and holds the digest at the end against all that came before it."""

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=_DIGEST_BYTES)
        self._parts: list[bytes] = []
        self._kind: ItemKind | None = None

    def take(self, kind: ItemKind, more: bool, body: bytes, frame: bytes) -> tuple[ItemKind, bytes] | None:
        """The item that this frame completes."""
        parts = self._parts
        if parts and kind != self._kind:
            raise CorruptedError(f"snapshot: {kind.name} breaks an item off")
        if kind == ItemKind.END and body != self._hash.digest():
            raise CorruptedError("snapshot: the digest over all of it does not fit")
        self._hash.update(frame)
        self._kind = kind
        parts.append(body)
        if more:
            return None
        self._parts = []
        return kind, parts[0] if len(parts) == 1 else b"".join(parts)

    def end(self) -> None:
        if self._parts:
            raise CorruptedError("snapshot: it ends within an item")


class _Frames:
    """Cuts bytes into frames, and checks each."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._number = 0

    def feed(self, chunk: bytes) -> Iterator[_Frame]:
        """The frames that these bytes complete."""
        held = self._held
        held += chunk
        start = 0
        while len(held) - start >= _FRAME_HEAD_BYTES:
            version, kind, more, counted, length = _FIELDS.unpack_from(held, start)
            number = self._number
            # Checked before the length is believed, so that damage cannot ask for memory.
            if version != _FORMAT:
                raise CorruptedError(f"snapshot: format {version} is not one that this version of paxospp knows")
            if counted != number or length > BODY_BYTES_MAX or more > 1:
                raise CorruptedError(f"snapshot: frame {number} is not where it should be")
            stop = start + _FRAME_HEAD_BYTES + length
            if len(held) < stop:
                break
            frame = bytes(held[start:stop])
            (checksum,) = _CHECKSUM.unpack_from(frame, _FIELDS.size)
            body = frame[_FRAME_HEAD_BYTES:]
            if zlib.crc32(body, zlib.crc32(frame[: _FIELDS.size])) != checksum:
                raise CorruptedError(f"snapshot: the checksum of frame {number} does not fit")
            try:
                known = ItemKind(kind)
            except ValueError:
                raise CorruptedError(f"snapshot: frame {number} is of an unknown kind, {kind}") from None
            self._number += 1
            yield known, bool(more), body, frame
            start = stop
        del held[:start]

    def end(self) -> None:
        if self._held:
            raise CorruptedError(f"snapshot: it ends within frame {self._number}")
