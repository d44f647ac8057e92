"""A paxospp log in LMDB: ordered keys for ``paxospp.KeyValueStorage``, which does the rest of the contract.

LMDB is a copy-on-write B+tree in one file that is mapped into memory. A commit writes new pages, syncs
them, and then names them in one of two *meta pages*, with a synced write of its own; a reader sees the
tree that the newer meta page names. So a commit is atomic and durable, and readers never wait. The rest
needs care:

* **Creation.** LMDB writes the first meta pages without a sync, and never syncs the names of its files. A
  power cut then leaves a file that it refuses for ever. ``_create`` makes the database under another
  name, syncs it, and renames it.
* **SIGBUS.** Reading a mapped page that the file does not have, or that the disk cannot read, is not an
  exception: it kills the process. ``_check_file`` reads the file with ordinary reads before it is mapped,
  and ``_pad_file`` makes it as long as the map will assume.
* **No checksums.** A damaged page can lead LMDB anywhere. ``_check_file`` has ``lmdb.verify`` walk the
  tree first; what is inside the values, and whether all of them are there, ``KeyValueStorage`` checks.
* **The map has a size.** A full map is ``MapFullError`` from a write that has changed nothing: ``_grow``
  doubles it and the write is made again. Changing the size invalidates every open transaction of this
  process, so ``_grow`` waits until there are none.
* **Fork.** A forked child shares the map and the locks. If it writes and then closes the environment, its
  parent waits for LMDB's lock for ever. ``_usable`` refuses to work in a child, and ``close`` leaves the
  environment alone there.
* **Long readers** keep every page alive that was freed since they began. Every transaction here ends
  with its call or its scan, and ``KeyValueStorage`` leaves no scan open.

Reference: http://www.lmdb.tech/doc/, "Caveats"; Chu, "MDB: A Memory-Mapped Database and Backend for
OpenLDAP" (2011).
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import lmdb
from lmdb.verify import VerifyError, verify

import paxospp
from paxospp.storage import sync_directory

KEY_BYTES_MAX = 511
"""LMDB's limit, compiled in. ``KeyValueStorage`` writes keys of nine bytes at most when snapshots are files."""
MAP_MIB_MAX = 1 << 20
GROW_WAIT_S = 30.0
"""How long ``_grow`` waits for readers before the write fails: a read takes milliseconds."""
READERS_MAX = 126
"""Read transactions at a time, in all processes together; the process that opens the database first decides."""
READ_BYTES = 1 << 20

_DAMAGE = (
    lmdb.CorruptedError,
    lmdb.CursorFullError,  # a tree deeper than any tree can be
    lmdb.InvalidError,
    lmdb.PageNotFoundError,
    lmdb.VersionMismatchError,
)


class LmdbStorage(paxospp.KeyValueStorage):
    """One database in ``path``/db, snapshots in ``path``/snapshots, the anchor in ``path``/anchor.

    Snapshots are files because an LMDB file never shrinks: pages that a trim frees are used again, but
    megabytes of a former snapshot would stay in it.
    """

    contract = 1

    def __init__(self, path: str, map_mib: str = "64") -> None:
        if not (map_mib.isdecimal() and 1 <= int(map_mib) <= MAP_MIB_MAX):
            raise paxospp.ConfigError(f"map_mib={map_mib!r}: use a number of MiB from 1 to {MAP_MIB_MAX}")
        self._map_bytes = int(map_mib) << 20
        self._directory = os.path.join(path, "db")
        self._file = os.path.join(self._directory, "data.mdb")
        self._env: lmdb.Environment | None = None
        self._owner = os.getpid()
        self._readers = 0
        self._reader_left = threading.Condition()
        # Makes and locks the directory. LMDB's own locks are not enough: two processes that create a database at
        # the same time both find none, and a process that opens it twice loses the lock with the first close.
        super().__init__(path, snapshots=paxospp.FileSnapshots(os.path.join(path, "snapshots")))

    def load(self) -> paxospp.DurableState:
        self.check_unloaded()
        if not os.path.isdir(self._directory):
            self._create()
        self._check_file()
        try:
            self._env = self._open(self._directory)
            self._env.reader_check()  # frees the slots of readers that were killed
        except lmdb.Error as error:
            raise _translated(error) from error
        self._pad_file()
        return super().load()

    def get(self, key: bytes) -> bytes | None:
        if not 0 < len(key) <= KEY_BYTES_MAX:
            return None  # LMDB holds no such key, and raises for an empty one
        with self._transaction() as transaction:
            return transaction.get(key)

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        # One transaction for the whole scan: that is what makes it one state of the store.
        with self._transaction() as transaction, transaction.cursor() as cursor:
            if cursor.set_range(start):
                for key, value in cursor:
                    if key >= stop:
                        break
                    yield key, value

    def write(
        self, delete_ranges: Sequence[tuple[bytes, bytes]], puts: Sequence[tuple[bytes, bytes]], sync: bool
    ) -> None:
        # Every commit is synced, also with ``sync`` false: more than what is asked for is never wrong.
        env = self._usable()
        for key, _ in puts:
            if not 0 < len(key) <= KEY_BYTES_MAX:
                raise paxospp.StorageError(
                    f"the key {key[:16]!r}… has {len(key)} bytes; LMDB takes 1 to {KEY_BYTES_MAX}. Nothing was written"
                )
        while True:
            try:
                with env.begin(write=True) as transaction:  # commits at the end, aborts if anything raises
                    for start, stop in delete_ranges:
                        _delete(transaction, start, stop)
                    for key, value in puts:
                        transaction.put(key, value)
                return
            except lmdb.MapFullError:
                self._grow(env)  # the transaction is aborted, and no meta page names what it wrote: make it again
            except lmdb.Error as error:
                raise _translated(error) from error

    def close(self) -> None:
        env, self._env = self._env, None
        if env is not None and self._owner == os.getpid():
            env.close()  # writes nothing: each commit is durable when it returns
        super().close()  # closes the anchor and releases the lock

    # Opening

    def _create(self) -> None:
        """Make an empty database, so that after a power cut it is there whole or not at all."""
        if self.read_anchor() is not None:  # its copies are made after the database
            raise paxospp.CorruptedError(f"{self._directory} is missing, and this is not a new store")
        fresh = f"{self._directory}.new"
        if os.path.isdir(fresh):  # a process was killed here before
            shutil.rmtree(fresh)
        try:
            self._open(fresh).close()
        except lmdb.Error as error:
            raise _translated(error) from error
        for name in os.listdir(fresh):
            _sync_file(os.path.join(fresh, name))
        sync_directory(fresh)
        os.rename(fresh, self._directory)
        sync_directory(os.path.dirname(self._directory))

    def _open(self, directory: str) -> lmdb.Environment:
        return lmdb.open(
            directory,
            map_size=self._map_bytes,  # LMDB takes what the file needs if that is more
            mode=0o700,
            # Two syncs per commit, both of them needed: the pages before the meta page that names them, and the
            # meta page before the commit returns. Without ``metasync`` a power cut undoes the last commit, which
            # was acknowledged; without ``sync`` a meta page may reach the disk before its pages, and the
            # database is broken.
            sync=True,
            metasync=True,
            # With a writable map, LMDB stores into a sparse file: on a full disk that is SIGBUS instead of an error.
            # A stray pointer can write to the database, and ``paxospp verify`` cannot see what is written.
            # ``map_async`` has a meaning only with it, and then as that of ``sync=False``.
            writemap=False,
            # Needed although the directory is locked: the writer learns from its table which pages are being read.
            lock=True,
            max_readers=READERS_MAX,
        )

    def _check_file(self) -> None:
        """Raise CorruptedError unless LMDB can map the file and follow its pages."""
        try:
            problems: list[str] = verify(self._file, subdir=False)  # type: ignore[no-untyped-call]
            # ``verify`` reads only the first page of a large value; a sector that cannot be read is an error here.
            with open(self._file, "rb", buffering=0) as file:
                while file.read(READ_BYTES):
                    pass
        except PermissionError as error:
            raise paxospp.StorageError(f"{self._file} cannot be read: {error.strerror}") from error
        except (OSError, VerifyError) as error:
            raise paxospp.CorruptedError(f"{self._file}: {error}") from error
        if problems:
            raise paxospp.CorruptedError(f"{self._file}: {problems[0]} ({len(problems)} problems)")

    def _pad_file(self) -> None:
        """Make the file as long as the database says it is, so that no page of it is SIGBUS.

        The file is shorter if its tail was cut off, but also if its last pages are free: LMDB does not write
        those. In the first case zeros replace the end of a value, which ``KeyValueStorage`` notices.
        """
        env = self._usable()
        needed = (env.info()["last_pgno"] + 1) * env.stat()["psize"]  # both read the meta page only
        if os.path.getsize(self._file) < needed:
            os.truncate(self._file, needed)

    # Transactions

    def _usable(self) -> lmdb.Environment:
        if self._owner != os.getpid():
            raise paxospp.StorageError(f"the storage belongs to process {self._owner}; a forked child must not use it")
        if self._env is None:
            raise paxospp.StorageError("the storage is closed, or was never loaded")
        return self._env

    @contextmanager
    def _transaction(self) -> Iterator[lmdb.Transaction[bytes]]:
        """Read one state of the database. The map keeps its size until this ends."""
        env = self._usable()
        with self._reader_left:
            self._readers += 1
        try:
            with env.begin() as transaction:
                yield transaction
        except lmdb.Error as error:
            raise _translated(error) from error
        finally:
            with self._reader_left:
                self._readers -= 1
                self._reader_left.notify_all()

    def _grow(self, env: lmdb.Environment) -> None:
        """Double the map while no transaction of this process is open.

        Other processes (``python -m lmdb``, ``mdb_copy``) only read. One that was started before gets
        ``MapResizedError`` from its next transaction, and calls ``set_mapsize(0)`` to adopt the new size.
        """
        with self._reader_left:
            if not self._reader_left.wait_for(lambda: self._readers == 0, GROW_WAIT_S):
                raise paxospp.StorageError(
                    f"the map of {self._file} is full, and a scan has kept it from growing for {GROW_WAIT_S:.0f} s"
                )
            try:
                env.set_mapsize(2 * env.info()["map_size"])
            except lmdb.Error as error:
                raise _translated(error) from error


def _delete(transaction: lmdb.Transaction[bytes], start: bytes, stop: bytes) -> None:
    with transaction.cursor() as cursor:
        while cursor.set_range(start) and cursor.key() < stop:
            cursor.delete()


def _sync_file(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _translated(error: lmdb.Error) -> paxospp.StorageError:
    """LMDB's error as one of the contract's."""
    kind = paxospp.CorruptedError if isinstance(error, _DAMAGE) else paxospp.StorageError
    return kind(f"LMDB: {error}")
