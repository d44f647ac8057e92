"""Threads for blocking work: each runs its jobs in order and reports to the event loop.

``Worker`` is what the node needs of such a thread; a simulation passes workers that run on virtual time.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol, TypeVar

T = TypeVar("T")

_log = logging.getLogger("paxospp.node")


class Worker(Protocol):
    """Runs jobs one after another, off the event loop."""

    def put(self, job: Callable[[], None]) -> None:
        """Queue ``job``, which must not raise; it may report by one call of ``call_on_loop``."""
        ...

    def call_on_loop(self, callback: Callable[..., None], *arguments: object) -> None:
        """Call ``callback`` on the event loop; only a running job may do this."""
        ...

    async def end(self, timeout_s: float) -> bool:
        """Finish the queued jobs and end; return False if that took longer than ``timeout_s``."""
        ...


class ThreadWorker:
    """A worker with a thread of its own.

    The thread is a daemon: a disk that hangs must hold up neither ``close`` nor the end of the process.
    """

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._ended = loop.create_future()
        self._thread.start()

    def put(self, job: Callable[[], None]) -> None:
        self._jobs.put(job)

    def call_on_loop(self, callback: Callable[..., None], *arguments: object) -> None:
        """Call ``callback`` on the loop; do nothing if the loop is closed."""
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            _log.debug("the event loop was closed before thread %s", threading.current_thread().name)

    async def end(self, timeout_s: float) -> bool:
        self._jobs.put(None)
        done, _ = await asyncio.wait({self._ended}, timeout=timeout_s)
        if not done:
            return False
        self._thread.join()
        return True

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                break
            job()
            del job  # it refers to its batch, which may be large, while the thread waits
        self.call_on_loop(self._set_ended)

    def _set_ended(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)


async def run_in(worker: Worker, function: Callable[[], T]) -> T:
    """Call ``function`` in ``worker`` after the jobs queued before it, and return its result."""
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def answer(result: T) -> None:
        if not future.done():
            future.set_result(result)

    def fail(error: BaseException) -> None:
        if not future.done():
            future.set_exception(error)

    def job() -> None:
        try:
            result = function()
        except BaseException as error:
            worker.call_on_loop(fail, error)
        else:
            worker.call_on_loop(answer, result)

    worker.put(job)
    return await future
