"""Taking a snapshot: the machine's state is captured between two commands and written beside them.

The machine is asked once, on the event loop, for a view of its state. The chunks of that view are written in a thread,
a piece per job, while further commands are applied. The snapshot becomes current only with the batch that names it,
which the replica writes.

Reference: ``storage/contract.py``, clause C10; Ongaro's thesis (2014), chapter 5.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress

from paxospp.execution.executor import Executor
from paxospp.markers import NO_MARKERS, Markers
from paxospp.model import Ballot, NodeId, SnapshotMeta
from paxospp.node.snapshots.gc_pause import collector_paused
from paxospp.node.writer import Writer
from paxospp.storage.contract import SnapshotWriter

_log = logging.getLogger("paxospp.node")


class Taker:
    """Takes one snapshot at a time.

    ``on_staged(meta, ballot, size_bytes)`` is called when the snapshot is committed to the storage, ``on_failed`` when
    it could not be taken.
    """

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
        observer: Markers = NO_MARKERS,
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
        """Begin a snapshot of the state as it is now; only between two commands, and only when not ``busy``."""
        before = self._loop.time()
        try:
            with collector_paused():
                chunks = iter(self._executor.encode_snapshot())
        except Exception as error:
            self._on_failed(error)
            return
        pause_s = self._loop.time() - before
        if pause_s > self._pause_max_s:
            _log.warning(
                "node %s: the state machine took %.0f ms to begin a snapshot of slot %d, longer than the heartbeat "
                "interval: override snapshot() and restore(), so that snapshot() returns a view without copying",
                self._name,
                pause_s * 1000,
                self._executor.applied,
            )
        self.busy = True
        meta = SnapshotMeta(self._executor.applied, f"{self._draw(64):016x}")
        self._write(_SnapshotWork(meta, self._executor.ballot, chunks, self._piece_bytes))

    def _write(self, work: _SnapshotWork) -> None:
        worker = self._writer.worker_for("snapshots")
        storage = self._writer.storage

        def job() -> None:
            try:
                if work.writer is None:
                    work.writer = storage.create_snapshot(work.meta)
                done = work.write_piece(work.writer)
            except BaseException as error:
                work.abort()
                worker.call_on_loop(self._fail, error)
            else:
                worker.call_on_loop(self._on_piece, work, done)

        worker.put(job)

    def _on_piece(self, work: _SnapshotWork, done: bool) -> None:
        if not done:
            self._observer.reached("taking: a snapshot is written piece by piece")
            self._write(work)
            return
        self._observer.reached("taking: a snapshot is staged")
        self.busy = False
        self._on_staged(work.meta, work.ballot, work.size)

    def _fail(self, error: BaseException) -> None:
        self._observer.reached("taking: a snapshot cannot be staged")
        self.busy = False
        self._on_failed(error if isinstance(error, Exception) else RuntimeError(f"the machine raised {error!r}"))


class _SnapshotWork:
    """One snapshot being taken; its chunks are consumed in the thread."""

    def __init__(self, meta: SnapshotMeta, ballot: Ballot | None, chunks: Iterator[bytes], piece_bytes: int) -> None:
        self.meta = meta
        self.ballot = ballot
        self.writer: SnapshotWriter | None = None
        self.size = 0
        self._chunks = chunks
        self._piece_bytes = piece_bytes

    def write_piece(self, writer: SnapshotWriter) -> bool:
        """Write about one piece; return True after the last one, when the whole snapshot is durable."""
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
            with suppress(Exception):  # the remains are an orphan, which the next load removes
                self.writer.abort()
