"""Writes to the storage, and reads from it, in threads of their own.

Group commit by back-pressure: while one ``persist`` is under way, batches queue. When it returns, all queued batches
are merged into one (``engine.output.merge``), up to ``WRITE_BYTES_MAX``. So one fsync pays for everything that
waited, and no timer decides how long that is. At most one ``persist`` is under way at a time. The constructor,
``load``, ``persist`` and ``close`` all run in the writing thread, except for the small writes that ``InlineWrites``
allows on the event loop.

When ``persist`` raises, its outcome is unknown: nothing more is written and ``on_failed`` is called once (clause C4 of
``storage/contract.py``). The writer never retries.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence

from paxospp.engine.output import merge, value_bytes
from paxospp.engine.rules.storage_reads import ReadRange
from paxospp.errors import StorageError
from paxospp.markers import NO_MARKERS, Markers
from paxospp.model import Entry
from paxospp.node.loading import LoadedStorage
from paxospp.node.worker import Worker
from paxospp.storage.contract import WriteBatch

WRITE_BYTES_MAX = 64 << 20
"""A write with this many bytes of values takes no further batches: a storage may bound the size of one record."""

FAST_S = 0.001
RECENT = 100
SLOW_MAX = 10
SMALL_BYTES = 16 << 10

READER = "reader"
"""The role of the thread that reads the log."""


class InlineWrites:
    """Decides whether a write may block the event loop instead of going through the writing thread.

    Two thread switches cost more than a small ``fdatasync`` on a good disk, and with one call in flight they are part
    of its latency. While the loop waits for the disk it does nothing else. So this is only for a process that runs
    nothing but the node (``serve``, never an embedded node), for small writes, and while the disk is fast.
    """

    def __init__(self) -> None:
        self._recent: deque[bool] = deque(maxlen=RECENT)
        """Whether each of the last writes was slow."""
        self._slow = 0

    def on_thread_write(self, seconds: float) -> None:
        """Count a write made in the thread; a few may be slow, because they also waited for the interpreter."""
        recent = self._recent
        if len(recent) == RECENT:
            self._slow -= recent[0]
        slow = seconds >= FAST_S
        recent.append(slow)
        self._slow += slow

    def on_inline_write(self, seconds: float) -> None:
        """Count a write made on the loop; after a slow one the next ``RECENT`` writes go to the thread."""
        if seconds >= FAST_S:
            self._recent.clear()
            self._slow = 0

    def allows(self, batch: WriteBatch) -> bool:
        """Whether ``batch`` may be written on the loop, given that no other write is under way."""
        return (
            len(self._recent) == RECENT
            and self._slow <= SLOW_MAX
            and batch.snapshot is None
            and batch.trim is None
            and value_bytes(batch) <= SMALL_BYTES
        )


class Writer:
    """Writes to and reads from one loaded storage. Every method is called on the event loop."""

    def __init__(
        self,
        loaded: LoadedStorage,
        *,
        start_worker: Callable[[str], Worker],
        on_persisted: Callable[[int], None],
        on_failed: Callable[[Exception], None],
        inline: InlineWrites | None = None,
        observer: Markers = NO_MARKERS,
    ) -> None:
        """Take over ``loaded``.

        Args:
            start_worker: start a thread for a role.
            on_persisted: called with the token of the last batch of each write that returned.
            on_failed: called once, with the error of the write that failed.
            inline: makes the writes that it allows on the event loop; None for none.
        """
        self.storage = loaded.storage
        self._loaded = loaded
        self._observer = observer
        self._inline = inline
        self._on_persisted = on_persisted
        self._on_failed = on_failed
        self._start_worker = start_worker
        self._worker = loaded.worker
        self._others: dict[str, Worker] = {}
        self._queued: deque[tuple[int, WriteBatch]] = deque()
        self._waiting_reads: deque[tuple[int, Callable[[], None]]] = deque()
        """Reads, and the token of the write that each waits for."""
        self._failed = False
        self.closed = False
        """Whether ``close`` was called; long jobs of ``worker_for`` check this and end early."""
        self.busy = False
        """Whether a write is under way or waits for one."""
        self.submitted = 0
        """The token of the last submitted batch."""
        self.persisted = 0
        """The highest token whose write, and with it every earlier one, returned."""

    def worker_for(self, role: str) -> Worker:
        """Return the thread for long work of this kind beside the writes, starting it at first use."""
        worker = self._others.get(role)
        if worker is None:
            worker = self._others[role] = self._start_worker(role)
        return worker

    def submit(self, token: int, batch: WriteBatch) -> None:
        """Queue ``batch`` behind everything submitted before it."""
        if self._failed or self.closed:
            return
        self._queued.append((token, batch))
        self.submitted = token
        if not self.busy:
            self._begin()

    def _begin(self) -> None:
        """Hand the queued batches to the thread as one write, or make it on the loop."""
        self.busy = True
        worker, storage = self._worker, self.storage
        token, batch = self._take()
        inline = self._inline
        if inline is not None and inline.allows(batch):
            # Not immediately: messages that the replica sent together with this batch leave first.
            asyncio.get_running_loop().call_soon(self._persist_inline, token, batch)
            return

        def job() -> None:
            began = time.perf_counter()
            try:
                storage.persist(batch)
            except BaseException as error:
                worker.call_on_loop(self._fail, error)
            else:
                if inline is not None:
                    inline.on_thread_write(time.perf_counter() - began)
                worker.call_on_loop(self._done, token)

        worker.put(job)

    def _persist_inline(self, token: int, batch: WriteBatch) -> None:
        assert self._inline is not None
        if self._failed or self.closed:
            return
        began = time.perf_counter()
        try:
            self.storage.persist(batch)
        except BaseException as error:
            self._fail(error)
        else:
            self._inline.on_inline_write(time.perf_counter() - began)
            self._done(token)

    def _take(self) -> tuple[int, WriteBatch]:
        """Merge the queued batches into the next write, up to ``WRITE_BYTES_MAX`` and at most one snapshot."""
        token, batch = self._queued.popleft()
        batches = [batch]
        has_snapshot = batch.snapshot is not None
        size = value_bytes(batch)
        while self._queued and size < WRITE_BYTES_MAX:
            if has_snapshot and self._queued[0][1].snapshot is not None:
                self._observer.reached("writer: a second snapshot waits for the next write")
                break
            token, batch = self._queued.popleft()
            batches.append(batch)
            has_snapshot = has_snapshot or batch.snapshot is not None
            size += value_bytes(batch)
        if len(batches) > 1:
            self._observer.reached("writer: batches that queued become one write")
        return token, merge(batches)

    def _done(self, token: int) -> None:
        if self.closed or self._failed:
            return
        self.persisted = token
        while self._waiting_reads and self._waiting_reads[0][0] <= token:
            self.worker_for(READER).put(self._waiting_reads.popleft()[1])
        # Start the next write before the loop spends time on what this one made possible.
        if self._queued:
            self._begin()
        else:
            self.busy = False
        self._on_persisted(token)

    def _fail(self, error: BaseException) -> None:
        if self._failed or self.closed:
            return
        self._failed = True
        self._observer.reached("writer: a write fails, and nothing more is written")
        self._queued.clear()
        self._waiting_reads.clear()
        cause = error if isinstance(error, Exception) else StorageError(f"the storage raised {error!r}")
        if cause is not error:
            cause.__cause__ = error
        self._on_failed(cause)

    def read(self, wanted: ReadRange, on_read: Callable[[ReadRange, Sequence[Entry], Exception | None], None]) -> None:
        """Read beside the writes; ``on_read(wanted, entries, error)`` is called on the loop.

        The read begins only after all batches submitted so far are persisted. Until then a decided slot may be on disk
        under an older ballot, with another value.
        """
        if self.closed or self._failed:
            return
        reader, storage = self.worker_for(READER), self.storage

        def job() -> None:
            entries: Sequence[Entry] = ()
            problem: Exception | None = None
            try:
                entries = storage.read(wanted.start, wanted.stop, wanted.max_bytes)
            except Exception as error:
                # A read error does not stop the node: ``on_read`` receives it.
                problem = error
            reader.call_on_loop(on_read, wanted, entries, problem)

        if self.persisted < self.submitted:
            self._observer.reached("writer: a read waits for the writes before it")
            self._waiting_reads.append((self.submitted, job))
        else:
            reader.put(job)

    async def close(self, timeout_s: float) -> bool:
        """Finish the write under way, close the storage and end the threads.

        Return False if that took longer than ``timeout_s``; the threads are then left behind.
        """
        if self.closed:
            return True
        self.closed = True
        self._queued.clear()
        self._waiting_reads.clear()
        ended = all(await asyncio.gather(*(worker.end(timeout_s / 2) for worker in self._others.values())))
        return await self._loaded.close(timeout_s / 2) and ended
