"""The anchor: tells a torn tail from a loss (clause C8), for any store that numbers its batches.

A log alone cannot say why its last batch is missing. If the batch was being written when the power
went, the loss is harmless; if the disk lost an acknowledged batch, this replica may have promised
something it no longer remembers. So two small checksummed copies outside the log repeat a batch's
number, running checksum, lowest undecided slot and promise. A copy is written *after* the sync of
that batch returned, never before. Therefore a batch that is missing at or below the anchor was
lost, and a batch that is torn above the anchor was never acknowledged.

This module owns the numbering, the conclusions drawn from the copies, the lock on the directory and
the fail-stop of the handle (C4). It does not know how a store keeps its batches. The anchor costs
one small unsynced write per batch. A thread syncs the copies after 50 ms without a batch and at
least once a second: a sync in ``persist`` would double the cost of a batch, and no other thread runs while a
store idles. ``persist`` never waits for that thread.

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
from paxospp.storage.anchor_copies import ANCHOR_LOST, AnchorCopies, Copy
from paxospp.storage.contract import WriteBatch
from paxospp.storage.directory_lock import lock_directory
from paxospp.storage.stamp import Stamp, settles

IDLE_S = 0.05
"""The anchor is synced after this many seconds without a batch."""
SYNC_INTERVAL_S = 1.0
"""Under load the anchor is synced at least this often."""


class Recovery(NamedTuple):
    """The result of comparing a store's last batch with the anchor; see ``StoreAnchor.recover``."""

    stamp: Stamp
    """``load`` stores it with everything it writes again. The next batch gets the number after the stamp's."""
    promised: Ballot | None
    """The anchor's promise; the store's promise is the greater of this one and its own."""
    lost: range | None
    """Slots that lost batches may have written. The store reports them as faulty from now on."""
    new: bool
    """True: no batch was ever acknowledged from this directory."""


class StoreAnchor:
    """The anchor, the numbering, the lock and the fail-stop of one open store, in a directory of its own.

    A store holds one, made by its constructor. It calls ``recover`` and ``settle`` in ``load``;
    ``check_usable``, ``stamp_batch`` and ``advance`` in ``persist``, or ``fail`` if anything raised;
    and ``close`` in ``close``. ``Anchor`` offers the same to a store that would rather inherit, and
    its docstring shows where each call belongs.

    Args:
        directory: made if it is missing, locked, and otherwise left as it is.

    Raises:
        LockedError: another handle holds the lock.
        ConfigError: the directory cannot be made or locked.
    """

    def __init__(self, directory: str) -> None:
        self._lock = lock_directory(directory)
        self._pid = os.getpid()
        self._copies = AnchorCopies(directory)
        self._stamp: Stamp | None = None  # until ``settle``, the end of ``load``
        self._failure: BaseException | None = None
        self._closed = False
        self._latest: Copy | None = None
        self._synced = 0
        """Number of the batch that the copies on disk are known to hold."""
        self._lowest_before, self._lowest_since, self._mark = Slot(sys.maxsize), Slot(sys.maxsize), 0
        """Lowest slot written before and since batch ``_mark``: see ``stamp_batch``."""
        self._dirty = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def close(self) -> None:
        """End the thread, sync the copies unless the handle failed, and unlock. May be called twice."""
        if self._closed:
            return
        self._closed = True
        if self._pid != os.getpid():
            return  # the parent of this forked child owns the lock and the files
        if self._thread is not None:
            self._closing.set()
            self._dirty.set()
            self._thread.join()
        try:
            if self._copies.is_open and self._dirty.is_set() and not self.failed:
                self._sync_copies()
        finally:
            self._copies.close()
            self._lock.release()

    # Fail-stop (C4)

    @property
    def failed(self) -> bool:
        """Whether a write failed, so that its outcome is unknown and the handle must not write again."""
        return self._failure is not None

    def fail(self, error: BaseException) -> None:
        """Record that a write failed; the first failure stays the cause."""
        if self._failure is None:
            self._failure = error

    @property
    def usable(self) -> bool:
        """Whether ``check_usable`` would return."""
        return self._failure is None and not self._closed and self._pid == os.getpid() and self._stamp is not None

    def check_usable(self) -> None:
        """Raise StorageError unless the handle is loaded, is open, never failed and was not forked.

        ``persist`` calls this. Reads may go on after a failure, so they need only ``check_readable``.
        """
        if self._failure is not None:
            raise StorageError(
                f"an earlier write failed ({self._failure}), so what is stored is unknown: open the storage again"
            ) from self._failure
        self.check_readable()

    def check_readable(self) -> None:
        """Raise StorageError unless the handle is loaded, is open and was not forked."""
        if self._closed:
            raise StorageError("the storage is closed")
        if self._pid != os.getpid():
            raise StorageError(f"the storage belongs to process {self._pid}; a forked child must not use it")
        if self._stamp is None:
            raise StorageError("the storage is not loaded: call load() first")

    def check_unloaded(self) -> None:
        """Raise StorageError unless ``load()`` may be called now."""
        if self._pid != os.getpid() or self._closed or self._copies.is_open or self.failed:
            raise StorageError("load() may be called once, before close(), in the process that opened the storage")

    # Numbering

    @property
    def stamp(self) -> Stamp:
        """The stamp of the last batch, written or being written."""
        assert self._stamp is not None, "call load() first"
        return self._stamp

    def stamp_batch(self, batch: WriteBatch, checksum: int) -> Stamp:
        """Number ``batch`` and return its stamp; ``checksum`` is the running one (see ``Stamp.checksum``)."""
        last = self._stamp
        assert last is not None, "call load() first"
        number = last.number + 1
        undecided = last.undecided
        if batch.decided is not None and batch.decided >= undecided:
            undecided = Slot(batch.decided + 1)
        # ``lowest`` must cover every batch above the anchor on disk. Two minima are enough: when the anchor
        # has reached the mark, the batches before it no longer count, and the mark moves to this batch.
        if self._synced >= self._mark:
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

    def read(self) -> Stamp | None:
        """Return the anchor's stamp, for a store that needs it before it reads its log; None in a new store.

        Raises:
            CorruptedError: neither copy is intact.
        """
        copy = self._copies.read()
        return copy.stamp if copy is not None else None

    def recover(self, found: Stamp | None) -> Recovery:
        """Compare the last batch that the store found with the anchor, and return what was lost.

        ``load`` calls it once. ``found`` is None if the store holds nothing at all. In a new
        directory, this makes the copies (for batch 0) before the store writes its first byte.

        Raises:
            CorruptedError: both copies are missing or damaged, or belong to another store; or a lost
                batch changed ``trim``, ``snapshot`` or ``meta``, which no faulty slot can stand for.
        """
        self.check_unloaded()
        copy = self._copies.read()
        if copy is None:
            if found is not None:
                raise CorruptedError(
                    "both copies of the anchor are missing, so nobody can say what this store has promised: "
                    f"{ANCHOR_LOST}"
                )
            copy = Copy(Stamp(secrets.randbits(64), 0, 0, Slot(1), 0, Slot(1)), None)
            self._copies.make(copy)
        else:
            self._copies.open()
            if copy.stamp.number == 0:
                # The process that made the copies may have been killed before their names were durable. If the
                # store's first bytes survived a power cut and the copies did not, the store could not be loaded.
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

    def settle(self, stamp: Stamp, promised: Ballot | None) -> None:
        """Set both copies to ``stamp`` and sync them. ``load`` calls this last, after its own writes are synced."""
        self._stamp = stamp
        self._latest = Copy(stamp, promised)
        self._copies.settle(self._latest)
        self._synced = self._mark = stamp.number

    def advance(self, stamp: Stamp, promised: Ballot | None) -> None:
        """Move the anchor to batch ``stamp``, which survives power loss with every batch before it.

        Args:
            promised: the promise after that batch.

        Raises:
            StorageError: a copy could not be written or synced; the handle has failed.
        """
        if self._failure is not None:  # in the thread: this batch is durable, but the handle takes no other
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
            self._dirty.clear()  # before the sync, so that a batch that arrives during it sets the event again
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


class Anchor:
    """Mix-in that gives a store the methods of ``StoreAnchor``, which it holds.

    How a store over keys and values uses it::

        class MyStorage(Anchor, Storage):
            def __init__(self, path: str) -> None:
                self.open_anchor(f"{path}/anchor")           # makes it, locks it, writes nothing else
                self._db = ...                               # on failure: self.close_anchor(), raise

            def load(self) -> DurableState:
                stamp = self._db.get(b"stamp")               # None in a new store
                recovery = self.recover_anchor(Stamp.from_bytes(stamp) if stamp else None)
                # Add recovery.lost to the faulty ranges kept in the store; promised = the greater one.
                # Write again, in one synced write: all single values, the faulty ranges, every entry
                # from recovery.stamp.lowest on, and recovery.stamp.to_bytes() under b"stamp".
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

            def close(self) -> None:                         # may be called twice
                # unless self.failed: sync what is unsynced, then anchor_batch(self.stamp, promised)
                self.close_anchor()                          # syncs the copies unless failed; unlocks
    """

    _anchor: StoreAnchor

    def open_anchor(self, directory: str) -> None:
        """Make and lock ``directory``; see ``StoreAnchor``. The constructor calls it first."""
        self._anchor = StoreAnchor(directory)

    def close_anchor(self) -> None:
        """See ``StoreAnchor.close``."""
        self._anchor.close()

    @property
    def failed(self) -> bool:
        """See ``StoreAnchor.failed``."""
        return self._anchor.failed

    def fail(self, error: BaseException) -> None:
        """See ``StoreAnchor.fail``."""
        self._anchor.fail(error)

    @property
    def usable(self) -> bool:
        """See ``StoreAnchor.usable``."""
        return self._anchor.usable

    def check_usable(self) -> None:
        """See ``StoreAnchor.check_usable``."""
        self._anchor.check_usable()

    def check_readable(self) -> None:
        """See ``StoreAnchor.check_readable``."""
        self._anchor.check_readable()

    def check_unloaded(self) -> None:
        """See ``StoreAnchor.check_unloaded``."""
        self._anchor.check_unloaded()

    @property
    def stamp(self) -> Stamp:
        """See ``StoreAnchor.stamp``."""
        return self._anchor.stamp

    def stamp_batch(self, batch: WriteBatch, checksum: int) -> Stamp:
        """See ``StoreAnchor.stamp_batch``."""
        return self._anchor.stamp_batch(batch, checksum)

    def read_anchor(self) -> Stamp | None:
        """See ``StoreAnchor.read``."""
        return self._anchor.read()

    def recover_anchor(self, found: Stamp | None) -> Recovery:
        """See ``StoreAnchor.recover``."""
        return self._anchor.recover(found)

    def settle_anchor(self, stamp: Stamp, promised: Ballot | None) -> None:
        """See ``StoreAnchor.settle``."""
        self._anchor.settle(stamp, promised)

    def anchor_batch(self, stamp: Stamp, promised: Ballot | None) -> None:
        """See ``StoreAnchor.advance``."""
        self._anchor.advance(stamp, promised)
