"""The one stream a client has: whom it goes to, when it is given up, what follows it.

A single task connects, has the stream draw on the conversation, and looks for the next one
when the stream ends, when nothing of what was sent is answered for too long, or when another
node is named as leader and can be reached from here. The stream to the leader is opened before
the old one is let go, so a hint that leads nowhere costs nothing. What is to be said, and to be
said again, is the conversation's affair.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from typing import Any

from paxospp.client.addresses import AddressBook
from paxospp.client.conversation import Conversation
from paxospp.rpc.calling import CallStream
from paxospp.wire.v1 import client_pb2 as wire

CONNECT_TIMEOUT_S = 1.0

_log = logging.getLogger("paxospp.client")


class _Stream:
    """A greeted stream: to which node, and whom that node takes for the leader."""

    def __init__(self, calls: CallStream, address: str, greeting: wire.Greeting, leader: wire.Leader) -> None:
        self.calls = calls
        self.address = address
        self.greeting = greeting
        self.node = greeting.node
        self.leader = leader


class Line:
    """Keeps one stream open for ``conversation``, to the leader where that can be had."""

    def __init__(self, book: AddressBook, conversation: Conversation, *, follow_leader: bool) -> None:
        self._book = book
        self._conversation = conversation
        self._follow_leader = follow_leader
        self._loop = asyncio.get_running_loop()
        self._stream: _Stream | None = None
        """The one that converses."""
        self.is_awake = False
        """Whether what was brought is about to be said."""
        self._look: asyncio.Future[None] = self._loop.create_future()
        self._look_at = math.inf
        self._let_go_of: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """Something is to be said; calls made in one turn of the loop leave together."""
        if self._stream is not None:
            self.is_awake = True
            self._stream.calls.wake()

    async def run(self) -> None:
        """Until cancelled."""
        stream: _Stream | None = None
        left = ""
        try:
            while True:
                if stream is None:
                    stream = await self._connect(left)
                ended, stream = stream, None
                try:
                    stream = await self._converse(ended)
                finally:
                    self._let_go(ended.calls)
                if stream is None:
                    left = ended.address
                    self._book.not_reached(left, self._loop.time())
        finally:
            if stream is not None:
                self._let_go(stream.calls)
            if self._let_go_of:
                await asyncio.wait(self._let_go_of)

    def _let_go(self, calls: CallStream) -> None:
        """Close it, and do not wait: a node that hangs takes its time, and others wait to be asked."""
        task = self._loop.create_task(calls.close(), name=f"paxospp client closes {calls.address}")
        self._let_go_of.add(task)
        task.add_done_callback(self._let_go_of.discard)

    # Connecting.

    async def _connect(self, left: str) -> _Stream:
        """A stream to whoever answers first in turn, or to the leader that one names.

        Whoever was just ``left`` for its silence is passed over once: it may take streams all the same.
        """
        while True:
            await asyncio.sleep(self._book.rest_s())
            address, left = self._book.next(left), ""
            stream = await self._open(address)
            if stream is None:
                continue
            try:
                leader = await self._open_leader(stream)
            except BaseException:
                self._let_go(stream.calls)
                raise
            if leader is None:
                return stream
            self._let_go(stream.calls)
            return leader

    async def _open_leader(self, stream: _Stream) -> _Stream | None:
        """The stream to prefer to this fresh one, if its node names a leader that is to be had."""
        if self._may_follow_at(stream) > self._loop.time():
            return None
        leader = await self._open(stream.leader.address)
        if leader is not None:
            self._book.followed(self._loop.time())
        return leader

    async def _open(self, address: str) -> _Stream | None:
        """A greeted stream to ``address``; None, and a note in the book, if there is none to be had."""
        calls = CallStream(address)
        try:
            greeting = await calls.open(CONNECT_TIMEOUT_S)
        except BaseException as error:
            self._let_go(calls)
            if not isinstance(error, Exception):
                raise
            if not isinstance(error, OSError):
                _log.exception("connecting to %s ended with a bug of ours", address)
            _log.debug("%s cannot be reached: %s", address, error)
            self._book.not_reached(address, self._loop.time())
            return None
        if not self._conversation.is_of_this_cluster(greeting):
            self._let_go(calls)
            self._leave_alone(address, greeting)
            return None
        self._book.reached(address)
        return _Stream(calls, address, greeting, self._learn(greeting.leader))

    def _leave_alone(self, address: str, greeting: wire.Greeting) -> None:
        """It answers, and not for the cluster that this client talked to."""
        now = self._loop.time()
        if not greeting.cluster_id:
            _log.debug("%s belongs to no cluster yet", address)
            self._book.not_reached(address, now)
            return
        if self._book.is_elsewhere(address, now):
            _log.warning("%s belongs to another cluster than the nodes this client talked to: left alone", address)
        if self._book.all_elsewhere:
            self._conversation.refuse_unsent(f"{self._book.elsewhere}: make another client to talk to that one")

    def _learn(self, leader: wire.Leader) -> wire.Leader:
        """The leader, where this client would reach it."""
        found = wire.Leader(node=leader.node, address=self._book.of_node(leader.node, leader.address))
        if self._follow_leader and found.address:
            self._book.learn(found.address)
        return found

    def _may_follow_at(self, stream: _Stream) -> float:
        """From when on the stream may be left for one to the leader that its node names."""
        leader = stream.leader
        if not self._follow_leader or not leader.address or leader.node == stream.node:
            return math.inf
        return self._book.may_follow_at(leader.address)

    # Conversing.

    async def _converse(self, stream: _Stream) -> _Stream | None:
        """Until the stream ends or is given up; the stream to go on with, if there is one already."""
        conversation = self._conversation
        conversation.on_stream(stream.greeting, self._loop.time())
        self._stream = stream
        self.is_awake = True
        talk = self._loop.create_task(stream.calls.converse(self._requests, self._on_response))
        move: asyncio.Task[_Stream | None] | None = None
        try:
            while not talk.done():
                now = self._loop.time()
                if conversation.loses_patience_at() <= now:
                    _log.debug("%s does not answer", stream.address)
                    conversation.lost_patience()
                    return None
                if conversation.ask_again_at <= now:
                    conversation.ask_again()
                    self.wake()
                if move is not None and move.done():
                    leader, move = move.result(), None
                    if leader is not None and leader.address == stream.leader.address:
                        self._book.followed(now)
                        return leader
                    if leader is not None:  # somebody else was named meanwhile
                        self._let_go(leader.calls)
                    conversation.say_again()
                    self.wake()
                follow_at = math.inf if move is not None else self._may_follow_at(stream)
                if follow_at <= now:
                    move = self._loop.create_task(self._open(stream.leader.address))
                    follow_at = math.inf
                self._look_at = min(follow_at, conversation.loses_patience_at(), conversation.ask_again_at)
                self._look = self._loop.create_future()
                awaited: set[asyncio.Future[Any]] = {talk, self._look}
                if move is not None:
                    awaited.add(move)
                timeout = None if self._look_at == math.inf else max(0.0, self._look_at - now)
                await asyncio.wait(awaited, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            return None
        finally:
            self._stream = None
            self.is_awake = False
            talk.cancel()
            if move is not None:
                move.cancel()
            (end,) = await asyncio.gather(talk, return_exceptions=True)
            if isinstance(end, Exception) and not isinstance(end, ConnectionError):
                _log.error("the stream to %s ended with a bug of ours", stream.address, exc_info=end)
            if move is not None:
                await asyncio.wait([move])
                if not move.cancelled() and not move.exception() and (unused := move.result()) is not None:
                    self._let_go(unused.calls)

    def _requests(self) -> Sequence[wire.CallRequest]:
        """What to write now. What is called while it is written goes into the next run: runs grow with the load."""
        self.is_awake = False
        requests = self._conversation.requests(self._loop.time())
        # Also when nothing may be said: to wait for a node that knows no leader has an end too.
        self.look_in_time()
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
        self.look_in_time()

    def _on_leader(self, stream: _Stream, leader: wire.Leader) -> None:
        changed = leader.node != stream.leader.node
        stream.leader = leader = self._learn(leader)
        self._conversation.on_leader(leader)
        if changed and leader.node and self._may_follow_at(stream) > self._loop.time():
            # Whoever led before may have dropped what it had in hand. (Who moves to the new leader
            # says it all again there.)
            self._conversation.say_again()
        self._look_now()

    def look_in_time(self) -> None:
        """Have the watch set anew if something is due before the time it is set for."""
        conversation = self._conversation
        if min(conversation.loses_patience_at(), conversation.ask_again_at) < self._look_at:
            self._look_now()

    def _look_now(self) -> None:
        if not self._look.done():
            self._look.set_result(None)
