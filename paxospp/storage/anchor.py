"""The anchor: tells a torn tail from a loss (C8), for any store that numbers its batches.

A log alone cannot say whether its last batch is missing because it was being written when the
power went (harmless) or because the disk lost it (then nothing may be promised over it). So two
small checksummed copies outside the log repeat number, running checksum, lowest undecided slot and
promise of a batch. A copy is written *after* that batch's sync returned, never before: whatever is
missing at or below the anchor is a loss, whatever is torn above it never counted.

This module owns numbering, what follows from the copies, the lock and the fail-stop of the handle
(C4). It knows nothing of how a store keeps its batches. Between syncs the anchor costs one small
unsynced write per batch; a thread syncs it after 50 ms of idling and each second, because a sync in
``persist`` would double its price and nobody else is awake when a store idles. ``persist`` never
waits for that thread.

Reference: Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage" (2018), 3.3.2.
"""

from __future__ import annotations

import os
import secrets
import sys
import threading
from time import monotonic
from typing import NamedTuple

from paxospp.errors import CorruptedError, StorageError
from paxospp.model import Ballot, Slot
from paxospp.storage.anchor_copies import AnchorCopies, Copy
from paxospp.storage.contract import WriteBatch
from paxospp.storage.directory_lock import DirectoryLock, lock_directory
from paxospp.storage.stamp import Stamp, settles

IDLE_S = 0.05
"""After so long without a batch the anchor is synced."""
SYNC_INTERVAL_S = 1.0
"""At the latest after so long it is synced under load, too."""


class Recovery(NamedTuple):
    """What the anchor says about the batches that a store found, see ``Anchor.recover_anchor``."""

    stamp: Stamp
    """To be stored, by ``load``, with what it writes anew. Numbers go on behind the anchor's."""
    promised: Ballot | None
    """The anchor's promise; the store's promise is the greater of this and its own."""
    lost: range | None
    """The slots that lost batches may have written; the store reports them as faulty from now on."""
    new: bool
    """True: nothing was ever acknowledged from this place."""


class Anchor:
    """Mix-in: numbering, the anchor, the lock and the fail-stop, in a directory of its own.

    How a store over keys and values uses it::

        class MyStorage(Anchor, Storage):
            def __init__(self, path: str) -> None:
                self.open_anchor(f"{path}/anchor")           # makes it, locks it, writes nothing else
                self._db = ...                               # on failure: self.close_anchor(), raise

            def load(self) -> DurableState:
                stamp = self._db.get(b"stamp")               # None in a new store
                recovery = self.recover_anchor(Stamp.from_bytes(stamp) if stamp else None)
                # recovery.lost joins the faulty ranges kept in the store; promised = the greater one.
                # In one synced write, anew: all single values, the faulty ranges, every entry from
                # recovery.stamp.lowest on, and recovery.stamp.to_bytes() under b"stamp".
                self.settle_anchor(recovery.stamp, promised)
                return DurableState(...)

            def persist(self, batch: WriteBatch) -> None:
                self.check_usable()
                try:
                    checksum = self.stamp.checksum
                    for data in parts:                       # the bytes of the batch; of an encoded entry
                        checksum = zlib.crc32(data, checksum)    # its head with its own CRC is enough
                    stamp = self.stamp_batch(batch, checksum)
                    self._db.write(..., {b"stamp": stamp.to_bytes()}, sync=...)
                    if synced:
                        self.anchor_batch(stamp, promised)   # only after the sync has returned
                except BaseException as error:
                    self.fail(error)                         # from now on check_usable() raises
                    raise

            def close(self) -> None:                         # may come twice
                # unless self.failed: sync what is unsynced, then anchor_batch(self.stamp, promised)
                self.close_anchor()                          # syncs the copies unless failed; unlocks

    ``recover_anchor`` raises CorruptedError when both copies are gone, belong to another store, or
    when batches are lost that changed ``trim``, ``snapshot`` or ``meta``: these are no slots.
    """

    _lock: DirectoryLock | None = None
    _copies: AnchorCopies
    _stamp: Stamp | None = None
    _failure: BaseException | None = None
    _closed = False
    _pid: int

    # Opening and closing

    def open_anchor(self, directory: str) -> None:
        """Make and lock ``directory``; raises LockedError or ConfigError. Writes nothing else."""
        self._lock = lock_directory(directory)
        self._pid = os.getpid()
        self._copies = AnchorCopies(directory)
        self._latest: Copy | None = None
        self._dirty = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._lowest_before, self._lowest_since, self._mark = Slot(sys.maxsize), Slot(sys.maxsize), 0
        self._synced = 0

    def close_anchor(self) -> None:
        """End the thread, sync the copies unless the handle failed, unlock. May come twice."""
        if self._closed:
            return
        self._closed = True
        if self._pid != os.getpid():
            return  # a forked child owns nothing of this
        if self._thread is not None:
            self._closing.set()
            self._dirty.set()
            self._thread.join()
        try:
            if self._copies.is_open and self._dirty.is_set() and not self.failed:
                self._sync_copies()
        finally:
            self._copies.close()
            if self._lock is not None:
                self._lock.release()

    # Fail-stop (C4)

    @property
    def failed(self) -> bool:
        """Whether a write failed: the outcome is unknown and nothing may be written any more."""
        return self._failure is not None

    def fail(self, error: BaseException) -> None:
        """Remember that a write failed; the first failure stays the cause."""
        if self._failure is None:
            self._failure = error

    @property
    def usable(self) -> bool:
        """Whether ``check_usable`` would return."""
        return self._failure is None and not self._closed and self._pid == os.getpid() and self._stamp is not None

    def check_usable(self) -> None:
        """Raise StorageError unless this handle was loaded, is open, never failed and was not forked.

        For ``persist``; what only reads may go on after a failure and asks ``check_readable``.
        """
        if self._failure is not None:
            raise StorageError(
                f"an earlier write failed ({self._failure}): what is stored is unknown until it is opened anew"
            ) from self._failure
        self.check_readable()

    def check_readable(self) -> None:
        """Raise StorageError unless this handle was loaded, is open and was not forked."""
        if self._closed:
            raise StorageError("the storage is closed")
        if self._pid != os.getpid():
            raise StorageError(f"the storage belongs to process {self._pid}; a forked child must not use it")
        if self._stamp is None:
            raise StorageError("load() comes first")

    def check_unloaded(self) -> None:
        """Raise StorageError unless ``load()`` may come now."""
        if self._pid != os.getpid() or self._closed or self._copies.is_open or self.failed:
            raise StorageError("load() comes once, before close(), in the process that opened the storage")

    # Numbering

    @property
    def stamp(self) -> Stamp:
        """The stamp of the last batch, written or under way."""
        assert self._stamp is not None, "load() comes first"
        return self._stamp

    def stamp_batch(self, batch: WriteBatch, checksum: int) -> Stamp:
        """The stamp of ``batch``, the next one; ``checksum`` as described at ``Stamp.checksum``."""
        last = self._stamp
        assert last is not None, "load() comes first"
        number = last.number + 1
        undecided = last.undecided
        if batch.decided is not None and batch.decided >= undecided:
            undecided = Slot(batch.decided + 1)
        if self._synced >= self._mark:  # the anchor on disk reached the mark: what came before it is covered
            self._lowest_before, self._lowest_since, self._mark = self._lowest_since, Slot(sys.maxsize), number
        for entry in batch.accepted:
            if entry.slot < self._lowest_since:
                self._lowest_since = entry.slot
        lowest = min(self._lowest_before, self._lowest_since)
        self._stamp = stamp = Stamp(
            last.store, number, checksum, undecided, number if settles(batch) else last.settled, lowest
        )
        return stamp

    # The two copies

    def read_anchor(self) -> Stamp | None:
        """What the anchor says, for a store that needs to know before it reads its log; None: never made.

        Raises:
            CorruptedError: no copy is whole.
        """
        copy = self._copies.read()
        return copy.stamp if copy is not None else None

    def recover_anchor(self, found: Stamp | None) -> Recovery:
        """Compare the last batch that the store found with the anchor, and say what is lost.

        Called once, by ``load``. ``found`` is None when the store holds nothing at all; then, in a
        new place, the copies are made (number 0) before the store writes its first byte.

        Raises:
            CorruptedError: see the class.
        """
        self.check_unloaded()
        copy = self._copies.read()
        if copy is None:
            if found is not None:
                raise CorruptedError(
                    "both copies of the anchor are missing: nobody can say what this store has promised"
                )
            copy = Copy(Stamp(secrets.randbits(64), 0, 0, Slot(1), 0, Slot(1)), None)
            self._copies.make(copy)
        else:
            self._copies.open()
            if copy.stamp.number == 0:
                # Whoever made the copies may have been killed before their names were durable. Were the
                # store's first bytes to survive a power cut without them, nobody could load it any more.
                self._copies.settle(copy)
        anchor, promised = copy
        if found is None:
            if anchor.number > 0:
                raise CorruptedError(f"{anchor.number} batches were stored here and none is left")
            return Recovery(anchor, None, None, True)
        if found.store != anchor.store:
            raise CorruptedError("the anchor and the log belong to two different stores")
        if found.number >= anchor.number:
            if found.number == anchor.number and found.checksum != anchor.checksum:
                raise CorruptedError(f"batch {found.number} is not the one that was stored under this number")
            return Recovery(found, promised, None, False)
        if found.number < anchor.settled:
            raise CorruptedError(
                f"batches {found.number + 1} to {anchor.number} are lost, and with them a change of meta, "
                "snapshot or first slot"
            )
        lost = range(found.undecided, sys.maxsize)
        return Recovery(anchor._replace(undecided=found.undecided, lowest=found.undecided), promised, lost, False)

    def settle_anchor(self, stamp: Stamp, promised: Ballot | None) -> None:
        """The end of ``load``: what it wrote under ``stamp`` is synced; anchor it, synced too."""
        self._stamp = stamp
        self._latest = Copy(stamp, promised)
        self._copies.settle(self._latest)
        self._synced = self._mark = stamp.number

    def anchor_batch(self, stamp: Stamp, promised: Ballot | None) -> None:
        """Batch ``stamp`` and all before it survive power loss now; ``promised`` is the promise after it.

        Raises:
            StorageError: a copy could not be written or synced; the handle has failed.
        """
        if self._failure is not None:  # the thread's; this batch is durable but the handle is done for
            self.check_usable()
        self._latest = Copy(stamp, promised)
        try:
            self._copies.write(self._latest)
        except OSError as error:
            self.fail(error)
            raise StorageError(f"the anchor cannot be written: {error.strerror}") from error
        if not self._dirty.is_set():
            self._dirty.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep_synced, name="paxospp-anchor", daemon=True)
                self._thread.start()

    def _keep_synced(self) -> None:
        while True:
            self._dirty.wait()
            since, seen = monotonic(), None
            while not self._closing.wait(IDLE_S):
                if self._latest is seen or monotonic() - since > SYNC_INTERVAL_S - IDLE_S:
                    break
                seen = self._latest
            if self._closing.is_set() or self._failure is not None:
                return
            self._dirty.clear()  # before the sync: a batch that comes during it makes it dirty again
            try:
                self._sync_copies()
            except OSError as error:
                self.fail(error)
                return

    def _sync_copies(self) -> None:
        latest = self._latest
        if latest is not None:
            self._copies.sync(latest)
            self._synced = latest.stamp.number
