"""The storage's own threads: one that writes, one that reads.

Group commit by back-pressure: while one ``persist`` is under way, batches queue; when it
returns, all that queued become one (``engine.output.merge``), up to ``WRITE_BYTES_MAX``, so that
one fsync pays for everybody who waited and no timer decides how long that is. Only one ``persist`` is ever under
way; constructor, ``load``, ``persist`` and ``close`` all run in the writing thread, but for the small
writes that ``in_place`` allows on the loop.

A ``persist`` that raised is the end: its outcome is unknown, nothing more is written, and
whoever drives the replica is told once (C4). Nothing here is ever tried again.

The threads are daemons: a disk that hangs must neither hold up ``close`` nor the end of the
process.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import TypeVar

from paxospp.engine.output import merge, value_bytes
from paxospp.engine.rules.storage_reads import ReadRange
from paxospp.errors import CorruptedError, StorageError, TrimmedError
from paxospp.markers import UNWATCHED, Markers
from paxospp.model import Entry, Slot
from paxospp.node.in_place import InPlace
from paxospp.storage.contract import DurableState, Storage, WriteBatch

WRITE_BYTES_MAX = 64 << 20
"""Values of so many bytes are not joined by more: a storage makes one record of a write, and may bound its size."""

T = TypeVar("T")

_log = logging.getLogger("paxospp.node")


class Worker:
    """One thread that runs jobs in order and reports to the loop that made it."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._ended = loop.create_future()
        self._thread.start()

    def put(self, job: Callable[[], None]) -> None:
        self._jobs.put(job)

    def tell(self, callback: Callable[..., None], *arguments: object) -> None:
        """Have the loop call ``callback``; from the thread. A loop that is gone is told nothing."""
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            _log.debug("the loop ended before %s", threading.current_thread().name)

    async def run(self, function: Callable[[], T]) -> T:
        """The result of ``function``, called in the thread after all jobs before it."""
        future: asyncio.Future[T] = self._loop.create_future()

        def answer(result: T) -> None:
            if not future.done():
                future.set_result(result)

        def fail(error: BaseException) -> None:
            if not future.done():
                future.set_exception(error)

        def job() -> None:
            try:
                result = function()
            except BaseException as error:
                self.tell(fail, error)
            else:
                self.tell(answer, result)

        self.put(job)
        return await future

    async def end(self, timeout_s: float) -> bool:
        """Let the thread finish what it has and end; False if it did not within ``timeout_s``."""
        self._jobs.put(None)
        done, _ = await asyncio.wait({self._ended}, timeout=timeout_s)
        if not done:
            return False
        self._thread.join()
        return True

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                break
            job()
            del job  # holds the batch, which may be large, while the thread waits
        self.tell(self._set_ended)

    def _set_ended(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)


class Writer:
    """One storage, opened, written, read and closed off the loop; every method is called on it."""

    def __init__(
        self,
        name: str,
        *,
        on_persisted: Callable[[int], None],
        on_failed: Callable[[Exception], None],
        in_place: InPlace | None = None,
        storage: Storage | None = None,
        make_worker: Callable[[str], Worker] | None = None,
        observer: Markers = UNWATCHED,
    ) -> None:
        """Write to what ``open`` will open, or to ``storage``, which is open and loaded.

        With ``in_place``, writes that it allows are made on the loop. ``make_worker`` makes the thread of a role.
        """
        self._observer = observer
        self._name = name
        self._in_place = in_place
        self._on_persisted = on_persisted
        self._on_failed = on_failed
        self._make_worker = make_worker or self._make_thread
        self._storage = storage
        self._worker = None if storage is None else self._make_worker("writer")
        self._reader: Worker | None = None
        self._beside: dict[str, Worker] = {}
        self._queued: deque[tuple[int, WriteBatch]] = deque()
        self._held: deque[tuple[int, Callable[[], None]]] = deque()
        self._failed = False
        self._closed = False
        self.busy = False
        """Whether a write is under way or waits for one."""
        self.submitted = 0
        """The token that was submitted last."""
        self.persisted = 0
        """The highest token whose write, and with it every earlier one, returned."""

    @property
    def durable(self) -> bool:
        return self._storage is not None and self._storage.durable

    async def open(self, factory: Callable[[], Storage]) -> DurableState:
        """Construct the storage and load it."""
        self._worker = self._make_worker("writer")

        def construct_and_load() -> DurableState:
            # Set in the thread: whoever is cancelled while waiting here still finds it to close.
            self._storage = factory()
            return self._storage.load()

        return await self._worker.run(construct_and_load)

    @property
    def storage(self) -> Storage:
        """For work beside the writes, in a thread of ``beside``."""
        assert self._storage is not None
        return self._storage

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called: work beside the writes had better end."""
        return self._closed

    def beside(self, role: str) -> Worker:
        """A thread for work that may take long and runs beside writes and reads; one per role."""
        worker = self._beside.get(role)
        if worker is None:
            worker = self._beside[role] = self._make_worker(role)
        return worker

    def _make_thread(self, role: str) -> Worker:
        return Worker(f"paxospp-{self._name}-{role}", asyncio.get_running_loop())

    async def run(self, function: Callable[[Storage], T]) -> T:
        """The result of ``function`` in the writing thread, before the replica exists."""
        assert self._worker is not None
        storage = self.storage
        return await self._worker.run(lambda: function(storage))

    async def persist_now(self, batch: WriteBatch) -> None:
        """Write ``batch`` before the replica exists, and wait for it."""
        assert self._worker is not None
        assert self._storage is not None
        storage = self._storage
        await self._worker.run(lambda: storage.persist(batch))

    async def first_entry(self) -> Entry | None:
        """Slot 1 as it stands on disk, if it can be read: what a founded storage knows of its cluster."""
        assert self._worker is not None
        assert self._storage is not None
        storage = self._storage
        try:
            entries = await self._worker.run(lambda: storage.read(Slot(1), Slot(2), 1))
        except (TrimmedError, CorruptedError):
            return None
        return entries[0] if entries else None

    def submit(self, token: int, batch: WriteBatch) -> None:
        """Write ``batch`` after everything submitted before it."""
        if self._failed or self._closed:
            return
        self._queued.append((token, batch))
        self.submitted = token
        if not self.busy:
            self._begin()

    def _begin(self) -> None:
        """Hand all that queued to the thread as one batch, or write it here."""
        assert self._worker is not None
        assert self._storage is not None
        self.busy = True
        worker, storage = self._worker, self._storage
        token, batch = self._take()
        in_place = self._in_place
        if in_place is not None and in_place.allows(batch):
            # Not at once: what the replica said in the same breath is on its way first.
            asyncio.get_running_loop().call_soon(self._persist_here, token, batch)
            return

        def job() -> None:
            began = time.perf_counter()
            try:
                storage.persist(batch)
            except BaseException as error:
                worker.tell(self._fail, error)
            else:
                if in_place is not None:
                    in_place.took_beside(time.perf_counter() - began)
                worker.tell(self._done, token)

        worker.put(job)

    def _persist_here(self, token: int, batch: WriteBatch) -> None:
        assert self._in_place is not None
        if self._failed or self._closed:
            return
        began = time.perf_counter()
        try:
            self.storage.persist(batch)
        except BaseException as error:
            self._fail(error)
        else:
            self._in_place.took_here(time.perf_counter() - began)
            self._done(token)

    def _take(self) -> tuple[int, WriteBatch]:
        """The next write: everything that queued, up to a second snapshot, or to as much as one write takes."""
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
        if self._closed or self._failed:
            return
        self.persisted = token
        while self._held and self._held[0][0] <= token:
            self._put_read(self._held.popleft()[1])
        # The disk goes on with what queued before Python looks at what this write allows.
        if self._queued:
            self._begin()
        else:
            self.busy = False
        self._on_persisted(token)

    def _fail(self, error: BaseException) -> None:
        if self._failed or self._closed:
            return
        self._failed = True
        self._observer.reached("writer: a write fails, and nothing more is written")
        self._queued.clear()
        self._held.clear()
        cause = error if isinstance(error, Exception) else StorageError(f"the storage raised {error!r}")
        if cause is not error:
            cause.__cause__ = error
        self._on_failed(cause)

    def read(self, wanted: ReadRange, on_read: Callable[[ReadRange, Sequence[Entry], Exception | None], None]) -> None:
        """Read beside the writes; ``on_read(wanted, entries, error)`` is called on the loop.

        Not before all that were submitted have returned: until then a slot that is decided may
        stand on disk under an older ballot, with another value.
        """
        if self._storage is None or self._closed or self._failed:
            return
        if self._reader is None:
            self._reader = self._make_worker("reader")
        reader, storage = self._reader, self._storage

        def job() -> None:
            entries: Sequence[Entry] = ()
            problem: Exception | None = None
            try:
                entries = storage.read(wanted.start, wanted.stop, wanted.max_bytes)
            except Exception as error:
                # Damage and trimmed slots are no end: whoever asked hears that nothing is there to be had.
                problem = error
            reader.tell(on_read, wanted, entries, problem)

        if self.persisted < self.submitted:
            self._observer.reached("writer: a read waits for the writes before it")
            self._held.append((self.submitted, job))
        else:
            self._put_read(job)

    def _put_read(self, job: Callable[[], None]) -> None:
        assert self._reader is not None
        self._reader.put(job)

    async def close(self, timeout_s: float) -> bool:
        """Finish the write under way, close the storage, end the threads; False if the disk did not let it."""
        if self._closed:
            return True
        self._closed = True
        self._queued.clear()
        self._held.clear()
        ended = True
        if self._reader is not None:
            self._beside["reader"] = self._reader
        if self._beside:
            ended = all(await asyncio.gather(*(worker.end(timeout_s / 2) for worker in self._beside.values())))
        if self._worker is not None:
            self._worker.put(self._close_storage)
            ended = await self._worker.end(timeout_s / 2) and ended
        return ended

    def _close_storage(self) -> None:
        if self._storage is None:
            return
        try:
            self._storage.close()
        except Exception:
            _log.exception("node %s: closing the storage failed", self._name)
