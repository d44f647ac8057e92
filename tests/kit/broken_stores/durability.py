"""Stores that lose acknowledged batches (C2), or keep later ones without earlier ones (C3)."""

from __future__ import annotations

import mmap
import os
from concurrent.futures import ThreadPoolExecutor

from paxospp import Ballot, Entry, WriteBatch
from paxospp.storage import Stamp
from tests.kit.broken_stores.sound import Record, SoundStorage, State

COMPACTION_BYTES = 32 << 20


class NoFsync(SoundStorage):
    """Writes and never syncs."""

    def sync_journal(self) -> None:
        pass

    def sync_new_journal(self) -> None:
        pass


class NoFsyncBesideAMap(NoFsync):
    """Syncs only a mapped index file, whose changes no system call shows."""

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
    """Syncs a file for every batch, but one that it did not write to."""

    def sync_journal(self) -> None:
        with open(os.path.join(self.path, "anchor", "LOCK"), "rb") as file:
            os.fsync(file.fileno())


class DirectoryNotSynced(SoundStorage):
    """Syncs a new journal, but not the directory that holds its name."""

    def sync_name(self) -> None:
        pass


class LoadWithoutMakingItDurable(SoundStorage):
    """``load`` appends to the journal that it finds; batches that a killed process had not synced stay unsynced."""

    def take_over(self, stamp: Stamp, state: State) -> None:
        if not os.path.exists(self.journal) or state.faulty:
            return super().take_over(stamp, state)
        self.file = os.open(self.journal, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        os.ftruncate(self.file, self.whole_bytes)
        return None


class LoadThatOnlySyncsAgain(LoadWithoutMakingItDurable):
    """``load`` syncs the journal, which writes nothing if an earlier sync of the same pages failed."""

    def take_over(self, stamp: Stamp, state: State) -> None:
        super().take_over(stamp, state)
        os.fsync(self.file)
        self.sync_name()


class BufferedInTheProcess(SoundStorage):
    """Keeps every second batch in memory until the next one."""

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
    """Rewrites the journal on a trim without the promise."""

    def newer_promise(self, state: State, batch: WriteBatch) -> Ballot | None:
        return batch.promised if batch.trim is not None and batch.trim > 1 else super().newer_promise(state, batch)

    def after(self, state: State, batch: WriteBatch, record: Record | None) -> State:
        if record is not None:  # each record repeats `first`, which is no trim
            promised, state = state.promised, super().after(state, batch, record)
            state.promised = batch.promised if batch.promised is not None else None if record.whole else promised
            return state
        return super().after(state, batch, record)


class OlderBallotKept(SoundStorage):
    """Keeps the first entry of a slot, like INSERT OR IGNORE."""

    def put(self, state: State, entry: Entry) -> None:
        state.entries.setdefault(entry.slot, entry)


class UnsyncedLostAtClose(SoundStorage):
    """Keeps unsynced batches in memory until the next synced one, and drops them on close."""

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
            self.unsynced = False  # so that close does not move the anchor
        super().close()

    lazy = False

    def write(self, batch: WriteBatch, stamp: Stamp, state: State) -> None:
        self.lazy = not batch.sync and batch.trim is None and batch.snapshot is None
        if batch.trim is not None:
            self.waiting = b""
        super().write(batch, stamp, state)
        self.lazy = False


class LaterWithoutEarlier(SoundStorage):
    """Writes unsynced batches to a second file that it never syncs."""

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
    """Returns while a thread still syncs the batch; only the next batch waits for that sync."""

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
            self.thread.submit(os.fdatasync, self.file).exception()  # too late to raise: persist has returned

    def close(self) -> None:
        if self.usable:
            self.finish_sync()
        self.thread.shutdown()
        super().close()


class MetaLostByCompaction(SoundStorage):
    """Rewrites a journal of more than 32 MiB, without the meta."""

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
