"""Parse the output of ``strace -f -y -xx`` into one ``SystemCall`` per call.

All text but the names of calls and flags is in hexadecimal, so data that a process writes cannot be mistaken for
syntax. A call during which other threads made calls takes two lines (``<unfinished ...>`` and ``<... resumed>``); it
becomes one value, where it returned.
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
    """None if the call has not returned: its thread was killed, or it is one of ``FORKS``, yielded when they begin."""
    rest: bytes
    """The text after the result: the name of an error, or a path."""
    began: int
    """The value of ``position`` when the call began."""

    @property
    def failed(self) -> bool:
        return self.result is not None and self.result < 0

    @property
    def descriptor(self) -> Descriptor:
        """The first argument as a descriptor."""
        match = _DESCRIPTOR.match(self.arguments)
        return _as_descriptor(match) if match is not None else Descriptor(-1, "", False)

    @property
    def strings(self) -> list[bytes]:
        """The quoted arguments: data or paths.

        Raises:
            ValueError: an argument was longer than the trace records.
        """
        found = _STRING.findall(self.arguments)
        if any(cut for _, cut in found):
            raise ValueError(f"one call of {self.name} wrote more data than the trace records")
        return [_plain(text) for text, _ in found]

    @property
    def numbers(self) -> list[int]:
        """The decimal arguments after the last string or descriptor."""
        text = self.arguments
        tail = text[max(text.rfind(b'"'), text.rfind(b"]"), text.rfind(b">")) + 1 :]
        return [int(number) for number in _NUMBER.findall(tail)]


@dataclass(slots=True, frozen=True)
class Descriptor:
    """A descriptor as the trace shows it."""

    number: int
    """The number; -100 stands for the working directory."""
    path: str
    """The path of the open file, or ``pipe:[...]`` and the like; "" if the trace does not show it."""
    deleted: bool


def descriptors(text: bytes) -> list[Descriptor]:
    """Return the arguments that look like a descriptor with a path."""
    return [_as_descriptor(m) for m in _DESCRIPTOR.finditer(text) if m[2] is not None]


def result_descriptor(call: SystemCall) -> Descriptor:
    """Return the descriptor that the call returned."""
    match = _DESCRIPTOR.match(b"%d%s" % (call.result or 0, call.rest))
    assert match is not None
    return _as_descriptor(match)


def read_calls(lines: Iterable[bytes], position: Callable[[], int]) -> Iterator[SystemCall]:
    """Yield the calls in the order in which they returned, then those that never did.

    ``position`` is called for each line; its value at the beginning of a call becomes ``SystemCall.began``.
    """
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
