"""A started client: its event loop, its open calls and its stream."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Awaitable
from random import Random
from typing import cast

from paxospp.calls import Consistency
from paxospp.client.addresses import AddressBook
from paxospp.client.connector import Connector
from paxospp.client.conversation import Call, Conversation
from paxospp.client.feed import Feed
from paxospp.errors import OverloadedError
from paxospp.rpc.deadlines import Deadlines

CALLS_MAX = 100_000
"""The most calls under way in one client; more are refused."""
BYTES_MAX = 256 << 20
"""The most bytes of arguments of unanswered calls in one client; more are refused."""


class StartedClient:
    """The part of a ``Client`` that exists once it is started. Constructing it needs a running event loop."""

    def __init__(self, book: AddressBook, *, follow_leader: bool) -> None:
        self.loop = asyncio.get_running_loop()
        self.pid = os.getpid()
        self._book = book
        self._closed: asyncio.Future[None] = self.loop.create_future()
        self._deadlines: Deadlines[Call] = Deadlines(self.loop, self._on_due)
        self._conversation = Conversation(self._deadlines.open)
        self._connector = Connector(book, self._conversation, follow_leader=follow_leader)
        self._task = self.loop.create_task(self._connector.run(), name="paxospp client")

    def execute(self, payload: bytes, timeout_s: float | None) -> Call:
        now = self.loop.time()
        self._check_capacity(payload, now)
        call: Call = self.loop.create_future()
        self._conversation.add_command(call, payload, now)
        self._deadlines.add_until(call, math.inf if timeout_s is None else now + timeout_s)
        if not self._connector.is_awake:
            self._connector.wake()
        return call

    def query(self, request: bytes, consistency: Consistency, timeout_s: float | None) -> Call:
        now = self.loop.time()
        self._check_capacity(request, now)
        call: Call = self.loop.create_future()
        deadline = math.inf if timeout_s is None else now + timeout_s
        self._conversation.add_query(call, request, consistency, deadline)
        self._deadlines.add_until(call, deadline)
        if not self._connector.is_awake:
            self._connector.wake()
        return call

    def abandon(self, call: Awaitable[bytes]) -> None:
        """Forget a call whose caller was cancelled; do nothing if it has ended."""
        call = cast("Call", call)
        if self._deadlines.open.pop(call, None) is not None:
            self._conversation.give_up(call)

    def feed(self, start: int | None) -> Feed:
        return Feed(self.addresses(), start, self._conversation.cluster_id, self._closed)

    def addresses(self) -> AddressBook:
        """Return a new address book with every address known so far, for a stream of its own."""
        return AddressBook(self._book.known, Random())

    async def close(self) -> None:
        """End every open call with the error that says whether it may take effect, then close the stream."""
        self._closed.set_result(None)
        self._deadlines.close()
        for call in list(self._deadlines.open):
            self._give_up(call, "the client was closed")
        self._task.cancel()
        await asyncio.wait([self._task])

    def _check_capacity(self, payload: bytes, now: float) -> None:
        """Raise OverloadedError if this client has too many calls under way to take another one."""
        count = len(self._deadlines.open)
        if count >= CALLS_MAX:
            raise OverloadedError(
                f"{count} calls are under way in this client, the most it takes; wait for some of them"
            )
        if self._is_full(payload):
            self._conversation.reclaim_space(now)
            self._connector.recheck_in_time()
            if self._is_full(payload):
                raise OverloadedError(
                    f"{self._conversation.held_bytes} bytes are not answered in this client, and it takes at most "
                    f"{BYTES_MAX}; wait for some calls to be answered"
                )

    def _is_full(self, payload: bytes) -> bool:
        return self._conversation.held_bytes + len(payload) > BYTES_MAX

    def _on_due(self, call: Call) -> None:
        note = self._book.other_cluster_note
        why = f"no answer in time from {', '.join(self._book.known)}"
        self._give_up(call, f"{why}; {note}" if note else why)

    def _give_up(self, call: Call, why: str) -> None:
        if not call.done():
            error = self._conversation.give_up(call)
            call.set_exception(type(error)(f"{why}; {error}"))
