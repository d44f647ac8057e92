"""The format of a snapshot: frames with a checksum each, and a digest over all of them.

A snapshot holds what an executor knows after a slot: a head (``SnapshotHead``), the sessions with their unacknowledged
outcomes, and the chunks of the state machine. It never holds a promise, because a promise belongs to the disk of the
acceptor that gave it. This module encodes and decodes, and decides nothing.

The format is the same on disks and between nodes. Numbers are big-endian. A snapshot is a sequence of frames, and may
be cut anywhere on its way::

    frame   format u8 = 1 | kind u8 | more u8 | number u32 | length u32 | CRC-32 u32 | body

``number`` counts frames from 0. The CRC-32 covers the fields before it and the body, which has at most
``BODY_BYTES_MAX`` bytes. An *item* is the concatenated bodies of consecutive frames of one kind; ``more`` is 1 in all
of them but the last. The items, in this order:

1. HEAD, once: a MessagePack array, the fields of ``SnapshotHead`` in order.
2. SESSIONS, any number: a MessagePack array of sessions, each with the fields of ``Session``.
3. MACHINE, any number: one chunk of ``StateMachine.snapshot()`` each, with its boundaries preserved; first the chunks
   of ``BuiltInMachine``, whose number is in the head, then those of the user's machine.
4. END, once: BLAKE2b, 32 bytes, over every byte before this frame. Nothing follows.

Fields may be added at the end of ``SnapshotHead`` and ``Session`` without a new format number.
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
"""The largest body of a frame, in bytes."""

_FORMAT = 1
_FIELDS = struct.Struct(">BBBII")  # format, kind, more, number, length
_CHECKSUM = struct.Struct(">I")
_FRAME_HEAD_BYTES = _FIELDS.size + _CHECKSUM.size
_DIGEST_BYTES = 32


class ItemKind(IntEnum):
    """The kind of an item of a snapshot."""

    HEAD = 1
    SESSIONS = 2
    MACHINE = 3
    END = 4


class SnapshotHead(msgspec.Struct, frozen=True, array_like=True):
    """Everything except the sessions and the machines, as of slot ``applied``."""

    applied: Slot
    log_time: int
    unix_time: int
    horizon: int
    digest: bytes
    memberships: tuple[tuple[Slot, bytes], ...]
    """The memberships that govern slots above ``applied``, encoded, each with the slot that decided it."""
    sessions: int
    """How many sessions follow."""
    built_in_chunks: int = 0
    """How many of the first chunks belong to the built-in machine (``built_in_machine``)."""
    effects: bytes = b""
    """The bytes that ``Effects.encode`` returned."""
    ballot: Ballot | None = None
    """The highest ballot under which a slot up to ``applied`` may have been decided; None in old snapshots."""

    def decoded_memberships(self) -> tuple[tuple[Slot, Membership], ...]:
        return tuple((slot, Membership.from_bytes(data)) for slot, data in self.memberships)


_encode = msgspec.msgpack.Encoder().encode
_decode_head = msgspec.msgpack.Decoder(SnapshotHead).decode


def write_snapshot(head: SnapshotHead, sessions: Sequence[bytes], machine: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the bytes of a snapshot, one frame at a time; the result may be consumed in another thread.

    Args:
        head: everything except sessions and machines.
        sessions: the pieces that ``SessionTable.encode`` returned.
        machine: the chunks of the built-in machine and of the user's.
    """
    frames = _FrameWriter()
    yield from frames.item(ItemKind.HEAD, _encode(head))
    for piece in sessions:
        yield from frames.item(ItemKind.SESSIONS, piece)
    for chunk in machine:
        yield from frames.item(ItemKind.MACHINE, chunk)
    yield from frames.item(ItemKind.END, frames.hash.digest())


class SnapshotDecoder:
    """Decodes what ``write_snapshot`` wrote, cut anywhere: first ``head``, then ``sessions``, then ``machine``.

    Every frame is checked before its content is used. Only when ``machine`` is exhausted is it certain that nothing is
    missing. Every method raises CorruptedError if the snapshot is damaged.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.damage: CorruptedError | None = None
        """The error that ``machine`` raised, because its consumer may have caught it."""
        self._items = _items(chunks)
        self.head = _read_head(*self._next())
        self._ahead = self._next()

    def _next(self) -> tuple[ItemKind, bytes]:
        for item in self._items:
            return item
        raise CorruptedError("snapshot: it is incomplete")

    def sessions(self) -> list[Session]:
        """Return all sessions; call this once, before ``machine``."""
        sessions: list[Session] = []
        kind, body = self._ahead
        while kind == ItemKind.SESSIONS:
            sessions += decode_sessions(body)
            kind, body = self._next()
        if len(sessions) != self.head.sessions:
            raise CorruptedError(f"snapshot: it has {len(sessions)} sessions instead of {self.head.sessions}")
        self._ahead = kind, body
        return sessions

    def machine(self) -> Iterator[bytes]:
        """Yield the chunks of the machines; call this once, after ``sessions``."""
        try:
            kind, body = self._ahead
            while kind == ItemKind.MACHINE:
                yield body
                kind, body = self._next()
            if kind != ItemKind.END:
                raise CorruptedError(f"snapshot: it contains {kind.name} where it should end")
            for _ in self._items:
                raise CorruptedError("snapshot: something follows its end")
        except CorruptedError as error:
            self.damage = error
            raise


class SnapshotCheck:
    """Checks a snapshot while its bytes arrive, before it is used.

    ``feed`` and ``finish`` raise CorruptedError for anything that ``write_snapshot`` did not write.
    """

    def __init__(self) -> None:
        self.head: SnapshotHead | None = None
        """The head of the snapshot, once it was read."""
        self._frames = _Frames()
        self._items = _Items()
        self._stage = ItemKind.HEAD
        self._sessions = 0

    def feed(self, data: bytes) -> None:
        """Check the next bytes, cut anywhere."""
        for frame in self._frames.feed(data):
            item = self._items.take(*frame)
            if item is not None:
                self._take(*item)

    def _take(self, kind: ItemKind, body: bytes) -> None:
        if self.head is None:
            self.head = _read_head(kind, body)
            return
        if kind < self._stage or kind == ItemKind.HEAD or self._stage == ItemKind.END:
            raise CorruptedError(f"snapshot: an item of kind {kind.name} is out of place")
        self._stage = kind
        if kind == ItemKind.SESSIONS:
            self._sessions += len(decode_sessions(body))

    def finish(self) -> SnapshotHead:
        """Check that the snapshot is complete, and return its head."""
        self._frames.end()
        self._items.end()
        if self.head is None or self._stage != ItemKind.END:
            raise CorruptedError("snapshot: it is incomplete")
        if self._sessions != self.head.sessions:
            raise CorruptedError(f"snapshot: it has {self._sessions} sessions instead of {self.head.sessions}")
        return self.head


def check_snapshot(chunks: Iterable[bytes]) -> SnapshotHead:
    """Check a whole snapshot without using it, and return its head.

    Raises:
        CorruptedError: the snapshot is damaged or incomplete.
    """
    check = SnapshotCheck()
    for chunk in chunks:
        check.feed(chunk)
    return check.finish()


def _read_head(kind: ItemKind, body: bytes) -> SnapshotHead:
    if kind != ItemKind.HEAD:
        raise CorruptedError("snapshot: it does not begin with a head")
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
    """Joins frames into items, and compares the digest at the end with everything before it."""

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=_DIGEST_BYTES)
        self._parts: list[bytes] = []
        self._kind: ItemKind | None = None

    def take(self, kind: ItemKind, more: bool, body: bytes, frame: bytes) -> tuple[ItemKind, bytes] | None:
        """Add a frame, and return the item if the frame completes it."""
        parts = self._parts
        if parts and kind != self._kind:
            raise CorruptedError(f"snapshot: an item of kind {kind.name} begins inside another item")
        if kind == ItemKind.END and body != self._hash.digest():
            raise CorruptedError("snapshot: the digest over the whole snapshot does not match")
        self._hash.update(frame)
        self._kind = kind
        parts.append(body)
        if more:
            return None
        self._parts = []
        return kind, parts[0] if len(parts) == 1 else b"".join(parts)

    def end(self) -> None:
        if self._parts:
            raise CorruptedError("snapshot: it ends inside an item")


class _Frames:
    """Cuts bytes into frames, and checks each frame."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._number = 0

    def feed(self, chunk: bytes) -> Iterator[_Frame]:
        """Yield the frames that these bytes complete."""
        held = self._held
        held += chunk
        start = 0
        while len(held) - start >= _FRAME_HEAD_BYTES:
            version, kind, more, counted, length = _FIELDS.unpack_from(held, start)
            number = self._number
            # Checked before the length is trusted, so that a damaged length cannot exhaust the memory.
            if version != _FORMAT:
                raise CorruptedError(f"snapshot: format {version} is unknown to this version of paxospp")
            if counted != number or length > BODY_BYTES_MAX or more > 1:
                raise CorruptedError(f"snapshot: the header of frame {number} is damaged, or the frame is out of place")
            stop = start + _FRAME_HEAD_BYTES + length
            if len(held) < stop:
                break
            frame = bytes(held[start:stop])
            (checksum,) = _CHECKSUM.unpack_from(frame, _FIELDS.size)
            body = frame[_FRAME_HEAD_BYTES:]
            if zlib.crc32(body, zlib.crc32(frame[: _FIELDS.size])) != checksum:
                raise CorruptedError(f"snapshot: the checksum of frame {number} does not match")
            try:
                known = ItemKind(kind)
            except ValueError:
                raise CorruptedError(f"snapshot: frame {number} has the unknown kind {kind}") from None
            self._number += 1
            yield known, bool(more), body, frame
            start = stop
        del held[:start]

    def end(self) -> None:
        if self._held:
            raise CorruptedError(f"snapshot: it ends inside frame {self._number}")
