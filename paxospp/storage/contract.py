"""The contract between paxospp and whoever keeps its log.

Six methods, ten clauses. The clauses (C1 to C10) are what the engine's proof rests on; a kit
in ``paxospp.testing`` checks them. This module holds the abstract class, the values that go
through it and nothing else; what helps to keep the contract stands beside it in this package.

===== ===================================================================================
C1    *atomic*: after any crash a batch is there whole or not at all
C2    *durable*: ``persist`` of a ``sync=True`` batch returns only when it survives power
      loss; so does all that ``load`` returned, before it returns
C3    *prefix*: if a batch survived, every earlier one survived, unsynced ones too
C4    *fail-stop*: an exception means outcome unknown; the handle takes no further batch
C5    *one writer*: ``persist`` never runs twice at once; ``read`` may run beside it and
      sees every finished batch and no part of one that has not returned
C6    *read*: ascending, gaps skipped, at least one entry if there is one, never below ``first``
C7    *opaque*: values and meta come back byte for byte; empty is not absent
C8    *integrity*: damage is never "nothing there", another slot or an older value
C9    *exclusive*: a second opener of the same place fails with ``LockedError``
C10   *snapshot*: staged and synced first, current with the batch that names it
===== ===================================================================================

References: Lamport, "Paxos Made Simple", 2.2 (what stable storage must remember); Alagappan
et al., "Protocol-Aware Recovery for Consensus-Based Storage" (2018), for *faulty*.
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

It goes up by one when a store that keeps the old contract would not keep the new one: a new clause, a
new method without a default, a new field of ``WriteBatch`` that a store must write. An addition that an
old store need not know leaves it as it is. A plug-in says which version it was written for
(``Storage.contract``, ``StorageBackend.contract``); ``plugins/README.md`` says how long it is supported.
"""

OLDEST_STORAGE_CONTRACT = 1
"""The oldest version that this paxospp still supports."""


@dataclass(slots=True, frozen=True, kw_only=True)
class WriteBatch:
    """What one ``persist`` makes durable, all of it or none of it. None means: as it was.

    A slot stands once in a batch; from batch to batch the later one wins. ``meta`` merges key
    by key. A ``trim`` or ``decided`` below the stored one changes nothing, and an accepted
    slot below ``first`` is not stored.
    """

    promised: Ballot | None = None
    accepted: Sequence[Entry] = ()
    decided: Slot | None = None
    """Inclusive; a hint that may lag behind what is decided, never lead."""
    trim: Slot | None = None
    """Forget the slots below this one; at most the current snapshot's slot + 1."""
    snapshot: SnapshotMeta | None = None
    """Make this committed snapshot the current one and drop the former."""
    meta: Mapping[str, bytes] = field(default_factory=dict)
    sync: bool = True
    """False: may be lost with the next power cut, but only together with all that follows it."""
    faulty_until: Slot | None = None
    """Slots that ``load`` called faulty are empty from this one on, if they are above ``decided``.

    Do not report such a slot again, unless a later batch that wrote it is lost. A store that goes on reporting it is
    safe, but if two of three nodes do so when a cluster restarts, it may stay without a leader.
    """


@dataclass(slots=True, frozen=True, kw_only=True)
class DurableState:
    """What a storage remembers; a new one remembers what the defaults say."""

    promised: Ballot | None = None
    decided: Slot = Slot(0)
    first: Slot = Slot(1)
    """The largest ``trim`` so far."""
    last: Slot = Slot(0)
    """The highest slot held, ``first - 1`` when there is none."""
    snapshot: SnapshotMeta | None = None
    meta: Mapping[str, bytes] = field(default_factory=dict)
    faulty: Sequence[range] = ()
    """Damaged slots; a range may end open, at ``sys.maxsize``."""


class SnapshotWriter(ABC):
    """Stages one snapshot. Nothing of it counts until a batch names its meta (C10)."""

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Append ``data``."""

    @abstractmethod
    def commit(self) -> None:
        """Return when every byte written is durable. The snapshot is not current yet."""

    @abstractmethod
    def abort(self) -> None:
        """Drop what was staged; does nothing after ``commit`` was followed by its batch."""


class SnapshotReader(ABC):
    """Reads the snapshot that was current when it was opened, until closed, whatever happens since."""

    @property
    @abstractmethod
    def meta(self) -> SnapshotMeta:
        """Which snapshot this is."""

    @abstractmethod
    def read(self, size: int) -> bytes:
        """The next bytes, at most ``size`` and at least one; ``b""`` at the end.

        Raises:
            CorruptedError: the bytes are not those that were written.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the snapshot; may come twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Storage(ABC):
    """Keeps the log, the promise and the snapshots of one replica.

    Constructing it opens it, as ``MyStorage(path: str, **options: str)``: it creates what it
    needs (directories 0700), takes the lock and writes nothing else. Raises ``LockedError``
    if the place is taken.

    Plain blocking Python. The constructor, ``load``, ``persist`` and ``close`` never overlap but
    may come from different threads; ``read``, one snapshot writer and snapshot readers may run
    beside ``persist``.
    """

    durable: bool = True
    """False: gone when the process ends. May be set per instance."""

    contract: int = 1
    """The version of the contract that this class was written for; write the number, not ``STORAGE_CONTRACT``.

    A class that says nothing was written for version 1. One that this paxospp does not support is a ``PluginError``.
    """

    @abstractmethod
    def load(self) -> DurableState:
        """What is remembered; the first call, and it comes once.

        Before it returns, whatever it found above the anchor has been written anew and synced,
        and snapshots that no batch named are gone.

        Raises:
            CorruptedError: a promise, the meta or the snapshot's name is damaged. Damaged
                slots do not raise: they stand in ``DurableState.faulty``.
        """

    @abstractmethod
    def persist(self, batch: WriteBatch) -> None:
        """Make ``batch`` survive power loss, all of it or none of it; an empty one too.

        Returning is the promise: Promise and Accepted messages leave right after, and a
        replica that forgets one can undo a decided command.

        Raises:
            StorageError: or any exception: the outcome is unknown. Every later ``persist``
                raises ``StorageError``, and ``close`` writes nothing.
        """

    @abstractmethod
    def read(self, start: Slot, stop: Slot, max_bytes: int) -> Sequence[Entry]:
        """The entries with ``start <= slot < stop``, ascending, gaps skipped.

        Stops before the sum of ``len(value)`` exceeds ``max_bytes``, but returns at least one
        entry if there is one; stops before a faulty slot.

        Raises:
            TrimmedError: ``start`` is below ``first``.
            CorruptedError: the first entry it would return is faulty; it names the slots.
        """

    @abstractmethod
    def create_snapshot(self, meta: SnapshotMeta) -> SnapshotWriter:
        """Begin to stage the snapshot ``meta``. One writer at a time."""

    @abstractmethod
    def open_snapshot(self) -> SnapshotReader | None:
        """A reader of the current snapshot, or None if there is none."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything, the lock included; may come twice."""


@dataclass(slots=True, frozen=True)
class StorageBackend:
    """One way to keep a log, as a plug-in offers it: ``scheme:path?option=value``."""

    scheme: str
    open: Callable[..., Storage]
    """A class or a function, called as ``open(path, **options)``. It imports its drivers itself, when called."""
    summary: str
    """One line for ``paxospp plugins``."""
    drivers: Sequence[str] = ()
    """Modules that ``open`` imports and that may not be installed: ``paxospp plugins`` tells which are missing."""
    contract: int | None = None
    """The version of the contract that ``open`` was written for. None: as the class says, and 1 for a function."""
