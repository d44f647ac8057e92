"""Restoring the machine from the current snapshot, at a start and after a peer's snapshot was installed.

The snapshot is read from the storage in pieces, in a thread, and every piece is checked. If that takes longer than a
second, the progress is logged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from paxospp.errors import CorruptedError, StorageError
from paxospp.execution.executor import Executor, Restoring
from paxospp.execution.snapshot import check_snapshot
from paxospp.model import Ballot, NodeId, SnapshotMeta
from paxospp.node.progress import ProgressLog
from paxospp.node.snapshots.gc_pause import collector_paused
from paxospp.storage.contract import SnapshotReader, Storage

READ_BYTES = 1 << 20


def restore_current(name: NodeId, storage: Storage, executor: Executor, promised: Ballot | None) -> int:
    """Restore ``executor`` from the storage's current snapshot; return its size in bytes, 0 if there is none.

    Args:
        promised: the promise in the storage. No slot that this storage held was decided under a higher ballot, so it
            is the bound for a snapshot that does not name a ballot itself.

    Raises:
        CorruptedError: the snapshot cannot be read or is damaged; the executor is unchanged.
        ReplicaStoppedError: the machine raised.
    """
    reader = storage.open_snapshot()
    if reader is None:
        return 0
    with reader:
        # Check all of it before restoring any of it: a machine that is half restored cannot be used.
        check_snapshot(iter(partial(reader.read, READ_BYTES), b""))
    reader = storage.open_snapshot()
    assert reader is not None, "nothing else writes to the storage yet"
    restoring = executor.begin_restore()
    try:
        size = read_into(restoring, reader, name)
    finally:
        restoring.finish()
    if executor.ballot is None and promised is not None:
        executor.meet(promised)
    return size


def read_into(restoring: Restoring, reader: SnapshotReader, name: NodeId, *, stop: Callable[[], bool] = bool) -> int:
    """Feed ``restoring`` everything in ``reader``, close ``reader``, and return the number of bytes.

    Raises:
        StorageError, ReplicaStoppedError: ``stop`` returned True.
        CorruptedError, InvariantViolatedError, ReplicaStoppedError: see ``Restoring.read``.
    """
    size = 0

    def pieces() -> Iterator[bytes]:
        nonlocal size
        progress = ProgressLog(name, f"restoring the snapshot of slot {reader.meta.slot}")
        while data := reader.read(READ_BYTES):
            if stop():
                raise StorageError("the node is closing")
            size += len(data)
            progress.at(f"{size / 1e6:.0f} MB read")
            yield data

    with reader, collector_paused(promote=True):
        restoring.read(pieces())
    return size


def damaged(meta: SnapshotMeta, cause: CorruptedError) -> CorruptedError:
    """Return the error of a node that cannot start because its only snapshot is damaged."""
    return CorruptedError(
        f"the snapshot of slot {meta.slot} is damaged ({cause}), the log below it is trimmed, and there is no other "
        "node to fetch it from: restore the data directory from a copy"
    )
