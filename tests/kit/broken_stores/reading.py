"""Stores that read wrongly (C6), too early or in one thread only (C5)."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

from paxospp import DurableState, Entry, Slot, WriteBatch
from paxospp.storage import Stamp
from tests.kit.broken_stores.sound import SoundStorage, State


class NeighboursBelowFirst(SoundStorage):
    """Who asks for what was trimmed gets what stands above it."""

    def refuse_trimmed(self, start: int, state: State) -> None:
        pass


class UnorderedRead(SoundStorage):
    """In the order of writing."""

    def order(self, state: State) -> Sequence[int]:
        return list(state.entries)


class StarvingRead(SoundStorage):
    """A value larger than ``max_bytes`` is never read."""

    def is_enough(self, found: list[Entry], left: int) -> bool:
        return left < 0


class TrimOffByOne(SoundStorage):
    """``trim`` taken for inclusive."""

    def is_kept(self, slot: int, first: int) -> bool:
        return slot > first or first == 1


class ShowsTooEarly(SoundStorage):
    """Readers see a batch while it is being written."""

    def write(self, batch: WriteBatch, stamp: Stamp, state: State) -> None:
        self.show(state)
        super().write(batch, stamp, state)


class ReadsInPieces(SoundStorage):
    """Ten slots at a time, each ten as they are by then."""

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
            os.stat(self.journal)  # where it looks whether there is more


class BoundToItsThread(SoundStorage):
    """As SQLite's connections are, unless told otherwise."""

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
