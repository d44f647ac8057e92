"""A paxospp log in LMDB: ordered keys for ``paxospp.KeyValueStorage``, which implements the storage contract.

LMDB is a copy-on-write B+tree in one file that is mapped into memory. A commit writes new pages, syncs
them, and then makes them visible by a synced write to one of two *meta pages*. A reader sees the tree
of the newer meta page. So a commit is atomic and durable, and readers never wait. The rest needs care:

* **Creation.** LMDB writes the first meta pages without a sync, and never syncs the directory entries of its
  files. A power cut can leave a file that LMDB refuses for ever. ``_create`` makes the database under
  another name, syncs it, and renames it.
* **SIGBUS.** Reading a mapped page that the file does not have, or that the disk cannot read, kills the
  process instead of raising an exception. ``_check_file`` reads the file with ordinary reads before it is
  mapped, and ``_pad_file`` extends it to the length that the map assumes.
* **No checksums.** A damaged page can make LMDB follow a wrong one. ``_check_file`` calls ``lmdb.verify``, which
  walks the tree. ``KeyValueStorage`` checks the values, and that none is missing.
* **The map has a size.** When it is full, a write raises ``MapFullError`` and changes nothing; ``_grow`` doubles
  the map, and the write is repeated. Changing the size invalidates every open transaction of this
  process, so ``_grow`` waits until there are none.
* **Fork.** A forked child shares the map and the locks. If it writes and then closes the environment, its
  parent waits for LMDB's lock for ever. ``_usable`` refuses to work in a child, and ``close`` leaves the
  environment alone there.
* **Long readers** keep LMDB from reusing the pages that were freed since they began. Every transaction here
  ends with its call or its scan, and ``KeyValueStorage`` leaves no scan open.

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
"""LMDB's limit, compiled in. The keys of ``KeyValueStorage`` have at most nine bytes if snapshots are files."""
MAP_MIB_MAX = 1 << 20
GROW_WAIT_S = 30.0
"""How long ``_grow`` waits for readers before the write fails. A read takes milliseconds."""
READERS_MAX = 126
"""Concurrent read transactions, in all processes together. The first process to open the database sets it."""
READ_BYTES = 1 << 20

_DAMAGE = (
    lmdb.CorruptedError,
    lmdb.CursorFullError,  # the tree is deeper than a sound tree can be
    lmdb.InvalidError,
    lmdb.PageNotFoundError,
    lmdb.VersionMismatchError,
)


class LmdbStorage(paxospp.KeyValueStorage):
    """One database in ``path``/db, snapshots in ``path``/snapshots, the anchor in ``path``/anchor.

    Snapshots are files because an LMDB file never shrinks: LMDB reuses the pages that a trim frees, but a
    large file stays large.
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
        # This creates and locks the directory. LMDB's own locks are not enough: two processes may create the
        # database at the same time, and a process that opens it twice loses the lock with the first close.
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
            return None  # LMDB cannot hold such a key, and raises for an empty one
        with self._transaction() as transaction:
            return transaction.get(key)

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        # One transaction for the whole scan, so that it shows one state of the store.
        with self._transaction() as transaction, transaction.cursor() as cursor:
            if cursor.set_range(start):
                for key, value in cursor:
                    if key >= stop:
                        break
                    yield key, value

    def write(
        self, delete_ranges: Sequence[tuple[bytes, bytes]], puts: Sequence[tuple[bytes, bytes]], sync: bool
    ) -> None:
        # Every commit is synced, even if ``sync`` is false: a store may always sync.
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
                self._grow(env)  # the transaction is aborted and has changed nothing: repeat it
            except lmdb.Error as error:
                raise _translated(error) from error

    def close(self) -> None:
        env, self._env = self._env, None
        if env is not None and self._owner == os.getpid():
            env.close()  # writes nothing: each commit is durable when it returns
        super().close()  # closes the anchor and releases the lock

    # Opening

    def _create(self) -> None:
        """Create an empty database that a power cut leaves either whole or absent."""
        if self.read_anchor() is not None:  # the anchor is created after the database
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
            # Two syncs per commit, both needed: the pages before the meta page that refers to them, and the meta
            # page before the commit returns. Without ``metasync`` a power cut undoes the last commit, which was
            # acknowledged. Without ``sync`` a meta page may reach the disk before its pages, which breaks the
            # database.
            sync=True,
            metasync=True,
            # With a writable map, LMDB stores into a sparse file: on a full disk that raises SIGBUS instead of an
            # error. A stray pointer can overwrite the database, and ``paxospp verify`` cannot see the writes.
            # ``map_async`` has an effect only with ``writemap``, and then the effect of ``sync=False``.
            writemap=False,
            # Needed although the directory is locked: the lock file tells the writer which pages are being read.
            lock=True,
            max_readers=READERS_MAX,
        )

    def _check_file(self) -> None:
        """Raise CorruptedError unless LMDB can map the file and follow its pages."""
        try:
            problems: list[str] = verify(self._file, subdir=False)  # type: ignore[no-untyped-call]
            # ``verify`` reads only the first page of a large value, so read all of them: a bad sector raises here.
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
        """Extend the file to the length that the meta page states, so that reading a page never raises SIGBUS.

        The file is shorter if its end was cut off, but also if its last pages are free, because LMDB does not
        write those. In the first case zeros replace the end of a value, which ``KeyValueStorage`` notices.
        """
        env = self._usable()
        needed = (env.info()["last_pgno"] + 1) * env.stat()["psize"]  # both read only the meta page
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
        """Yield a read transaction, which sees one state of the database. The map keeps its size until it ends."""
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

        Other processes (``python -m lmdb``, ``mdb_copy``) only read. If one is running, its next transaction
        raises ``MapResizedError``, and it calls ``set_mapsize(0)`` to adopt the new size.
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
    """Return the error of the storage contract that corresponds to LMDB's ``error``."""
    kind = paxospp.CorruptedError if isinstance(error, _DAMAGE) else paxospp.StorageError
    return kind(f"LMDB: {error}")
