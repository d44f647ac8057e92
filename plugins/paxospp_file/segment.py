"""The segment files of a log: which exist, appending to one, syncing it, and reading damaged ones.

``fdatasync`` of a file that has grown also writes its new length, and that journal commit doubles the
cost. So small records overwrite zeros that were written up to 256 KiB ahead. Measured on ext4, write and
sync take 84 instead of 110 µs for 250 bytes, and 90 instead of 140 µs for 4 KiB (medians). Large records
are appended: writing their bytes twice costs more than it saves.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence

from paxospp.storage import sync_directory

_NAME = re.compile(r"log-(\d{10})")
_AHEAD = bytes(256 * 1024)
_AHEAD_RECORD_BYTES_MAX = 16 * 1024
_JOIN_BYTES_MAX = 64 * 1024
_PIECES_MAX = 512  # below IOV_MAX
_READ_BYTES = 1 << 20
_BLOCK_BYTES = 4096
_EMPTIED_BYTES = 1 << 20  # a trim that empties a segment of at least this size ends it
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def segment_path(directory: str, number: int) -> str:
    """Return the path of segment ``number``."""
    return os.path.join(directory, f"log-{number:010}")


def list_segments(directory: str) -> list[int]:
    """Return the numbers of the existing segments, ascending."""
    return sorted(int(match[1]) for match in map(_NAME.fullmatch, os.listdir(directory)) if match)


class Segment:
    """A segment open for writing; ``end`` is the offset of the next record."""

    def __init__(self, directory: str, number: int, *, end: int = 0, bytes_max: int) -> None:
        flags = os.O_RDWR | os.O_CLOEXEC | (0 if end else os.O_CREAT | os.O_EXCL)
        self._file = os.open(segment_path(directory, number), flags, 0o600)
        self._bytes_max = bytes_max
        self._zeroed = 0
        self.number = number
        self.end = end

    def append(self, pieces: Sequence[bytes], length: int) -> None:
        """Write ``pieces``, ``length`` bytes in all, at the end, without a sync. Do not use it after an error."""
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
        # A short write: the disk is full, or a signal arrived. The next write tells which.
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
            # The record itself fitted; without zeros ahead, the next ones are only slower.

    def sync(self) -> None:
        """Return when everything appended survives power loss. Never call it again after it raised."""
        os.fdatasync(self._file)

    def renew(self, offset: int, length: int) -> None:
        """Write the bytes at ``offset`` again: after a failed sync, only that makes them reach the disk."""
        data = os.pread(self._file, length, offset)
        if len(data) != length or os.pwrite(self._file, data, offset) != length:
            raise OSError(errno.EIO, "a record cannot be written again")

    def cut(self) -> None:
        """Cut off what follows the end, zeros or a torn record, without a sync."""
        os.ftruncate(self._file, self.end)
        self._zeroed = 0

    def sync_wholly(self) -> None:
        """Sync like ``sync``, and the file's length and other metadata too."""
        os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)


class SegmentFiles:
    """The segments of the log in ``directory``, and the one that is being written.

    Args:
        bytes_max: the size at which a segment is ended and the next one begun.
    """

    def __init__(self, directory: str, bytes_max: int) -> None:
        self._directory = directory
        self._bytes_max = bytes_max
        self.numbers: list[int] = []
        """The numbers of all segments, ascending; ``load`` sets them."""
        self.current: Segment | None = None
        """The segment that is being written; None if the next record begins one."""

    def takes(self, record_bytes: int, *, empties_current: bool) -> bool:
        """Return whether the next record goes to the current segment, and not to a new one.

        Args:
            record_bytes: about the size of the record.
            empties_current: the record is a trim that leaves no entry in the current segment.
        """
        if self.current is None:
            return False
        end = self.current.end
        is_full = end + record_bytes > self._bytes_max and end > 0
        return not is_full and not (empties_current and end >= min(_EMPTIED_BYTES, self._bytes_max))

    def reopen(self, number: int, end: int) -> Segment:
        """Return a segment that exists, opened for writing from ``end`` on."""
        return Segment(self._directory, number, end=end, bytes_max=self._bytes_max)

    def begin(self) -> Segment:
        """End the current segment, which has to be synced, and return the next one."""
        if self.current is not None:
            self.current.cut()
        self.end_current()
        number = max(self.numbers, default=0) + 1
        self.current = segment = Segment(self._directory, number, bytes_max=self._bytes_max)
        self.numbers.append(number)
        sync_directory(self._directory)
        return segment

    def end_current(self) -> None:
        """Close the current segment; the next record begins a new one."""
        current, self.current = self.current, None
        if current is not None:
            current.close()

    def delete_before(self, number: int) -> None:
        """Delete the segments before ``number``; the caller has made durable that nothing needs them."""
        while self.numbers[0] < number:
            self._delete(self.numbers[0])

    def delete_after(self, number: int) -> None:
        """Delete the segments after ``number``."""
        for later in [known for known in self.numbers if known > number]:
            self._delete(later)

    def _delete(self, number: int) -> None:
        os.unlink(segment_path(self._directory, number))
        self.numbers.remove(number)


def read_segment(directory: str, number: int) -> bytes:
    """Return the bytes of a segment; unreadable blocks are replaced by zeros, which never verify."""
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
