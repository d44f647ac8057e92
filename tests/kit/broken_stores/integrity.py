"""Stores that take damage for something else, and something else for damage (C8)."""

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
    """An entry that cannot be decoded is skipped: ``except CorruptedError: continue``.

    It syncs every batch, so that the torn one is the last and no later one is there without it (C3).
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
    """Damage in the middle is taken for a torn end, and the anchor is not asked."""

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
    """The first load tells what is lost, and no other does."""

    def take_over(self, stamp: Stamp, state: State) -> None:
        forgetful = state.copy()
        forgetful.faulty.discard(range(1 << 63))
        super().take_over(stamp, forgetful)

    def find_holes(self, state: State) -> None:
        pass


class FaultyForgottenByCompaction(SoundStorage):
    """Which slots are faulty stands only in the record that ``load`` wrote, and a trim drops that record."""

    def write(self, batch: WriteBatch, stamp: Stamp, state: State) -> None:
        if batch.trim is not None:
            state = state.copy()
            state.faulty.discard(range(1 << 63))
        super().write(batch, stamp, state)


class TornEndIsDamage(SoundStorage):
    """A batch that was cut short while it was written is a reason not to start."""

    def records(self, data: bytes) -> list[tuple[Stamp, Record]]:
        found = super().records(data)
        if data[self.whole_bytes :].strip(b"\0"):
            raise CorruptedError("the end of the journal is damaged")
        return found


class AnchorBeforeItsBatch(SoundStorage):
    """The anchor speaks of a batch that may never have been written."""

    def write(self, batch: WriteBatch, stamp: Stamp, state: State) -> None:
        self.anchor_batch(stamp, state.promised)
        super().write(batch, stamp, state)


class AnchorOfTheLastSlot(SoundStorage):
    """It remembers how far the log reached, and not by which batch."""

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
