"""Opening a storage in the thread that will write to it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from paxospp.model import NodeId
from paxospp.node.worker import Worker, run_in
from paxospp.storage.contract import DurableState, Storage

T = TypeVar("T")

_log = logging.getLogger("paxospp.node")


@dataclass(frozen=True, slots=True)
class LoadedStorage:
    """A storage that is open and loaded, and the thread that alone writes to it."""

    name: NodeId
    storage: Storage
    state: DurableState
    worker: Worker

    async def run(self, function: Callable[[Storage], T]) -> T:
        """Call ``function`` with the storage in the writing thread."""
        return await run_in(self.worker, lambda: function(self.storage))

    async def close(self, timeout_s: float) -> bool:
        """Close the storage and end the thread; return False if that took longer than ``timeout_s``."""
        return await _close(self.worker, self.name, [self.storage], timeout_s)


async def load_storage(
    name: NodeId, factory: Callable[[], Storage], worker: Worker, *, close_timeout_s: float
) -> LoadedStorage:
    """Construct and load a storage in ``worker``; close both if that fails or is cancelled."""
    opened: list[Storage] = []

    def construct_and_load() -> DurableState:
        # If this call is cancelled, the thread goes on, and ``_close`` finds the storage here.
        opened.append(factory())
        return opened[0].load()

    try:
        state = await run_in(worker, construct_and_load)
    except BaseException:
        await _close(worker, name, opened, close_timeout_s)
        raise
    return LoadedStorage(name, opened[0], state, worker)


async def _close(worker: Worker, name: NodeId, opened: list[Storage], timeout_s: float) -> bool:
    def job() -> None:
        for storage in opened:
            try:
                storage.close()
            except Exception:
                _log.exception("node %s: closing the storage failed", name)

    worker.put(job)
    return await worker.end(timeout_s)
