"""The events of a recording, as plain values: what a process did to the files below one directory, in order.

Files and directories are numbers (``inode``), so that a rename changes nothing about them; ``ROOT`` is the directory
itself. ``str`` describes an event for the steps of a failing case. If calls overlap, an event stands where its call
*returned*, but a sync covers only what was done before it *began* (``Sync.since``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

_MEANINGS = {
    "offer": "persist begins",
    "ack": "must survive from now on",
    "returned": "persist returned without a sync",
}

ROOT = 0
"""The inode of the directory that is recorded; it is durable from the beginning."""


class InodeKind(Enum):
    """The kind of an inode."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "symbolic link"


@dataclass(slots=True, frozen=True)
class Inode:
    """The properties of a file, directory or symbolic link that never change."""

    kind: InodeKind
    target: str = ""
    """The target of a symbolic link."""


@dataclass(slots=True, frozen=True)
class FileWrite:
    """Bytes that one call wrote at an offset of a file."""

    inode: int
    offset: int
    data: bytes
    path: str

    def __str__(self) -> str:
        return f"write {len(self.data)} bytes at {self.offset} of {self.path}"


@dataclass(slots=True, frozen=True)
class Resize:
    """A change of a file's size: truncated, or extended with zeros."""

    inode: int
    size: int
    path: str

    def __str__(self) -> str:
        return f"set the size of {self.path} to {self.size}"


@dataclass(slots=True, frozen=True)
class NameChange:
    """A name in a directory now means this inode, or nothing (None)."""

    directory: int
    name: str
    inode: int | None


@dataclass(slots=True, frozen=True)
class Rename:
    """The changes of names by one call, which are atomic: by create, link, unlink or rename."""

    changes: tuple[NameChange, ...]
    words: str

    def __str__(self) -> str:
        return self.words


@dataclass(slots=True, frozen=True)
class Sync:
    """A sync without error, of one file or directory or, if ``inode`` is None, of everything."""

    inode: int | None
    since: int
    """The sync covers the events before this index: those that had happened when it began."""
    path: str

    def __str__(self) -> str:
        return f"sync {self.path}"


@dataclass(slots=True, frozen=True)
class FailedSync:
    """A sync of a file that returned an error: the changes that it covers may never be written."""

    inode: int
    since: int
    path: str

    def __str__(self) -> str:
        return f"sync {self.path}: failed"


@dataclass(slots=True, frozen=True)
class Mark:
    """A line by which the process reports its progress: ``offer 7``, ``ack 7`` or any other."""

    text: str

    def __str__(self) -> str:
        meaning = _MEANINGS.get(self.text.partition(" ")[0])
        return self.text if meaning is None else f"{self.text}: {meaning}"


TraceEvent = FileWrite | Resize | Rename | Sync | FailedSync | Mark
