"""The parent's end of ``worker_process``: a zygote per test class, which forks workers that may be killed anytime."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self, TypeVar

from paxospp.testing.storage_suite.standstill import PROGRESS, STANDSTILL_S
from paxospp.testing.storage_suite.store_view import ExceptionReport, StoreView, Unexpected

T = TypeVar("T")
R = TypeVar("R")

ANSWER_TIMEOUT_S = 0.8 * STANDSTILL_S  # less than for the whole case, so that the finding names the worker
SIDE_BY_SIDE = 2
"""How many workers open and judge stores at the same time."""


class WorkerDied(Exception):
    """The worker ended by itself, by a signal or an exit code."""


class StoreRaised(WorkerDied):
    """The store raised an exception that the kit did not expect; the worker cannot be used any more."""


class WorkerStuck(Exception):
    """The worker has not answered for ``ANSWER_TIMEOUT_S``."""


def python_environment() -> dict[str, str]:
    """Return the environment for a child that finds the same modules as this process."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


class Zygote:
    """Starts worker processes for the store of one URL."""

    def __init__(self, url: str, plugins: Sequence[str]) -> None:
        self._asking = threading.Lock()
        self._control, other = socket.socketpair()
        with other:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "paxospp.testing.storage_suite.worker_process",
                    str(other.fileno()),
                    url,
                    *plugins,
                ],
                pass_fds=[other.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=python_environment(),
            )

    def worker(self) -> WorkerHandle:
        """Fork a new worker."""
        ours, theirs = socket.socketpair()
        with theirs, self._asking:
            socket.send_fds(self._control, [b"fork"], [theirs.fileno()])
            pid = int(self._answer())
        return WorkerHandle(self, pid, Connection(ours.detach()))

    def wait(self, pid: int) -> int:
        """Wait for a worker that is ending and return its exit code, or minus the signal that killed it."""
        with self._asking:
            self._control.send(b"wait %d" % pid)
            return int(self._answer())

    def close(self) -> None:
        """End the zygote and its workers."""
        self._control.close()
        try:
            self._process.wait(ANSWER_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answer(self) -> bytes:
        answer = self._control.recv(64)
        if not answer:
            raise WorkerDied(f"the kit's child process ended with {self._process.wait()}")
        return answer


class WorkerHandle:
    """One worker process; leaving the context kills it with SIGKILL."""

    def __init__(self, zygote: Zygote, pid: int, connection: Connection[Any, Any]) -> None:
        self._zygote = zygote
        self.pid = pid
        self._connection = connection
        self._ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    # Requests; ``worker_process.StoreWorker`` answers them

    def view(self, url: str) -> StoreView:
        view: StoreView = self._ask("view", url)
        return view

    def open(self, url: str) -> ExceptionReport | None:
        raised: ExceptionReport | None = self._ask("open", url)
        return raised

    def load(self) -> StoreView:
        view: StoreView = self._ask("load")
        return view

    def continue_stream(
        self, url: str, seed: int, cutting: bool, last: int, stop: int
    ) -> tuple[StoreView, int, ExceptionReport | None, set[int]]:
        answer: tuple[StoreView, int, ExceptionReport | None, set[int]] = self._ask(
            "continue", url, seed, cutting, last, stop
        )
        return answer

    def persist(self, seed: int, cutting: bool, number: int) -> ExceptionReport | None:
        raised: ExceptionReport | None = self._ask("persist", seed, cutting, number)
        return raised

    def pairs(self, url: str) -> dict[bytes, bytes] | ExceptionReport:
        found: dict[bytes, bytes] | ExceptionReport = self._ask("pairs", url)
        return found

    def fill(self, url: str) -> None:
        self._ask("fill", url)

    def fork(self, seed: int, cutting: bool, number: int) -> str:
        said: str = self._ask("fork", seed, cutting, number)
        return said

    def close(self) -> ExceptionReport | None:
        raised: ExceptionReport | None = self._ask("close")
        return raised

    def limit_files(self, size: int) -> None:
        self._ask("limit_files", size)

    # Requests without waiting, so that the worker can be killed meanwhile

    def begin(self, name: str, *arguments: object) -> None:
        self._connection.send((name, *arguments))

    def answer(self, timeout_s: float = ANSWER_TIMEOUT_S) -> object:
        """Wait for the next answer.

        Raises:
            WorkerStuck: there was none for ``timeout_s`` seconds.
            WorkerDied: the worker ended.
            StoreRaised: the store raised an exception that the kit did not expect.
        """
        try:
            if not self._connection.poll(timeout_s):
                raise WorkerStuck(f"no answer for {timeout_s:.0f} s")
            said = self._connection.recv()
        except (EOFError, OSError) as error:
            code = self._wait()
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            raise WorkerDied(f"the process ended by {how}") from error
        PROGRESS.note()
        if isinstance(said, Unexpected):
            raise StoreRaised(str(said.raised))
        return said

    def kill(self) -> list[object]:
        """Kill the worker with SIGKILL; return the answers that it had sent and that were not received yet."""
        if self._ended:
            return []
        os.kill(self.pid, signal.SIGKILL)
        self._wait()
        heard: list[object] = []
        try:
            while self._connection.poll():
                heard.append(self._connection.recv())
        except (EOFError, OSError):
            pass
        self._connection.close()
        return heard

    def _ask(self, name: str, *arguments: object) -> Any:
        self.begin(name, *arguments)
        return self.answer()

    def _wait(self) -> int:
        if self._ended:
            return 0
        self._ended = True
        return self._zygote.wait(self.pid)


def side_by_side(
    zygote: Zygote, tries: Iterable[T], work: Callable[[WorkerHandle, T], R]
) -> Iterator[tuple[T, R | WorkerDied | WorkerStuck]]:
    """Do ``work`` with each of ``tries`` in one of two workers, and yield the results in the order of ``tries``.

    If a worker dies, the exception is the result, and a new worker does the next try. Only a few of ``tries`` are drawn
    in advance.
    """
    local, handles = threading.local(), list[WorkerHandle]()

    def one(item: T) -> R | WorkerDied | WorkerStuck:
        if getattr(local, "worker", None) is None:
            local.worker = zygote.worker()
            handles.append(local.worker)
        try:
            return work(local.worker, item)
        except (WorkerDied, WorkerStuck) as error:
            local.worker.kill()
            local.worker = None
            return error

    waiting: deque[tuple[T, Future[R | WorkerDied | WorkerStuck]]] = deque()
    pool = ThreadPoolExecutor(SIDE_BY_SIDE)
    try:
        for item in tries:
            waiting.append((item, pool.submit(one, item)))
            if len(waiting) > 2 * SIDE_BY_SIDE:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)
        for handle in handles:
            handle.kill()
