"""``sqlite:DIRECTORY``: a paxospp log in SQLite, through the standard library.

The log is one table of ordered keys and values. ``paxospp.KeyValueStorage`` implements the storage contract on
top of it, and this module sets up SQLite so that a commit is as durable as the contract demands:

* ``journal_mode=WAL``: a commit is one write and one sync. Readers use their own connections, see the last
  commit and never wait for a writer. With a rollback journal, readers and the writer would lock each other
  out, and a commit would take three syncs.
* ``synchronous=FULL``: in WAL mode this syncs the log with each commit. ``NORMAL``, which is often recommended
  for WAL, syncs at checkpoints only, so a power cut loses acknowledged commits. (``EXTRA`` differs from
  ``FULL`` only for rollback journals.)
* ``auto_vacuum=FULL``: a commit gives the pages that a trim freed back to the file system.
* ``_rewrite``: after a failed sync, SQLite relies on the next sync, but that does not write the lost pages. So
  ``load`` rewrites the log before SQLite opens it, and after a failure ``close`` makes sure that the last
  connection to be closed is read-only.
* ``quick_check`` in ``load``: SQLite has no checksums, so a flipped bit in the structure of a page could make it
  skip rows. ``KeyValueStorage`` checks what is in the rows, and that none is missing.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from urllib.parse import quote

import paxospp
from paxospp.storage import sync_directory

_DAMAGE = ("malformed", "not a database")
_MAKE_TABLE = "CREATE TABLE IF NOT EXISTS pairs (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"


class SqliteStorage(paxospp.KeyValueStorage):
    """The log in one SQLite file in the directory ``path``. Each connection caches up to ``cache_kib`` KiB of it."""

    contract = 1  # the value of paxospp.STORAGE_CONTRACT when this was written

    def __init__(self, path: str, cache_kib: str = "2048") -> None:
        if not cache_kib.isdecimal():
            raise paxospp.ConfigError(f"cache_kib={cache_kib!r}: use a number of KiB, for example 2048")
        super().__init__(path)  # makes and locks the directory; write nothing else here
        self._file = os.path.join(path, "log.sqlite")
        self._cache_kib = int(cache_kib)
        self._writer: sqlite3.Connection | None = None
        self._readers: SimpleQueue[sqlite3.Connection] = SimpleQueue()

    def load(self) -> paxospp.DurableState:
        _rewrite(f"{self._file}-wal")
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
        sync_directory(os.path.dirname(self._file))  # SQLite does this too, but ignores an error
        return super().load()

    def get(self, key: bytes) -> bytes | None:
        for _, value in self.scan(key, key + b"\0"):
            return value
        return None

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        # Each running scan uses its own connection: a second statement on the same one would see the state
        # with which the first one began.
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
        # Every commit is synced, also if ``sync`` is false: a store may always sync.
        assert self._writer is not None, "load() comes first"
        self._writer.execute("BEGIN IMMEDIATE")
        self._writer.executemany("DELETE FROM pairs WHERE key >= ? AND key < ?", delete_ranges)
        self._writer.executemany("INSERT OR REPLACE INTO pairs VALUES (?, ?)", puts)
        self._writer.execute("COMMIT")  # if this raises, nothing is written here again: no ROLLBACK, no retry

    def close(self) -> None:
        # SQLite makes a checkpoint, and so writes, when the last connection is closed. After a failure nothing may
        # be written, so the last connection is then a read-only one.
        last = self._connect_read_only() if self.failed else None
        while not self._readers.empty():
            self._readers.get().close()
        if self._writer is not None:
            self._writer.close()
        if last is not None:
            last.close()
        super().close()  # closes the anchor and releases the lock

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._file, isolation_level=None, check_same_thread=False, cached_statements=16)
        connection.execute(f"PRAGMA cache_size=-{self._cache_kib}")
        return connection

    def _connect_read_only(self) -> sqlite3.Connection | None:
        with suppress(sqlite3.Error):
            connection = sqlite3.connect(f"file:{quote(self._file)}?mode=ro", uri=True, check_same_thread=False)
            connection.execute("SELECT key FROM pairs LIMIT 1").fetchone()  # SQLite counts it as open only now
            return connection
        return None


def _rewrite(path: str) -> None:
    """Write every byte of the file again, and sync it.

    After a failed sync, the operating system marks the lost pages as written. SQLite would still read them from
    memory and append to the file. Its next sync would skip them, and the next power cut would lose them and
    everything after them.
    """
    with suppress(FileNotFoundError), open(path, "r+b") as file:
        data = file.read()
        file.seek(0)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _translated(error: sqlite3.DatabaseError) -> paxospp.StorageError:
    if any(word in str(error) for word in _DAMAGE):
        return paxospp.CorruptedError(f"SQLite: {error}")
    return paxospp.StorageError(f"SQLite: {error}")


@paxospp.hookimpl
def paxospp_storages() -> Iterable[paxospp.StorageBackend]:
    yield paxospp.StorageBackend("sqlite", SqliteStorage, "SQLite in a directory, through the standard library")
