"""Reads from storage that are out, and what each is for.

Memory holds a tail of the log only; what is older, and everything right after a start, comes
from the storage in chunks.
"""

from __future__ import annotations

from dataclasses import dataclass

from paxospp.model import NodeId, Slot


@dataclass(slots=True, frozen=True, kw_only=True)
class ReadRange:
    """Entries wanted from storage: answer with ``replica.on_read(token, entries)``.

    Read with ``storage.read(start, stop, max_bytes)``. When it raises ``TrimmedError``, answer
    with no entries; when it raises ``CorruptedError``, with no entries and its ``slots`` as
    ``faulty``, or with the whole range if it names none.
    """

    token: int
    start: Slot
    stop: Slot
    max_bytes: int


@dataclass(slots=True, frozen=True)
class Load:
    """After a start: what is held above the durable ``decided``, and the founding membership."""

    stop: Slot


@dataclass(slots=True, frozen=True)
class Deliver:
    """Decided entries on their way to the state machine."""


@dataclass(slots=True, frozen=True)
class Serve:
    """Decided entries that ``peer`` asked for."""

    peer: NodeId
    stop: Slot


Purpose = Load | Deliver | Serve


class StorageReads:
    """Hands out tokens; one read per peer and one for delivery are out at a time."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._last_token = 0
        self._out: dict[int, tuple[Purpose, ReadRange]] = {}

    def ask(self, purpose: Purpose, start: Slot, stop: Slot) -> ReadRange:
        """The read to ask the node for."""
        self._last_token += 1
        wanted = ReadRange(token=self._last_token, start=start, stop=stop, max_bytes=self._bytes_max)
        self._out[wanted.token] = (purpose, wanted)
        return wanted

    def take(self, token: int) -> tuple[Purpose, ReadRange]:
        """What the read ``token`` was for; each is answered once."""
        return self._out.pop(token)

    def is_out(self, purpose: type[Load | Deliver] | NodeId) -> bool:
        """Whether a read for a start, for delivery, or one for that peer, is out."""
        if isinstance(purpose, str):
            return any(isinstance(out, Serve) and out.peer == purpose for out, _ in self._out.values())
        return any(isinstance(out, purpose) for out, _ in self._out.values())
