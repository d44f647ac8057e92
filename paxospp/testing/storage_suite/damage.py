"""Damage to the files of a store at rest: what disks do to bytes that nobody is writing.

Every kind of damage is a value that says where it is, so that a failing case can be told and done
again by hand. Nothing is known of any format.
"""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_ZEROS = re.compile(rb"\0{64,}")
BLOCK_BYTES = (512, 4096)


@dataclass(slots=True, frozen=True)
class Damage:
    """What was done to one file, named relative to the store's directory."""

    file: str
    kind: str
    words: str
    change: Callable[[bytes], bytes | None]
    """The file's bytes afterwards; None: the file is gone."""

    def do(self, directory: Path) -> None:
        path = directory / self.file
        after = self.change(path.read_bytes())
        if after is None:
            path.unlink()
        else:
            path.write_bytes(after)

    def __str__(self) -> str:
        return f"{self.words} {self.file}"


def files_of(directory: Path) -> list[str]:
    """Every file below ``directory``, by its path in it."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def flips(directory: Path, file: str, count: int, chance: random.Random) -> Iterator[Damage]:
    """``count`` single bits of ``file``, spread over all in it that is not padding, the first and the last byte too."""
    data = (directory / file).read_bytes()
    written = _written(data)
    bits = 8 * sum(map(len, written))
    if bits <= count:
        numbers = list(range(bits))
    else:
        numbers = [chance.randrange(bits * part // count, bits * (part + 1) // count) for part in range(count)]
        numbers[0], numbers[-1] = chance.randrange(8), bits - 1 - chance.randrange(8)
    places = [8 * _nth(written, number // 8) + number % 8 for number in numbers]
    if bits < 8 * len(data):  # one in eight into the padding
        places[4::8] = [chance.randrange(8 * len(data)) for _ in places[4::8]]
    for bit in places:
        yield Damage(file, "flip", f"flip bit {bit % 8} of byte {bit // 8} of", _Flip(bit))


def holes(directory: Path, file: str, count: int, chance: random.Random) -> Iterator[Damage]:
    """Zeroed blocks, parts overwritten, cut tails, parts cut out of the middle, and the file gone."""
    data = (directory / file).read_bytes()
    size = len(data)
    yield Damage(file, "gone", "remove", lambda data: None)
    if not size:
        return
    written = _written(data)
    something = sum(map(len, written))
    for number in range(count):
        block = BLOCK_BYTES[number % 2]
        at = _nth(written, chance.randrange(something)) // block * block
        yield Damage(file, "zeroed block", f"zero {min(block, size - at)} bytes at {at} of", _Zero(at, block))
        begin = _nth(written, chance.randrange(something))
        garbage = chance.randbytes(40)
        yield Damage(file, "garbage", f"overwrite {min(40, size - begin)} bytes at {begin} of", _Write(begin, garbage))
        left = _nth(written, something - 1 - int(chance.random() ** 3 * something))
        yield Damage(file, "cut tail", f"leave the first {left} of {size} bytes of", _Cut(left, size))
        begin = _nth(written, chance.randrange(something))
        length = min(chance.choice([1, 37, 512, 4096]), size - begin)
        yield Damage(file, "cut middle", f"cut {length} bytes out at {begin} of", _Cut(begin, begin + length))


def flip_needle(directory: Path, needle: bytes) -> int:
    """Flip one bit in the middle of every place that holds ``needle``, as it is or in hexadecimal; how many."""
    count = 0
    for text in (needle, needle.hex().encode(), needle.hex().upper().encode()):
        for file in files_of(directory):
            data = bytearray((directory / file).read_bytes())
            at = data.find(text)
            while at >= 0:
                data[at + len(text) // 2] ^= 0x10 if text is needle else 0x01
                count += 1
                at = data.find(text, at + 1)
            (directory / file).write_bytes(data)
    return count


def _written(data: bytes) -> list[range]:
    """Where something stands in a file: all but long runs of zeros, which are room for later."""
    parts, at = [], 0
    for zeros in _ZEROS.finditer(data):
        parts.append(range(at, zeros.start()))
        at = zeros.end()
    parts.append(range(at, len(data)))
    return [part for part in parts if part] or [range(len(data))]


def _nth(parts: list[range], number: int) -> int:
    for part in parts:
        if number < len(part):
            return part[number]
        number -= len(part)
    raise IndexError(number)


def copy_store(source: Path, target: Path) -> None:
    """A copy of a store that nobody has open, links and empty directories included."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target, symlinks=True)


@dataclass(slots=True, frozen=True)
class _Flip:
    bit: int

    def __call__(self, data: bytes) -> bytes:
        at = self.bit // 8
        return data[:at] + bytes([data[at] ^ 1 << self.bit % 8]) + data[at + 1 :]


@dataclass(slots=True, frozen=True)
class _Zero:
    at: int
    length: int

    def __call__(self, data: bytes) -> bytes:
        end = min(self.at + self.length, len(data))
        return data[: self.at] + bytes(end - self.at) + data[end:]


@dataclass(slots=True, frozen=True)
class _Write:
    at: int
    data: bytes

    def __call__(self, data: bytes) -> bytes:
        return (data[: self.at] + self.data)[: len(data)] + data[self.at + len(self.data) :]


@dataclass(slots=True, frozen=True)
class _Cut:
    begin: int
    end: int

    def __call__(self, data: bytes) -> bytes:
        return data[: self.begin] + data[self.end :]
