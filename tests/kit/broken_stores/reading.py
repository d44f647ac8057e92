"""Stores whose reads are wrong (C6), show a batch too early, or work in one thread only (C5)."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

from paxospp import DurableState, Entry, Slot, WriteBatch
from paxospp.storage import Stamp
from tests.kit.broken_stores.sound import SoundStorage, State


class NeighboursBelowFirst(SoundStorage):
    """Returns the entries above when a trimmed slot is read, instead of TrimmedError."""

    def refuse_trimmed(self, start: int, state: State) -> None:
        pass


class UnorderedRead(SoundStorage):
    """Returns entries in the order in which they were written."""

    def order(self, state: State) -> Sequence[int]:
        return list(state.entries)


class StarvingRead(SoundStorage):
    """Returns nothing if the first value is larger than ``max_bytes``."""

    def is_enough(self, found: list[Entry], left: int) -> bool:
        return left < 0


class TrimOffByOne(SoundStorage):
    """Removes the slot ``trim`` as well."""

    def is_kept(self, slot: int, first: int) -> bool:
        return slot > first or first == 1


class ShowsTooEarly(SoundStorage):
    """Shows a batch to readers before it is written."""

    def write(self, batch: WriteBatch, stamp: Stamp, state: State) -> None:
        self.show(state)
        super().write(batch, stamp, state)


class ReadsInPieces(SoundStorage):
    """Reads ten slots at a time, each ten in a state of its own."""

    def read(self, start: Slot, stop: Slot, max_bytes: int) -> Sequence[Entry]:
        state = self.shown
        if state.faulty.ranges or len(state.entries) <= state.decided - state.first:
            return super().read(start, stop, max_bytes)
        found: list[Entry] = []
        begin, stop = start, Slot(min(stop, max(start, state.last + 1)))
        while True:
            left = max_bytes - sum(len(entry.value) for entry in found)
            piece = super().read(begin, Slot(min(begin + 10, max(stop, begin))), left)
            if found and piece and len(piece[0].value) > left:
                return found
            found += piece
            begin = Slot(piece[-1].slot + 1 if piece else begin + 10)
            begin = Slot(min((slot for slot in state.entries if slot >= begin), default=stop))
            if begin >= stop:
                return found
            os.stat(self.journal)  # a system call, so that another thread may run


class BoundToItsThread(SoundStorage):
    """Works only in the thread that loaded it, like a connection of SQLite by default."""

    def load(self) -> DurableState:
        self.thread = threading.get_ident()
        return super().load()

    def persist(self, batch: WriteBatch) -> None:
        self.refuse_strangers()
        super().persist(batch)

    def read(self, start: Slot, stop: Slot, max_bytes: int) -> Sequence[Entry]:
        self.refuse_strangers()
        return super().read(start, stop, max_bytes)

    def refuse_strangers(self) -> None:
        if self.usable and threading.get_ident() != self.thread:
            raise RuntimeError("objects created in a thread can only be used in that same thread")
