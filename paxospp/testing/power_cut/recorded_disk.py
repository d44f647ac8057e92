"""The disk at one moment: what is durable of files and names, and what was done since.

It keeps to what POSIX promises and no file system exceeds downwards: a file's bytes and size are
durable by a sync of that file, a name by a sync of its directory, and nothing by anything else (not
by ``close``, ``sync_file_range`` or time). Names of one directory become durable in order, and each
rename whole. ``names_follow_syncs`` is the kinder rule of ext4 and XFS, whose journal is one: any
sync carries all earlier changes of names with it.

After a sync that failed, the pages are clean in memory and lost on disk (ext4, XFS): a later sync
writes only what was written again. Reference: Rebello et al., "Can Applications Recover from fsync
Failures?" (2020); Pillai et al., "All File Systems Are Not Created Equal" (2014).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from paxospp.testing.power_cut.content import PAGE, Content
from paxospp.testing.power_cut.trace_events import (
    ROOT,
    FailedSync,
    FileWrite,
    Inode,
    InodeKind,
    Mark,
    NameChange,
    Rename,
    Resize,
    Sync,
    TraceEvent,
)


@dataclass(slots=True)
class FileOnDisk:
    """One file: ``synced`` is durable, ``pending`` (index and what) may or may not be."""

    synced: Content = field(default_factory=Content)
    pending: list[tuple[int, FileWrite | Resize]] = field(default_factory=list)
    forsaken: list[FileWrite] = field(default_factory=list)
    """What a failed sync should have written: lost, unless its page is written again. Oldest first."""
    frozen: Content | None = None
    """A copy of ``synced`` that was given away, until that changes."""

    def durable(self) -> Content:
        if self.frozen is None:
            self.frozen = self.synced.copy()
        return self.frozen

    def add(self, index: int, change: FileWrite | Resize) -> None:
        if self.forsaken:
            if isinstance(change, FileWrite):
                self._dirty_again(index, change)
            else:
                self._cut_forsaken(change.size)
        self.pending.append((index, change))

    def sync(self, since: int) -> None:
        """What was done before ``since`` is durable."""
        rest = [pending for pending in self.pending if pending[0] >= since]
        for index, change in self.pending:
            if index < since:
                apply(self.synced, change)
                self.frozen = None
        self.pending = rest

    def fail(self, since: int) -> None:
        """A sync of what was done before ``since`` failed. Sizes are the journal's, and stay to be written."""
        pending, self.pending = self.pending, []
        for index, change in pending:
            if index >= since or isinstance(change, Resize):
                self.add(index, change)
            else:
                self.forsaken.append(change)

    def _dirty_again(self, index: int, change: FileWrite) -> None:
        """Have each page that ``change`` touches written back whole: with what a failed sync left in it, once."""
        start, stop = change.offset // PAGE * PAGE, -(-(change.offset + len(change.data)) // PAGE) * PAGE
        kept: list[FileWrite] = []
        for lost in self.forsaken:
            before, again, after_it = _part(lost, 0, start), _part(lost, start, stop), _part(lost, stop, sys.maxsize)
            kept += [part for part in (before, after_it) if part.data]
            if again.data:
                self.pending.append((index, again))
        self.forsaken = kept

    def _cut_forsaken(self, size: int) -> None:
        """Pages beyond the new end are gone from memory, too."""
        parts = (_part(lost, 0, size) for lost in self.forsaken)
        self.forsaken = [part for part in parts if part.data]


@dataclass(slots=True)
class DirectoryOnDisk:
    """One directory: the names that are durable, and the changes since, in order."""

    synced: dict[str, int] = field(default_factory=dict)
    pending: list[tuple[int, Rename]] = field(default_factory=list)


class RecordedDisk:
    """All files and directories below ``ROOT``; ``apply`` takes it one event further."""

    def __init__(self, inodes: Mapping[int, Inode], *, names_follow_syncs: bool = False) -> None:
        self.inodes = inodes
        self.files: dict[int, FileOnDisk] = {}
        self.directories: dict[int, DirectoryOnDisk] = {ROOT: DirectoryOnDisk()}
        self._names_follow_syncs = names_follow_syncs

    def start(self, contents: Mapping[int, Content], names: Mapping[int, Mapping[str, int]]) -> None:
        """What was there at the beginning, all of it durable."""
        for inode, content in contents.items():
            self.file(inode).synced = content.copy()
        for inode, entries in names.items():
            self.directory(inode).synced = dict(entries)

    def file(self, inode: int) -> FileOnDisk:
        return self.files.setdefault(inode, FileOnDisk())

    def directory(self, inode: int) -> DirectoryOnDisk:
        return self.directories.setdefault(inode, DirectoryOnDisk())

    def apply(self, index: int, event: TraceEvent) -> None:
        match event:
            case FileWrite() | Resize():
                self.file(event.inode).add(index, event)
            case Rename():
                for directory in {change.directory for change in event.changes}:
                    self.directory(directory).pending.append((index, event))
            case Sync():
                self._sync(event)
            case FailedSync():
                self.file(event.inode).fail(event.since)
            case Mark():
                pass
            case _:
                assert_never(event)

    def _sync(self, sync: Sync) -> None:
        if sync.inode is None:
            for file in self.files.values():
                file.sync(sync.since)
        elif self.inodes[sync.inode].kind is InodeKind.FILE:
            self.file(sync.inode).sync(sync.since)
        if sync.inode is None or self._names_follow_syncs:
            for directory in list(self.directories):
                self._sync_names(directory, sync.since)
        elif self.inodes[sync.inode].kind is InodeKind.DIRECTORY:
            self._sync_names(sync.inode, sync.since)

    def _sync_names(self, inode: int, since: int) -> None:
        directory = self.directory(inode)
        while directory.pending and directory.pending[0][0] < since:
            index, rename = directory.pending.pop(0)
            for change in rename.changes:
                if change.directory == inode:
                    set_name(directory.synced, change)
                else:  # a rename is atomic, and the other directory keeps its order
                    self._sync_names(change.directory, index + 1)


def apply(content: Content, change: FileWrite | Resize) -> None:
    """Do to ``content`` what was done to the file."""
    if isinstance(change, Resize):
        content.resize(change.size)
    else:
        content.write(change.offset, change.data)


def _part(write: FileWrite, start: int, stop: int) -> FileWrite:
    """What ``write`` put between two offsets of the file; perhaps no bytes."""
    first = max(start - write.offset, 0)
    return FileWrite(write.inode, write.offset + first, write.data[first : max(stop - write.offset, 0)], write.path)


def set_name(names: dict[str, int], change: NameChange) -> None:
    if change.inode is None:
        names.pop(change.name, None)
    else:
        names[change.name] = change.inode


def after(synced: Content, changes: Sequence[FileWrite | Resize]) -> Content:
    """The content once all ``changes`` are done."""
    content = synced.copy()
    for change in changes:
        apply(content, change)
    return content
