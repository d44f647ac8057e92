"""A log in RocksDB: ordered keys for ``paxospp.KeyValueStorage``, which does the rest.

What RocksDB does not do by itself, and what is done about it here:

* A write is in the operating system's hands, not on the disk: ``flush_wal(True)`` follows each
  batch. It does the same as ``sync=True`` and lets other threads run meanwhile.
* **No recovery mode notices every loss.** The default one opens without an error on a write-ahead
  log with a flipped bit in its middle and drops what follows. This store opens with
  ``tolerate_corrupted_tail_records``; where that refuses, it opens with ``point_in_time``, which keeps
  the part before the damage, and the anchor, which stands outside the log, says whether that part
  is all: whatever is missing below it is faulty, a torn tail above it is dropped in silence.
  It then opens again to run with logs that are written over, which only ``point_in_time`` permits.
* A directory whose ``CURRENT`` is gone would be taken for a new one: it is refused.
* One flipped bit in its MANIFEST can keep it reading for ever: ``manifest`` looks at that file first.
* Iterators end silently at a damaged block: their status is asked each time they end.
* ``delete_range`` with its bounds exchanged breaks the database for good: refused before.
* A forked child could write to the same log without an error, and would hang in a destructor that
  waits for threads it does not have: the process is checked, and a child never destroys its copy.
* rocksdict unpickles values unless in raw mode: raw mode everywhere, for options and batches.
* One open iterator or handle keeps the lock beyond ``close``: none outlives its call.
* Its errors are bare ``Exception`` with a text that begins with the kind.
* A damaged block can be neither overwritten nor compacted away; the first compaction that meets it
  ends all writing. So entries have a column family of their own (a block that is damaged then costs
  the slots in it, not the promise that happened to stand beside them), and when ``load`` finds
  damage there, what is left of it moves to a new family and the old one is dropped. Until then
  nothing is compacted.

Snapshots stand in files beside the database (``FileSnapshots``): megabytes that are written once
and dropped whole have no business in a log-structured tree.
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
"""What the keys of entries begin with, see ``paxospp.storage.key_value_records``."""
FAMILY_KEY = b"!entries"
"""Names the column family that holds the entries; everything else stands in the default one."""
FIRST_FAMILY = "entries-1"
MOVE_BYTES = 4 << 20
"""About how much is moved to a new family at once."""

WRITE_BUFFER_MIB_MAX = 1024
OPEN_FILES_MAX = 64
RECYCLED_LOGS = 2
"""Log files that are written over instead of made anew, once the first ones are full. To sync a file
that grows costs the file system a write more: a ``persist`` of 4 KiB took 191 µs, then 115 µs."""
_GONE = ("No such file or directory", "Input/output error")
"""A file that is missing and a sector that cannot be read are damage like a wrong checksum."""
LOG_FILES_KEPT = 3
"""RocksDB's own text logs; without a bound each start leaves one more."""
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
            rows.status()  # the only place where it tells that it ended at damage
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
        self._entries_handle = None  # all handles must go, or the database stays locked
        if self._owner == os.getpid():
            if db is not None and self._unsynced and not self.failed:
                self._try(lambda: db.flush_wal(True))
            for family in (entries, db):
                if family is not None:
                    self._try(family.close)
        super().close()

    def _try(self, call: Callable[[], None]) -> None:
        """Call while closing: what has returned is in the log whether or not this succeeds."""
        try:
            call()
        except Exception as error:
            _log.warning("%s: closing: %s", self._path, error)

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
        """Refuse a damaged directory that RocksDB would take for a new one.

        The anchor's copies are made after the database and before its first write, tables and write-ahead
        logs after ``CURRENT``: any of them without it is a loss.
        """
        if os.path.exists(os.path.join(self._path, "CURRENT")):
            return
        left = self._anchor_copies()
        if os.path.isdir(self._path):
            left += [name for name in os.listdir(self._path) if name.endswith((".log", ".sst"))]
        if left:
            raise paxospp.CorruptedError(
                f"{os.path.join(self._path, 'CURRENT')} is missing, but {', '.join(sorted(left)[:3])} is there: "
                "this is no new store, and RocksDB cannot open it"
            )

    def _anchor_copies(self) -> list[str]:
        return [name for name in os.listdir(self._anchor_path) if name.startswith("anchor-")]

    def _open(self) -> Rdict:
        """Recover what the write-ahead log holds, then open to run.

        Two opens, because what reads a log most strictly cannot write over old ones, and the other
        way round. The first one leaves everything in tables, synced, and nothing in the log.
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
            # What is lost by this stands at or below the anchor, or was never acknowledged.
            _log.warning("%s: %s; opening what stands before the damage", self._path, error)
            database = self._open_with(DBRecoveryMode.point_in_time())
        database.close()

    def _choose_family(self) -> None:
        """Find the family that holds the entries; drop what a move that was cut short left."""
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
        """Move the entries that can be read to a new family, and drop the one with the damage in it."""
        former, former_name = self._entries, self._family_name
        assert self._db is not None
        assert former is not None
        name = f"entries-{int(former_name.rpartition('-')[2]) + 1}"
        _log.warning("%s: damaged entries; moving what is left of %s to %s", self._path, former_name, name)
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
            # RocksDB makes its families after itself: a first start cut short in between may leave none.
            never_used = not self._anchor_copies()
            families = set(Rdict.list_cf(self._path, options)) - {"default"} | (families if never_used else set())
        return Rdict(self._path, options=options, column_families={name: self._options() for name in families})

    def _options(self) -> Options:
        options = Options(raw_mode=True)
        options.set_write_buffer_size(self._write_buffer_bytes)
        # What was trimmed gives its space back when it is compacted: soon, for little of the log is alive.
        options.set_level_zero_file_num_compaction_trigger(2)
        options.set_max_bytes_for_level_base(4 * self._write_buffer_bytes)
        options.set_target_file_size_base(self._write_buffer_bytes)
        options.set_disable_auto_compactions(True)  # until load() has looked at everything
        options.set_compression_type(DBCompressionType.none())  # written once, trimmed soon, seldom read
        return options


_open_ones: weakref.WeakSet[RocksdbStorage] = weakref.WeakSet()


def _keep_alive_in_child() -> None:
    for storage in list(_open_ones):
        for driver_object in (storage._db, storage._entries, storage._entries_handle):
            if driver_object is not None:
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(driver_object))


os.register_at_fork(after_in_child=_keep_alive_in_child)


def _translated(error: Exception) -> paxospp.PaxosppError:
    """RocksDB's error as one of ours, by the kind that its text begins with."""
    text = str(error)
    if isinstance(error, paxospp.PaxosppError):
        return error
    if text.startswith("Corruption:") or (text.startswith("IO error:") and any(word in text for word in _GONE)):
        return paxospp.CorruptedError(f"RocksDB: {text}")
    if text.startswith("IO error:") and ("lock hold by current process" in text or "While lock file:" in text):
        return paxospp.LockedError(f"another opener of the database ({text})")
    return paxospp.StorageError(f"RocksDB: {text}")
