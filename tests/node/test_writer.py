"""The threads of a storage: queued batches become one write, reads run beside writes, and a failure is final."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from paxospp_memory import MemoryStorage

from paxospp import Ballot, Entry, Kind, NodeId, Slot, WriteBatch
from paxospp.engine.rules.storage_reads import ReadRange
from paxospp.errors import CorruptedError, StorageError, TrimmedError
from paxospp.node.loading import load_storage
from paxospp.node.worker import ThreadWorker
from paxospp.node.writer import FAST_S, RECENT, SLOW_MAX, SMALL_BYTES, WRITE_BYTES_MAX, InlineWrites, Writer
from tests.cluster.embedding import run, threads_end
from tests.node.writing import open_writer

BALLOT = Ballot(1, NodeId("n1"), 7)


def unexpected(report: object) -> None:
    pytest.fail(f"the writer reported {report!r}")


def entry(slot: int, value: bytes = b"value") -> Entry:
    return Entry(Slot(slot), BALLOT, Kind.COMMANDS, value)


class HeldStorage(MemoryStorage):
    """A storage that blocks each ``persist`` until the test releases it, and records the batches."""

    def __init__(self) -> None:
        super().__init__("")
        self.batches: list[WriteBatch] = []
        self.begun = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.error: Exception | None = None

    def persist(self, batch: WriteBatch) -> None:
        self.batches.append(batch)
        self.begun.release()
        self.go.acquire()
        if self.error is not None:
            raise self.error
        super().persist(batch)


class Opened:
    """A writer on a ``HeldStorage``, and what the writer reported."""

    def __init__(self) -> None:
        self.storage = HeldStorage()
        self.persisted: asyncio.Queue[int] = asyncio.Queue()
        self.failures: list[Exception] = []
        self.failed = asyncio.Event()
        self.writer: Writer

    async def open(self) -> Opened:
        self.writer = await open_writer(
            lambda: self.storage, on_persisted=self.persisted.put_nowait, on_failed=self._on_failed
        )
        return self

    def _on_failed(self, error: Exception) -> None:
        self.failures.append(error)
        self.failed.set()

    async def begun(self) -> None:
        await asyncio.to_thread(self.storage.begun.acquire)

    async def close(self) -> None:
        for _ in range(100):
            self.storage.go.release()
        assert await self.writer.close(5.0)


def test_batches_queued_during_a_write_become_one_write() -> None:
    async def main() -> None:
        opened = await Opened().open()
        opened.writer.submit(1, WriteBatch(accepted=[entry(1)]))
        await opened.begun()
        assert opened.writer.busy
        for token in range(2, 11):
            opened.writer.submit(token, WriteBatch(accepted=[entry(token)]))
        opened.storage.go.release()
        assert await opened.persisted.get() == 1
        await opened.begun()
        opened.storage.go.release()
        assert await opened.persisted.get() == 10
        assert not opened.writer.busy
        assert opened.writer.persisted == 10
        assert [len(batch.accepted) for batch in opened.storage.batches] == [1, 9]
        await opened.close()

    run(main)


def test_a_merged_write_stays_near_its_size_limit_however_much_is_queued() -> None:
    """After a disk has hung, one record of everything that waited could be larger than a storage accepts."""
    part = WRITE_BYTES_MAX // 4

    async def main() -> None:
        opened = await Opened().open()
        opened.writer.submit(1, WriteBatch(accepted=[entry(1)]))
        await opened.begun()
        for token in range(2, 12):
            opened.writer.submit(token, WriteBatch(accepted=[entry(token, bytes(part))]))
        for _ in range(4):
            opened.storage.go.release()
        assert [await opened.persisted.get() for _ in range(4)] == [1, 5, 9, 11]
        assert [len(batch.accepted) for batch in opened.storage.batches] == [1, 4, 4, 2]
        await opened.close()

    run(main)


def test_a_read_waits_for_earlier_writes_and_runs_beside_later_ones() -> None:
    """Simulator, seed 501955: otherwise a decided slot is read as it was accepted under an older ballot."""

    async def main() -> None:
        opened = await Opened().open()
        opened.writer.submit(1, WriteBatch(accepted=[entry(1)]))
        await opened.begun()
        opened.writer.submit(2, WriteBatch(accepted=[entry(2)]))
        answers: asyncio.Queue[tuple[ReadRange, Sequence[Entry], Exception | None]] = asyncio.Queue()
        wanted = ReadRange(token=5, start=Slot(1), stop=Slot(9), max_bytes=1000)
        opened.writer.read(wanted, lambda *answer: answers.put_nowait(answer))
        opened.storage.go.release()
        assert await opened.persisted.get() == 1
        opened.writer.submit(3, WriteBatch(accepted=[entry(3)]))
        await opened.begun()
        assert answers.empty()
        opened.storage.go.release()
        assert await opened.persisted.get() == 2
        assert await answers.get() == (wanted, [entry(1), entry(2)], None)
        assert opened.writer.busy
        await opened.close()

    run(main)


@pytest.mark.parametrize("error", [TrimmedError(5), CorruptedError("slot 1", [range(1, 2)]), OSError(5, "EIO")])
def test_a_read_that_fails_returns_no_entries_and_the_error(error: Exception) -> None:
    class Unreadable(MemoryStorage):
        def read(self, start: Slot, stop: Slot, max_bytes: int) -> Sequence[Entry]:
            raise error

    async def main() -> None:
        writer = await open_writer(lambda: Unreadable(""))
        answers: asyncio.Queue[tuple[ReadRange, Sequence[Entry], Exception | None]] = asyncio.Queue()
        wanted = ReadRange(token=1, start=Slot(1), stop=Slot(2), max_bytes=1000)
        writer.read(wanted, lambda *answer: answers.put_nowait(answer))
        assert await answers.get() == (wanted, (), error)
        assert await writer.close(5.0)

    run(main)


def test_a_failed_write_is_reported_once_and_nothing_is_written_after_it() -> None:
    async def main() -> None:
        opened = await Opened().open()
        opened.storage.error = StorageError("fsync failed")
        opened.writer.submit(1, WriteBatch(accepted=[entry(1)]))
        await opened.begun()
        opened.writer.submit(2, WriteBatch(accepted=[entry(2)]))
        opened.storage.go.release()
        await opened.failed.wait()
        opened.writer.submit(3, WriteBatch(accepted=[entry(3)]))
        await opened.close()
        assert opened.failures == [opened.storage.error]
        assert len(opened.storage.batches) == 1
        assert opened.persisted.empty()

    run(main)


def test_an_unexpected_exception_of_a_storage_is_final_too() -> None:
    class Interrupted(MemoryStorage):
        def persist(self, batch: WriteBatch) -> None:
            raise KeyboardInterrupt

    async def main() -> None:
        failed: asyncio.Queue[Exception] = asyncio.Queue()
        writer = await open_writer(lambda: Interrupted(""), on_failed=failed.put_nowait)
        writer.submit(1, WriteBatch())
        error = await failed.get()
        assert isinstance(error, StorageError)
        assert isinstance(error.__cause__, KeyboardInterrupt)
        assert await writer.close(5.0)

    run(main)


def test_closing_does_not_wait_for_a_hung_disk() -> None:
    async def main() -> None:
        opened = await Opened().open()
        opened.writer.submit(1, WriteBatch(accepted=[entry(1)]))
        await opened.begun()
        began = time.monotonic()
        assert not await opened.writer.close(0.2)
        assert time.monotonic() - began < 1.0
        opened.storage.go.release()
        await threads_end()

    run(main)


def test_a_storage_whose_opening_was_cancelled_is_still_closed(tmp_path: Path) -> None:
    class Slow(MemoryStorage):
        def __init__(self) -> None:
            opening.set()
            assert go.wait(10)
            super().__init__(str(tmp_path))

    opening, go = threading.Event(), threading.Event()

    async def main() -> None:
        worker = ThreadWorker("opening", asyncio.get_running_loop())
        task = asyncio.create_task(load_storage(NodeId("n1"), Slow, worker, close_timeout_s=5.0))
        await asyncio.to_thread(opening.wait)
        task.cancel()
        await asyncio.sleep(0)
        go.set()
        await asyncio.wait([task])
        assert task.cancelled()
        MemoryStorage(str(tmp_path)).close()  # LockedError if the first one were still open

    run(main)


def test_a_server_makes_small_writes_on_its_event_loop_once_the_disk_has_been_fast() -> None:
    async def main() -> None:
        threads: list[str] = []
        persisted: asyncio.Queue[int] = asyncio.Queue()

        class Swift(MemoryStorage):
            def persist(self, batch: WriteBatch) -> None:
                threads.append(threading.current_thread().name)
                super().persist(batch)

        inline = InlineWrites()
        writer = await open_writer(
            lambda: Swift(""), on_persisted=persisted.put_nowait, on_failed=unexpected, inline=inline
        )
        writer.submit(1, WriteBatch(accepted=[entry(1)]))
        assert await persisted.get() == 1
        assert threads.pop() != threading.current_thread().name

        for _ in range(RECENT):
            inline.on_thread_write(0.0001)
        writer.submit(2, WriteBatch(accepted=[entry(2)]))
        writer.submit(3, WriteBatch(accepted=[entry(3)]))
        assert writer.busy
        assert threads == []  # messages of the same turn of the loop leave first
        assert [await persisted.get(), await persisted.get()] == [2, 3]
        assert set(threads) == {threading.current_thread().name}

        inline.on_inline_write(FAST_S)
        writer.submit(4, WriteBatch(accepted=[entry(4)]))
        assert await persisted.get() == 4
        assert threads.pop() != threading.current_thread().name
        assert await writer.close(5.0)

    run(main)


@pytest.mark.parametrize(
    "batch",
    [
        WriteBatch(trim=Slot(2)),
        WriteBatch(accepted=[entry(1, bytes(SMALL_BYTES + 1))]),
    ],
)
def test_writes_that_may_take_long_are_never_made_on_the_event_loop(batch: WriteBatch) -> None:
    inline = InlineWrites()
    for _ in range(RECENT):
        inline.on_thread_write(0.0)

    assert inline.allows(WriteBatch(accepted=[entry(1)]))
    assert not inline.allows(batch)


def test_a_failed_write_on_the_event_loop_is_final_too() -> None:
    async def main() -> None:
        class Failing(MemoryStorage):
            def persist(self, batch: WriteBatch) -> None:
                raise OSError("EIO")

        failures: asyncio.Queue[Exception] = asyncio.Queue()
        inline = InlineWrites()
        for _ in range(RECENT):
            inline.on_thread_write(0.0)
        writer = await open_writer(
            lambda: Failing(""), on_persisted=unexpected, on_failed=failures.put_nowait, inline=inline
        )
        writer.submit(1, WriteBatch(accepted=[entry(1)]))
        assert "EIO" in str(await failures.get())
        writer.submit(2, WriteBatch(accepted=[entry(2)]))
        assert writer.persisted == 0
        await writer.close(5.0)

    run(main)


def test_one_write_delayed_by_the_interpreter_does_not_count_as_a_slow_disk_but_many_do() -> None:
    inline = InlineWrites()
    for number in range(RECENT):
        inline.on_thread_write(FAST_S if number < SLOW_MAX else 0.0)
    assert inline.allows(WriteBatch(accepted=[entry(1)]))

    for _ in range(SLOW_MAX + 1):
        inline.on_thread_write(FAST_S)
    assert not inline.allows(WriteBatch(accepted=[entry(1)]))

    for _ in range(RECENT):
        inline.on_thread_write(0.0)
    assert inline.allows(WriteBatch(accepted=[entry(1)]))
