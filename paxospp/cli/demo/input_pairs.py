"""The keys and values that the demo writes.

By default every line of every file of the installed ``paxospp`` package is a value under the key ``path:number``; a
line that is not UTF-8 is a value of bytes. Each line of a file given with ``--input`` is ``key<TAB>value``.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

import paxospp
from paxospp.errors import ConfigError

Value = str | bytes


def own_source() -> dict[str, Value]:
    """Return each line of each file of the installed package, except Python's cached byte code."""
    root = Path(paxospp.__file__).parent
    files = sorted(path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    pairs: dict[str, Value] = {}
    for path in files:
        name = path.relative_to(root.parent).as_posix()
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            pairs[f"{name}:{number}"] = _text(line)
    return pairs


def from_file(path: str) -> dict[str, Value]:
    """Return the pairs in the file at ``path``; if a key occurs twice, the later value counts.

    Raises:
        ConfigError: the file cannot be read or is empty, a line has no tab, or a key is not UTF-8.
    """
    try:
        lines = Path(path).read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(f"the input {path!r} cannot be read: {error.strerror}") from error
    pairs: dict[str, Value] = {}
    for number, line in enumerate(lines, 1):
        key, tab, value = line.partition(b"\t")
        if not tab:
            raise ConfigError(f"line {number} of {path!r} has no tab: write key<TAB>value")
        try:
            pairs[key.decode()] = _text(value)
        except UnicodeDecodeError as error:
            raise ConfigError(f"the key in line {number} of {path!r} is not UTF-8") from error
    if not pairs:
        raise ConfigError(f"the input {path!r} is empty: write lines of key<TAB>value")
    return pairs


def fingerprint(value: object) -> bytes:
    """Return a hash of ``value`` and its type, so that a text, the same text as bytes, and None differ."""
    return hashlib.sha256(msgspec.msgpack.encode(value)).digest()


def _text(line: bytes) -> Value:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line
