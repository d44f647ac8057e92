"""Outstanding reads of the storage, and the purpose of each.

Memory holds only a tail of the log. Older entries, and all entries right after a start, are read from the storage in
chunks.
"""

from __future__ import annotations

from dataclasses import dataclass

from paxospp.model import NodeId, Slot


@dataclass(slots=True, frozen=True, kw_only=True)
class ReadRange:
    """A request to read entries from the storage: answer with ``replica.on_log_read(token, entries)``.

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
    """Load entries into memory after a start: those above the durable ``decided``, and slot 1."""

    stop: Slot


@dataclass(slots=True, frozen=True)
class Deliver:
    """Deliver decided entries to the state machine."""


@dataclass(slots=True, frozen=True)
class Serve:
    """Send decided entries to ``peer``, which asked for them."""

    peer: NodeId
    stop: Slot


Purpose = Load | Deliver | Serve


class StorageReads:
    """Numbers the reads; at most one for delivery and one per peer are outstanding."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._last_token = 0
        self._out: dict[int, tuple[Purpose, ReadRange]] = {}

    def ask(self, purpose: Purpose, start: Slot, stop: Slot) -> ReadRange:
        """Return a new read for the node to carry out."""
        self._last_token += 1
        wanted = ReadRange(token=self._last_token, start=start, stop=stop, max_bytes=self._bytes_max)
        self._out[wanted.token] = (purpose, wanted)
        return wanted

    def take(self, token: int) -> tuple[Purpose, ReadRange]:
        """Remove the read ``token``, and return its purpose and range."""
        return self._out.pop(token)

    def is_out(self, purpose: type[Load | Deliver] | NodeId) -> bool:
        """Return whether a read of this purpose, or for this peer, is outstanding."""
        if isinstance(purpose, str):
            return any(isinstance(out, Serve) and out.peer == purpose for out, _ in self._out.values())
        return any(isinstance(out, purpose) for out, _ in self._out.values())
