"""Draw one of the many states in which a power cut may leave a disk.

A disk writes unsynced data at any time and in any order, whole sectors at once. So each piece of a file (512 bytes or a
page) is as it was after *some* of the pending changes, and so is the size of the file, independently of the pieces.
Changes may be kept, lost or torn, later ones may survive without earlier ones, and zeros may appear where the size grew
before the bytes were written. A piece that a pending truncation removed does not come back beside what replaced it. In
each directory a prefix of the pending changes of names survives.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from paxospp.testing.power_cut.content import PAGE, Content
from paxospp.testing.power_cut.recorded_disk import DirectoryOnDisk, FileOnDisk, RecordedDisk, after, set_name
from paxospp.testing.power_cut.trace_events import ROOT, FileWrite, InodeKind, Resize

SECTOR = 512


class Survivors(Enum):
    """The unsynced changes that survive a power cut; the values are for the steps of a failing case."""

    NOTHING = "none"
    EVERYTHING = "all"
    UP_TO = "all up to some moment, the last one perhaps torn"
    SOME_FILES = "all in some files and directories, none in the others"
    ALL_BUT_ONE = "all but those of one file or directory"
    PIECES = "random pieces"
    HOLE = "all but one sector"


@dataclass(slots=True, frozen=True)
class Left:
    """A file, directory or link after the cut, at one path; two names of one file have the same ``inode``."""

    path: str
    kind: InodeKind
    inode: int
    content: Content
    """The bytes of a file, or the target of a symbolic link."""


Keep = Callable[[int], str]
"""Says which pending changes of an inode survive: "all", "none", "pieces", "hole", or an index as text, for all changes
up to that event."""


def draw(disk: RecordedDisk, survivors: Survivors, chance: random.Random) -> tuple[list[Left], list[str]]:
    """Draw one state: return what is left at each path, and lines that say what became of the unsynced changes."""
    open_files = [inode for inode, file in disk.files.items() if file.pending]
    open_directories = [inode for inode, directory in disk.directories.items() if directory.pending]
    keep = _keep(disk, survivors, open_files, open_directories, chance)
    names, words = _draw_names(disk, open_directories, keep, chance)
    contents: dict[int, Content] = {}

    def content(inode: int) -> Content:
        if inode not in contents:
            file = disk.file(inode)
            if not file.pending:
                contents[inode] = file.durable()
            else:
                contents[inode], told = _draw_content(file, keep(inode), chance)
                words.append(f"{file.pending[-1][1].path}: {told}")
        return contents[inode]

    return list(_walk(disk, names, ROOT, "", content)), words


def _keep(
    disk: RecordedDisk, survivors: Survivors, files: Sequence[int], directories: Sequence[int], chance: random.Random
) -> Callable[[int], str]:
    if survivors is Survivors.NOTHING:
        return lambda inode: "none"
    if survivors is Survivors.EVERYTHING:
        return lambda inode: "all"
    if survivors is Survivors.PIECES:
        names = {inode: chance.choice(["all", "none", "pieces"]) for inode in directories}
        return lambda inode: names.get(inode, "pieces")
    if survivors is Survivors.HOLE:
        sizes = [sum(len(c.data) for _, c in disk.files[inode].pending if isinstance(c, FileWrite)) for inode in files]
        torn = chance.choices(files, sizes)[0] if any(sizes) else -1
        return lambda inode: "hole" if inode == torn else "all"
    if survivors is Survivors.UP_TO:
        done = [index for inode in files for index, _ in disk.files[inode].pending]
        done += [index for inode in directories for index, _ in disk.directories[inode].pending]
        limit = str(chance.choice(done)) if done else "none"
        return lambda inode: limit
    if survivors is Survivors.ALL_BUT_ONE:
        lost = chance.choice([*files, *directories]) if files or directories else -1
        return lambda inode: "none" if inode == lost else "all"
    choice = {inode: chance.choice(["all", "none"]) for inode in (*files, *directories)}
    return lambda inode: choice.get(inode, "none")


# Names


def _draw_names(
    disk: RecordedDisk, directories: Sequence[int], keep: Keep, chance: random.Random
) -> tuple[dict[int, dict[str, int]], list[str]]:
    kept = {inode: _how_many(disk.directories[inode], keep(inode), chance) for inode in directories}
    while _together(disk, kept):
        pass
    names, words = {}, []
    for inode, directory in disk.directories.items():
        names[inode] = directory.synced
        if not directory.pending:
            continue
        names[inode] = dict(directory.synced)
        for number, (_, rename) in enumerate(directory.pending):
            if number < kept[inode]:
                for change in rename.changes:
                    if change.directory == inode:
                        set_name(names[inode], change)
            words.append(f"{'kept' if number < kept[inode] else 'lost'}: {rename}")
    return names, words


def _how_many(directory: DirectoryOnDisk, how: str, chance: random.Random) -> int:
    if how == "none":
        return 0
    if how in ("all", "hole"):
        return len(directory.pending)
    if how == "pieces":
        return chance.randint(0, len(directory.pending))
    return sum(index <= int(how) for index, _ in directory.pending)


def _together(disk: RecordedDisk, kept: dict[int, int]) -> bool:
    """Keep a rename between two directories in both if one keeps it; return whether that changed ``kept``."""
    for inode, count in kept.items():
        for index, rename in disk.directories[inode].pending[:count]:
            for other in {change.directory for change in rename.changes} - {inode}:
                needed = sum(i <= index for i, _ in disk.directories[other].pending)
                if kept.get(other, 0) < needed:
                    kept[other] = needed
                    return True
    return False


def _walk(
    disk: RecordedDisk, names: dict[int, dict[str, int]], directory: int, path: str, content: Callable[[int], Content]
) -> Iterator[Left]:
    for name, inode in sorted(names.get(directory, {}).items()):
        below, what = f"{path}{name}", disk.inodes[inode]
        match what.kind:
            case InodeKind.FILE:
                yield Left(below, what.kind, inode, content(inode))
            case InodeKind.LINK:
                yield Left(below, what.kind, inode, Content(what.target.encode()))
            case InodeKind.DIRECTORY:
                yield Left(below, what.kind, inode, Content())
                yield from _walk(disk, names, inode, f"{below}/", content)


# Contents


def _draw_content(file: FileOnDisk, how: str, chance: random.Random) -> tuple[Content, str]:
    changes = [change for _, change in file.pending]
    count = f"{len(changes)} unsynced change{'s' if len(changes) > 1 else ''}"
    if how == "none":
        return file.durable(), f"{count}, all lost"
    if how == "all":
        return after(file.durable(), changes), f"{count}, all kept"
    if how == "pieces":
        return _pieces(file.durable(), changes, chance, count)
    if how == "hole":
        return _pieces(file.durable(), changes, chance, count, hole=True)
    done = sum(index <= int(how) for index, _ in file.pending)
    if done and file.pending[done - 1][0] == int(how) and chance.random() < 0.7:
        synced = after(file.durable(), changes[: done - 1])
        content, told = _pieces(synced, changes[done - 1 : done], chance, "the next one torn")
        return content, f"{count}, the first {done - 1} kept, {told}"
    return after(file.durable(), changes[:done]), f"{count}, the first {done} kept"


def _pieces(
    synced: Content, changes: Sequence[FileWrite | Resize], chance: random.Random, count: str, *, hole: bool = False
) -> tuple[Content, str]:
    """Draw how many changes each piece and the size reflect; ``hole``: all changes survive except in one sector."""
    last = len(changes)
    sizes = _sizes(synced.size, changes)
    if hole:
        piece, sized, size, style = SECTOR, last, sizes[last], "hole"
    else:
        large = sum(len(c.data) for c in changes if isinstance(c, FileWrite)) > 1 << 20
        piece = PAGE if large else chance.choice([SECTOR, PAGE])
        sized = chance.choice([last, last, chance.randint(0, last)])
        size = _torn_size(sizes, sized, piece, chance)
        style = chance.choice(["few", "half", "most", "front", "hole"])
    touched = sorted({number for change in changes for number in _pieces_of(change, piece)})
    versions = _versions(touched, style, last, chance)
    cuts = [(n, c.size) for n, c in enumerate(changes, 1) if isinstance(c, Resize) and c.size < sizes[n - 1]]
    for number in touched if cuts else ():
        low, high = _bounds(cuts, sized, (number + 1) * piece, last)
        versions[number] = min(max(versions[number], low), high)
    content = synced.copy()
    for number, change in enumerate(changes, 1):
        if isinstance(change, Resize):
            if number <= sized and change.size < content.size:
                content.resize(change.size)
            continue
        for part in _pieces_of(change, piece):
            if number <= versions[part]:
                start, stop = (
                    max(part * piece, change.offset),
                    min((part + 1) * piece, change.offset + len(change.data)),
                )
                content.write(start, change.data[start - change.offset : stop - change.offset])
    content.resize(size)
    whole = sum(versions[number] == last for number in touched)
    return content, f"{count}: {whole} of {len(touched)} pieces of {piece} bytes are written, the size is {size}"


def _pieces_of(change: FileWrite | Resize, piece: int) -> range:
    if isinstance(change, Resize) or not change.data:
        return range(0)
    return range(change.offset // piece, (change.offset + len(change.data) - 1) // piece + 1)


def _sizes(size: int, changes: Sequence[FileWrite | Resize]) -> list[int]:
    """Return the sizes after none, one, two, … of the changes."""
    sizes = [size]
    for change in changes:
        size = change.size if isinstance(change, Resize) else max(size, change.offset + len(change.data))
        sizes.append(size)
    return sizes


def _torn_size(sizes: Sequence[int], sized: int, piece: int, chance: random.Random) -> int:
    """Return the size after ``sized`` changes, or one before it: a long write grows the file piece by piece."""
    size = sizes[sized]
    before = sizes[sized - 1] if sized else size
    if size > before and chance.random() < 0.3:
        return min(size, chance.randrange(before, size) // piece * piece + piece)
    return size


def _versions(touched: Sequence[int], style: str, last: int, chance: random.Random) -> dict[int, int]:
    """Draw, for each piece, how many of the changes it reflects."""
    if style == "front":
        end = chance.randint(0, len(touched))
        return {number: last if place < end else 0 for place, number in enumerate(touched)}
    if style == "hole":
        hole = chance.choice(touched) if touched else -1
        return {number: 0 if number == hole else last for number in touched}
    share = {"few": 0.1, "half": 0.5, "most": 0.9}[style]
    return {number: last if chance.random() < share else chance.randint(0, last - 1) for number in touched}


def _bounds(cuts: Sequence[tuple[int, int]], sized: int, end: int, last: int) -> tuple[int, int]:
    """Return the oldest and newest version of a piece ending at ``end`` that fit the size after ``sized`` changes."""
    touching = [number for number, size in cuts if size < end]
    return max((c for c in touching if c <= sized), default=0), min(
        (c - 1 for c in touching if c > sized), default=last
    )
