"""Stores that do not notice damage, or report damage where there is none (C8)."""

from __future__ import annotations

import os
from dataclasses import replace

import msgspec

from paxospp import WriteBatch
from paxospp.errors import CorruptedError
from paxospp.model import Ballot
from paxospp.storage import Stamp
from tests.kit.broken_stores.sound import HEAD_BYTES, MAGIC, Record, SoundStorage, State


class DamageAsAbsent(SoundStorage):
    """Skips an entry that cannot be decoded: ``except CorruptedError: continue``.

    It syncs every batch, so that only the last one can be torn, and C3 holds.
    """

    def write(self, batch: WriteBatch, stamp: Stamp, state: State) -> None:
        super().write(replace(batch, sync=True), stamp, state)

    def record_at(self, data: bytes, at: int) -> Record | None:
        body = data[at + HEAD_BYTES : at + HEAD_BYTES + int.from_bytes(data[at + 4 : at + 8], "big")]
        if data[at : at + 4] != MAGIC:
            return None
        try:
            return msgspec.msgpack.decode(body, type=Record)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    def batch_of(self, record: Record) -> WriteBatch:
        whole = []
        for slot, data in record.entries:
            try:
                self.decode_entry(slot, data)
            except (CorruptedError, ValueError):
                continue
            whole.append((slot, data))
        record.entries = whole
        return super().batch_of(record)

    def find_holes(self, state: State) -> None:
        pass


class CutAtTheFirstDamage(SoundStorage):
    """Takes damage in the middle of the journal for a torn end, and ignores the anchor."""

    def replay(self) -> tuple[Stamp | None, State]:
        found, state = super().replay()
        anchor = self.read_anchor()
        if found is not None and anchor is not None and found.number < anchor.number:
            found = anchor
        return found, state

    def find_holes(self, state: State) -> None:
        pass

    def hole_between(self, start: int, stop: int, state: State) -> range | None:
        return None


class FaultyToldOnce(SoundStorage):
    """Reports faulty slots at the first load only."""

    def take_over(self, stamp: Stamp, state: State) -> None:
        forgetful = state.copy()
        forgetful.faulty.discard(range(1 << 63))
        super().take_over(stamp, forgetful)

    def find_holes(self, state: State) -> None:
        pass


class FaultyForgottenByCompaction(SoundStorage):
    """Keeps the list of faulty slots only in the record that ``load`` wrote, which a trim drops."""

    def write(self, batch: WriteBatch, stamp: Stamp, state: State) -> None:
        if batch.trim is not None:
            state = state.copy()
            state.faulty.discard(range(1 << 63))
        super().write(batch, stamp, state)


class TornEndIsDamage(SoundStorage):
    """Refuses to load a journal that ends with a torn batch."""

    def records(self, data: bytes) -> list[tuple[Stamp, Record]]:
        found = super().records(data)
        if data[self.whole_bytes :].strip(b"\0"):
            raise CorruptedError("the end of the journal is damaged")
        return found


class AnchorBeforeItsBatch(SoundStorage):
    """Writes the anchor before the batch that it names."""

    def write(self, batch: WriteBatch, stamp: Stamp, state: State) -> None:
        self.anchor_batch(stamp, state.promised)
        super().write(batch, stamp, state)


class AnchorOfTheLastSlot(SoundStorage):
    """Remembers the last slot of the log in the anchor, but not which batch wrote it."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.last_path = os.path.join(path, "last")

    def replay(self) -> tuple[Stamp | None, State]:
        found, state = super().replay()
        anchor = self.read_anchor()
        if found is None or anchor is None or not os.path.exists(self.last_path):
            return found, state
        with open(self.last_path, "rb") as file:
            text = file.read()
        reached = int(text) if text.isdigit() else 0
        if state.last < reached:
            state.faulty.add(range(state.last + 1, reached + 1))
        return (anchor if found.number < anchor.number else found), state

    def anchor_batch(self, stamp: Stamp, promised: Ballot | None) -> None:
        super().anchor_batch(stamp, promised)
        with open(self.last_path, "wb") as file:
            file.write(b"%d" % self.shown.last)
