"""Keeps snapshots under keys, for stores that have only ordered keys (C10).

A snapshot is written piece by piece, each piece under its own key. ``commit`` writes the number of
pieces and bytes, synced, which completes the snapshot. Only the store's record says which snapshot
is current. The pieces of a former snapshot are deleted when its last reader has closed.

Suitable for snapshots of some megabytes. A store in a directory can use ``FileSnapshots`` instead,
which keeps large snapshots out of the database.
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from paxospp.errors import CorruptedError, StorageError
from paxospp.model import SnapshotMeta
from paxospp.storage.contract import SnapshotReader, SnapshotWriter
from paxospp.storage.key_value_records import (
    PIECES,
    SIZES,
    decode_size,
    encode_size,
    piece_key,
    size_key,
)

PIECE_BYTES = 256 * 1024
_CHECKSUM = struct.Struct(">I")  # before each piece: its CRC-32, continued from the CRC of the piece before


class Keys(Protocol):
    """The methods of a store that its snapshots need."""

    def get(self, key: bytes) -> bytes | None: ...

    def write_beside(
        self,
        delete_ranges: Sequence[tuple[bytes, bytes]],
        puts: Sequence[tuple[bytes, bytes]],
        *,
        sync: bool,
    ) -> None:
        """Write something that is not a batch, from any thread; raises StorageError if the store takes no writes."""


class KeySnapshots:
    """The snapshots of a ``KeyValueStorage``; has the same methods as ``FileSnapshots``."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._staging: _KeySnapshotWriter | None = None
        self._committed: set[SnapshotMeta] = set()
        self._current: SnapshotMeta | None = None
        self._readers: Counter[SnapshotMeta] = Counter()
        self._guard = threading.RLock()

    def create_snapshot(self, meta: SnapshotMeta) -> SnapshotWriter:
        """Return a writer for ``meta``; raises StorageError if another snapshot is being staged, or ``meta`` exists."""
        with self._guard:
            if self._staging is not None:
                raise StorageError(f"snapshot {self._staging.meta.id} is being written: commit or abort it first")
            if meta.id in {known.id for known in (*self._committed, *self._readers, self._current) if known}:
                raise StorageError(f"snapshot {meta.id} exists already")
            self._staging = writer = _KeySnapshotWriter(self, meta)
            return writer

    def open_snapshot(self) -> SnapshotReader | None:
        """Return a reader of the current snapshot, or None; raises CorruptedError if it is missing or damaged."""
        with self._guard:
            meta = self._current
            if meta is None:
                return None
            size = decode_size(meta, self._keys.get(size_key(meta.id)))
            self._readers[meta] += 1
            return _KeySnapshotReader(self, meta, size.pieces, size.size, size.checksum)

    def check_snapshot(self, meta: SnapshotMeta) -> None:
        """Raise StorageError unless ``meta`` was committed or is current."""
        with self._guard:
            if meta != self._current and meta not in self._committed:
                raise StorageError(f"snapshot {meta.id} of slot {meta.slot} was not committed")

    def adopt_snapshot(self, meta: SnapshotMeta | None) -> None:
        """Record that ``meta`` is current; delete the former snapshot, unless a reader has it open."""
        if meta == self._current:
            return
        with self._guard:
            former, self._current = self._current, meta
            if meta is not None:
                self._committed.discard(meta)
            if former is not None and not self._readers[former]:
                self._drop(former)

    def orphans(self, current: SnapshotMeta | None) -> list[tuple[bytes, bytes]]:
        """Return the key ranges of every snapshot except ``current``, for ``load`` to delete."""
        if current is None:
            return [PIECES, SIZES]
        piece, size = piece_key(current.id, 0), size_key(current.id)
        return [
            (PIECES[0], piece),
            (piece_key(current.id, 2**64 - 1), PIECES[1]),
            (SIZES[0], size),
            (size + b"\0", SIZES[1]),
        ]

    def drop_staged(self) -> None:
        """Forget the snapshots that no batch named; the store is closing, and the next ``load`` deletes them."""
        with self._guard:
            if self._staging is not None:
                self._staging.end()
            self._staging = None
            self._committed.clear()

    def _drop(self, meta: SnapshotMeta) -> None:
        pieces = (piece_key(meta.id, 0), piece_key(meta.id, 2**64 - 1))
        with suppress(StorageError):  # the store failed or is closed; the next ``load`` deletes it
            self._keys.write_beside([pieces, (size_key(meta.id), size_key(meta.id) + b"\0")], (), sync=False)

    def _on_committed(self, meta: SnapshotMeta) -> None:
        with self._guard:
            self._staging = None
            self._committed.add(meta)

    def _on_aborted(self, writer: _KeySnapshotWriter) -> None:
        with self._guard:
            if self._staging is writer:
                self._staging = None
            elif writer.meta not in self._committed:
                return  # a batch named it, so it is or was the current one; or the store is closed
            self._committed.discard(writer.meta)
            self._drop(writer.meta)

    def _on_closed(self, meta: SnapshotMeta) -> None:
        with self._guard:
            self._readers[meta] -= 1
            if self._readers[meta] == 0:
                del self._readers[meta]
                if meta != self._current:
                    self._drop(meta)


class _KeySnapshotWriter(SnapshotWriter):
    def __init__(self, owner: KeySnapshots, meta: SnapshotMeta) -> None:
        self.meta = meta
        self._owner = owner
        self._piece = bytearray()
        self._pieces = self._size = self._checksum = 0
        self._ended = False

    def write(self, data: bytes) -> None:
        self._check()
        self._piece += data
        while len(self._piece) >= PIECE_BYTES:
            self._put(bytes(self._piece[:PIECE_BYTES]))
            del self._piece[:PIECE_BYTES]

    def commit(self) -> None:
        self._check()
        if self._piece:
            self._put(bytes(self._piece))
            self._piece.clear()
        size = encode_size(self.meta, self._pieces, self._size, self._checksum)
        self._ended = True
        self._owner._keys.write_beside((), [(size_key(self.meta.id), size)], sync=True)
        self._owner._on_committed(self.meta)

    def abort(self) -> None:
        self._ended = True
        self._owner._on_aborted(self)

    def end(self) -> None:
        """Refuse further writes; the store is closing."""
        self._ended = True

    def _check(self) -> None:
        if self._ended:
            raise StorageError(f"snapshot {self.meta.id} is committed or aborted")

    def _put(self, data: bytes) -> None:
        self._checksum = zlib.crc32(data, self._checksum)
        piece = _CHECKSUM.pack(self._checksum) + data
        self._owner._keys.write_beside((), [(piece_key(self.meta.id, self._pieces), piece)], sync=False)
        self._pieces += 1
        self._size += len(data)


class _KeySnapshotReader(SnapshotReader):
    def __init__(self, owner: KeySnapshots, meta: SnapshotMeta, pieces: int, size: int, checksum: int) -> None:
        self._owner = owner
        self._meta = meta
        self._pieces, self._size, self._checksum = pieces, size, checksum
        self._next = self._seen = self._running = self._at = 0
        self._piece = b""
        self._closed = False

    @property
    def meta(self) -> SnapshotMeta:
        return self._meta

    def read(self, size: int) -> bytes:
        if self._closed:
            raise StorageError("the snapshot reader is closed")
        if self._at == len(self._piece) and self._next < self._pieces:
            self._next_piece()
        data = self._piece[self._at : self._at + max(size, 1)]
        self._at += len(data)
        return data

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._owner._on_closed(self._meta)

    def _next_piece(self) -> None:
        stored = self._owner._keys.get(piece_key(self._meta.id, self._next)) or b""
        piece = stored[_CHECKSUM.size :]
        self._running = zlib.crc32(piece, self._running)
        if stored[: _CHECKSUM.size] != _CHECKSUM.pack(self._running):
            raise CorruptedError(f"piece {self._next} of the snapshot of slot {self._meta.slot} is damaged or missing")
        self._piece, self._at = piece, 0
        self._next += 1
        self._seen += len(piece)
        if self._next == self._pieces and (self._seen, self._running) != (self._size, self._checksum):
            raise CorruptedError(f"the snapshot of slot {self._meta.slot} is not the one that was written")
