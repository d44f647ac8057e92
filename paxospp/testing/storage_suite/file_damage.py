"""Damage to the files of a store that is not open, as a failing disk causes it.

Each damage is a value that describes itself, so that a person can repeat it by hand. Nothing here knows the format of
any store.
"""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from paxospp.testing.power_cut.content import Content, copy_file

_ZEROS = re.compile(rb"\0{64,}")
BLOCK_BYTES = (512, 4096)
DISTANCES = (4, 24, 80)
"""How far in front of a value ``flips_around`` flips bits, in bytes."""


@dataclass(slots=True, frozen=True)
class Damage:
    """One change of one file; ``file`` is its path in the store's directory."""

    file: str
    kind: str
    words: str
    change: Callable[[Content], Content | None]
    """Returns the file's bytes after the damage, or None if the file is to be removed."""

    def do(self, directory: Path) -> None:
        path = directory / self.file
        after = self.change(Content.of_file(path))
        if after is None:
            path.unlink()
        else:
            after.to_file(path)

    def __str__(self) -> str:
        return f"{self.words} {self.file}"


def files_of(directory: Path) -> list[str]:
    """Return the paths of all files below ``directory``, relative to it."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def space_of(directory: Path) -> int:
    """Return how many bytes of disk space all files take; holes of sparse files take none."""
    sizes = [(directory / file).stat() for file in files_of(directory)]
    return sum(min(size.st_size, size.st_blocks * 512) for size in sizes)


def flips(directory: Path, file: str, count: int, chance: random.Random) -> Iterator[Damage]:
    """Yield ``count`` flips of single bits, spread over all bytes but padding, with the first and the last byte.

    One flip in eight hits a byte anywhere in the file, which may be padding. A file of fewer bits gets each bit
    flipped.
    """
    data = Content.of_file(directory / file)
    written = _written(data)
    bits = 8 * sum(map(len, written))
    if bits <= count:
        numbers = list(range(bits))
    else:
        numbers = [chance.randrange(bits * part // count, bits * (part + 1) // count) for part in range(count)]
        numbers[0], numbers[-1] = chance.randrange(8), bits - 1 - chance.randrange(8)
    places = [8 * _nth(written, number // 8) + number % 8 for number in numbers]
    if bits < 8 * data.size:  # there is padding
        places[4::8] = [chance.randrange(8 * data.size) for _ in places[4::8]]
    for bit in places:
        yield _flip(file, bit)


def _flip(file: str, bit: int) -> Damage:
    return Damage(file, "flip", f"flip bit {bit % 8} of byte {bit // 8} of", _Flip(bit))


def holes(directory: Path, file: str, count: int, chance: random.Random) -> Iterator[Damage]:
    """Yield the removal of ``file``, and ``count`` each of zeroed blocks, garbage, cut tails and parts cut out."""
    data = Content.of_file(directory / file)
    size = data.size
    yield Damage(file, "gone", "remove", lambda data: None)
    if not size:
        return
    written = _written(data)
    something = sum(map(len, written))
    for number in range(count):
        block = BLOCK_BYTES[number % 2]
        at = _nth(written, chance.randrange(something)) // block * block
        zeros = bytes(min(block, size - at))
        yield Damage(file, "zeroed block", f"zero {len(zeros)} bytes at {at} of", _Overwrite(at, zeros))
        begin = _nth(written, chance.randrange(something))
        garbage = chance.randbytes(40)[: size - begin]
        yield Damage(file, "garbage", f"overwrite {len(garbage)} bytes at {begin} of", _Overwrite(begin, garbage))
        left = _nth(written, something - 1 - int(chance.random() ** 3 * something))
        yield Damage(file, "cut tail", f"keep only the first {left} of {size} bytes of", _Cut(left, size))
        begin = _nth(written, chance.randrange(something))
        length = min(chance.choice([1, 37, 512, 4096]), size - begin)
        yield Damage(file, "cut middle", f"cut out {length} bytes at {begin} of", _Cut(begin, begin + length))


def flips_around(directory: Path, needle: bytes) -> Iterator[Damage]:
    """Yield flips of bits in each occurrence of ``needle`` and in front of it, where the head of its record may be."""
    for file, at, text in _occurrences(directory, needle):
        yield _flip(file, 8 * (at + len(text) // 2))
        for distance in DISTANCES:
            if distance <= at:
                yield _flip(file, 8 * (at - distance) + 3)


def flip_needle(directory: Path, needle: bytes) -> int:
    """Flip a bit in the middle of each occurrence of ``needle``, raw or in hexadecimal; return how many there were."""
    found = list(_occurrences(directory, needle))
    for file, at, text in found:
        bit = 4 if text is needle else 0  # a digit with bit 0 flipped is another digit
        _flip(file, 8 * (at + len(text) // 2) + bit).do(directory)
    return len(found)


def _occurrences(directory: Path, needle: bytes) -> Iterator[tuple[str, int, bytes]]:
    """Yield file, offset and text of each place that holds ``needle``, raw or in hexadecimal."""
    for text in (needle, needle.hex().encode(), needle.hex().upper().encode()):
        for file in files_of(directory):
            for start, data in Content.of_file(directory / file).runs():
                at = data.find(text)
                while at >= 0:
                    yield file, start + at, text
                    at = data.find(text, at + 1)


def _written(content: Content) -> list[range]:
    """Return the ranges of a file that hold data: all but runs of 64 zeros or more, which are padding."""
    parts = []
    for start, data in content.runs():
        at = 0
        for zeros in _ZEROS.finditer(data):
            parts.append(range(start + at, start + zeros.start()))
            at = zeros.end()
        parts.append(range(start + at, start + len(data)))
    return [part for part in parts if part] or [range(content.size)]


def _nth(parts: list[range], number: int) -> int:
    for part in parts:
        if number < len(part):
            return part[number]
        number -= len(part)
    raise IndexError(number)


def copy_store(source: Path, target: Path) -> None:
    """Copy a store that is not open, with its links, empty directories and the holes of its files."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target, symlinks=True, copy_function=copy_file)


@dataclass(slots=True, frozen=True)
class _Flip:
    bit: int

    def __call__(self, content: Content) -> Content:
        at = self.bit // 8
        content.write(at, bytes([content.read(at, 1)[0] ^ 1 << self.bit % 8]))
        return content


@dataclass(slots=True, frozen=True)
class _Overwrite:
    at: int
    data: bytes

    def __call__(self, content: Content) -> Content:
        content.write(self.at, self.data)
        return content


@dataclass(slots=True, frozen=True)
class _Cut:
    begin: int
    end: int

    def __call__(self, content: Content) -> Content:
        return content.cut(self.begin, self.end)
