"""One client's stream, seen from the node: requests in, answers out, in any order.

Decodes what a client sent and refuses what no client of ours would send by ending that stream;
what a run or a query means is for the ``CallHandler``. One writer drains all answers that
queued into one gRPC message. A client that does not read its answers is not read either.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable
from typing import Protocol

import grpc.aio
from google.protobuf.message import DecodeError

from paxospp.rpc.channel import FRAME_BYTES_MAX, read_frame
from paxospp.rpc.outbox import Outbox
from paxospp.wire.fields import repeated
from paxospp.wire.v1 import client_pb2 as pb

UNREAD_BYTES_MAX = 8 << 20
"""How many bytes of answers may wait for a client before nothing more is read from it."""

_RESPONSES_TAG = b"\x0a"
"""Field 1 of ClientServiceCallResponse, length-delimited."""

_log = logging.getLogger("paxospp.rpc")

_CONSISTENCIES = frozenset(
    (pb.CONSISTENCY_LINEARIZABLE, pb.CONSISTENCY_LOCAL, pb.CONSISTENCY_LEASE, pb.CONSISTENCY_BOUNDED)
)


class MalformedRequestError(ValueError):
    """A client sent what cannot be; its stream is ended with INVALID_ARGUMENT and this text."""


class CallHandler(Protocol):
    """What the node does with its clients' streams; everything is called on the server's loop.

    ``on_run`` and ``on_queries`` may return an awaitable, and nothing more is read from this
    stream before it is done: that is how an overloaded node pushes back. They, and ``greeting``,
    may raise ``MalformedRequestError`` or ``CorruptedError`` to end the stream.
    """

    def greeting(self) -> pb.Greeting: ...

    def on_connect(self, connection: ClientConnection) -> None: ...

    def on_run(self, connection: ClientConnection, run: bytes) -> Awaitable[None] | None: ...

    def on_queries(self, connection: ClientConnection, queries: pb.Queries) -> Awaitable[None] | None: ...

    def on_disconnect(self, connection: ClientConnection) -> None:
        """The stream ended; what is answered from now on goes nowhere."""
        ...


class ClientConnection:
    """One stream; equal only to itself, so it may be a key."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        """The client's address, to be shown."""
        self.closed = False
        self._outbox: Outbox[bytes] = Outbox()
        self._drained = asyncio.Event()
        self._drained.set()

    def answer(self, response: pb.CallResponse | bytes) -> None:
        """Queue a response, or the bytes of one; never waits, and does nothing once the stream ended."""
        if self.closed:
            return
        body = response if isinstance(response, bytes) else response.SerializeToString()
        self._outbox.put(body, len(body))
        if self._outbox.bytes > UNREAD_BYTES_MAX:
            self._drained.clear()

    async def answered(self) -> None:
        """Wait until everything queued was handed to the transport."""
        await self._outbox.emptied()

    # What the server runs.

    async def read_all(self, context: grpc.aio.ServicerContext[bytes, bytes], handler: CallHandler) -> None:
        """Hand every request to ``handler`` until the client ends its side; raises MalformedRequestError."""
        while (data := await read_frame(context)) is not None:
            try:
                requests = pb.ClientServiceCallRequest.FromString(data).requests
            except DecodeError as error:
                raise MalformedRequestError("not a request") from error
            for request in requests:
                waiting = self._hand_over(request, handler)
                if waiting is not None:
                    await waiting
            await self._drained.wait()

    async def write_all(self, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        """Write answers as they come, until cancelled or the stream is gone."""
        try:
            while True:
                bodies = await self._outbox.next(FRAME_BYTES_MAX)
                await context.write(repeated(_RESPONSES_TAG, bodies))
                self._outbox.written()
                if self._outbox.bytes <= UNREAD_BYTES_MAX:
                    self._drained.set()
        except Exception as error:
            # gRPC raises half a dozen kinds, private ones among them, when the client has gone; the reader ends too.
            _log.debug("answers to %s end: %s", self.peer, error)
        finally:
            self.closed = True
            self._outbox.clear()

    def _hand_over(self, request: pb.CallRequest, handler: CallHandler) -> Awaitable[None] | None:
        match request.WhichOneof("request"):
            case "run":
                return handler.on_run(self, request.run)
            case "queries":
                queries = request.queries
                if queries.consistency not in _CONSISTENCIES:
                    raise MalformedRequestError("a query names no consistency that this version knows")
                if not 0 <= queries.timeout_s < math.inf:
                    raise MalformedRequestError("a query's timeout_s is no time")
                if not 0 <= queries.bound_s < math.inf:
                    raise MalformedRequestError("a query's bound_s is no time")
                return handler.on_queries(self, queries)
            case "open_session":
                self.answer(pb.CallResponse(greeting=handler.greeting()))
                return None
            case _:
                raise MalformedRequestError("a request of a kind that this version does not know")
