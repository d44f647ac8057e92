"""``sqlite:DIRECTORY``: a paxospp log in SQLite, by way of the standard library.

One table of ordered keys and values; ``paxospp.KeyValueStorage`` does the rest of the contract. What
had to be decided is how SQLite is made to keep its promises:

* ``journal_mode=WAL``: a commit is one write and one fsync, readers on connections of their own see
  the last commit and never wait for a writer. A rollback journal would make readers and the writer
  lock each other out and cost three syncs per commit.
* ``synchronous=FULL``: in WAL mode this syncs the log within each commit; ``NORMAL``, which many
  recommend for WAL, syncs at checkpoints only and loses acknowledged commits with a power cut. (``EXTRA``
  differs for rollback journals alone.)
* ``auto_vacuum=FULL``: pages that a trim frees go back to the file system with the commit.
* The log is written anew before SQLite sees it (``_write_anew``), and after a failure the last connection to be
  closed is one that cannot write: SQLite trusts a sync that comes after one that failed.
* ``quick_check`` while loading: SQLite has no checksums, so a flipped bit in a page's structure could
  lead it past rows. What is inside rows, and whether all of them are there, ``KeyValueStorage`` checks.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from urllib.parse import quote

import paxospp

_DAMAGE = ("malformed", "not a database")
_MAKE_TABLE = "CREATE TABLE IF NOT EXISTS pairs (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"


class SqliteStorage(paxospp.KeyValueStorage):
    """One SQLite file in the directory ``path``; ``cache_kib`` is how much of it each connection keeps."""

    def __init__(self, path: str, cache_kib: str = "2048") -> None:
        if not cache_kib.isdecimal():
            raise paxospp.ConfigError(f"cache_kib={cache_kib!r}: use a number of KiB, for example 2048")
        super().__init__(path)  # makes and locks the directory; nothing else is written here
        self._file = os.path.join(path, "log.sqlite")
        self._cache_kib = int(cache_kib)
        self._writer: sqlite3.Connection | None = None
        self._readers: SimpleQueue[sqlite3.Connection] = SimpleQueue()

    def load(self) -> paxospp.DurableState:
        _write_anew(f"{self._file}-wal")
        try:
            self._writer = self._connect()
            self._writer.execute("PRAGMA auto_vacuum=FULL")  # before the first table, or it does nothing
            self._writer.execute("PRAGMA journal_mode=WAL")
            self._writer.execute("PRAGMA synchronous=FULL")
            self._writer.execute(_MAKE_TABLE)
            verdict = self._writer.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.DatabaseError as error:
            raise _translated(error) from error
        if verdict != "ok":
            raise paxospp.CorruptedError(f"{self._file}: {verdict}")
        _sync(os.path.dirname(self._file))  # SQLite does, too, but passes over an error
        return super().load()

    def get(self, key: bytes) -> bytes | None:
        for _, value in self.scan(key, key + b"\0"):
            return value
        return None

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        # A connection for each scan under way: a second statement on one connection would be shown
        # the state that the first one began with.
        try:
            reader = self._readers.get_nowait()
        except Empty:
            reader = self._connect()
        rows = reader.cursor()
        try:
            rows.execute("SELECT key, value FROM pairs WHERE key >= ? AND key < ? ORDER BY key", (start, stop))
            yield from rows
        except sqlite3.DatabaseError as error:
            raise _translated(error) from error
        finally:
            rows.close()  # ends the read transaction
            self._readers.put(reader)

    def write(
        self, delete_ranges: Sequence[tuple[bytes, bytes]], puts: Sequence[tuple[bytes, bytes]], sync: bool
    ) -> None:
        # Always synced, whatever ``sync`` says: more than what is asked for is never wrong.
        assert self._writer is not None, "load() comes first"
        self._writer.execute("BEGIN IMMEDIATE")
        self._writer.executemany("DELETE FROM pairs WHERE key >= ? AND key < ?", delete_ranges)
        self._writer.executemany("INSERT OR REPLACE INTO pairs VALUES (?, ?)", puts)
        self._writer.execute("COMMIT")  # if this raises, nobody writes here again: no ROLLBACK, no second try

    def close(self) -> None:
        # The connection that is closed last checkpoints, which writes. After a failure nothing may be written
        # any more, so that one is then a connection that cannot.
        last = self._connect_read_only() if self.failed else None
        while not self._readers.empty():
            self._readers.get().close()
        if self._writer is not None:
            self._writer.close()
        if last is not None:
            last.close()
        super().close()  # the anchor, and last of all the lock

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._file, isolation_level=None, check_same_thread=False, cached_statements=16)
        connection.execute(f"PRAGMA cache_size=-{self._cache_kib}")
        return connection

    def _connect_read_only(self) -> sqlite3.Connection | None:
        with suppress(sqlite3.Error):
            connection = sqlite3.connect(f"file:{quote(self._file)}?mode=ro", uri=True, check_same_thread=False)
            connection.execute("SELECT key FROM pairs LIMIT 1").fetchone()  # only now does it take part
            return connection
        return None


def _write_anew(path: str) -> None:
    """Write every byte of the file once more, and sync it.

    After a sync that failed the system takes the lost pages for written: SQLite reads them back from memory,
    goes on behind them, and its next sync leaves them out. With the next power cut all behind them is gone, too.
    """
    with suppress(FileNotFoundError), open(path, "r+b") as file:
        data = file.read()
        file.seek(0)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _translated(error: sqlite3.DatabaseError) -> paxospp.StorageError:
    if any(word in str(error) for word in _DAMAGE):
        return paxospp.CorruptedError(f"SQLite: {error}")
    return paxospp.StorageError(f"SQLite: {error}")


@paxospp.hookimpl
def paxospp_storages() -> Iterable[paxospp.StorageBackend]:
    yield paxospp.StorageBackend("sqlite", SqliteStorage, "one SQLite file in a directory, by the standard library")
