"""The two copies of the anchor on disk: their encoding, and how they are read, made, written and synced.

``Stamp`` defines the contents of a copy, and ``anchor`` draws conclusions from it. The first copy is
written with every synced batch. The second is written only after the first was synced, so that one
of them is always intact, whatever a power cut does to the other.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from typing import NamedTuple

from paxospp.errors import CorruptedError
from paxospp.model import Ballot, NodeId
from paxospp.storage.directory_lock import sync_directory
from paxospp.storage.stamp import Stamp

_FORMAT = 1
_HEAD = struct.Struct(">BI")  # format, CRC-32 of the rest
_COPY = struct.Struct(">49sBQQ64p")  # stamp, promised?, round, incarnation, node
_COPY_BYTES = 256  # less than a sector, so that a copy is written as a whole or not at all

ANCHOR_LOST = (
    "put back the files anchor-a and anchor-b of this store, or start the node with an empty directory; it then "
    "follows without a vote"
)
"""Advice for a store whose anchor is lost. An older copy of the files could hide that batches are lost too."""


class Copy(NamedTuple):
    """The contents of a copy: batch ``stamp`` and all earlier ones survive power loss, with this promise."""

    stamp: Stamp
    promised: Ballot | None

    def to_bytes(self) -> bytes:
        """Encode the copy; the length is always the same."""
        stamp, promised = self
        if promised is None:
            body = _COPY.pack(stamp.to_bytes(), 0, 0, 0, b"")
        else:
            body = _COPY.pack(stamp.to_bytes(), 1, promised.round, promised.incarnation, promised.node.encode())
        body = body.ljust(_COPY_BYTES - _HEAD.size, b"\0")
        return _HEAD.pack(_FORMAT, zlib.crc32(body)) + body

    @classmethod
    def from_bytes(cls, data: bytes) -> Copy:
        """Decode what ``to_bytes`` wrote; raises CorruptedError for anything else."""
        if len(data) != _COPY_BYTES:
            raise CorruptedError(f"{len(data)} bytes instead of {_COPY_BYTES}")
        version, checksum = _HEAD.unpack_from(data)
        if version != _FORMAT:
            raise CorruptedError(f"this version of paxospp does not know format {version}")
        if zlib.crc32(data[_HEAD.size :]) != checksum:
            raise CorruptedError("the checksum does not match")
        stamp, has_promise, round, incarnation, node = _COPY.unpack_from(data, _HEAD.size)
        promised = Ballot(round, NodeId(node.decode()), incarnation) if has_promise else None
        return cls(Stamp.from_bytes(stamp), promised)


class AnchorCopies:
    """The files ``anchor-a`` and ``anchor-b`` of one directory."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._paths = os.path.join(directory, "anchor-a"), os.path.join(directory, "anchor-b")
        self._files: tuple[int, int] | None = None

    @property
    def is_open(self) -> bool:
        return self._files is not None

    def read(self) -> Copy | None:
        """Return the newer of the intact copies; None if neither exists.

        Raises:
            CorruptedError: copies exist but none is intact, or they belong to two stores.
        """
        whole, damage = [], []
        for path in self._paths:
            try:
                with open(path, "rb") as file:
                    whole.append(Copy.from_bytes(file.read(_COPY_BYTES + 1)))
            except FileNotFoundError:
                continue
            except (OSError, CorruptedError) as error:
                damage.append(f"{path}: {error}")
        if damage and not whole:
            raise CorruptedError("; ".join(damage) + f"; so nobody can say what this store has promised: {ANCHOR_LOST}")
        if len({copy.stamp.store for copy in whole}) > 1:
            raise CorruptedError("the two copies of the anchor belong to two different stores")
        return max(whole, key=lambda copy: copy.stamp.number, default=None)

    def make(self, copy: Copy) -> None:
        """Write the first copies of a new store, durably."""
        # Rename into place, so that a crash here never leaves an empty copy, which would look like damage.
        for path in self._paths:
            descriptor = os.open(f"{path}.new", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                _write(descriptor, copy)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(f"{path}.new", path)
        sync_directory(self._directory)
        self.open()

    def open(self) -> None:
        """Open both files for writing; the next ``settle`` fills one that was missing."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._files = os.open(self._paths[0], flags, 0o600), os.open(self._paths[1], flags, 0o600)

    def settle(self, copy: Copy) -> None:
        """Write and sync the first file, then the second, whatever they held before."""
        for descriptor in self._opened():
            _write(descriptor, copy)
            os.ftruncate(descriptor, _COPY_BYTES)  # a longer file was damaged
            os.fsync(descriptor)
        sync_directory(self._directory)

    def write(self, copy: Copy) -> None:
        """Write the first copy, without a sync."""
        _write(self._opened()[0], copy)

    def sync(self, copy: Copy) -> None:
        """Sync the first copy, then write and sync the second."""
        first, second = self._opened()
        os.fdatasync(first)
        _write(second, copy)
        os.fdatasync(second)

    def close(self) -> None:
        """Close both files, without a sync."""
        for descriptor in self._files or ():
            os.close(descriptor)
        self._files = None

    def _opened(self) -> tuple[int, int]:
        assert self._files is not None, "call open() or make() first"
        return self._files


def _write(descriptor: int, copy: Copy) -> None:
    if os.pwrite(descriptor, copy.to_bytes(), 0) != _COPY_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
