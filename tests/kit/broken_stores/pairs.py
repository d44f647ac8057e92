"""A sound ``KeyValueStorage``, and variants of which one method is wrong."""

from __future__ import annotations

import mmap
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress

import paxospp
from paxospp.storage import sync_directory

Ranges = Sequence[tuple[bytes, bytes]]
Rows = Sequence[tuple[bytes, bytes]]


class SoundPairs(paxospp.KeyValueStorage):
    """Pairs in SQLite, with a connection of its own for each scan."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.file = os.path.join(path, "pairs.sqlite")
        self.writer: sqlite3.Connection | None = None

    def load(self) -> paxospp.DurableState:
        with suppress(FileNotFoundError), open(self.file + "-wal", "r+b") as log:
            data = log.read()
            log.seek(0)
            log.write(data)
            log.flush()
            os.fsync(log.fileno())
        try:
            self.writer = self.connect()
            self.writer.execute("PRAGMA auto_vacuum=FULL")
            self.writer.execute("PRAGMA journal_mode=WAL")
            self.writer.execute("PRAGMA synchronous=FULL")
            self.writer.execute("CREATE TABLE IF NOT EXISTS pairs (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
            verdict = self.writer.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.DatabaseError as error:
            raise paxospp.CorruptedError(f"SQLite: {error}") from error
        if verdict != "ok":
            raise paxospp.CorruptedError(f"SQLite: {verdict}")
        sync_directory(os.path.dirname(self.file))
        return super().load()

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.file, isolation_level=None, check_same_thread=False)

    def get(self, key: bytes) -> bytes | None:
        for _, value in self.scan(key, key + b"\0"):
            return value
        return None

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        reader = self.connect()
        try:
            yield from self.rows(reader, start, stop)
        except sqlite3.DatabaseError as error:
            self.on_read_error(error)
        finally:
            reader.close()

    def rows(self, reader: sqlite3.Connection, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        yield from reader.execute("SELECT key, value FROM pairs WHERE key >= ? AND key < ? ORDER BY key", (start, stop))

    def on_read_error(self, error: sqlite3.DatabaseError) -> None:
        raise paxospp.CorruptedError(f"SQLite: {error}") from error

    def write(self, delete_ranges: Ranges, puts: Rows, sync: bool) -> None:
        assert self.writer is not None
        self.writer.execute("BEGIN IMMEDIATE")
        self.change(self.writer, delete_ranges, puts)
        self.writer.execute("COMMIT")

    def change(self, writer: sqlite3.Connection, delete_ranges: Ranges, puts: Rows) -> None:
        self.delete(writer, delete_ranges)
        self.put(writer, puts)

    def delete(self, writer: sqlite3.Connection, delete_ranges: Ranges) -> None:
        writer.executemany("DELETE FROM pairs WHERE key >= ? AND key < ?", delete_ranges)

    def put(self, writer: sqlite3.Connection, puts: Rows) -> None:
        writer.executemany("INSERT OR REPLACE INTO pairs VALUES (?, ?)", puts)

    def close(self) -> None:
        # SQLite writes when its last connection is closed. After a failure, that one must not be able to write.
        last = sqlite3.connect(f"file:{self.file}?mode=ro", uri=True) if self.failed else None
        if last is not None:
            with suppress(sqlite3.Error):
                last.execute("SELECT key FROM pairs LIMIT 1").fetchone()
        if self.writer is not None:
            self.writer.close()
        if last is not None:
            last.close()
        super().close()


class ScanBeginsAgain(SoundPairs):
    """Scans ten pairs at a time, each ten in a transaction of its own."""

    def rows(self, reader: sqlite3.Connection, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        while True:
            text = "SELECT key, value FROM pairs WHERE key >= ? AND key < ? ORDER BY key LIMIT 10"
            found = reader.execute(text, (start, stop)).fetchall()
            yield from found
            if len(found) < 10:
                return
            start = found[-1][0] + b"\0"


class ScanEndsAtAnError(SoundPairs):
    """Ends a scan at a read error: ``except sqlite3.Error: return``."""

    def on_read_error(self, error: sqlite3.DatabaseError) -> None:
        pass


class DeletesThenPuts(SoundPairs):
    """Deletes and puts in two transactions."""

    def change(self, writer: sqlite3.Connection, delete_ranges: Ranges, puts: Rows) -> None:
        self.delete(writer, delete_ranges)
        if delete_ranges and puts:
            writer.execute("COMMIT")
            writer.execute("BEGIN IMMEDIATE")
        self.put(writer, puts)


class DeletesThenPutsBesideAMap(DeletesThenPuts):
    """Also syncs a mapped file of statistics that it never reads."""

    def load(self) -> paxospp.DurableState:
        with open(os.path.join(os.path.dirname(self.file), "statistics"), "w+b") as file:
            file.truncate(4096)
            self.statistics = mmap.mmap(file.fileno(), 4096)
        self.statistics[:8] = b"12345678"
        self.statistics.flush()
        return super().load()


class PutsThenDeletes(SoundPairs):
    """Deletes after it puts, so that a put within a deleted range is lost."""

    def change(self, writer: sqlite3.Connection, delete_ranges: Ranges, puts: Rows) -> None:
        self.put(writer, puts)
        self.delete(writer, delete_ranges)


class ShortKeys(SoundPairs):
    """Cuts keys to forty bytes, so that two long keys become one."""

    def put(self, writer: sqlite3.Connection, puts: Rows) -> None:
        super().put(writer, [(key[:40], value) for key, value in puts])

    def get(self, key: bytes) -> bytes | None:
        return super().get(key[:40])


class NullForEmpty(SoundPairs):
    """Does not store empty values: ``value or None``."""

    def put(self, writer: sqlite3.Connection, puts: Rows) -> None:
        super().put(writer, [(key, value) for key, value in puts if value])


class ViewsOfBytes(SoundPairs):
    """Returns views of its driver's memory instead of bytes."""

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key, value in super().scan(start, stop):
            yield key, memoryview(value)  # type: ignore[misc]
