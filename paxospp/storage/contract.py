"""The contract of a storage, which keeps the log, the promise and the snapshots of one replica.

The contract has six methods and ten clauses, C1 to C10. The safety of the protocol depends on the
clauses, and the storage kit in ``paxospp.testing`` checks them. This module holds the abstract
class and the values that pass through it. Classes that help a plug-in to keep the contract are in
the other modules of this package.

===== ===================================================================================
C1    *atomic*: after any crash, a batch is stored as a whole or not at all
C2    *durable*: ``persist`` of a ``sync=True`` batch returns only when the batch survives
      power loss; ``load`` returns only when everything it reports survives power loss
C3    *prefix*: if a batch survived, every earlier one survived, unsynced ones too
C4    *fail-stop*: an exception means that the outcome is unknown; the handle takes no
      further batch
C5    *one writer*: ``persist`` never runs twice at once; ``read`` may run beside it and
      sees every batch that has returned and no part of one that has not
C6    *read*: ascending, skips gaps, returns at least one entry if the range holds one,
      never one below ``first``
C7    *opaque*: values and meta come back byte for byte; an empty value is not a missing one
C8    *integrity*: damage is never read as "nothing there", another slot or an older value
C9    *exclusive*: a second opener of the same store fails at once with ``LockedError``
C10   *snapshot*: staged and synced first; becomes current with the batch that names it
===== ===================================================================================

References: Lamport, "Paxos Made Simple" (2001), section 2.2 (what stable storage must remember);
Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage" (2018), for faulty slots.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from paxospp.model import Ballot, Entry, Slot, SnapshotMeta

STORAGE_CONTRACT = 1
"""The version of the storage contract that this paxospp implements.

It goes up by one when a store that keeps the old contract would break the new one: by a new clause, a
new method without a default, or a new field of ``WriteBatch`` that a store must write. It stays the same
for an addition that an old store may ignore. A plug-in states the version it was written for
(``Storage.contract``, ``StorageBackend.contract``); ``plugins/README.md`` says how long a version is
supported.
"""

OLDEST_STORAGE_CONTRACT = 1
"""The oldest version that this paxospp still supports."""


@dataclass(slots=True, frozen=True, kw_only=True)
class WriteBatch:
    """The changes that one ``persist`` makes durable, all of them or none. None means "unchanged".

    A batch holds at most one entry per slot; a later batch replaces the entry of an earlier one.
    ``meta`` is merged key by key. A ``trim`` or ``decided`` below the stored one changes nothing, and
    an accepted entry below ``first`` is not stored.
    """

    promised: Ballot | None = None
    accepted: Sequence[Entry] = ()
    decided: Slot | None = None
    """The highest slot known to be decided, inclusive; a hint that may lag but never leads."""
    trim: Slot | None = None
    """Delete the slots below this one; at most the current snapshot's slot + 1."""
    snapshot: SnapshotMeta | None = None
    """Make this committed snapshot the current one, and drop the former one."""
    meta: Mapping[str, bytes] = field(default_factory=dict)
    sync: bool = True
    """False: the next power cut may lose this batch, but only together with every later one."""
    faulty_until: Slot | None = None
    """From this slot on, slots that ``load`` reported as faulty are empty, if they are above ``decided``.

    Do not report such a slot again, unless a later batch that wrote it is lost. A store that still reports
    it is safe; but if two of three nodes do so when a cluster restarts, the cluster may stay without a leader.
    """


@dataclass(slots=True, frozen=True, kw_only=True)
class DurableState:
    """The content of a storage; the defaults are those of a new store."""

    promised: Ballot | None = None
    """The highest ballot ever persisted as ``WriteBatch.promised``."""
    decided: Slot = Slot(0)
    """The highest ``WriteBatch.decided`` so far."""
    first: Slot = Slot(1)
    """The largest ``trim`` so far: the slots below it were deleted."""
    last: Slot = Slot(0)
    """The highest slot that holds an entry, ``first - 1`` if none does."""
    snapshot: SnapshotMeta | None = None
    """The current snapshot."""
    meta: Mapping[str, bytes] = field(default_factory=dict)
    """Named values, such as the incarnation of the node; paxospp writes and reads them."""
    faulty: Sequence[range] = ()
    """Slots whose entry is damaged or lost; a range without a known end stops at ``sys.maxsize``."""


class SnapshotWriter(ABC):
    """Stages one snapshot. It has no effect until a batch names its meta (C10)."""

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Append ``data``.

        Raises:
            StorageError: the bytes cannot be written, or the writer was committed or aborted.
        """

    @abstractmethod
    def commit(self) -> None:
        """Return when every written byte is durable. The snapshot becomes current with the batch that names it.

        Raises:
            StorageError: the bytes may not be durable; the snapshot must not be named in a batch.
        """

    @abstractmethod
    def abort(self) -> None:
        """Drop the snapshot; has no effect after a batch has named it."""


class SnapshotReader(ABC):
    """Reads the snapshot that was current when the reader was opened, even if another one has replaced it."""

    @property
    @abstractmethod
    def meta(self) -> SnapshotMeta:
        """The name of the snapshot."""

    @abstractmethod
    def read(self, size: int) -> bytes:
        """Return the next bytes, at least one and at most ``size``; ``b""`` at the end.

        Raises:
            CorruptedError: the snapshot is damaged.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the reader, so that a replaced snapshot can be deleted. May be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Storage(ABC):
    """Keeps the log, the promise and the snapshots of one replica.

    The constructor opens the store, as ``MyStorage(path: str, **options: str)``. It creates the
    directories it needs (mode 0700), takes the lock, and writes nothing else. It raises
    ``LockedError`` if the store is open already.

    The methods are plain blocking Python. The constructor, ``load``, ``persist`` and ``close`` never
    overlap, but may run in different threads. ``read``, one snapshot writer and any number of
    snapshot readers may run beside ``persist``.
    """

    durable: bool = True
    """False: the data is lost when the process ends. May be set per instance."""

    contract: int = 1
    """The version of the contract that this class was written for: write the number, not ``STORAGE_CONTRACT``.

    The default is version 1. A version that this paxospp does not support raises ``PluginError``.
    """

    @abstractmethod
    def load(self) -> DurableState:
        """Return what the store holds. The first call after the constructor, made once.

        Before it returns, it rewrites and syncs everything that it found above the anchor, and it
        deletes snapshots that no batch named. Only syncing again is not enough: after a failed sync, the
        system may treat lost pages as written.

        Raises:
            CorruptedError: the promise, the meta or the name of the snapshot is damaged or lost; the
                node does not start. Damaged slots do not raise: ``DurableState.faulty`` lists them.
        """

    @abstractmethod
    def persist(self, batch: WriteBatch) -> None:
        """Make ``batch`` survive power loss, all of it or none of it. An empty batch is valid.

        Promise and Accepted messages are sent as soon as this returns, and a replica that forgets
        one of them can undo a decided command.

        Args:
            batch: the changes that queued during the last write, merged. The value of an entry holds
                at most ``NodeConfig.batch_bytes_max`` bytes of commands, or a single larger command.

        Raises:
            StorageError: or any other exception. The outcome is unknown: the node stops, every later
                ``persist`` raises ``StorageError``, and ``close`` writes nothing.
        """

    @abstractmethod
    def read(self, start: Slot, stop: Slot, max_bytes: int) -> Sequence[Entry]:
        """Return the entries with ``start <= slot < stop``, ascending, without gaps filled in.

        Stop before the sum of ``len(value)`` exceeds ``max_bytes``, but return at least one entry if
        the range holds one. Stop before a faulty slot.

        Raises:
            TrimmedError: ``start`` is below ``first``.
            CorruptedError: the first entry to return is faulty; the error names the slots. The node
                goes on, and fetches them from its peers.
        """

    @abstractmethod
    def create_snapshot(self, meta: SnapshotMeta) -> SnapshotWriter:
        """Return a writer that stages the snapshot ``meta``.

        Raises:
            StorageError: another snapshot is being staged, or this one exists already.
        """

    @abstractmethod
    def open_snapshot(self) -> SnapshotReader | None:
        """Return a reader of the current snapshot, or None if no snapshot is current.

        Raises:
            CorruptedError: the snapshot is damaged or missing.
        """

    @abstractmethod
    def close(self) -> None:
        """Release everything, the lock included. May be called twice."""


@dataclass(slots=True, frozen=True)
class StorageBackend:
    """A storage that a plug-in offers, opened by a URL ``scheme:path?option=value``."""

    scheme: str
    open: Callable[..., Storage]
    """A class or a function, called as ``open(path, **options)``. It imports its drivers when it is called."""
    summary: str
    """One line for ``paxospp plugins``."""
    drivers: Sequence[str] = ()
    """Modules that ``open`` imports and that may not be installed; ``paxospp plugins`` lists the missing ones."""
    contract: int | None = None
    """The version of the contract that ``open`` was written for. None: that of the class, or 1 for a function."""
