"""Keeps snapshots in files, one file each, for stores in a directory (C10).

A snapshot is staged in its own file, which ``commit`` syncs. No file says which snapshot is current:
only the batch in the store's log does, so publishing a snapshot is as atomic as the batch. The store
reports the current snapshot with ``adopt_snapshot``; this module never chooses it.

A file holds a head with the snapshot's name, frames with a length and a CRC-32 each, and an empty
frame at the end, so that a reader notices truncation, exchanged frames and flipped bits.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
import threading
import zlib

from paxospp.errors import CorruptedError, StorageError
from paxospp.model import SnapshotMeta
from paxospp.storage.contract import SnapshotReader, SnapshotWriter
from paxospp.storage.directory_lock import make_directory, sync_directory

_MAGIC = b"paxospp snapshot 1\n"
_FRAME = struct.Struct(">II")  # length, CRC-32 of the bytes, begun with the CRC of the frame before
_FRAME_BYTES = 256 * 1024
_NAME = re.compile(r"snapshot-\d+-[a-z0-9-]{1,48}")


class FileSnapshots:
    """The snapshots of a store, in ``directory``. A store holds one, or inherits from this class.

    The store calls ``check_snapshot(meta)`` before it writes a batch that names a snapshot,
    ``adopt_snapshot(meta)`` in ``load()`` and at the end of each ``persist()`` (which is free if the
    snapshot is the same), and ``drop_staged()`` in ``close()``.

    Raises:
        ConfigError: ``directory`` cannot be made.
    """

    def __init__(self, directory: str) -> None:
        make_directory(directory)
        self._snapshot_directory = directory
        self._staging: _FileSnapshotWriter | None = None
        self._committed: set[SnapshotMeta] = set()
        self._current: SnapshotMeta | None = None
        self._adopted = False
        self._guard = threading.Lock()
        """Held briefly: a reader may open a file while ``persist`` is deleting it."""

    def create_snapshot(self, meta: SnapshotMeta) -> SnapshotWriter:
        """Return a writer for ``meta``; raises StorageError if another snapshot is being staged, or ``meta`` exists."""
        with self._guard:
            if self._staging is not None:
                raise StorageError(f"snapshot {self._staging.meta.id} is being written: commit or abort it first")
            if meta == self._current or meta in self._committed:
                raise StorageError(f"snapshot {meta.id} of slot {meta.slot} exists already")
            self._staging = writer = _FileSnapshotWriter(self, meta, self._path(meta))
            return writer

    def open_snapshot(self) -> SnapshotReader | None:
        """Return a reader of the current snapshot, or None; raises CorruptedError if its file is missing or damaged."""
        with self._guard:
            meta = self._current
            if meta is None:
                return None
            try:
                descriptor = os.open(self._path(meta), os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise CorruptedError(f"the snapshot of slot {meta.slot} cannot be read: {error.strerror}") from error
        try:
            return _FileSnapshotReader(meta, descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    def check_snapshot(self, meta: SnapshotMeta) -> None:
        """Raise StorageError unless ``meta`` was committed or is current."""
        with self._guard:
            if meta != self._current and meta not in self._committed:
                raise StorageError(f"snapshot {meta.id} of slot {meta.slot} was not committed")

    def adopt_snapshot(self, meta: SnapshotMeta | None) -> None:
        """Record that ``meta`` is current, and delete the former snapshot.

        The first call also deletes files that earlier processes left and no batch named. Snapshots
        that are being staged, or wait for their batch, stay.
        """
        if self._adopted and meta == self._current:
            return
        with self._guard:
            former, self._current = self._current, meta
            if meta is not None:
                self._committed.discard(meta)
        if not self._adopted:
            keep = None if meta is None else os.path.basename(self._path(meta))
            for name in os.listdir(self._snapshot_directory):
                if _NAME.fullmatch(name) and name != keep:
                    os.unlink(os.path.join(self._snapshot_directory, name))
            self._adopted = True
        elif former is not None:
            _unlink(self._path(former))

    def drop_staged(self) -> None:
        """Delete the snapshots that no batch named; the store is closing."""
        if self._staging is not None:
            self._staging.abort()
        with self._guard:
            dropped, self._committed = self._committed, set()
        for meta in dropped:
            _unlink(self._path(meta))

    def _path(self, meta: SnapshotMeta) -> str:
        return os.path.join(self._snapshot_directory, f"snapshot-{meta.slot}-{meta.id}")

    def _on_committed(self, meta: SnapshotMeta) -> None:
        sync_directory(self._snapshot_directory)
        with self._guard:
            self._staging = None
            self._committed.add(meta)

    def _on_aborted(self, meta: SnapshotMeta) -> None:
        with self._guard:
            if self._staging is not None and self._staging.meta == meta:
                self._staging = None
            elif meta not in self._committed:
                return  # a batch named it: it is current, or was
            self._committed.discard(meta)
            _unlink(self._path(meta))


class _FileSnapshotWriter(SnapshotWriter):
    def __init__(self, owner: FileSnapshots, meta: SnapshotMeta, path: str) -> None:
        self.meta = meta
        self._owner = owner
        self._file: int | None = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._frame = bytearray()
        name = meta.to_bytes()
        self._checksum = zlib.crc32(name)
        try:
            self._append(_MAGIC + struct.pack(">B", len(name)) + name)
        except BaseException:  # such as a full disk: the caller gets no writer to abort
            os.close(self._file)
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise

    def write(self, data: bytes) -> None:
        self._check_open()
        self._frame += data
        while len(self._frame) >= _FRAME_BYTES:
            self._append_frame(bytes(self._frame[:_FRAME_BYTES]))
            del self._frame[:_FRAME_BYTES]

    def commit(self) -> None:
        self._check_open()
        if self._frame:
            self._append_frame(bytes(self._frame))
            self._frame.clear()
        self._append_frame(b"")
        descriptor, self._file = self._check_open(), None
        try:
            os.fsync(descriptor)
        except OSError:
            # The pages may be lost although the file still reads back: never name it, and never sync it again.
            self._owner._on_aborted(self.meta)
            raise
        finally:
            os.close(descriptor)
        self._owner._on_committed(self.meta)

    def abort(self) -> None:
        descriptor, self._file = self._file, None
        if descriptor is not None:
            os.close(descriptor)
        self._owner._on_aborted(self.meta)

    def _append_frame(self, data: bytes) -> None:
        self._checksum = zlib.crc32(data, self._checksum)
        self._append(_FRAME.pack(len(data), self._checksum) + data)

    def _append(self, data: bytes) -> None:
        descriptor, left = self._check_open(), memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]

    def _check_open(self) -> int:
        if self._file is None:
            raise StorageError(f"snapshot {self.meta.id} is committed or aborted")
        return self._file


class _FileSnapshotReader(SnapshotReader):
    def __init__(self, meta: SnapshotMeta, descriptor: int) -> None:
        self._meta = meta
        self._file: int | None = descriptor
        self._frame = b""
        self._at = 0
        self._ended = False
        name = meta.to_bytes()
        head = _MAGIC + struct.pack(">B", len(name)) + name
        if self._take(len(head)) != head:
            raise CorruptedError(
                f"the file of the snapshot of slot {meta.slot} is damaged: it does not begin with its name"
            )
        self._checksum = zlib.crc32(name)

    @property
    def meta(self) -> SnapshotMeta:
        return self._meta

    def read(self, size: int) -> bytes:
        self._check_open()
        if self._at == len(self._frame) and not self._ended:
            self._next_frame()
        data = self._frame[self._at : self._at + max(size, 1)]
        self._at += len(data)
        return data

    def close(self) -> None:
        descriptor, self._file = self._file, None
        if descriptor is not None:
            os.close(descriptor)

    def _next_frame(self) -> None:
        head = self._take(_FRAME.size)
        length, checksum = _FRAME.unpack(head)
        if length > _FRAME_BYTES:
            raise self._damaged()
        data = self._take(length)
        if zlib.crc32(data, self._checksum) != checksum:
            raise self._damaged()
        if not data and self._read_some(1):
            raise self._damaged()
        self._frame, self._at, self._checksum, self._ended = data, 0, checksum, not data

    def _take(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._read_some(size - len(data))
            if not more:
                raise self._damaged()
            data += more
        return data

    def _check_open(self) -> int:
        if self._file is None:
            raise StorageError("the snapshot reader is closed")
        return self._file

    def _read_some(self, size: int) -> bytes:
        try:
            return os.read(self._check_open(), size)
        except OSError as error:
            raise CorruptedError(f"the snapshot of slot {self._meta.slot} cannot be read: {error.strerror}") from error

    def _damaged(self) -> CorruptedError:
        return CorruptedError(f"the snapshot of slot {self._meta.slot} is damaged")


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
