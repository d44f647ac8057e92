"""The bytes of a file as a map of pages without pages of zeros, so that a large sparse file takes little memory.

Pages are replaced and never changed, so a copy shares them with its original and costs little.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

PAGE = 4096
_ZEROS = bytes(PAGE)
_COPY_BYTES = 1 << 20


class Content:
    """The bytes of a file. Two contents are equal if all their bytes are; bytes that were never written are zero."""

    __slots__ = ("pages", "size")

    def __init__(self, data: bytes = b"") -> None:
        self.size = 0
        self.pages: dict[int, bytes] = {}
        """Whole pages by number, padded with zeros beyond ``size``. A missing page is all zeros."""
        self.write(0, data)

    @classmethod
    def of_file(cls, path: str | Path) -> Content:
        """Read a file, skipping its holes."""
        content = cls()
        with open(path, "rb", buffering=0) as file:
            for offset, data in _data_of(file.fileno()):
                content.write(offset, data)
            content.resize(os.fstat(file.fileno()).st_size)
        return content

    def copy(self) -> Content:
        copied = Content()
        copied.size, copied.pages = self.size, self.pages.copy()
        return copied

    def write(self, offset: int, data: bytes) -> None:
        """Write ``data`` at ``offset``; the file grows if necessary."""
        at, stop = offset, offset + len(data)
        while at < stop:
            number, within = divmod(at, PAGE)
            part = data[at - offset : at - offset + PAGE - within]
            if len(part) < PAGE:
                page = self.pages.get(number, _ZEROS)
                part = page[:within] + part + page[within + len(part) :]
            self._put(number, part)
            at = (number + 1) * PAGE
        self.size = max(self.size, stop)

    def resize(self, size: int) -> None:
        """Truncate the file to ``size`` bytes, or extend it with zeros."""
        if size < self.size:
            last, within = divmod(size, PAGE)
            self.pages = {number: page for number, page in self.pages.items() if number <= last}
            if last in self.pages:
                self._put(last, self.pages[last][:within] + _ZEROS[within:])
        self.size = size

    def cut(self, begin: int, end: int) -> Content:
        """Return the file without the bytes from ``begin`` up to ``end`` (exclusive); what follows moves forward."""
        shorter = self.copy()
        shorter.resize(begin)
        for offset, data in self.runs():
            if offset + len(data) > end:
                skipped = max(end - offset, 0)
                shorter.write(offset + skipped - (end - begin), data[skipped:])
        shorter.resize(self.size - (end - begin))
        return shorter

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``offset``; fewer at the end of the file."""
        stop = min(offset + length, self.size)
        numbers = range(offset // PAGE, -(-stop // PAGE)) if stop > offset else range(0)
        data = b"".join([self.pages.get(number, _ZEROS) for number in numbers])
        start = offset - offset // PAGE * PAGE
        return data[start : start + max(stop - offset, 0)]

    def runs(self) -> Iterator[tuple[int, bytes]]:
        """Yield offset and bytes of each stretch that is not a hole, in ascending order."""
        start, pages = 0, list[bytes]()
        for number in sorted(self.pages):
            if pages and number != start + len(pages):
                yield start * PAGE, b"".join(pages)[: self.size - start * PAGE]
                pages = []
            if not pages:
                start = number
            pages.append(self.pages[number])
        if pages:
            yield start * PAGE, b"".join(pages)[: self.size - start * PAGE]

    def to_file(self, path: str | Path) -> None:
        """Write the content to a file, replacing what was there; holes stay holes."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            for offset, data in self.runs():
                _write_at(descriptor, data, offset)
            os.ftruncate(descriptor, self.size)
        finally:
            os.close(descriptor)

    def _put(self, number: int, page: bytes) -> None:
        if page == _ZEROS:
            self.pages.pop(number, None)
        else:
            self.pages[number] = page

    def __bytes__(self) -> bytes:
        return self.read(0, self.size)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Content) and self.size == other.size and self.pages == other.pages

    def __hash__(self) -> int:
        """Hash the bytes as they are now; do not change a content that is a key of a dict."""
        return hash((self.size, frozenset(self.pages.items())))


def copy_file(source: str, target: str) -> None:
    """Copy a file; holes stay holes."""
    with open(source, "rb", buffering=0) as file:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            for offset, data in _data_of(file.fileno()):
                _write_at(descriptor, data, offset)
            os.ftruncate(descriptor, os.fstat(file.fileno()).st_size)
        finally:
            os.close(descriptor)


def _data_of(descriptor: int) -> Iterator[tuple[int, bytes]]:
    """Yield offset and bytes of everything in a file except its holes."""
    at = 0
    while True:
        try:
            at = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole up to the end
                return
            raise
        end = os.lseek(descriptor, at, os.SEEK_HOLE)
        while at < end and (data := os.pread(descriptor, min(_COPY_BYTES, end - at), at)):
            yield at, data
            at += len(data)


def _write_at(descriptor: int, data: bytes, offset: int) -> None:
    left = memoryview(data)
    while left:
        written = os.pwrite(descriptor, left, offset)
        left, offset = left[written:], offset + written
