"""A log in RocksDB: the ordered keys for ``paxospp.KeyValueStorage``, which implements the contract.

What RocksDB does not do by itself, and what this module does about it:

* A write reaches the operating system, not the disk. ``flush_wal(True)`` follows each batch; it has
  the effect of ``sync=True`` and lets other threads run in the meantime.
* **No recovery mode notices every loss.** The default mode opens a write-ahead log with a flipped bit
  in its middle without an error, and drops what follows. This store opens with
  ``tolerate_corrupted_tail_records``. If that fails, it opens with ``point_in_time``, which keeps the
  part before the damage. The anchor, which is outside the log, says whether that part is complete:
  what is missing below the anchor is faulty, and a torn tail above it is dropped silently. Then the
  store opens once more to run with recycled logs, which only ``point_in_time`` permits.
* RocksDB treats a directory without ``CURRENT`` as a new store. A damaged store without it is refused.
* One flipped bit in the MANIFEST can make RocksDB loop for ever. ``manifest`` checks that file first.
* An iterator ends silently at a damaged block. Its status is checked each time it ends.
* ``delete_range`` with exchanged bounds damages the database for good. The bounds are checked first.
* A forked child could write to the same log without an error, and would hang in a destructor that
  waits for threads it does not have. The process id is checked, and a child never destroys its copy.
* rocksdict unpickles values unless it is in raw mode. All options and batches use raw mode.
* One open iterator or handle keeps the lock after ``close``. None of them outlives its call.
* rocksdict raises a bare ``Exception``, whose text begins with the kind of error. ``_translated`` reads it.
* A damaged block can be neither overwritten nor compacted away; the first compaction that reads it
  stops all writing. So entries have a column family of their own: a damaged block then costs the
  slots in it, and not the promise that was stored beside them. If ``load`` finds damage there, it
  moves the readable entries to a new family and drops the old one. Until then nothing is compacted.

Snapshots are files beside the database (``FileSnapshots``): a log-structured tree gains nothing from
megabytes that are written once and deleted as a whole.
"""

from __future__ import annotations

import ctypes
import logging
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from rocksdict import ColumnFamily, DBCompressionType, DBRecoveryMode, Options, Rdict, ReadOptions, WriteBatch

import paxospp
from paxospp.storage import FileSnapshots, entry_key, make_directory
from paxospp_rocksdb.manifest import check_manifest

_log = logging.getLogger("paxospp.rocksdb")

ENTRY_BYTE = ord("e")
"""First byte of the keys of entries; see ``paxospp.storage.key_value_records``."""
FAMILY_KEY = b"!entries"
"""Key of the name of the column family that holds the entries; all other keys are in the default one."""
FIRST_FAMILY = "entries-1"
MOVE_BYTES = 4 << 20
"""The approximate number of bytes that are moved to a new family at once."""

WRITE_BUFFER_MIB_MAX = 1024
OPEN_FILES_MAX = 64
RECYCLED_LOGS = 2
"""The number of full log files that are recycled instead of replaced by new ones. Syncing a file that has
grown costs another write of the file system: a ``persist`` of 4 KiB took 191 µs without recycling and
115 µs with it."""
_GONE = ("No such file or directory", "Input/output error")
"""A missing file and an unreadable sector count as damage, like a wrong checksum."""
LOG_FILES_KEPT = 3
"""The number of RocksDB's own text logs that are kept; without a limit each start adds one."""
LOG_FILE_BYTES_MAX = 1 << 20


class RocksdbStorage(paxospp.KeyValueStorage):
    """One database in ``path``/db, snapshots in ``path``/snapshots, the anchor in ``path``/anchor."""

    def __init__(self, path: str, write_buffer_mib: str = "8") -> None:
        if not (write_buffer_mib.isdecimal() and 1 <= int(write_buffer_mib) <= WRITE_BUFFER_MIB_MAX):
            raise paxospp.ConfigError(
                f"write_buffer_mib={write_buffer_mib!r}: use a number of MiB from 1 to {WRITE_BUFFER_MIB_MAX}"
            )
        self._write_buffer_bytes = int(write_buffer_mib) << 20
        self._path = os.path.join(path, "db")
        self._anchor_path = os.path.join(path, "anchor")
        self._db: Rdict | None = None
        self._entries: Rdict | None = None
        self._entries_handle: ColumnFamily | None = None
        self._family_name = FIRST_FAMILY
        self._damaged = False
        self._owner = os.getpid()
        self._unsynced = False
        super().__init__(path, snapshots=FileSnapshots(os.path.join(path, "snapshots")))

    def load(self) -> paxospp.DurableState:
        if self._db is not None:
            raise paxospp.StorageError("load() may be called only once")
        self.check_unloaded()
        self._check_directory()
        check_manifest(self._path)
        make_directory(self._path)
        self._db = self._open()
        _open_ones.add(self)
        self._choose_family()
        state = super().load()
        if self._damaged:
            self._move_entries(state)
        for family in (self._db, self._entries):
            assert family is not None
            family.set_options({"disable_auto_compactions": "false"})
        return state

    def get(self, key: bytes) -> bytes | None:
        family = self._family(key)
        try:
            value: bytes | None = family.get(key)
        except Exception as error:
            raise _translated(error) from error
        return value

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        family = self._family(start)
        options = ReadOptions()
        options.set_iterate_upper_bound(stop)
        rows = family.iter(options)
        try:
            rows.seek(start)
            while rows.valid():
                yield rows.key(), rows.value()
                rows.next()
            rows.status()  # raises if the iterator ended at damage
        except Exception as error:
            damage = _translated(error)
            self._damaged |= isinstance(damage, paxospp.CorruptedError)
            raise damage from error
        finally:
            del rows, family  # an exception's traceback keeps this frame, and an iterator keeps the lock

    def write(
        self, delete_ranges: Sequence[tuple[bytes, bytes]], puts: Sequence[tuple[bytes, bytes]], sync: bool
    ) -> None:
        db, entries = self._usable(), self._entries_handle
        batch = WriteBatch(raw_mode=True)
        for start, stop in delete_ranges:
            if start > stop:
                raise ValueError(f"the range from {start!r} to {stop!r} ends before it begins")
            if start < stop:
                batch.delete_range(start, stop, entries if start[0] == ENTRY_BYTE else None)
        for key, value in puts:
            batch.put(key, value, entries if key[0] == ENTRY_BYTE else None)
        try:
            db.write(batch)
            if sync:
                db.flush_wal(True)
        except Exception as error:
            raise _translated(error) from error
        self._unsynced = not sync

    def close(self) -> None:
        _open_ones.discard(self)
        db, self._db = self._db, None
        entries, self._entries = self._entries, None
        self._entries_handle = None  # an open handle keeps the database locked
        if self._owner == os.getpid():
            if db is not None and self._unsynced and not self.failed:
                self._try(lambda: db.flush_wal(True))
            for family in (entries, db):
                if family is not None:
                    self._try(family.close)
        super().close()

    def _try(self, call: Callable[[], None]) -> None:
        """Call while closing, and log any error: every batch that returned is durable even if this fails."""
        try:
            call()
        except Exception as error:
            _log.warning("%s: error while closing: %s", self._path, error)

    def _usable(self) -> Rdict:
        if self._db is None:
            raise paxospp.StorageError("the storage is closed, or was never loaded")
        if self._owner != os.getpid():
            raise paxospp.StorageError(f"the storage belongs to process {self._owner}; a forked child must not use it")
        return self._db

    def _family(self, key: bytes) -> Rdict:
        db = self._usable()
        return self._entries if self._entries is not None and key[0] == ENTRY_BYTE else db

    # Opening

    def _check_directory(self) -> None:
        """Raise CorruptedError for a damaged directory that RocksDB would treat as a new store.

        The copies of the anchor are made after the database and before its first write, and tables and
        write-ahead logs after ``CURRENT``. If any of these exists without ``CURRENT``, it was lost.
        """
        if os.path.exists(os.path.join(self._path, "CURRENT")):
            return
        left = self._anchor_copies()
        if os.path.isdir(self._path):
            left += [name for name in os.listdir(self._path) if name.endswith((".log", ".sst"))]
        if left:
            raise paxospp.CorruptedError(
                f"{os.path.join(self._path, 'CURRENT')} is missing although {', '.join(sorted(left)[:3])} exists: "
                "the store is damaged, and RocksDB cannot open it"
            )

    def _anchor_copies(self) -> list[str]:
        return [name for name in os.listdir(self._anchor_path) if name.startswith("anchor-")]

    def _open(self) -> Rdict:
        """Recover the write-ahead log, then open the database to run.

        This takes two opens, because the mode that reads a log most strictly cannot recycle logs, and
        the reverse. The first one leaves everything in synced tables, and nothing in the log.
        """
        try:
            self._recover()
            return self._open_with(DBRecoveryMode.point_in_time(), recycled_logs=RECYCLED_LOGS)
        except Exception as error:
            raise _translated(error) from error

    def _recover(self) -> None:
        try:
            database = self._open_with(DBRecoveryMode.tolerate_corrupted_tail_records())
        except Exception as error:
            if not isinstance(_translated(error), paxospp.CorruptedError):
                raise
            # What this drops is noticed by the anchor, or was never acknowledged.
            _log.warning("%s: %s; opening the part before the damage", self._path, error)
            database = self._open_with(DBRecoveryMode.point_in_time())
        database.close()

    def _choose_family(self) -> None:
        """Open the family that holds the entries; drop a family that an interrupted move left."""
        assert self._db is not None
        name = (self.get(FAMILY_KEY) or FIRST_FAMILY.encode()).decode()
        families = Rdict.list_cf(self._path, self._options())
        if name not in families:
            raise paxospp.CorruptedError(f"{self._path}: the column family {name!r} is missing")
        for other in families:
            if other not in ("default", name):
                self._db.drop_column_family(other)
        self._use_family(name)

    def _use_family(self, name: str) -> None:
        assert self._db is not None
        self._family_name = name
        self._entries = self._db.get_column_family(name)
        self._entries_handle = self._db.get_column_family_handle(name)

    def _move_entries(self, state: paxospp.DurableState) -> None:
        """Move the readable entries to a new family, and drop the damaged one."""
        former, former_name = self._entries, self._family_name
        assert self._db is not None
        assert former is not None
        name = f"entries-{int(former_name.rpartition('-')[2]) + 1}"
        _log.warning("%s: damaged entries; moving the readable ones from %s to %s", self._path, former_name, name)
        try:
            self._db.create_column_family(name, self._options()).close()
            handle = self._db.get_column_family_handle(name)
            batch = WriteBatch(raw_mode=True)
            for key, value in self._readable(state):
                batch.put(key, value, handle)
                if batch.size_in_bytes() >= MOVE_BYTES:
                    self._db.write(batch)
                    batch = WriteBatch(raw_mode=True)
            batch.put(FAMILY_KEY, name.encode())
            self._db.write(batch)
            self._db.flush_wal(True)
            self._use_family(name)
            former.close()
            self._db.drop_column_family(former_name)
        except Exception as error:
            raise _translated(error) from error

    def _readable(self, state: paxospp.DurableState) -> Iterator[tuple[bytes, bytes]]:
        """Yield the keys and values of all entries except the faulty slots."""
        start = int(state.first)
        for slots in (*state.faulty, range(state.last + 1, state.last + 1)):
            with suppress(paxospp.CorruptedError):  # at the first damaged slot, if its block is read ahead
                yield from self.scan(entry_key(start), entry_key(slots.start))
            start = slots.stop

    def _open_with(self, mode: DBRecoveryMode, recycled_logs: int = 0) -> Rdict:
        options = self._options()
        options.create_if_missing(True)
        options.create_missing_column_families(True)
        options.set_wal_recovery_mode(mode)
        options.set_recycle_log_file_num(recycled_logs)
        options.set_atomic_flush(True)
        options.set_paranoid_checks(True)
        options.set_max_open_files(OPEN_FILES_MAX)
        options.set_keep_log_file_num(LOG_FILES_KEPT)
        options.set_max_log_file_size(LOG_FILE_BYTES_MAX)
        options.set_stats_dump_period_sec(0)
        options.set_stats_persist_period_sec(0)
        families = {FIRST_FAMILY}
        if os.path.exists(os.path.join(self._path, "CURRENT")):
            # RocksDB makes the families after the database, so a first start that was interrupted may leave none.
            never_used = not self._anchor_copies()
            families = set(Rdict.list_cf(self._path, options)) - {"default"} | (families if never_used else set())
        return Rdict(self._path, options=options, column_families={name: self._options() for name in families})

    def _options(self) -> Options:
        options = Options(raw_mode=True)
        options.set_write_buffer_size(self._write_buffer_bytes)
        # Compaction frees the space of trimmed entries. Do it early: most of the log is trimmed soon.
        options.set_level_zero_file_num_compaction_trigger(2)
        options.set_max_bytes_for_level_base(4 * self._write_buffer_bytes)
        options.set_target_file_size_base(self._write_buffer_bytes)
        options.set_disable_auto_compactions(True)  # until load() has read everything
        options.set_compression_type(DBCompressionType.none())  # written once, trimmed soon, rarely read
        return options


_open_ones: weakref.WeakSet[RocksdbStorage] = weakref.WeakSet()


def _keep_alive_in_child() -> None:
    for storage in list(_open_ones):
        for driver_object in (storage._db, storage._entries, storage._entries_handle):
            if driver_object is not None:
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(driver_object))


os.register_at_fork(after_in_child=_keep_alive_in_child)


def _translated(error: Exception) -> paxospp.PaxosppError:
    """Return RocksDB's error as an error of paxospp, by the kind that its text begins with."""
    text = str(error)
    if isinstance(error, paxospp.PaxosppError):
        return error
    if text.startswith("Corruption:") or (text.startswith("IO error:") and any(word in text for word in _GONE)):
        return paxospp.CorruptedError(f"RocksDB: {text}")
    if text.startswith("IO error:") and ("lock hold by current process" in text or "While lock file:" in text):
        return paxospp.LockedError(f"another handle of the database ({text})")
    return paxospp.StorageError(f"RocksDB: {text}")
