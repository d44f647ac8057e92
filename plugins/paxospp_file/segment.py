"""The segment files: names, appending, syncing, and reading what may be damaged.

One ``fdatasync`` of a file that grows also writes its new length, a journal commit that costs as much
again. So small records are written into zeros laid down a quarter of a MiB ahead: measured on ext4,
84 instead of 110 µs for 250 bytes and 90 instead of 140 µs for 4 KiB (median of write and sync). For
large records the second writing of the data costs more than it saves; they are appended.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence

_NAME = re.compile(r"log-(\d{10})")
_AHEAD = bytes(256 * 1024)
_AHEAD_RECORD_BYTES_MAX = 16 * 1024
_JOIN_BYTES_MAX = 64 * 1024
_PIECES_MAX = 512  # below IOV_MAX
_READ_BYTES = 1 << 20
_BLOCK_BYTES = 4096
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def segment_path(directory: str, number: int) -> str:
    return os.path.join(directory, f"log-{number:010}")


def list_segments(directory: str) -> list[int]:
    """The numbers of the segments that are there, ascending."""
    return sorted(int(match[1]) for match in map(_NAME.fullmatch, os.listdir(directory)) if match)


class Segment:
    """The segment that is being written; ``end`` is where the next record goes."""

    def __init__(self, directory: str, number: int, *, end: int = 0, bytes_max: int) -> None:
        flags = os.O_RDWR | os.O_CLOEXEC | (0 if end else os.O_CREAT | os.O_EXCL)
        self._file = os.open(segment_path(directory, number), flags, 0o600)
        self._bytes_max = bytes_max
        self._zeroed = 0
        self.number = number
        self.end = end

    def append(self, pieces: Sequence[bytes], length: int) -> None:
        """Write ``pieces``, ``length`` bytes in all, at the end; not synced. Any error is final."""
        if length <= _JOIN_BYTES_MAX or len(pieces) > _PIECES_MAX:
            data = b"".join(pieces)
            written = os.pwrite(self._file, data, self.end)
        else:
            written = os.pwritev(self._file, pieces, self.end)
        if written != length:
            self._append_rest(b"".join(pieces), written)
        self.end += length
        if length <= _AHEAD_RECORD_BYTES_MAX and self.end >= self._zeroed:
            self._write_ahead()

    def _append_rest(self, data: bytes, written: int) -> None:
        # A short write: the disk is full or a signal came. Go on, so that the system says which.
        while written < len(data):
            more = os.pwrite(self._file, memoryview(data)[written:], self.end + written)
            if more == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written += more

    def _write_ahead(self) -> None:
        room = max(self._bytes_max - self.end, 0)
        self._zeroed = self.end + len(_AHEAD)
        try:
            os.pwrite(self._file, memoryview(_AHEAD)[:room], self.end)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            # The record itself fitted; without room ahead the next ones are just slower.

    def sync(self) -> None:
        """Return when all that was appended survives power loss. Never call it again after it raised."""
        os.fdatasync(self._file)

    def renew(self, offset: int, length: int) -> None:
        """Write what stands at ``offset`` anew: only so is it dirty, and goes to the disk, after a failed sync."""
        data = os.pread(self._file, length, offset)
        if len(data) != length or os.pwrite(self._file, data, offset) != length:
            raise OSError(errno.EIO, "a record cannot be written anew")

    def cut(self) -> None:
        """Drop what stands behind the end, zeros or a torn record; not synced."""
        os.ftruncate(self._file, self.end)
        self._zeroed = 0

    def sync_wholly(self) -> None:
        """As ``sync``, the length and all else that is kept about the file included."""
        os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)


def read_segment(directory: str, number: int) -> bytes:
    """The bytes of a segment; what the disk refuses to read comes back as zeros, in which nothing verifies."""
    file = os.open(segment_path(directory, number), os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(file).st_size
        return b"".join(_read_part(file, at, min(_READ_BYTES, size - at)) for at in range(0, size, _READ_BYTES))
    finally:
        os.close(file)


def _read_part(file: int, at: int, length: int) -> bytes:
    try:
        return os.pread(file, length, at).ljust(length, b"\0")
    except OSError:
        if length <= _BLOCK_BYTES:
            return bytes(length)
        return b"".join(
            _read_part(file, block, min(_BLOCK_BYTES, at + length - block))
            for block in range(at, at + length, _BLOCK_BYTES)
        )
