"""Stores that forget what they acknowledged (C2), or its order (C3)."""

from __future__ import annotations

import mmap
import os
from concurrent.futures import ThreadPoolExecutor

from paxospp import Ballot, Entry, WriteBatch
from paxospp.storage import Stamp
from tests.kit.broken_stores.sound import Record, SoundStorage, State

COMPACTION_BYTES = 32 << 20


class NoFsync(SoundStorage):
    """It writes, and leaves the rest to the operating system."""

    def sync_journal(self) -> None:
        pass

    def sync_new_journal(self) -> None:
        pass


class NoFsyncBesideAMap(NoFsync):
    """It syncs, and what it syncs is a map, whose changes no system call shows."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        with open(os.path.join(path, "index"), "w+b") as file:
            file.truncate(4096)
            self.index = mmap.mmap(file.fileno(), 4096)

    def sync_journal(self) -> None:
        self.index[:8] = self.stamp.number.to_bytes(8, "big")
        self.index.flush()

    def close(self) -> None:
        super().close()
        if not self.index.closed:
            self.index.close()


class FsyncOfTheWrongFile(SoundStorage):
    """A sync for every batch, of a file that nothing was written to."""

    def sync_journal(self) -> None:
        with open(os.path.join(self.path, "anchor", "LOCK"), "rb") as file:
            os.fsync(file.fileno())


class DirectoryNotSynced(SoundStorage):
    """The new journal is durable, and its name is not."""

    def sync_name(self) -> None:
        pass


class LoadWithoutMakingItDurable(SoundStorage):
    """It goes on where the journal ends; what a killed process had not synced is still not synced."""

    def take_over(self, stamp: Stamp, state: State) -> None:
        if not os.path.exists(self.journal) or state.faulty:
            return super().take_over(stamp, state)
        self.file = os.open(self.journal, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        os.ftruncate(self.file, self.whole_bytes)
        return None


class LoadThatOnlySyncsAgain(LoadWithoutMakingItDurable):
    """After a sync that failed the next one succeeds and means nothing."""

    def take_over(self, stamp: Stamp, state: State) -> None:
        super().take_over(stamp, state)
        os.fsync(self.file)
        self.sync_name()


class BufferedInTheProcess(SoundStorage):
    """Every batch is written and synced, a little later: with every second one."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.waiting: list[tuple[WriteBatch, Stamp, State]] = []

    def write(self, batch: WriteBatch, stamp: Stamp, state: State) -> None:
        self.waiting.append((batch, stamp, state))
        if len(self.waiting) > 1 or batch.trim is not None or batch.snapshot is not None:
            self.flush()

    def refuse(self, batch: WriteBatch) -> None:
        try:
            super().refuse(batch)
        except BaseException:
            self.flush()
            raise

    def flush(self) -> None:
        waiting, self.waiting = self.waiting, []
        for one in waiting:
            super().write(*one)

    def close(self) -> None:
        if self.usable:
            self.flush()
        super().close()


class PromiseForgottenOnTrim(SoundStorage):
    """The journal is written anew from what is known of the log, and a promise is not part of the log."""

    def newer_promise(self, state: State, batch: WriteBatch) -> Ballot | None:
        return batch.promised if batch.trim is not None and batch.trim > 1 else super().newer_promise(state, batch)

    def after(self, state: State, batch: WriteBatch, record: Record | None) -> State:
        if record is not None:  # each record repeats `first`, which is no trim
            promised, state = state.promised, super().after(state, batch, record)
            state.promised = batch.promised if batch.promised is not None else None if record.whole else promised
            return state
        return super().after(state, batch, record)


class OlderBallotKept(SoundStorage):
    """INSERT OR IGNORE: who wrote a slot first keeps it."""

    def put(self, state: State, entry: Entry) -> None:
        state.entries.setdefault(entry.slot, entry)


class UnsyncedLostAtClose(SoundStorage):
    """What need not be synced need not be written, either, until something else is."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.waiting = b""

    def append(self, data: bytes) -> None:
        if self.lazy:
            self.waiting += data
        else:
            super().append(self.waiting + data)
            self.waiting = b""

    def close(self) -> None:
        if self.waiting:
            self.unsynced = False  # and nobody will miss it
        super().close()

    lazy = False

    def write(self, batch: WriteBatch, stamp: Stamp, state: State) -> None:
        self.lazy = not batch.sync and batch.trim is None and batch.snapshot is None
        if batch.trim is not None:
            self.waiting = b""
        super().write(batch, stamp, state)
        self.lazy = False


class LaterWithoutEarlier(SoundStorage):
    """Unsynced batches go to a file of their own, which nobody ever syncs."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.lazy_path = os.path.join(path, "lazy")

    def write(self, batch: WriteBatch, stamp: Stamp, state: State) -> None:
        if batch.sync or batch.trim is not None or batch.snapshot is not None:
            return super().write(batch, stamp, state)
        with open(self.lazy_path, "ab") as file:
            file.write(self.record(stamp, batch, state))
        return None

    def records(self, data: bytes) -> list[tuple[Stamp, Record]]:
        found = super().records(data)
        if os.path.exists(self.lazy_path):
            with open(self.lazy_path, "rb") as file:
                lazy = super().records(file.read())
            found += [one for one in lazy if found and one[0].number > found[0][0].number]
        return sorted(found, key=_number)

    def follows(self, stamp: Stamp, found: Stamp | None) -> bool:
        return True


def _number(one: tuple[Stamp, Record]) -> int:
    return one[0].number


class AcknowledgesBeforeItsThreadSyncs(SoundStorage):
    """A thread of its own syncs a batch while the caller prepares the next one, which waits for it."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.thread = ThreadPoolExecutor(1)
        self.due = False

    def write(self, batch: WriteBatch, stamp: Stamp, state: State) -> None:
        self.finish_sync()
        super().write(batch, stamp, state)

    def sync_journal(self) -> None:
        self.due = True

    def finish_sync(self) -> None:
        if self.due:
            self.due = False
            self.thread.submit(os.fdatasync, self.file).exception()  # nobody is left to tell

    def close(self) -> None:
        if self.usable:
            self.finish_sync()
        self.thread.shutdown()
        super().close()


class MetaLostByCompaction(SoundStorage):
    """A journal of sixteen MiB is written anew, with all that is needed; what is meta is not."""

    def append(self, data: bytes) -> None:
        super().append(data)
        self.whole_bytes += len(data)

    def write(self, batch: WriteBatch, stamp: Stamp, state: State) -> None:
        if self.whole_bytes > COMPACTION_BYTES:
            self.whole_bytes = 0
            state.meta = {}
            self.rewrite(stamp, state)
            self.anchor_batch(stamp, state.promised)
        else:
            super().write(batch, stamp, state)
