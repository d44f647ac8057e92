"""Making the current snapshot the machine's state, at a start and after one was installed.

It is read from the storage a piece at a time, in a thread; every piece is checked on its way.
When it takes longer than a second, the log says how far it is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial

from paxospp.errors import CorruptedError, StorageError
from paxospp.execution.executor import Executor, Restoring
from paxospp.execution.snapshot import check_snapshot
from paxospp.model import Ballot, NodeId, SnapshotMeta
from paxospp.node.snapshots.collecting import collector_resting
from paxospp.storage.contract import SnapshotReader, Storage

READ_BYTES = 1 << 20
FIRST_S = 1.0

_log = logging.getLogger("paxospp.node")


class Progress:
    """Says how far something is, once it takes longer than a second, and then less and less often."""

    def __init__(self, name: NodeId, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._what = what
        self._clock = clock
        self._began = clock()
        self._next_s = FIRST_S
        self.said = False

    def at(self, where: str) -> None:
        """It is at ``where`` now."""
        passed_s = self._clock() - self._began
        if passed_s >= self._next_s:
            self._next_s = max(2 * self._next_s, passed_s)
            self.said = True
            _log.warning("node %s: %s: %s after %.0f s", self._name, self._what, where, passed_s)


def restore_current(name: NodeId, storage: Storage, executor: Executor, promised: Ballot | None) -> int:
    """Make the storage's current snapshot the executor's state; its size in bytes, 0 if there is none.

    ``promised`` is what the storage remembers: nothing that it ever held was decided under a higher ballot, which
    is all that is known where the snapshot itself does not say.

    Raises:
        CorruptedError: it cannot be read, or is not what was written; the executor is as it was.
        ReplicaStoppedError: the machine raised.
    """
    reader = storage.open_snapshot()
    if reader is None:
        return 0
    with reader:
        # All of it before any of it: a machine that has taken in half is of no use any more.
        check_snapshot(iter(partial(reader.read, READ_BYTES), b""))
    reader = storage.open_snapshot()
    assert reader is not None, "nobody else writes to the storage yet"
    restoring = executor.begin_restore()
    try:
        size = read_into(restoring, reader, name)
    finally:
        restoring.finish()
    if executor.ballot is None and promised is not None:
        executor.meet(promised)
    return size


def read_into(restoring: Restoring, reader: SnapshotReader, name: NodeId, *, stop: Callable[[], bool] = bool) -> int:
    """Let ``restoring`` read all that ``reader`` has, and close it; how many bytes that were."""
    size = 0

    def pieces() -> Iterator[bytes]:
        nonlocal size
        progress = Progress(name, f"restoring the snapshot of slot {reader.meta.slot}")
        while data := reader.read(READ_BYTES):
            if stop():
                raise StorageError("the node is closing")
            size += len(data)
            progress.at(f"{size / 1e6:.0f} MB read")
            yield data

    with reader, collector_resting(promote=True):
        restoring.read(pieces())
    return size


def damaged(meta: SnapshotMeta, cause: CorruptedError) -> CorruptedError:
    """What a node says that cannot start because of it."""
    return CorruptedError(
        f"the snapshot of slot {meta.slot} is damaged ({cause}), the log below it is gone, and there is no other "
        "node to fetch it from: restore the data directory from a copy"
    )
