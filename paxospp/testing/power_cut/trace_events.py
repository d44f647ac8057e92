"""What a process did to the files below one directory, in order: plain values, no behaviour.

Files and directories are numbers (``inode``), so that a rename loses nothing; ``ROOT`` is the
directory itself. Each value knows the words for it, which a failing case is told in. A call that was
under way while others happened stands where it *returned*; what a sync covers was done by where it
began (``Sync.since``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

ROOT = 0
"""The directory that is watched; it was there, durably, before anything happened."""


class InodeKind(Enum):
    """What an inode is."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "symbolic link"


@dataclass(slots=True, frozen=True)
class Inode:
    """What never changes about a file, directory or symbolic link."""

    kind: InodeKind
    target: str = ""
    """Where a symbolic link leads."""


@dataclass(slots=True, frozen=True)
class FileWrite:
    """Bytes of one call that came to stand at an offset of a file."""

    inode: int
    offset: int
    data: bytes
    path: str

    def __str__(self) -> str:
        return f"write {len(self.data)} bytes at {self.offset} of {self.path}"


@dataclass(slots=True, frozen=True)
class Resize:
    """A file is this long now: cut, or longer by zeros."""

    inode: int
    size: int
    path: str

    def __str__(self) -> str:
        return f"set the size of {self.path} to {self.size}"


@dataclass(slots=True, frozen=True)
class NameChange:
    """In this directory this name stands for that inode now, or for nothing."""

    directory: int
    name: str
    inode: int | None


@dataclass(slots=True, frozen=True)
class Rename:
    """Changes of names by one call, all of them or none: create, link, unlink and rename alike."""

    changes: tuple[NameChange, ...]
    words: str

    def __str__(self) -> str:
        return self.words


@dataclass(slots=True, frozen=True)
class Sync:
    """A sync that returned without error: of one file or directory, or of everything (None)."""

    inode: int | None
    since: int
    """It covers what had happened before this index, when it began."""
    path: str

    def __str__(self) -> str:
        return f"sync {self.path}"


@dataclass(slots=True, frozen=True)
class FailedSync:
    """A sync of a file that returned an error: what it should have covered may never be written."""

    inode: int
    since: int
    path: str

    def __str__(self) -> str:
        return f"sync {self.path}: failed"


@dataclass(slots=True, frozen=True)
class Mark:
    """A line that the process wrote to say where it is: ``offer 7``, ``ack 7`` or any other."""

    text: str

    def __str__(self) -> str:
        return self.text


TraceEvent = FileWrite | Resize | Rename | Sync | FailedSync | Mark
