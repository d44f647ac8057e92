"""Blocking versions of ``Client`` and ``Node``: the same calls without ``async``.

Each runs the asyncio object in an event loop in a thread of its own, and may be shared by threads. Calling one from a
running event loop raises RuntimeError: it would block everything else in that loop, so use the asyncio class there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from paxospp.calls import Consistency, SyncCalls, execute_encoded, query_encoded
from paxospp.client import Client as AsyncClient
from paxospp.config import NodeConfig
from paxospp.events import Event, SnapshotTaken
from paxospp.model import Change
from paxospp.node import Node as AsyncNode
from paxospp.node import NodeStatus
from paxospp.state_machine import StateMachine
from paxospp.storage.contract import Storage

T = TypeVar("T")

END_TIMEOUT_S = 1.0
"""How long an ending loop waits for calls to hand their results to other threads."""


class _LoopThread:
    """An event loop in a daemon thread, in which other threads run coroutines."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._running = threading.Event()
        self._pid = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end = asyncio.Event()
        self._lock = threading.Lock()

    def start(self) -> None:
        self._pid = os.getpid()
        self._thread.start()
        self._running.wait()

    def call(self, make: Callable[[], Awaitable[T]]) -> T:
        """Await ``make()`` in the loop and return its result; Ctrl-C here cancels it there.

        Raises:
            RuntimeError: called from an event loop, after ``stop``, or after a fork.
        """
        _refuse_in_a_loop(self._name)
        if self._pid != os.getpid():
            raise RuntimeError(f"{self._name} was started before a fork: make another one in the child process")

        async def called() -> T:
            return await make()

        with self._lock:
            if self._loop is None:
                raise RuntimeError(f"{self._name} is closed: make another one")
            future = asyncio.run_coroutine_threadsafe(called(), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """End the loop and the thread; tasks that are still running there are cancelled."""
        with self._lock:
            loop, self._loop = self._loop, None
            if loop is not None:
                loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            runner.run(self._until_ended())

    async def _until_ended(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._running.set()
        await self._end.wait()
        # Calls that have just failed still have to hand their error to the waiting thread.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=END_TIMEOUT_S)


class _Blocking(SyncCalls):
    """The common part of ``Client`` and ``Node``: start, close, and calls that run in the loop's thread."""

    def __init__(self, wrapped: AsyncClient | AsyncNode, name: str) -> None:
        self._wrapped = wrapped
        self._call_timeout_s = wrapped._call_timeout_s
        self._name = name
        self._loop_thread = _LoopThread(name)
        self._feeds: set[AsyncGenerator[Any, None]] = set()
        self._started = False
        self._closed = False

    def start(self) -> None:
        """Start the thread, and the client or node in it; like ``start`` of the asyncio class.

        Raises:
            RuntimeError: it was started or closed before, or an event loop is running here.
        """
        _refuse_in_a_loop(self._name)
        if self._started or self._closed:
            raise RuntimeError(f"{self._name} starts once: make another one")
        self._started = True
        self._loop_thread.start()
        try:
            self._loop_thread.call(self._wrapped.start)
        except BaseException:
            self._closed = True
            self._loop_thread.stop()
            raise

    def close(self) -> None:
        """Close the client or node and end the thread; may be called twice."""
        if self._closed or not self._started:
            self._closed = True
            return
        for feed in list(self._feeds):
            with contextlib.suppress(RuntimeError):  # another thread is waiting in the feed, and closing ends its wait
                self._call(feed.aclose)
        self._call(self._wrapped.close)
        self._closed = True
        self._loop_thread.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _execute(self, payload: bytes, timeout_s: float | None) -> bytes:
        return self._call(lambda: execute_encoded(self._wrapped, payload, timeout_s))

    def _query(self, request: bytes, consistency: Consistency, timeout_s: float | None) -> bytes:
        return self._call(lambda: query_encoded(self._wrapped, request, consistency, timeout_s))

    def watch(self, start: int | None = None) -> Iterator[Change]:
        """Iterate over changes like ``watch`` of the asyncio class; each step waits for the next change."""
        changes = self._call(_made(lambda: self._wrapped.watch(start)))
        return self._iterate(changes)

    def snapshot_stream(self) -> tuple[int, Iterator[bytes]]:
        """Return the slot of a state and its chunks, like ``snapshot_stream`` of the asyncio class.

        The chunks can be passed to ``restore`` of another machine.
        """
        slot, chunks = self._call(self._wrapped.snapshot_stream)
        return slot, self._iterate(chunks)

    def _iterate(self, items: AsyncGenerator[T, None]) -> Iterator[T]:
        self._feeds.add(items)
        try:
            while True:
                try:
                    item = self._call(items.__anext__)
                except StopAsyncIteration:
                    return
                yield item
        finally:
            self._feeds.discard(items)
            if not self._closed:
                self._call(items.aclose)

    def _call(self, make: Callable[[], Awaitable[T]]) -> T:
        if not self._started:
            _refuse_in_a_loop(self._name)
            raise RuntimeError(f"{self._name} is not started: write `with {self._name}(…) as …:`")
        return self._loop_thread.call(make)


class Client(_Blocking):
    """A blocking ``paxospp.Client``, which has the same arguments, calls and errors; threads may share it."""

    def __init__(self, addresses: Sequence[str], timeout: float | None = 10.0, *, follow_leader: bool = True) -> None:
        super().__init__(AsyncClient(addresses, timeout, follow_leader=follow_leader), "paxospp.sync.Client")


class Node(_Blocking):
    """A blocking ``paxospp.Node``, which has the same arguments, calls and errors; threads may share it.

    ``on_event`` is called in the thread of the node's event loop.
    """

    _wrapped: AsyncNode

    def __init__(
        self,
        name: str,
        *,
        cluster: Mapping[str, str],
        storage: str | Callable[[], Storage],
        machine: StateMachine | Callable[[], StateMachine] | str,
        listen: str | None = None,
        allow_volatile: bool = False,
        plugins: Sequence[object] = (),
        on_event: Callable[[Event], None] | None = None,
        config: NodeConfig | None = None,
    ) -> None:
        wrapped = AsyncNode(
            name,
            cluster=cluster,
            storage=storage,
            machine=machine,
            listen=listen,
            allow_volatile=allow_volatile,
            plugins=plugins,
            on_event=on_event,
            config=config,
        )
        super().__init__(wrapped, "paxospp.sync.Node")

    @property
    def name(self) -> str:
        return self._wrapped.name

    @property
    def address(self) -> str:
        """The address at which peers and clients reach this node; its port is the real one after ``start``."""
        return self._wrapped.address

    def status(self) -> NodeStatus:
        """Return the present status of this node."""

        async def status() -> NodeStatus:
            return self._wrapped.status()

        return self._call(status)

    def take_snapshot(self) -> SnapshotTaken:
        """Take a snapshot now and trim the log up to it; see ``paxospp.Node.take_snapshot``."""
        return self._call(self._wrapped.take_snapshot)

    def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until there is a leader and this node has applied every slot it knows to be decided.

        Args:
            timeout: seconds; None: wait for ever.

        Raises:
            UnavailableError: not ready within ``timeout``, or the node has ended; the text says what is missing.
        """
        self._call(lambda: self._wrapped.wait_ready(timeout))

    def wait_stopped(self) -> None:
        """Wait until the node is closed; if it stops because of an error, raise that error."""
        self._call(self._wrapped.wait_stopped)


def _made(make: Callable[[], T]) -> Callable[[], Awaitable[T]]:
    async def made() -> T:
        return make()

    return made


def _refuse_in_a_loop(name: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(
        f"{name} would block the event loop that is running here: use {name.replace('.sync', '')} with `await` instead"
    )
