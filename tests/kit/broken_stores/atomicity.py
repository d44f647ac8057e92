"""Stores whose batches are not atomic (C1)."""

from __future__ import annotations

import os

from paxospp import Ballot, WriteBatch
from paxospp.storage import Stamp
from tests.kit.broken_stores.sound import SoundStorage, State


class PromiseInAFileOfItsOwn(SoundStorage):
    """Writes the promise to one file and the rest of the batch to another, each durably."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.promise_path = os.path.join(path, "promise")

    def write(self, batch: WriteBatch, stamp: Stamp, state: State) -> None:
        if batch.promised is not None:
            if self.unsynced:
                self.sync_journal()  # keeps earlier batches durable first, so that only C1 breaks
            with open(self.promise_path + ".new", "wb") as file:
                file.write(batch.promised.to_bytes())
                file.flush()
                os.fsync(file.fileno())
            os.rename(self.promise_path + ".new", self.promise_path)
            self.sync_name()
        super().write(batch, stamp, state)

    def replay(self) -> tuple[Stamp | None, State]:
        found, state = super().replay()
        if os.path.exists(self.promise_path):
            with open(self.promise_path, "rb") as file:
                state.promised = Ballot.from_bytes(file.read())
        return found, state


class EntriesOneByOne(SoundStorage):
    """Writes and syncs each entry of a batch as a record of its own."""

    def write(self, batch: WriteBatch, stamp: Stamp, state: State) -> None:
        if batch.trim is not None or batch.snapshot is not None or len(batch.accepted) < 2:
            return super().write(batch, stamp, state)
        for number, entry in enumerate(batch.accepted):
            rest = batch if number == len(batch.accepted) - 1 else WriteBatch()
            one = WriteBatch(promised=rest.promised, accepted=[entry], decided=rest.decided, meta=rest.meta)
            self.append(self.record(stamp, one, state if rest is batch else self.shown))
            if batch.sync:
                self.sync_journal()
        self.unsynced = not batch.sync
        if batch.sync:
            self.anchor_batch(stamp, state.promised)
        return None

    def follows(self, stamp: Stamp, found: Stamp | None) -> bool:
        return super().follows(stamp, found) or stamp == found
