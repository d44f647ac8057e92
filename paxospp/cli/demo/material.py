"""What the demo writes: real text, line by line, as keys and values.

By default every line of every file of the installed ``paxospp`` package is a value under
``path:number``; bytes that are no UTF-8 stay bytes. A file given instead holds ``key<TAB>value``
in each line.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

import paxospp
from paxospp.errors import ConfigError

Value = str | bytes


def own_source() -> dict[str, Value]:
    """Each line of each file of the installed package; what Python cached beside it is left out."""
    root = Path(paxospp.__file__).parent
    files = sorted(path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    material: dict[str, Value] = {}
    for path in files:
        name = path.relative_to(root.parent).as_posix()
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            material[f"{name}:{number}"] = _text(line)
    return material


def from_file(path: str) -> dict[str, Value]:
    """The lines of ``path``; of a key that stands twice the later value counts.

    Raises:
        ConfigError: the file cannot be read, or a line has no tab or no text for a key.
    """
    try:
        lines = Path(path).read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(f"the input {path!r} cannot be read: {error.strerror}") from error
    material: dict[str, Value] = {}
    for number, line in enumerate(lines, 1):
        key, tab, value = line.partition(b"\t")
        if not tab:
            raise ConfigError(f"line {number} of {path!r} has no tab: write key<TAB>value")
        try:
            material[key.decode()] = _text(value)
        except UnicodeDecodeError as error:
            raise ConfigError(f"the key in line {number} of {path!r} is not UTF-8") from error
    if not material:
        raise ConfigError(f"the input {path!r} is empty: write lines of key<TAB>value")
    return material


def fingerprint(value: object) -> bytes:
    """A hash of ``value`` and its type: text and the same bytes differ, and so does None."""
    return hashlib.sha256(msgspec.msgpack.encode(value)).digest()


def _text(line: bytes) -> Value:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line
