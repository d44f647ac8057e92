"""The storage of a simulated node: the storage contract on a simulated disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from paxospp.errors import CorruptedError, LockedError, StorageError
from paxospp.model import Entry, Slot, SnapshotMeta
from paxospp.storage.contract import DurableState, SnapshotReader, SnapshotWriter, Storage, WriteBatch
from paxospp.testing.simulation.judges.snapshot_rules import SnapshotRules
from paxospp.testing.simulation.world.disk import SimulatedDisk, StoredImage


class VirtualStorage(Storage):
    """An open disk.

    ``persist`` only begins a write, which returns when the disk is told so. If ``on_write`` returns an error, the write
    ends with it at once.
    """

    def __init__(self, disk: SimulatedDisk, rules: SnapshotRules) -> None:
        """``rules`` check what is staged."""
        if disk.in_use:
            raise LockedError("another node of this simulation")
        disk.in_use = True
        self._disk = disk
        self._rules = rules
        self._failed = False
        """Whether a write ended in an error; this handle accepts no more writes then."""
        self.last_failed = False
        """Whether the latest write ends in an error."""
        self.refused: str | None = None
        """A request of the node that the contract forbids; None if there was none.

        The error alone would not show it: the node may treat it as a failure of the disk.
        """
        self._staging: _VirtualStaging | None = None
        self.on_write: Callable[[], Exception | None] = _nothing
        """Called when a write begins; returns the error that the write ends in, if any."""
        self.on_snapshot: Callable[[], None] = _nothing
        """Called before each step on a snapshot; may raise."""

    def load(self) -> DurableState:
        return self._disk.load()

    def persist(self, batch: WriteBatch) -> None:
        if self._failed:
            raise StorageError("this handle failed before")
        if batch.snapshot is not None:
            self._check(batch.snapshot)
        self._disk.begin(batch)
        problem = self.on_write()
        self.last_failed = problem is not None
        if problem is not None:
            self._failed = True
            raise problem

    def read(self, start: Slot, stop: Slot, max_bytes: int) -> Sequence[Entry]:
        return self._disk.read(start, stop, max_bytes)

    def create_snapshot(self, meta: SnapshotMeta) -> SnapshotWriter:
        staging, current = self._staging, self._disk.snapshot
        if staging is not None and staging.is_open:
            self._refuse(f"{meta} is to be staged while {staging.meta} is being staged")
        if meta == current or meta.id in self._disk.staged:
            self._refuse(f"{meta} is to be staged, and is there already")
        self._staging = staging = _VirtualStaging(self._disk.staged, meta, self.on_snapshot, self._rules)
        return staging

    def open_snapshot(self) -> SnapshotReader | None:
        image = self._disk.image
        return None if image.snapshot is None else _VirtualReader(*image.snapshot, image, self.on_snapshot)

    def close(self) -> None:
        self._disk.in_use = False

    def _check(self, meta: SnapshotMeta) -> None:
        """Check that a batch may make ``meta`` current."""
        current = self._disk.snapshot
        if meta.id not in self._disk.staged:
            self._refuse(f"{meta} is to become current, and was not committed")
        if current is not None and meta.slot < current.slot:
            # This is forbidden even if the current snapshot is damaged.
            self._refuse(f"{meta} is to replace the newer {current}")

    def _refuse(self, text: str) -> None:
        self.refused = text
        raise StorageError(text)


class _VirtualStaging(SnapshotWriter):
    def __init__(
        self, staged: dict[str, bytes], meta: SnapshotMeta, step: Callable[[], None], rules: SnapshotRules
    ) -> None:
        self._staged = staged
        self._step = step
        self._rules = rules
        self.meta = meta
        self.is_open = True
        self._data = bytearray()

    def write(self, data: bytes) -> None:
        self._step()
        self._rules.on_staged(self.meta, len(self._data), data)
        self._data += data

    def commit(self) -> None:
        self._step()
        data = bytes(self._data)
        self._rules.on_committed(self.meta, data)
        self._staged[self.meta.id] = data
        self.is_open = False

    def abort(self) -> None:
        self._staged.pop(self.meta.id, None)
        self.is_open = False


class _VirtualReader(SnapshotReader):
    def __init__(self, meta: SnapshotMeta, data: bytes, image: StoredImage, step: Callable[[], None]) -> None:
        self._meta = meta
        self._image = image
        self._step = step
        self._data = data
        self._at = 0

    @property
    def meta(self) -> SnapshotMeta:
        return self._meta

    def read(self, size: int) -> bytes:
        self._step()
        current = self._image.snapshot
        if self._image.snapshot_is_damaged and current is not None and current[0] == self._meta:
            raise CorruptedError("the snapshot is damaged")
        piece = self._data[self._at : self._at + size]
        self._at += len(piece)
        return piece

    def close(self) -> None:
        """Do nothing: a reader holds no resources."""


def _nothing() -> None:
    """Do nothing: no fault is injected."""
