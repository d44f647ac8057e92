"""Stores that go on after a failure (C4)."""

from __future__ import annotations

import os
from contextlib import suppress

from paxospp import WriteBatch
from paxospp.storage import Stamp
from tests.kit.broken_stores.sound import SoundStorage, State


class GoesOn(SoundStorage):
    """An exception is the caller's problem; the next batch is welcome."""

    def fail(self, error: BaseException) -> None:
        pass


class RetriesTheSync(SoundStorage):
    """The second attempt succeeds, and means nothing."""

    def sync_journal(self) -> None:
        try:
            os.fdatasync(self.file)
        except OSError:
            os.fdatasync(self.file)


class WritesWhenItCloses(SoundStorage):
    """What failed is tried once more at the end."""

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
    """After a failure every call fails, with whatever comes up."""

    def check_usable(self) -> None:
        if self.failed:
            raise RuntimeError("broken")
        super().check_usable()


class PassesOverAFailedSync(SoundStorage):
    """``except OSError: log``"""

    def sync_journal(self) -> None:
        with suppress(OSError):
            os.fdatasync(self.file)
