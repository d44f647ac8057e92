"""The threads of a node, replaced by virtual workers on a simulated disk.

The ``Writer`` that uses them is the real one, with its group commit and fail-stop. A write takes as long as the disk
takes, and a crash meanwhile leaves the batch there or not. The faults of the disk are injected here.
"""

from __future__ import annotations

from collections.abc import Callable

from paxospp.node.worker import Worker
from paxospp.testing.simulation.rule_broken import RuleBroken
from paxospp.testing.simulation.world.node_host import NodeHost
from paxospp.testing.simulation.world.virtual_storage import VirtualStorage

Told = tuple[Callable[..., None], tuple[object, ...]]


class VirtualWorker(Worker):
    """A worker that does a job at once, and reports the result when the job's duration has passed."""

    def __init__(self, host: NodeHost, storage: VirtualStorage) -> None:
        self._host = host
        self._storage = storage
        self._life = host.loop
        self._told: Told | None = None

    def call_on_loop(self, callback: Callable[..., None], *arguments: object) -> None:
        self._told = (callback, arguments)

    async def end(self, timeout_s: float) -> bool:
        """Return True: a virtual thread ends with its node."""
        return True

    def _do(self, job: Callable[[], None]) -> Told:
        job()
        if self._storage.refused is not None:
            raise RuleBroken("10", f"{self._host.name}: {self._storage.refused}")
        told, self._told = self._told, None
        assert told is not None, "every job reports its result"
        return told


class WritingWorker(VirtualWorker):
    """Does the ``persist`` calls of one boot of a node."""

    def put(self, job: Callable[[], None]) -> None:
        host = self._host
        if host.dies_here():
            raise host.killed
        told = self._do(job)
        clock, write_s = host.world.clock, host.disk_faults.write_s(host)
        host.disk_faults.write_returns_at = clock.now + write_s
        clock.after(write_s, self._return, (told, self._storage.last_failed))

    def _return(self, what: tuple[Told, bool]) -> None:
        host = self._host
        if host.loop is not self._life:
            return  # the node died meanwhile; the power cut decided what is on the disk
        clock = host.world.clock
        if host.waits_for_disk(self._return, what):
            return
        told, failed = what
        clock.trace(host.index * 256 + 1)
        if not failed:
            host.on_written()
            if host.dies_here():
                return
        host.take(self._life, *told)


class ReadingWorker(VirtualWorker):
    """Reads the log, at the same time as writes."""

    def put(self, job: Callable[[], None]) -> None:
        host = self._host
        host.world.clock.after(host.disk_faults.read_s(host), self._read, job)

    def _read(self, job: Callable[[], None]) -> None:
        host = self._host
        if host.loop is not self._life:
            return
        clock = host.world.clock
        if host.waits_for_disk(self._read, job):
            return
        clock.trace(host.index * 256 + 2)
        callback, arguments = self._do(job)
        problem = host.disk_faults.on_read(host)
        if problem is not None:
            arguments = (arguments[0], (), problem)
        host.take(self._life, callback, arguments)


class BesideWorker(VirtualWorker):
    """Does the steps of snapshots, one after another, at the same time as writes and reads."""

    def __init__(self, host: NodeHost, storage: VirtualStorage) -> None:
        super().__init__(host, storage)
        self._free_at = 0.0

    def put(self, job: Callable[[], None]) -> None:
        host = self._host
        now = host.world.clock.now
        self._free_at = max(self._free_at, now + host.disk_faults.read_s(host))
        host.world.clock.after(self._free_at - now, self._step, job)

    def _step(self, job: Callable[[], None]) -> None:
        host = self._host
        if host.loop is not self._life or host.waits_for_disk(self._step, job):
            return
        host.world.clock.trace(host.index * 256 + 6)
        told = self._do(job)
        if host.disk_faults.dies_at_snapshot(host):
            host.world.coverage["killed between two steps of a snapshot"] += 1
            host.crash()
            return
        host.take(self._life, *told)


def virtual_worker(host: NodeHost, storage: VirtualStorage, role: str) -> Worker:
    """Return the worker for ``role`` in one boot of ``host``."""
    kind = {"writer": WritingWorker, "reader": ReadingWorker}.get(role, BesideWorker)
    return kind(host, storage)
