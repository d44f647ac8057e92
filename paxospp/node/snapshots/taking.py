"""Taking a snapshot: from the machine, between two commands, to the storage, beside them.

The machine is asked once, on the loop, for a view of its state; its chunks are written in
another thread, a piece at a time, while commands go on being applied. Nothing counts before
the batch that names the snapshot, and that one is for the replica to write.

Reference: ``storage/contract.py``, clause C10; Ongaro's thesis (2014), chapter 5.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress

from paxospp.execution.executor import Executor
from paxospp.markers import UNWATCHED, Markers
from paxospp.model import Ballot, NodeId, SnapshotMeta
from paxospp.node.snapshots.collecting import collector_resting
from paxospp.node.writer import Writer
from paxospp.storage.contract import SnapshotWriter

_log = logging.getLogger("paxospp.node")


class Taker:
    """Takes one snapshot at a time. ``on_staged(meta, ballot, size)``: it is committed to the storage."""

    def __init__(
        self,
        name: NodeId,
        executor: Executor,
        writer: Writer,
        *,
        loop: asyncio.AbstractEventLoop,
        pause_max_s: float,
        piece_bytes: int,
        draw: Callable[[int], int],
        on_staged: Callable[[SnapshotMeta, Ballot | None, int], None],
        on_failed: Callable[[Exception], None],
        observer: Markers = UNWATCHED,
    ) -> None:
        self._observer = observer
        self.busy = False
        self._name = name
        self._executor = executor
        self._writer = writer
        self._loop = loop
        self._pause_max_s = pause_max_s
        self._piece_bytes = piece_bytes
        self._draw = draw
        self._on_staged = on_staged
        self._on_failed = on_failed

    def begin(self) -> None:
        """Take one of the state as it is now; only between two commands, and only when not ``busy``."""
        before = self._loop.time()
        try:
            with collector_resting():
                chunks = iter(self._executor.encode_snapshot())
        except Exception as error:
            self._on_failed(error)
            return
        pause_s = self._loop.time() - before
        if pause_s > self._pause_max_s:
            _log.warning(
                "node %s: its machine took %.0f ms to begin a snapshot of slot %d, longer than a heartbeat; "
                "override snapshot() and restore() with something that returns a view at once",
                self._name,
                pause_s * 1000,
                self._executor.applied,
            )
        self.busy = True
        meta = SnapshotMeta(self._executor.applied, f"{self._draw(64):016x}")
        self._write(_Staging(meta, self._executor.ballot, chunks, self._piece_bytes))

    def _write(self, staging: _Staging) -> None:
        worker = self._writer.beside("snapshots")
        storage = self._writer.storage

        def job() -> None:
            try:
                if staging.writer is None:
                    staging.writer = storage.create_snapshot(staging.meta)
                done = staging.write_piece(staging.writer)
            except BaseException as error:
                staging.abort()
                worker.tell(self._fail, error)
            else:
                worker.tell(self._on_piece, staging, done)

        worker.put(job)

    def _on_piece(self, staging: _Staging, done: bool) -> None:
        if not done:
            self._observer.reached("taking: a snapshot is written piece by piece")
            self._write(staging)
            return
        self._observer.reached("taking: a snapshot is staged")
        self.busy = False
        self._on_staged(staging.meta, staging.ballot, staging.size)

    def _fail(self, error: BaseException) -> None:
        self._observer.reached("taking: a snapshot cannot be staged")
        self.busy = False
        self._on_failed(error if isinstance(error, Exception) else RuntimeError(f"the machine raised {error!r}"))


class _Staging:
    """One snapshot on its way; its chunks are consumed in the thread."""

    def __init__(self, meta: SnapshotMeta, ballot: Ballot | None, chunks: Iterator[bytes], piece_bytes: int) -> None:
        self.meta = meta
        self.ballot = ballot
        self.writer: SnapshotWriter | None = None
        self.size = 0
        self._chunks = chunks
        self._piece_bytes = piece_bytes

    def write_piece(self, writer: SnapshotWriter) -> bool:
        """Write about a piece; True when that was the last and all of it is durable."""
        until = self.size + self._piece_bytes
        for chunk in self._chunks:
            writer.write(chunk)
            self.size += len(chunk)
            if self.size >= until:
                return False
        writer.commit()
        return True

    def abort(self) -> None:
        if self.writer is not None:
            with suppress(Exception):  # what remains is an orphan, and goes at the next load
                self.writer.abort()
