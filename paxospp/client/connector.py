"""Keeps the client's one stream open: which node it goes to, when to give it up, what to open next.

A single task opens a stream, exchanges messages on it, and opens the next one when the stream ends, when an answer is
overdue, or when the node names another leader that can be reached from here. The stream to the leader is opened before
the old one is closed, so a hint to an unreachable address costs nothing. The conversation decides what to send.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from typing import Any

from paxospp.client.addresses import AddressBook
from paxospp.client.conversation import Conversation
from paxospp.rpc.call_stream import CallStream
from paxospp.wire.v1 import client_pb2 as wire

CONNECT_TIMEOUT_S = 1.0

_log = logging.getLogger("paxospp.client")


class _GreetedStream:
    """A stream whose node has sent its greeting, and the leader that this node names."""

    def __init__(self, calls: CallStream, address: str, greeting: wire.Greeting, leader: wire.Leader) -> None:
        self.calls = calls
        self.address = address
        self.greeting = greeting
        self.node = greeting.node
        self.leader = leader


class Connector:
    """Keeps one stream open for ``conversation``, to the leader if possible."""

    def __init__(self, book: AddressBook, conversation: Conversation, *, follow_leader: bool) -> None:
        self._book = book
        self._conversation = conversation
        self._follow_leader = follow_leader
        self._loop = asyncio.get_running_loop()
        self._stream: _GreetedStream | None = None
        """The stream in use."""
        self.is_awake = False
        """Whether the stream is about to ask for requests, so that ``wake`` is not needed."""
        self._recheck: asyncio.Future[None] = self._loop.create_future()
        """Done when ``_use`` should check again what is due."""
        self._recheck_at = math.inf
        """When ``_use`` checks again by itself."""
        self._closing: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """Make the stream ask for requests soon; calls made in one iteration of the event loop are sent together."""
        if self._stream is not None:
            self.is_awake = True
            self._stream.calls.wake()

    async def run(self) -> None:
        """Keep a stream open until cancelled."""
        stream: _GreetedStream | None = None
        avoid = ""
        try:
            while True:
                if stream is None:
                    stream = await self._connect(avoid)
                used, stream = stream, None
                try:
                    stream = await self._use(used)
                finally:
                    self._close(used.calls)
                if stream is None:
                    avoid = used.address
                    self._book.not_reached(avoid, self._loop.time())
        finally:
            if stream is not None:
                self._close(stream.calls)
            if self._closing:
                await asyncio.wait(self._closing)

    def _close(self, calls: CallStream) -> None:
        """Close the stream in the background, because a node that hangs takes long to close one."""
        task = self._loop.create_task(calls.close(), name=f"paxospp client closes {calls.address}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    # Opening a stream.

    async def _connect(self, avoid: str) -> _GreetedStream:
        """Return a stream to the next node that answers, or to the leader that this node names.

        The node at ``avoid`` did not answer in time. It is skipped once, because it may still accept streams.
        """
        while True:
            await asyncio.sleep(self._book.pause_s())
            address, avoid = self._book.next(avoid), ""
            stream = await self._open(address)
            if stream is None:
                continue
            try:
                leader = await self._open_leader(stream)
            except BaseException:
                self._close(stream.calls)
                raise
            if leader is None:
                return stream
            self._close(stream.calls)
            return leader

    async def _open_leader(self, stream: _GreetedStream) -> _GreetedStream | None:
        """Return a stream to the leader that the node of ``stream`` names, if there is one to follow and it answers."""
        if self._may_follow_at(stream) > self._loop.time():
            return None
        leader = await self._open(stream.leader.address)
        if leader is not None:
            self._book.followed(self._loop.time())
        return leader

    async def _open(self, address: str) -> _GreetedStream | None:
        """Return a stream to ``address``; None, with the failure noted in the address book, if that fails."""
        calls = CallStream(address)
        try:
            greeting = await calls.open(CONNECT_TIMEOUT_S)
        except BaseException as error:
            self._close(calls)
            if not isinstance(error, Exception):
                raise
            if not isinstance(error, OSError):
                _log.exception("connecting to %s failed because of a bug in paxospp", address)
            _log.debug("%s cannot be reached: %s", address, error)
            self._book.not_reached(address, self._loop.time())
            return None
        if not self._conversation.is_same_cluster(greeting):
            self._close(calls)
            self._on_other_cluster(address, greeting)
            return None
        self._book.reached(address)
        return _GreetedStream(calls, address, greeting, self._learn(greeting.leader))

    def _on_other_cluster(self, address: str, greeting: wire.Greeting) -> None:
        """Note that the node at ``address`` belongs to no cluster yet, or to one this client never talked to."""
        now = self._loop.time()
        if not greeting.cluster_id:
            _log.debug("%s belongs to no cluster yet", address)
            self._book.not_reached(address, now)
            return
        if self._book.found_other_cluster(address, now):
            _log.warning("ignoring %s: it belongs to a different cluster than the nodes this client talked to", address)
        if self._book.all_of_other_cluster:
            self._conversation.refuse_unsent(f"{self._book.other_cluster_note}: to use that cluster, make a new Client")

    def _learn(self, leader: wire.Leader) -> wire.Leader:
        """Return the leader with the address to use from here, and remember that address."""
        found = wire.Leader(node=leader.node, address=self._book.address_of(leader.node, leader.address))
        if self._follow_leader and found.address:
            self._book.learn(found.address)
        return found

    def _may_follow_at(self, stream: _GreetedStream) -> float:
        """Return when the client may move from ``stream`` to the leader that its node names; infinity for never."""
        leader = stream.leader
        if not self._follow_leader or not leader.address or leader.node == stream.node:
            return math.inf
        return self._book.may_follow_at(leader.address)

    # Using a stream.

    async def _use(self, stream: _GreetedStream) -> _GreetedStream | None:
        """Exchange messages on ``stream`` until it ends or is given up; return the next stream if one is open."""
        conversation = self._conversation
        conversation.on_stream(stream.greeting, self._loop.time())
        self._stream = stream
        self.is_awake = True
        exchange = self._loop.create_task(stream.calls.converse(self._requests, self._on_response))
        move: asyncio.Task[_GreetedStream | None] | None = None
        try:
            while not exchange.done():
                now = self._loop.time()
                if conversation.answer_due_at() <= now:
                    _log.debug("%s does not answer", stream.address)
                    conversation.on_answer_overdue()
                    return None
                if conversation.retry_queries_at <= now:
                    conversation.resend_queries()
                    self.wake()
                if move is not None and move.done():
                    leader, move = move.result(), None
                    if leader is not None and leader.address == stream.leader.address:
                        self._book.followed(now)
                        return leader
                    if leader is not None:  # another leader was named in the meantime
                        self._close(leader.calls)
                    conversation.resend_all()
                    self.wake()
                follow_at = math.inf if move is not None else self._may_follow_at(stream)
                if follow_at <= now:
                    move = self._loop.create_task(self._open(stream.leader.address))
                    follow_at = math.inf
                self._recheck_at = min(follow_at, conversation.answer_due_at(), conversation.retry_queries_at)
                self._recheck = self._loop.create_future()
                awaited: set[asyncio.Future[Any]] = {exchange, self._recheck}
                if move is not None:
                    awaited.add(move)
                timeout = None if self._recheck_at == math.inf else max(0.0, self._recheck_at - now)
                await asyncio.wait(awaited, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            return None
        finally:
            self._stream = None
            self.is_awake = False
            exchange.cancel()
            if move is not None:
                move.cancel()
            (end,) = await asyncio.gather(exchange, return_exceptions=True)
            if isinstance(end, Exception) and not isinstance(end, ConnectionError):
                _log.error("the stream to %s failed because of a bug in paxospp", stream.address, exc_info=end)
            if move is not None:
                await asyncio.wait([move])
                if not move.cancelled() and not move.exception() and (unused := move.result()) is not None:
                    self._close(unused.calls)

    def _requests(self) -> Sequence[wire.CallRequest]:
        """Return the requests to write now. Calls made meanwhile go into the next run, so runs grow with the load."""
        self.is_awake = False
        requests = self._conversation.requests(self._loop.time())
        # Even with nothing to write: commands must not wait for ever for this node to find a leader.
        self.recheck_in_time()
        return requests

    def _on_response(self, response: wire.CallResponse) -> None:
        stream = self._stream
        if stream is None:
            return
        if response.HasField("leader"):
            self._on_leader(stream, response.leader)
        else:
            self._conversation.on_response(response, self._loop.time())
        self.wake()
        self.recheck_in_time()

    def _on_leader(self, stream: _GreetedStream, leader: wire.Leader) -> None:
        changed = leader.node != stream.leader.node
        stream.leader = leader = self._learn(leader)
        self._conversation.on_leader(leader)
        if changed and leader.node and self._may_follow_at(stream) > self._loop.time():
            # The former leader may have dropped what was sent. (If the client moves to the new leader,
            # it sends everything again there.)
            self._conversation.resend_all()
        self._recheck_now()

    def recheck_in_time(self) -> None:
        """Make ``_use`` check again now if something is due before its next check."""
        conversation = self._conversation
        if min(conversation.answer_due_at(), conversation.retry_queries_at) < self._recheck_at:
            self._recheck_now()

    def _recheck_now(self) -> None:
        if not self._recheck.done():
            self._recheck.set_result(None)
