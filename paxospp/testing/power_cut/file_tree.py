"""The names and bytes below a directory as a running process sees them, synced or not."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from paxospp.testing.power_cut.content import Content
from paxospp.testing.power_cut.trace_events import ROOT, Inode, InodeKind


@dataclass(slots=True)
class FileTree:
    """All inodes below a directory, with their names and contents."""

    inodes: dict[int, Inode] = field(default_factory=lambda: {ROOT: Inode(InodeKind.DIRECTORY)})
    names: dict[int, dict[str, int]] = field(default_factory=lambda: {ROOT: {}})
    contents: dict[int, Content] = field(default_factory=dict)

    def make(self, kind: InodeKind, target: str = "") -> int:
        inode = len(self.inodes)
        self.inodes[inode] = Inode(kind, target)
        if kind is InodeKind.FILE:
            self.contents[inode] = Content()
        elif kind is InodeKind.DIRECTORY:
            self.names[inode] = {}
        return inode

    def copy(self) -> FileTree:
        return FileTree(
            dict(self.inodes),
            {inode: dict(names) for inode, names in self.names.items()},
            {inode: content.copy() for inode, content in self.contents.items()},
        )

    @classmethod
    def of(cls, directory: Path) -> FileTree:
        """Read a real directory."""
        tree, seen = cls(), dict[int, int]()

        def read(path: str, inode: int) -> None:
            for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
                if entry.is_symlink():
                    tree.names[inode][entry.name] = tree.make(InodeKind.LINK, os.readlink(entry.path))
                elif entry.is_dir():
                    tree.names[inode][entry.name] = below = tree.make(InodeKind.DIRECTORY)
                    read(entry.path, below)
                elif entry.is_file():
                    if entry.inode() not in seen:
                        seen[entry.inode()] = tree.make(InodeKind.FILE)
                        tree.contents[seen[entry.inode()]] = Content.of_file(entry.path)
                    tree.names[inode][entry.name] = seen[entry.inode()]

        read(str(directory), ROOT)
        return tree

    def find(self, path: str) -> int | None:
        """Return the inode at ``path``, or None."""
        inode: int | None = ROOT
        for name in path.split("/") if path else ():
            inode = self.names.get(inode, {}).get(name) if inode is not None else None
        return inode

    def place(self, path: str) -> tuple[int, str] | None:
        """Return the inode of the directory that holds ``path``, and the name in it; None if it does not exist."""
        head, _, name = path.rpartition("/")
        directory = self.find(head)
        return (directory, name) if directory in self.names and directory is not None else None

    def path_of(self, inode: int) -> str:
        """Return one of the paths of an inode."""
        return next((path for path, known in self.paths().items() if known == inode), "a file without a name")

    def paths(self) -> dict[str, int]:
        """Return the inodes of all files and links by their paths."""
        found = {}

        def walk(directory: int, path: str) -> None:
            for name, inode in self.names[directory].items():
                if self.inodes[inode].kind is InodeKind.DIRECTORY:
                    walk(inode, f"{path}{name}/")
                else:
                    found[f"{path}{name}"] = inode

        walk(ROOT, "")
        return found
