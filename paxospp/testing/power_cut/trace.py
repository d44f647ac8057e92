"""The lines of ``strace -f -y -xx``, read: one value per system call, with where it began.

All text of a line is in hexadecimal but the names of calls and flags, so nothing that a process
writes can be taken for something else. A call that other threads interrupted comes in two lines
(``<unfinished ...>`` and ``<... resumed>``) and is told once, where it returned.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

FORKS = {"clone", "clone3", "fork", "vfork"}

_LINE = re.compile(rb"(\d+) +(<\.\.\. )?(\w+)(?: resumed>|\()(.*)", re.DOTALL)
_RESULT = re.compile(rb"(.*)\) += (-?\w+|\?)(.*)", re.DOTALL)
_UNFINISHED = b"<unfinished ...>"
_STRING = re.compile(rb'"([^"]*)"(\.\.\.)?')
_NUMBER = re.compile(rb"(?<!\w)-?\d+(?!\w)")
_DESCRIPTOR = re.compile(rb"(AT_FDCWD|-?\d+)(?:<([^>]*)>(\(deleted\))?)?")


@dataclass(slots=True, frozen=True)
class SystemCall:
    """One system call."""

    thread: int
    name: str
    arguments: bytes
    result: int | None
    """None: it has not returned. Either the thread was killed in it, or it is one of ``FORKS``, told early."""
    rest: bytes
    """What follows the result: the name of an error, a path."""
    began: int
    """What ``position`` gave when it began."""

    @property
    def failed(self) -> bool:
        return self.result is not None and self.result < 0

    @property
    def descriptor(self) -> Descriptor:
        """The first argument."""
        match = _DESCRIPTOR.match(self.arguments)
        return _as_descriptor(match) if match is not None else Descriptor(-1, "", False)

    @property
    def strings(self) -> list[bytes]:
        """The quoted arguments: data, or paths.

        Raises:
            ValueError: one was too long for the trace.
        """
        found = _STRING.findall(self.arguments)
        if any(cut for _, cut in found):
            raise ValueError(f"{self.name} wrote more in one piece than the trace holds")
        return [_plain(text) for text, _ in found]

    @property
    def numbers(self) -> list[int]:
        """The plain decimal arguments from the last string or descriptor on."""
        text = self.arguments
        tail = text[max(text.rfind(b'"'), text.rfind(b"]"), text.rfind(b">")) + 1 :]
        return [int(number) for number in _NUMBER.findall(tail)]


@dataclass(slots=True, frozen=True)
class Descriptor:
    """An open file as the trace shows it."""

    number: int
    """-100 for the working directory."""
    path: str
    """Where it was opened, or ``pipe:[...]`` and the like; "" if the trace does not say."""
    deleted: bool


def descriptors(text: bytes) -> list[Descriptor]:
    """The arguments that look like a descriptor with a path."""
    return [_as_descriptor(m) for m in _DESCRIPTOR.finditer(text) if m[2] is not None]


def result_descriptor(call: SystemCall) -> Descriptor:
    """The descriptor that the call returned."""
    match = _DESCRIPTOR.match(b"%d%s" % (call.result or 0, call.rest))
    assert match is not None
    return _as_descriptor(match)


def read_calls(lines: Iterable[bytes], position: Callable[[], int]) -> Iterator[SystemCall]:
    """The calls, in the order in which they returned; then those that never did."""
    begun: dict[bytes, tuple[bytes, bytes, int]] = {}
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            continue  # a signal, an exit
        thread, resumed, name, text = match.groups()
        text, began = text.rstrip(b"\n"), position()
        if resumed:
            if thread not in begun:
                continue
            _, head, began = begun.pop(thread)
            text = head + text
        if text.endswith(_UNFINISHED):
            begun[thread] = name, text[: -len(_UNFINISHED)], began
            if name.decode() in FORKS:
                yield SystemCall(int(thread), name.decode(), text, None, b"", began)
            continue
        yield _call(thread, name, text, began)
    for thread, (name, text, began) in begun.items():
        if name.decode() not in FORKS:
            yield SystemCall(int(thread), name.decode(), text, None, b"", began)


def _call(thread: bytes, name: bytes, text: bytes, began: int) -> SystemCall:
    match = _RESULT.match(text)
    if match is None:
        return SystemCall(int(thread), name.decode(), text, None, b"", began)
    arguments, result, rest = match.groups()
    value = None if result == b"?" else int(result, 0)
    return SystemCall(int(thread), name.decode(), arguments, value, rest, began)


def _as_descriptor(match: re.Match[bytes]) -> Descriptor:
    number = -100 if match[1] == b"AT_FDCWD" else int(match[1])
    return Descriptor(number, _path(match[2] or b""), match[3] is not None)


@lru_cache(maxsize=4096)
def _path(text: bytes) -> str:
    return _plain(text).decode(errors="surrogateescape")


def _plain(text: bytes) -> bytes:
    return bytes.fromhex(text.replace(b"\\x", b"").decode())
