"""The public class ``Client``: calls a cluster from another process.

A client belongs to the event loop that started it. It has one stream and one session. The class of an error says what
became of a call:

* ``UnavailableError``, ``OverloadedError``: the call was never sent, or changed nothing; it had no effect.
* ``OutcomeUnknownError``: the call was sent and not answered; it may have been applied, once, or may still be.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Sequence
from random import Random
from types import TracebackType
from typing import Self

from paxospp.calls import Calls, Consistency, why_no_timeout
from paxospp.client.addresses import AddressBook
from paxospp.client.feed import open_snapshot
from paxospp.client.started import StartedClient
from paxospp.errors import ConfigError
from paxospp.model import Change


class Client(Calls):
    """Calls commands and queries of a cluster.

    Use it as ``async with Client([...]) as client:``, or call ``start`` and ``close``.

    Args:
        addresses: the addresses of some nodes, as ``host:port`` or ``name=host:port``. The client learns others from
            them. An address given with a name is used to reach that node, whatever address nodes use among themselves.
        timeout: seconds that a call waits unless it has a ``timeout`` of its own; None: for ever.
        follow_leader: False keeps the client on the given addresses, for example to see what one node answers.

    Raises:
        ConfigError: ``addresses`` is empty, a string or a mapping, one of them is not valid, or ``timeout`` is not
            more than 0.
    """

    def __init__(self, addresses: Sequence[str], timeout: float | None = 10.0, *, follow_leader: bool = True) -> None:
        self._book = AddressBook(addresses, Random())
        why = why_no_timeout(timeout)
        if why is not None:
            raise ConfigError(why)
        self._call_timeout_s = timeout
        self._follow_leader = follow_leader
        self._closed = False
        self._started: StartedClient | None = None

    async def start(self) -> None:
        """Begin to connect, and return without waiting for a node.

        Raises:
            RuntimeError: the client was started or closed before.
        """
        if self._started is not None or self._closed:
            raise RuntimeError("a Client starts once: make another one")
        self._started = StartedClient(self._book, follow_leader=self._follow_leader)

    async def close(self) -> None:
        """Close the connection; calls under way end with the error that says whether they may take effect.

        May be called twice.
        """
        if self._started is None:
            self._closed = True
        if self._closed:
            return
        started = self._check_place()
        self._closed = True
        await started.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    # Calls.

    def _execute(self, payload: bytes, timeout_s: float | None) -> Awaitable[bytes]:
        return self._check_place().execute(payload, timeout_s)

    def _query(self, request: bytes, consistency: Consistency, timeout_s: float | None) -> Awaitable[bytes]:
        return self._check_place().query(request, consistency, timeout_s)

    def _abandon(self, call: Awaitable[bytes]) -> None:
        if self._started is not None:
            self._started.abandon(call)

    # Streams.

    def watch(self, start: int | None = None) -> AsyncGenerator[Change, None]:
        """Yield every command that took effect from slot ``start`` on, without end; None: from now on.

        The feed continues from another node when one is lost, without gaps or repetitions, and waits while no node can
        be reached. It has a stream of its own; end it with ``aclose()``. Otherwise it is like ``Node.watch``.

        Raises:
            ValueError: ``start`` is negative.

        Raises, while iterating:
            TrimmedError: every node has trimmed that part of its log; ``first`` is the lowest slot any of them has.
            UnavailableError: the client was closed.
        """
        return self._check_place().feed(start).changes()

    async def snapshot_stream(self) -> tuple[int, AsyncGenerator[bytes, None]]:
        """Return the slot and the bytes, in chunks, of one node's machine state; see ``Node.snapshot_stream``.

        Raises:
            UnavailableError: no node opened a stream within the client's timeout, or, raised while
                iterating over the chunks, the stream was lost.
        """
        return await open_snapshot(self._check_place().addresses(), self._call_timeout_s)

    def _check_place(self) -> StartedClient:
        """Return what ``start`` made if a call from here can work.

        Raises:
            RuntimeError: the client is not started, is closed, or belongs to another event loop or process.
        """
        started = self._started
        if self._closed:
            raise RuntimeError("this Client is closed: make another one")
        if started is None:
            raise RuntimeError("this Client is not started: write `async with Client(…) as client:`")
        try:
            if asyncio.get_running_loop() is started.loop:
                return started  # in the process that started it, because a forked process cannot run this loop
        except RuntimeError:
            if started.pid == os.getpid():
                raise
        if started.pid != os.getpid():
            raise RuntimeError("this Client was started before a fork: make another one in the child process")
        raise RuntimeError(
            "a Client must be used in the event loop that started it: use paxospp.sync.Client to share one by threads"
        )
