"""Turn the system calls of a trace into events: which file each call means, and what it changes.

Writes through shared mappings and io_uring do not show in a trace. They are not guessed: at the end ``unseen`` compares
the result with the directory itself and names each file that differs.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from paxospp.testing.power_cut.file_tree import FileTree
from paxospp.testing.power_cut.recorded_disk import apply, set_name
from paxospp.testing.power_cut.trace import FORKS, Descriptor, SystemCall, descriptors, read_calls, result_descriptor
from paxospp.testing.power_cut.trace_events import (
    FailedSync,
    FileWrite,
    InodeKind,
    Mark,
    NameChange,
    Rename,
    Resize,
    Sync,
    TraceEvent,
)
from paxospp.testing.power_cut.traced_processes import OpenFile, Processes


class Follower:
    """Reads a trace, appends to ``events``, and keeps ``tree``, the directory after these events.

    Paths are relative to the directory; "" is the directory itself.
    """

    def __init__(self, directory: str, tree: FileTree, marks: str, working_directory: str, first: int) -> None:
        self.events: list[TraceEvent] = []
        self.tree = tree
        self.blind: set[str] = set()
        """Paths (or names of calls) that were changed in a way that cannot be followed."""
        self.paths: set[str] = set()
        """Every path that a file ever had."""
        self.made: Counter[tuple[int, str]] = Counter()
        """The number of calls by thread and name, of those that concern files of the directory."""
        self._directory, self._marks, self._first = directory, marks, first
        self._processes = Processes(working_directory)
        self.mapped: dict[str, int] = {}
        """The inodes that were mapped for writing, by the paths that they had at that time."""
        self._mapped: list[tuple[int, int, int]] = []
        self._said = b""
        self._on: dict[str, Callable[[SystemCall], None]] = {
            name: getattr(self, f"_on_{kind}") for kind, names in _HANDLED.items() for name in names.split()
        }

    def follow(self, lines: Iterable[bytes]) -> None:
        for call in read_calls(lines, lambda: self._first + len(self.events)):
            self._processes.see(call)
            on = self._on.get(call.name)
            if on is not None and not (call.failed and call.name not in _SYNCS):
                on(call)

    def unseen(self, directory: Path) -> tuple[str, ...]:
        """Return the paths in ``directory`` that differ from ``tree`` or changed in a way that cannot be followed."""
        found = FileTree.of(directory)
        there, followed = found.paths(), self.tree.paths()
        differ = {
            path
            for path in there.keys() | followed.keys()
            if path not in there
            or path not in followed
            or found.contents.get(there[path]) != self.tree.contents.get(followed[path])
        }
        return tuple(sorted(differ | self.blind))

    # Opening

    def _on_open(self, call: SystemCall) -> None:
        if call.result is None:
            return
        opened = result_descriptor(call)
        path = self._relative(opened.path)
        file = self._processes.table(call)[opened.number] = OpenFile(None)
        if path is None:
            return
        flags = call.arguments.rpartition(b'"')[2]
        file.append, file.synced = b"O_APPEND" in flags, b"O_SYNC" in flags or b"O_DSYNC" in flags
        if opened.deleted:  # O_TMPFILE: the file has no name yet
            file.inode = self.tree.make(InodeKind.FILE)
            return
        file.inode = self.tree.find(path)
        if file.inode is None:
            file.inode = self._create(path, InodeKind.FILE)
        elif (call.name == "creat" or b"O_TRUNC" in flags) and self.tree.contents[file.inode].size:
            self._add(Resize(file.inode, 0, path))

    def _file(self, call: SystemCall, descriptor: Descriptor) -> tuple[OpenFile, int, str] | None:
        """Return the open file of a descriptor, its inode and path; None if it is outside the directory."""
        path = self._relative(descriptor.path)
        if path is None:
            return None
        self.made[call.thread, call.name] += 1
        table = self._processes.table(call)
        file = table.get(descriptor.number)
        if file is None or file.inode is None:  # opened by a call that is not followed
            inode = self.tree.find(path)
            if inode is None:
                self.blind.add(path)
                return None
            known = self.tree.contents.get(inode)
            file = table[descriptor.number] = OpenFile(inode, position=known.size if known is not None else 0)
        assert file.inode is not None
        return file, file.inode, path or "."

    # Bytes

    def _on_write(self, call: SystemCall) -> None:
        if call.descriptor.path == self._marks:
            self._say(b"".join(call.strings))
            return
        found = self._file(call, call.descriptor)
        if found is None:
            return
        file, inode, path = found
        data = b"".join(call.strings)[: call.result]  # a thread killed in the call: assume all of it
        numbers = call.numbers
        offset = numbers[1] if call.name in _POSITIONED else -1
        if offset == -1:
            offset = self.tree.contents[inode].size if file.append else file.position
            file.position = offset + len(data)
        elif file.append:  # Linux ignores the offset then, and appends
            offset = self.tree.contents[inode].size
        self._write(file, FileWrite(inode, offset, data, path), call)

    def _write(self, file: OpenFile, write: FileWrite, call: SystemCall) -> None:
        if write.data:
            self._add(write)
        synced = file.synced or b"RWF_SYNC" in call.arguments or b"RWF_DSYNC" in call.arguments
        if synced and call.result is not None:
            self._add(Sync(write.inode, self._first + len(self.events), write.path))

    def _on_copy(self, call: SystemCall) -> None:
        """Handle ``sendfile(out, in, ...)`` and ``copy_file_range(in, offset, out, offset, ...)``."""
        ends = descriptors(call.arguments)
        target, source = (ends[0], ends[1]) if call.name == "sendfile" else (ends[1], ends[0])
        into = self._file(call, target)
        if into is None or call.result is None:
            return
        file, inode, path = into
        if b"[" in call.arguments:  # with explicit offsets: rare, so not followed
            self.blind.add(path)
            return
        taken = self._file(call, source)
        if taken is not None:
            origin = taken[0]
            data = self.tree.contents[taken[1]].read(origin.position, call.result)
        else:
            origin = self._processes.table(call).setdefault(source.number, OpenFile(None))
            data = _read(source.path, origin.position, call.result)
        origin.position += call.result
        offset = self.tree.contents[inode].size if file.append else file.position
        file.position = offset + len(data)
        self._write(file, FileWrite(inode, offset, data, path), call)

    def _on_resize(self, call: SystemCall) -> None:
        if call.name == "truncate":
            path = self._relative(self._processes.absolute(call, call.strings[0]))
            inode = self.tree.find(path) if path is not None else None
        else:
            found = self._file(call, call.descriptor)
            path, inode = (found[2], found[1]) if found is not None else (None, None)
        if inode is not None and path is not None:
            self._add(Resize(inode, call.numbers[-1], path))

    def _on_allocate(self, call: SystemCall) -> None:
        found = self._file(call, call.descriptor)
        if found is None:
            return
        _, inode, path = found
        offset, length = call.numbers[-2:]
        size = self.tree.contents[inode].size
        if b"INSERT" in call.arguments or b"COLLAPSE" in call.arguments:
            self.blind.add(path)
            return
        if offset + length > size and b"KEEP_SIZE" not in call.arguments:
            self._add(Resize(inode, offset + length, path))
        length = min(length, size - offset)
        if length > 0 and (b"PUNCH_HOLE" in call.arguments or b"ZERO_RANGE" in call.arguments):
            for start, data in self.tree.contents[inode].runs():  # the rest is zeros already
                first, last = max(start, offset), min(start + len(data), offset + length)
                if first < last:
                    self._add(FileWrite(inode, first, bytes(last - first), path))

    # Syncs and mappings

    def _on_sync(self, call: SystemCall) -> None:
        if call.result is None:
            return
        if call.name in ("sync", "syncfs"):
            self._add(Sync(None, call.began, "everything"))
        elif (found := self._file(call, call.descriptor)) is not None:
            self._synced(found[1], call, found[2])

    def _synced(self, inode: int, call: SystemCall, path: str) -> None:
        self._add(FailedSync(inode, call.began, path) if call.failed else Sync(inode, call.began, path))

    def _on_map(self, call: SystemCall) -> None:
        shared = b"MAP_SHARED" in call.arguments and b"PROT_WRITE" in call.arguments
        ends = descriptors(call.arguments)
        found = self._file(call, ends[0]) if shared and ends else None
        if found is not None and call.result is not None:
            length = int(call.arguments.split(b", ")[1])
            self._mapped.append((call.result, call.result + length, found[1]))
            self.blind.add(found[2])
            self.mapped[found[2]] = found[1]

    def _on_sync_map(self, call: SystemCall) -> None:
        start = int(call.arguments.split(b",")[0], 0)
        for first, last, inode in self._mapped:
            if first <= start < last and b"MS_SYNC" in call.arguments and call.result is not None:
                self.made[call.thread, call.name] += 1
                self._synced(inode, call, self.tree.path_of(inode))
                return

    def _on_ring(self, call: SystemCall) -> None:
        self.blind.add(call.name)

    # Names

    def _on_rename(self, call: SystemCall) -> None:
        source, target = self._two_paths(call)
        if source is None or target is None:
            self.blind.update(path for path in (source, target) if path is not None)
            return
        inode, one, two = self.tree.find(source), self.tree.place(source), self.tree.place(target)
        if one is None or two is None or inode is None:
            self.blind.add(source)
            return
        other = self.tree.find(target) if b"RENAME_EXCHANGE" in call.arguments else None
        if inode != self.tree.find(target):  # for two names of one file, rename does nothing
            self._name(f"rename {source} to {target}", NameChange(*one, other), NameChange(*two, inode))
            self.paths.add(target)

    def _on_link(self, call: SystemCall) -> None:
        source, target = self._two_paths(call)
        if target is None:
            return
        place = self.tree.place(target)
        inode = self.tree.find(source) if source is not None else self._by_descriptor(call)
        if inode is None or place is None:
            self.blind.add(target)
            return
        self._name(f"link {target}" if source is None else f"link {source} to {target}", NameChange(*place, inode))
        self.paths.add(target)

    def _by_descriptor(self, call: SystemCall) -> int | None:
        """Return the inode of ``linkat(..., "/proc/self/fd/7", ...)``, which names a file that had no name."""
        number = os.fsdecode(call.strings[0]).removeprefix("/proc/self/fd/")
        file = self._processes.table(call).get(int(number)) if number.isdecimal() else None
        return file.inode if file is not None else None

    def _on_symlink(self, call: SystemCall) -> None:
        target, path = call.strings[0], self._path(call, call.strings[1], descriptors(call.arguments))
        place = self.tree.place(path) if path is not None else None
        if place is not None:
            link = self.tree.make(InodeKind.LINK, os.fsdecode(target))
            self._name(f"make symbolic link {path}", NameChange(*place, link))

    def _on_remove(self, call: SystemCall) -> None:
        path = self._path(call, call.strings[0], descriptors(call.arguments))
        place = self.tree.place(path) if path is not None else None
        if path is not None and place is not None and self.tree.find(path) is not None:
            self._name(f"remove {path}", NameChange(*place, None))

    def _on_make(self, call: SystemCall) -> None:
        path = self._path(call, call.strings[0], descriptors(call.arguments))
        if path and self.tree.find(path) is None:
            self._create(path, InodeKind.DIRECTORY)

    def _create(self, path: str, kind: InodeKind) -> int | None:
        place = self.tree.place(path)
        if place is None:
            self.blind.add(path)
            return None
        inode = self.tree.make(kind)
        self._name(f"create {'' if kind is InodeKind.FILE else 'directory '}{path}", NameChange(*place, inode))
        if kind is InodeKind.FILE:
            self.paths.add(path)
        return inode

    def _name(self, words: str, *changes: NameChange) -> None:
        self._add(Rename(changes, words))

    # Marks and paths

    def _say(self, data: bytes) -> None:
        *lines, self._said = (self._said + data).split(b"\n")
        for line in lines:
            self._add(Mark(line.decode(errors="replace")))

    def _add(self, event: TraceEvent) -> None:
        self.events.append(event)
        if isinstance(event, FileWrite | Resize):
            apply(self.tree.contents[event.inode], event)
        elif isinstance(event, Rename):
            for change in event.changes:
                set_name(self.tree.names[change.directory], change)

    def _relative(self, path: str) -> str | None:
        """Return ``path`` relative to the directory; None if it is outside."""
        if path == self._directory:
            return ""
        return path[len(self._directory) + 1 :] if path.startswith(f"{self._directory}/") else None

    def _path(self, call: SystemCall, path: bytes, bases: list[Descriptor]) -> str | None:
        return self._relative(self._processes.absolute(call, path, bases[0].path if bases else None))

    def _two_paths(self, call: SystemCall) -> tuple[str | None, str | None]:
        (source, target), bases = call.strings, descriptors(call.arguments)
        return self._path(call, source, bases[:1]), self._path(call, target, bases[1:2])


def _read(path: str, offset: int, length: int) -> bytes:
    """Read from a file outside the directory, the source of a copy."""
    try:
        with open(path, "rb", buffering=0) as file:
            return os.pread(file.fileno(), length, offset)
    except OSError:
        return b""


_SYNCS = {"fsync", "fdatasync", "msync"}
"""Calls that matter also if they fail."""
_POSITIONED = {"pwrite64", "pwritev", "pwritev2"}

_HANDLED = {
    "open": "open openat openat2 creat",
    "write": "write writev pwrite64 pwritev pwritev2",
    "copy": "sendfile copy_file_range",
    "resize": "truncate ftruncate",
    "allocate": "fallocate",
    "sync": "fsync fdatasync sync syncfs",
    "map": "mmap",
    "sync_map": "msync",
    "ring": "io_uring_setup io_submit",
    "rename": "rename renameat renameat2",
    "link": "link linkat",
    "symlink": "symlink symlinkat",
    "remove": "unlink unlinkat rmdir",
    "make": "mkdir mkdirat",
}
_SEEN = "read readv lseek dup dup2 dup3 fcntl chdir fchdir"

CALLS = (*" ".join(_HANDLED.values()).split(), *_SEEN.split(), *FORKS)
"""The system calls to trace. ``close`` is not needed: a descriptor's number gets a new meaning only by an open."""
