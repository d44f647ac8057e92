"""The child processes of the kit, which open the store under test and may be killed while they use it.

``python -m paxospp.testing.storage_suite.worker_process FD URL …`` starts the *zygote*: a process that has imported
everything, opens no store, and forks a worker on request. A fork takes milliseconds, starting Python a fifth of a
second. A worker serves requests over its connection until the connection ends or the worker is killed.

``python -m paxospp.testing.storage_suite.worker_process live …`` runs a script of ``scripts`` instead.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from paxospp.model import Entry, Slot
from paxospp.plugins import PluginRegistry
from paxospp.storage.contract import Storage
from paxospp.storage.key_value import KeyValueStorage
from paxospp.testing.storage_suite.key_value_pairs import many_pairs, shown_pairs
from paxospp.testing.storage_suite.store_view import ExceptionReport, StoreView, Unexpected, open_and_view, view_of
from paxospp.testing.storage_suite.stream import Stream

FORK_TIMEOUT_S = 60.0
"""After this many seconds a forked child counts as hung: it inherits locks, but not the threads that release them."""
REFUSED = "refused"
"""The answer of ``StoreWorker.do_fork`` if the store refused the child's batch, as it must."""


class StoreWorker:
    """One process with at most one open store. Each method ``do_x`` serves the request ``x``."""

    def __init__(self, registry: PluginRegistry, connection: Connection[Any, Any]) -> None:
        self._registry = registry
        self._connection = connection
        self._storage: Storage | None = None

    def serve(self) -> None:
        """Serve requests until the parent closes the connection."""
        while True:
            try:
                name, *arguments = self._connection.recv()
            except (EOFError, OSError):
                return
            try:
                answer = getattr(self, f"do_{name}")(*arguments)
            except Exception as error:
                answer = Unexpected(ExceptionReport.of(error))
            self._connection.send(answer)

    def do_view(self, url: str) -> StoreView:
        """Open, load, view and close."""
        return open_and_view(self._registry.storage(url))

    def do_open(self, url: str) -> ExceptionReport | None:
        try:
            self._storage = self._registry.storage(url)()
        except Exception as error:
            return ExceptionReport.of(error)
        return None

    def do_load(self) -> StoreView:
        assert self._storage is not None
        try:
            state = self._storage.load()
        except Exception as error:
            return StoreView(ExceptionReport.of(error))
        return view_of(self._storage, state)

    def do_stream(self, seed: int, cutting: bool, first: int, stop: int) -> ExceptionReport | None:
        """Run batches ``first`` to ``stop - 1``; send the number of each that returned, return what a batch raised."""
        stream = Stream(seed, cutting=cutting)
        stream.step(stop)
        for number in range(first, stop):
            if (raised := self._run(stream, number)) is not None:
                return raised
            self._connection.send(number)
        return None

    def do_continue(
        self, url: str, seed: int, cutting: bool, last: int, stop: int
    ) -> tuple[StoreView, int, ExceptionReport | None, set[int]]:
        """Open, load and view; then persist the batches ``last + 1`` to ``stop - 1``, many of which trim.

        The store stays open. Return what it showed, the number of the last batch that returned, what the next one
        raised, and the slots that the batches wrote and that ``read`` returns rightly.
        """
        raised = self.do_open(url)
        view = StoreView(raised) if raised is not None else self.do_load()
        if view.refused is not None:
            return view, last, None, set()
        stream = Stream(seed, cutting=cutting, cutting_after=last)
        for number in range(last + 1, stop):
            if (raised := self._run(stream, number)) is not None:
                return view, number - 1, raised, set()
        return view, stop - 1, None, self._readable(stream.written(range(last + 1, stop)))

    def _readable(self, entries: Mapping[int, Entry]) -> set[int]:
        """Return the slots of ``entries`` that ``read`` returns as they should be.

        None of a ``KeyValueStorage``: if its driver has no checksums, what it writes into a damaged page may be damaged
        later, and the store can only report this.
        """
        assert self._storage is not None
        right = set[int]()
        if isinstance(self._storage, KeyValueStorage):
            return right
        for slot, entry in entries.items():
            with suppress(Exception):
                if list(self._storage.read(Slot(slot), Slot(slot + 1), len(entry.value))) == [entry]:
                    right.add(slot)
        return right

    def do_persist(self, seed: int, cutting: bool, number: int) -> ExceptionReport | None:
        """Run one batch."""
        return self._run(Stream(seed, cutting=cutting), number)

    def _run(self, stream: Stream, number: int) -> ExceptionReport | None:
        assert self._storage is not None
        step = stream.step(number)
        try:
            step.stage(self._storage)
        except Exception as error:
            return ExceptionReport.of(error, staging=True)
        try:
            self._storage.persist(step.batch)
        except Exception as error:
            return ExceptionReport.of(error)
        return None

    def do_pairs(self, url: str) -> dict[bytes, bytes] | ExceptionReport:
        """Open, load, scan the pairs that the kit wrote beside the log, and close."""
        try:
            storage = self._registry.storage(url)()
        except Exception as error:
            return ExceptionReport.of(error)
        assert isinstance(storage, KeyValueStorage)
        try:
            storage.load()
            return shown_pairs(storage)
        except Exception as error:
            return ExceptionReport.of(error)
        finally:
            storage.close()

    def do_fill(self, url: str) -> None:
        """Open, load, write megabytes of pairs beside the log, and close."""
        storage = self._registry.storage(url)()
        assert isinstance(storage, KeyValueStorage)
        storage.load()
        storage.write((), many_pairs(), True)
        storage.close()

    def do_fork(self, seed: int, cutting: bool, number: int) -> str:
        """Fork while the store is open, have the child persist a batch and close, and return how that ended."""
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            _persist_in_fork(self, theirs, (seed, cutting, number))
        os.close(theirs)
        ready, _, _ = select.select([ours], [], [], FORK_TIMEOUT_S)
        if not ready:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        said = os.read(ours, 4096).decode() if ready else ""
        os.close(ours)
        return said or ("not finished: the child died" if ready else f"not finished after {FORK_TIMEOUT_S:.0f} s")

    def do_close(self) -> ExceptionReport | None:
        storage, self._storage = self._storage, None
        try:
            if storage is not None:
                storage.close()
        except Exception as error:
            return ExceptionReport.of(error)
        return None

    def do_limit_files(self, size: int) -> None:
        """Let no file grow beyond ``size`` bytes from now on: writes fail or are short, as on a full disk."""
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def serve_zygote(control: socket.socket, plugins: Sequence[str], url: str) -> None:
    """Fork workers until the parent closes ``control``, then kill those that are left."""
    registry = PluginRegistry(plugins)
    registry.storage(url)  # imports the plug-in before the first fork
    children: set[int] = set()
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 4096, 1)
        match message.split():
            case [b"fork"]:
                pid = os.fork()
                if pid == 0:
                    _work(registry, control, descriptors[0])
                os.close(descriptors[0])
                children.add(pid)
                control.send(str(pid).encode())
            case [b"wait", pid_text]:
                _, status = os.waitpid(int(pid_text), 0)
                children.discard(int(pid_text))
                control.send(str(os.waitstatus_to_exitcode(status)).encode())
            case _:
                for pid in children:
                    os.kill(pid, signal.SIGKILL)
                return


def _work(registry: PluginRegistry, control: socket.socket, descriptor: int) -> None:
    code = 1
    try:
        control.close()
        StoreWorker(registry, Connection(descriptor)).serve()
        code = 0
    finally:
        os._exit(code)  # ends without closing the store, and never returns into the zygote's loop


def _persist_in_fork(worker: StoreWorker, descriptor: int, batch: tuple[int, bool, int]) -> None:
    """Persist a batch, close the store, report the result through ``descriptor``, and exit."""
    try:
        raised = worker.do_persist(*batch)
        worker.do_close()
        os.write(descriptor, (REFUSED if raised is not None else "not refused").encode())
    finally:
        os._exit(0)


def main(arguments: Sequence[str]) -> None:
    """Run as the zygote, or run a script by its name."""
    if arguments[0].isdecimal():
        descriptor, url, *plugins = arguments
        serve_zygote(socket.socket(fileno=int(descriptor)), plugins, url)
        return
    from paxospp.testing.storage_suite.scripts import SCRIPTS  # late: a zygote needs none of them

    SCRIPTS[arguments[0]](*arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
