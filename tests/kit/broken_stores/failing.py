"""Stores that continue after a failure (C4)."""

from __future__ import annotations

import os
from contextlib import suppress

from paxospp import WriteBatch
from paxospp.storage import Stamp
from tests.kit.broken_stores.sound import SoundStorage, State


class GoesOn(SoundStorage):
    """Accepts the next batch after an exception from ``persist``."""

    def fail(self, error: BaseException) -> None:
        pass


class RetriesTheSync(SoundStorage):
    """Repeats a failed sync; the second attempt succeeds without writing anything."""

    def sync_journal(self) -> None:
        try:
            os.fdatasync(self.file)
        except OSError:
            os.fdatasync(self.file)


class WritesWhenItCloses(SoundStorage):
    """Writes the failed batch again on close."""

    rest: bytes = b""

    def write(self, batch: WriteBatch, stamp: Stamp, state: State) -> None:
        try:
            super().write(batch, stamp, state)
        except OSError:
            self.rest = self.record(stamp, batch, state)
            raise

    def close(self) -> None:
        if self.rest and self.file >= 0:
            os.write(self.file, self.rest)
            self.rest = b""
        super().close()


class WrongError(SoundStorage):
    """Raises RuntimeError instead of StorageError after a failure."""

    def check_usable(self) -> None:
        if self.failed:
            raise RuntimeError("broken")
        super().check_usable()


class PassesOverAFailedSync(SoundStorage):
    """Ignores a failed sync, like ``except OSError: log``."""

    def sync_journal(self) -> None:
        with suppress(OSError):
            os.fdatasync(self.file)
