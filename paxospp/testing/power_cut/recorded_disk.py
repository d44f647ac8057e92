"""The disk at one moment of a recording: the durable files and names, and the changes since.

The rules are the least that POSIX promises. A sync of a file makes its bytes and size durable, a sync of a directory
its names, and nothing else makes anything durable: not ``close``, not ``sync_file_range``, not time. The changes of
names in one directory become durable in order, and each rename as a whole. ``names_follow_syncs`` selects the milder
rule of ext4 and XFS, which have one journal: any sync makes all earlier changes of names durable too.

After a sync that failed, the pages are clean in memory but not on disk (ext4, XFS): a later sync writes only what was
written again. References: Rebello et al., "Can Applications Recover from fsync Failures?" (2020); Pillai et al., "All
File Systems Are Not Created Equal" (2014).
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
    """One file: ``synced`` is durable; each of ``pending`` (index of the event, and the change) may be or not."""

    synced: Content = field(default_factory=Content)
    pending: list[tuple[int, FileWrite | Resize]] = field(default_factory=list)
    forsaken: list[FileWrite] = field(default_factory=list)
    """The writes of failed syncs, oldest first. They are lost unless their pages are written again."""
    frozen: Content | None = None
    """The copy of ``synced`` that ``durable`` returned last; None once ``synced`` changed."""

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
        """Make all changes before the event ``since`` durable."""
        rest = [pending for pending in self.pending if pending[0] >= since]
        for index, change in self.pending:
            if index < since:
                apply(self.synced, change)
                self.frozen = None
        self.pending = rest

    def fail(self, since: int) -> None:
        """Apply a failed sync of the changes before ``since``: writes are forsaken, changes of size stay pending.

        The size is metadata, which the file system's journal writes later.
        """
        pending, self.pending = self.pending, []
        for index, change in pending:
            if index >= since or isinstance(change, Resize):
                self.add(index, change)
            else:
                self.forsaken.append(change)

    def _dirty_again(self, index: int, change: FileWrite) -> None:
        """Make forsaken writes pending again in the pages that ``change`` touches: pages are written as a whole."""
        start, stop = change.offset // PAGE * PAGE, -(-(change.offset + len(change.data)) // PAGE) * PAGE
        kept: list[FileWrite] = []
        for lost in self.forsaken:
            before, again, after_it = _part(lost, 0, start), _part(lost, start, stop), _part(lost, stop, sys.maxsize)
            kept += [part for part in (before, after_it) if part.data]
            if again.data:
                self.pending.append((index, again))
        self.forsaken = kept

    def _cut_forsaken(self, size: int) -> None:
        """Drop forsaken writes beyond the new end: those pages are gone from memory as well."""
        parts = (_part(lost, 0, size) for lost in self.forsaken)
        self.forsaken = [part for part in parts if part.data]


@dataclass(slots=True)
class DirectoryOnDisk:
    """One directory: the durable names, and the changes since, in order."""

    synced: dict[str, int] = field(default_factory=dict)
    pending: list[tuple[int, Rename]] = field(default_factory=list)


class RecordedDisk:
    """All files and directories below ``ROOT``; ``apply`` advances them by one event of the recording."""

    def __init__(self, inodes: Mapping[int, Inode], *, names_follow_syncs: bool = False) -> None:
        self.inodes = inodes
        self.files: dict[int, FileOnDisk] = {}
        self.directories: dict[int, DirectoryOnDisk] = {ROOT: DirectoryOnDisk()}
        self._names_follow_syncs = names_follow_syncs

    def start(self, contents: Mapping[int, Content], names: Mapping[int, Mapping[str, int]]) -> None:
        """Set the files and names at the beginning of the recording, all of them durable."""
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
    """Apply a change of the file to ``content``."""
    if isinstance(change, Resize):
        content.resize(change.size)
    else:
        content.write(change.offset, change.data)


def _part(write: FileWrite, start: int, stop: int) -> FileWrite:
    """Return the part of ``write`` between two offsets of the file; it may have no bytes."""
    first = max(start - write.offset, 0)
    return FileWrite(write.inode, write.offset + first, write.data[first : max(stop - write.offset, 0)], write.path)


def set_name(names: dict[str, int], change: NameChange) -> None:
    """Apply ``change`` to ``names``, the names of one directory."""
    if change.inode is None:
        names.pop(change.name, None)
    else:
        names[change.name] = change.inode


def after(synced: Content, changes: Sequence[FileWrite | Resize]) -> Content:
    """Return the content after all ``changes``."""
    content = synced.copy()
    for change in changes:
        apply(content, change)
    return content
