"""A simulated disk whose power can be cut at any moment, for a storage that uses the calls of ``os``.

While a ``Watch`` is active, each call that changes something below one directory is executed and
recorded. Afterwards the disk can be rebuilt as a power cut at any moment may leave it: each unsynced
512-byte piece of a file is there or not, and so is each name whose directory was not synced.

``fail_next`` makes one write stop half way, or one sync fail as it does on a real disk: the data that the
sync should have written is lost for good but still reads back correctly, and the next sync succeeds. This
module contains no assertions.
"""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

SECTOR = 512


@dataclass
class File:
    """The content of one file, under any names: the synced bytes, and the changes since."""

    synced: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    """The offset and bytes of a write, or the length and None of a truncation."""


@dataclass
class Event:
    """One recorded event; ``change(disk)`` repeats it on a rebuilt disk."""

    change: Callable[[Disk], None]
    note: str = ""


class Disk:
    """The files and names at one moment of a run."""

    def __init__(self) -> None:
        self.files: dict[int, File] = {}
        self.names: dict[str, int] = {}
        self.pending_names: dict[str, list[tuple[str, int | None]]] = {}

    def create(self, path: str, file: int) -> None:
        self.files[file] = File()
        self.rename(path, file)

    def rename(self, path: str, file: int | None) -> None:
        """Let ``path`` name ``file``, or nothing. A power cut may undo it until the directory is synced."""
        self.pending_names.setdefault(os.path.dirname(path), []).append((path, file))

    def sync(self, file: int) -> None:
        state = self.files[file]
        state.synced, state.pending = _after(state.synced, state.pending), []

    def lose(self, file: int) -> None:
        self.files[file].pending = []

    def sync_directory(self, path: str) -> None:
        for name, file in self.pending_names.pop(path, []):
            _set(self.names, name, file)

    def cut(self, chance: random.Random) -> dict[str, bytes]:
        """Return the content of each name after a power cut now; file systems keep changes of names in order."""
        names = dict(self.names)
        for pending in self.pending_names.values():
            for name, file in pending[: chance.randint(0, len(pending))]:
                _set(names, name, file)
        return {name: self._content(self.files[file], chance) for name, file in names.items()}

    def _content(self, file: File, chance: random.Random) -> bytes:
        how = chance.choice(["none", "all", "some", "some", "some"])
        if how == "none":
            return file.synced
        if how == "all":
            return _after(file.synced, file.pending)
        kept: list[tuple[int, bytes | None]] = []
        for offset, data in file.pending:
            if data is None:
                kept += [(offset, None)] * chance.randint(0, 1)
                continue
            at = 0
            while at < len(data):
                size = min(SECTOR - (offset + at) % SECTOR, len(data) - at)
                if chance.random() < 0.5:
                    kept.append((offset + at, data[at : at + size]))
                at += size
        return _after(file.synced, kept)


def _set(names: dict[str, int], name: str, file: int | None) -> None:
    if file is None:
        names.pop(name, None)
    else:
        names[name] = file


def _after(content: bytes, pending: Sequence[tuple[int, bytes | None]]) -> bytes:
    result = bytearray(content)
    for offset, data in pending:
        if data is None:
            result = result[:offset].ljust(offset, b"\0")
        else:
            result = result.ljust(offset, b"\0")
            result[offset : offset + len(data)] = data
    return bytes(result)


class Watch:
    """Record what is done below ``root``, event by event."""

    def __init__(self, root: Path) -> None:
        self._root = str(root) + "/"
        self._lock = threading.Lock()
        self._paths: dict[int, str] = {}
        self._inodes: dict[int, int] = {}
        self._names: dict[str, int] = {}
        self._count = 0
        self.events: list[Event] = []
        self.fail_next: str | None = None
        """The name of the call that fails next, once."""

    def note(self, text: str) -> None:
        """Add a mark between the events, so that a test can tell later what had been done by then."""
        with self._lock:
            self.events.append(Event(lambda disk: None, text))

    def moments(self) -> Iterator[tuple[Disk, list[str]]]:
        """Yield the disk after each event, with the notes made until then."""
        disk, notes = Disk(), []
        for event in list(self.events):
            event.change(disk)
            if event.note:
                notes.append(event.note)
            yield disk, notes

    @contextmanager
    def watching(self, patch: pytest.MonkeyPatch) -> Iterator[None]:
        """Record the calls made inside the ``with`` block."""
        with patch.context() as context:
            for name in ("open", "close", "write", "pwrite", "pwritev", "ftruncate", "fsync", "fdatasync"):
                context.setattr(os, name, self._watched(name, getattr(os, name)))
            for name in ("rename", "unlink"):
                context.setattr(os, name, self._watched(name, getattr(os, name)))
            yield

    def _watched(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        see = getattr(self, f"_on_{name}")

        def call(*arguments: Any, **options: Any) -> Any:
            # Recorded and executed in one step, so that the calls of other threads come before or after it.
            with self._lock:
                if name == self.fail_next and arguments[0] in self._inodes:
                    self.fail_next = None
                    self._fail(name, real, *arguments)
                position = os.lseek(arguments[0], 0, os.SEEK_CUR) if name == "write" else 0
                result = real(*arguments, **options)
                change = see(result, *arguments, **({"position": position} if name == "write" else {}))
                if change is not None:
                    self.events.append(Event(change))
                return result

        return call

    def _fail(self, name: str, real: Callable[..., Any], descriptor: int, *rest: Any) -> None:
        inode = self._inodes[descriptor]
        if name == "pwrite":
            data, offset = rest
            half = bytes(data[: len(data) // 2])
            real(descriptor, half, offset)
            self.events.append(Event(lambda disk: disk.files[inode].pending.append((offset, half))))
        else:
            self.events.append(Event(lambda disk: disk.lose(inode)))
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def _on_open(self, descriptor: int, path: str, flags: int, *_: Any, **__: Any) -> Callable[[Disk], None] | None:
        if not str(path).startswith(self._root):
            return None
        path = str(path)
        self._paths[descriptor] = path
        if os.path.isdir(path):
            return None
        known = path in self._names
        if not known:
            self._count += 1
            self._names[path] = self._count
        self._inodes[descriptor] = inode = self._names[path]
        if not known:
            return lambda disk: disk.create(path, inode)
        if flags & os.O_TRUNC:
            return lambda disk: disk.files[inode].pending.append((0, None))
        return None

    def _on_close(self, _: None, descriptor: int) -> None:
        self._paths.pop(descriptor, None)
        self._inodes.pop(descriptor, None)

    def _on_pwrite(
        self, written: int, descriptor: int, data: bytes | memoryview, offset: int
    ) -> Callable[[Disk], None] | None:
        inode = self._inodes.get(descriptor)
        if inode is None:
            return None
        kept = bytes(data[:written])
        return lambda disk: disk.files[inode].pending.append((offset, kept))

    def _on_pwritev(
        self, written: int, descriptor: int, pieces: Sequence[bytes], offset: int
    ) -> Callable[[Disk], None] | None:
        return self._on_pwrite(written, descriptor, b"".join(pieces), offset)

    def _on_write(
        self, written: int, descriptor: int, data: bytes | memoryview, *, position: int
    ) -> Callable[[Disk], None] | None:
        return self._on_pwrite(written, descriptor, data, position)

    def _on_ftruncate(self, _: None, descriptor: int, length: int) -> Callable[[Disk], None] | None:
        inode = self._inodes.get(descriptor)
        return None if inode is None else lambda disk: disk.files[inode].pending.append((length, None))

    def _on_fsync(self, _: None, descriptor: int) -> Callable[[Disk], None] | None:
        inode, path = self._inodes.get(descriptor), self._paths.get(descriptor)
        if inode is not None:
            return lambda disk: disk.sync(inode)
        return None if path is None else lambda disk: disk.sync_directory(path)

    _on_fdatasync = _on_fsync

    def _on_rename(self, _: None, source: str, target: str) -> Callable[[Disk], None] | None:
        if source not in self._names:
            return None
        inode = self._names[target] = self._names.pop(source)

        def change(disk: Disk) -> None:
            disk.rename(target, inode)
            disk.rename(source, None)

        return change

    def _on_unlink(self, _: None, path: str) -> Callable[[Disk], None] | None:
        return None if self._names.pop(path, None) is None else lambda disk: disk.rename(path, None)
