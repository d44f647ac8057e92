"""The node's end of one client's stream: it reads requests and sends answers, in any order.

It decodes requests and ends the stream on a malformed one; the ``CallHandler`` knows what runs and queries mean.
One writer sends all queued answers in one gRPC message. If a client does not read its answers, the node stops
reading its requests.
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
"""The node stops reading a client's requests while more bytes of answers than this wait for it."""

_RESPONSES_TAG = b"\x0a"
"""Field 1 of ClientServiceCallResponse, length-delimited."""

_log = logging.getLogger("paxospp.rpc")

_CONSISTENCIES = frozenset(
    (pb.CONSISTENCY_LINEARIZABLE, pb.CONSISTENCY_LOCAL, pb.CONSISTENCY_LEASE, pb.CONSISTENCY_BOUNDED)
)


class MalformedRequestError(ValueError):
    """A client sent an invalid request; its stream ends with INVALID_ARGUMENT and this text."""


class CallHandler(Protocol):
    """Handles the requests of clients' streams; every method is called on the server's event loop.

    ``on_run`` and ``on_queries`` may return an awaitable: the stream is not read further until it is done, which
    is how an overloaded node slows its clients down. They and ``greeting`` may raise ``MalformedRequestError``
    or ``CorruptedError`` to end the stream.
    """

    def greeting(self) -> pb.Greeting: ...

    def on_connect(self, connection: ClientConnection) -> None: ...

    def on_run(self, connection: ClientConnection, run: bytes) -> Awaitable[None] | None: ...

    def on_queries(self, connection: ClientConnection, queries: pb.Queries) -> Awaitable[None] | None: ...

    def on_disconnect(self, connection: ClientConnection) -> None:
        """Note that the stream has ended; later answers to it are discarded."""
        ...


class ClientConnection:
    """One client's stream. Compares by identity, so it can be a dict key."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        """The client's address, for logs."""
        self.closed = False
        self._outbox: Outbox[bytes] = Outbox()
        self._drained = asyncio.Event()
        self._drained.set()

    def answer(self, response: pb.CallResponse | bytes) -> None:
        """Queue a response, or the bytes of one, without waiting; do nothing if the stream has ended."""
        if self.closed:
            return
        body = response if isinstance(response, bytes) else response.SerializeToString()
        self._outbox.put(body, len(body))
        if self._outbox.bytes > UNREAD_BYTES_MAX:
            self._drained.clear()

    async def answered(self) -> None:
        """Wait until every queued answer was handed to the transport."""
        await self._outbox.emptied()

    # Run by the server:

    async def read_all(self, context: grpc.aio.ServicerContext[bytes, bytes], handler: CallHandler) -> None:
        """Pass every request to ``handler`` until the client ends its side of the stream.

        Raises:
            MalformedRequestError: a request is invalid.
        """
        while (data := await read_frame(context)) is not None:
            try:
                requests = pb.ClientServiceCallRequest.FromString(data).requests
            except DecodeError as error:
                raise MalformedRequestError("the bytes are not a call request") from error
            for request in requests:
                waiting = self._hand_over(request, handler)
                if waiting is not None:
                    await waiting
            await self._drained.wait()

    async def write_all(self, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        """Write answers as they are queued, until cancelled or the stream is lost."""
        try:
            while True:
                bodies = await self._outbox.next(FRAME_BYTES_MAX)
                await context.write(repeated(_RESPONSES_TAG, bodies))
                self._outbox.written()
                if self._outbox.bytes <= UNREAD_BYTES_MAX:
                    self._drained.set()
        except Exception as error:
            # gRPC raises several exception types, some private, when the client has disconnected; the reader ends too.
            _log.debug("no more answers to %s: %s", self.peer, error)
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
                    raise MalformedRequestError(
                        f"this version does not know the consistency {queries.consistency} of a query"
                    )
                if not 0 <= queries.timeout_s < math.inf:
                    raise MalformedRequestError(f"timeout_s={queries.timeout_s} of a query must be 0 or more seconds")
                if not 0 <= queries.bound_s < math.inf:
                    raise MalformedRequestError(f"bound_s={queries.bound_s} of a query must be 0 or more seconds")
                return handler.on_queries(self, queries)
            case "open_session":
                self.answer(pb.CallResponse(greeting=handler.greeting()))
                return None
            case _:
                raise MalformedRequestError("this version does not know this kind of request")
