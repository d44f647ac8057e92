"""The public face: ``Client``, its life, and what it refuses.

It lives in the loop that started it, on one stream, with one session; what happens to a call
in the end is told by the class of the error, and by that alone:

* never written to a stream: ``UnavailableError`` or ``OverloadedError``, no effect;
* written and not answered: ``OutcomeUnknownError``; it may have been applied, once, or may yet be.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncGenerator, Awaitable, Sequence
from random import Random
from types import TracebackType
from typing import Self, cast

from paxospp.calls import Calls, Consistency
from paxospp.client.addresses import AddressBook
from paxospp.client.conversation import Call, Conversation
from paxospp.client.feed import Feed, open_snapshot
from paxospp.client.line import Line
from paxospp.errors import OverloadedError
from paxospp.model import Change
from paxospp.rpc.deadlines import Deadlines

CALLS_MAX = 100_000
"""How many calls may be under way in one client; beyond it they are refused."""
BYTES_MAX = 256 << 20
"""The same in bytes of their arguments."""


class Client(Calls):
    """Calls commands and queries of a cluster.

    Args:
        addresses: of some nodes, as ``host:port`` or ``name=host:port``; others are learned from them.
        timeout: seconds a call waits unless it says otherwise; None for ever.
        follow_leader: False keeps to the addresses given: to see what a certain node answers.
    """

    def __init__(self, addresses: Sequence[str], timeout: float | None = 10.0, *, follow_leader: bool = True) -> None:
        self._book = AddressBook(addresses, Random())
        self._call_timeout_s = timeout
        self._follow_leader = follow_leader
        self._pid = 0
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Begin to connect; waits for nobody. A client starts once."""
        if self._pid or self._closed:
            raise RuntimeError("a Client starts once: make another one")
        self._pid = os.getpid()
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._deadlines: Deadlines[Call] = Deadlines(self._loop, self._on_due)
        self._conversation = Conversation(self._deadlines.open)
        self._line = Line(self._book, self._conversation, follow_leader=self._follow_leader)
        self._task = self._loop.create_task(self._line.run(), name="paxospp client")

    async def close(self) -> None:
        """End the calls under way, each with the error that tells what may have become of it; may come twice."""
        if not self._pid:
            self._closed = True
        if self._closed:
            return
        self._check_place()
        self._closed = True
        self._ended.set_result(None)
        self._deadlines.close()
        for call in list(self._deadlines.open):
            self._give_up(call, "the client was closed")
        self._task.cancel()
        await asyncio.wait([self._task])

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    # Calls.

    def _execute(self, payload: bytes, timeout_s: float | None) -> Awaitable[bytes]:
        loop = self._loop_for(payload)
        now = loop.time()
        deadline = math.inf if timeout_s is None else now + timeout_s
        call: Call = loop.create_future()
        self._conversation.add_command(call, payload, now)
        self._deadlines.add_until(call, deadline)
        if not self._line.is_awake:
            self._line.wake()
        return call

    def _query(self, request: bytes, consistency: Consistency, timeout_s: float | None) -> Awaitable[bytes]:
        loop = self._loop_for(request)
        deadline = math.inf if timeout_s is None else loop.time() + timeout_s
        call: Call = loop.create_future()
        self._conversation.add_query(call, request, consistency, deadline)
        self._deadlines.add_until(call, deadline)
        if not self._line.is_awake:
            self._line.wake()
        return call

    def _abandon(self, call: Awaitable[bytes]) -> None:
        call = cast("Call", call)
        if self._deadlines.open.pop(call, None) is not None:  # else it was answered, or its deadline came
            self._conversation.give_up(call)

    # Streams of their own.

    def watch(self, start: int | None = None) -> AsyncGenerator[Change, None]:
        """Every command that took effect, from slot ``start`` on, as some node has applied it; without end.

        It goes on at another node when one is lost, without gaps or repetitions, and waits while none
        is there. As ``Node.watch`` otherwise. The stream is one of its own; leave it with ``aclose()``.

        Raises, from the iteration:
            TrimmedError: every node's log begins later, the earliest at its ``first``.
        """
        self._check_place()
        book = AddressBook(self._book.known, Random())
        return Feed(book, start, self._conversation.cluster_id, self._ended).changes()

    async def snapshot_stream(self) -> tuple[int, AsyncGenerator[bytes, None]]:
        """The state of some node's machine; see ``Node.snapshot_stream``.

        Raises:
            UnavailableError: no node gives one in time; or, from the chunks, the stream was cut off.
        """
        self._check_place()
        return await open_snapshot(AddressBook(self._book.known, Random()), self._call_timeout_s)

    def _loop_for(self, payload: bytes) -> asyncio.AbstractEventLoop:
        """The loop, once it is clear that a call works from here; refuses what would hang, and what is too much."""
        loop = self._loop
        try:
            is_here = asyncio.get_running_loop() is loop
        except RuntimeError:
            is_here = False
        if self._closed or loop is None or not is_here:
            self._check_place()
        assert loop is not None
        count = len(self._deadlines.open)
        if count >= CALLS_MAX:
            raise OverloadedError(f"{count} calls are under way in this client, which is as much as it takes")
        if self._has_no_room(payload):
            self._conversation.want_room(loop.time())
            self._line.look_in_time()
            if self._has_no_room(payload):
                held = self._conversation.held_bytes
                raise OverloadedError(f"{held} bytes are not answered in this client, which is as much as it takes")
        return loop

    def _has_no_room(self, payload: bytes) -> bool:
        return self._conversation.held_bytes + len(payload) > BYTES_MAX

    def _on_due(self, call: Call) -> None:
        elsewhere = self._book.elsewhere
        why = f"no answer in time from {', '.join(self._book.known)}"
        self._give_up(call, f"{why}; {elsewhere}" if elsewhere else why)

    def _give_up(self, call: Call, why: str) -> None:
        if not call.done():
            error = self._conversation.give_up(call)
            call.set_exception(type(error)(f"{why}; {error}"))

    def _check_place(self) -> None:
        if self._closed:
            raise RuntimeError("this Client is closed: make another one")
        if not self._pid:
            raise RuntimeError("this Client is not started: write `async with Client(…) as client:`")
        try:
            if asyncio.get_running_loop() is self._loop:
                return  # and this is the process that started it: a forked one runs no loop, or another one
        except RuntimeError:
            if self._pid == os.getpid():
                raise
        if self._pid != os.getpid():
            raise RuntimeError("this Client was started before a fork: make another one in the child process")
        raise RuntimeError("a Client lives in the loop that started it; paxospp.sync.Client may be shared by threads")
