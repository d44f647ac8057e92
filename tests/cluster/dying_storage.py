"""A file storage that kills its process at a step of its snapshots: ``dying_storage.py:Dying:path?at=…``."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from paxospp_file import FileStorage

from paxospp import SnapshotMeta, SnapshotReader, SnapshotWriter, WriteBatch

STEPS = ("create", "write", "before commit", "after commit", "before publishing", "after publishing", "read")


class Dying(FileStorage):
    """``at`` is one of STEPS; ``read`` is the step at which the machine is restored from a published snapshot."""

    def __init__(self, path: str, at: str = "") -> None:
        super().__init__(path)
        self._at = at

    def step(self, name: str) -> None:
        if name == self._at:
            os.kill(os.getpid(), signal.SIGKILL)

    def create_snapshot(self, meta: SnapshotMeta) -> SnapshotWriter:
        self.step("create")
        return DyingWriter(super().create_snapshot(meta), self.step)

    def open_snapshot(self) -> SnapshotReader | None:
        self.step("read")
        return super().open_snapshot()

    def persist(self, batch: WriteBatch) -> None:
        if batch.snapshot is not None:
            self.step("before publishing")
        super().persist(batch)
        if batch.snapshot is not None:
            self.step("after publishing")


class DyingWriter(SnapshotWriter):
    def __init__(self, inner: SnapshotWriter, step: Callable[[str], None]) -> None:
        self._inner = inner
        self._step = step

    def write(self, data: bytes) -> None:
        self._inner.write(data)
        self._step("write")

    def commit(self) -> None:
        self._step("before commit")
        self._inner.commit()
        self._step("after commit")

    def abort(self) -> None:
        self._inner.abort()
