"""The client's end of a Call stream: open it, send requests, read responses, close it.

An object is one stream and is opened once. When the stream is lost, the client decides what to do next and what to
send again. A writer task sends everything that was queued while the previous frame was being written. A reader task
reads the next frame when all responses of the previous frame have been taken. Only these two tasks use the gRPC call:
gRPC cancels a call whose read or write is cancelled, and the client's own tasks may be cancelled at any time.
``converse`` gives both tasks callbacks, so that neither has to wake a third task.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TypeAlias

import grpc.aio
from google.protobuf.message import DecodeError

from paxospp.rpc.channel import CALL, CLIENT_CHANNEL, FRAME_BYTES_MAX, close_channel, open_channel
from paxospp.rpc.outbox import Outbox
from paxospp.wire.fields import repeated
from paxospp.wire.v1 import client_pb2 as pb

CLOSE_TIMEOUT_S = 0.1
"""How long ``close`` waits for the node to end the stream before it cancels the call."""

_REQUESTS_TAG = b"\x0a"
"""Field 1 of ClientServiceCallRequest, length-delimited."""

_Call: TypeAlias = "grpc.aio.StreamStreamCall[bytes, bytes]"


class CallStream:
    """One pipelined stream to the node at ``address``; for one event loop and one reader at a time."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._outbox: Outbox[bytes] = Outbox()
        self._received: deque[pb.CallResponse] = deque()
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self._failure: Exception | None = None
        self._requests: Callable[[], Iterable[pb.CallRequest]] | None = None
        self._on_response: Callable[[pb.CallResponse], None] | None = None
        self._over: asyncio.Future[None] | None = None
        self._answered = False  # the node has sent something
        self._lost = False  # nothing more can be written
        self._ended = False  # nothing more will be read
        self._closed = False
        self._channel: grpc.aio.Channel | None = None
        self._call: _Call | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, timeout_s: float | None = None) -> pb.Greeting:
        """Connect, ask for the node's greeting and return it.

        Raises:
            ConnectionError: nothing listens there, or it is not a paxospp node.
            TimeoutError: no greeting within ``timeout_s`` seconds.
        """
        assert self._call is None, "a CallStream is opened once"
        if self._closed:
            raise ConnectionError(f"{self.address}: the stream was closed")
        self._channel = open_channel(self.address, CLIENT_CHANNEL)
        call: _Call = self._channel.stream_stream(CALL)()
        self._call = call
        self.send(pb.CallRequest(open_session=pb.OpenSession()))
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._write(call), name=f"paxospp requests to {self.address}"),
            loop.create_task(self._read(call), name=f"paxospp responses from {self.address}"),
        ]
        early: deque[pb.CallResponse] = deque()  # responses before the greeting, to be read later
        async with asyncio.timeout(timeout_s):
            async for response in self:
                if response.WhichOneof("response") == "greeting":
                    self._received.extendleft(reversed(early))
                    return response.greeting
                early.append(response)
        raise ConnectionError(f"{self.address} ended the stream before its greeting")

    def send(self, request: pb.CallRequest | bytes) -> None:
        """Queue a request, or the bytes of one; do nothing if the stream is lost.

        Requests queued while a frame is being written go into the next frame together.
        """
        if self._lost:
            return
        body = request if isinstance(request, bytes) else request.SerializeToString()
        self._outbox.put(body, len(body))

    async def converse(
        self,
        requests: Callable[[], Iterable[pb.CallRequest]],
        on_response: Callable[[pb.CallResponse], None],
    ) -> None:
        """Write what ``requests`` returns and pass every response to ``on_response`` until the stream ends.

        ``requests`` is called after every write and after every ``wake``. Other tasks of the event loop run between
        two responses, so that the requests that follow from the first are sent before the second is processed; at
        full load, half of the client's work then overlaps with the nodes' work. Cancel this coroutine to stop
        earlier; the stream still has to be closed afterwards.

        Raises:
            ConnectionError: the stream is lost.
            Exception: whatever either callback raised.
        """
        assert self._requests is None, "converse() is already running"
        self._over = asyncio.get_running_loop().create_future()
        self._requests, self._on_response = requests, on_response
        try:
            while self._received:
                on_response(self._received.popleft())
            self._taken.set()
            self._outbox.wake()
            if not self._ended:
                await self._over
        finally:
            self._requests = self._on_response = None
        if self._failure is not None and not self._closed:
            raise self._failure

    def wake(self) -> None:
        """Make ``converse`` call its ``requests`` soon."""
        self._outbox.wake()

    def __aiter__(self) -> CallStream:
        """Iterate over responses as they arrive, until either side ends the stream.

        Raises:
            ConnectionError: the stream is lost.
        """
        return self

    async def __anext__(self) -> pb.CallResponse:
        received = self._received
        while not received:
            if self._ended:
                if self._failure is not None and not self._closed:
                    raise self._failure
                raise StopAsyncIteration
            self._taken.set()
            await self._arrived.wait()
        response = received.popleft()
        if not received and not self._ended:
            self._arrived.clear()
            self._taken.set()
        return response

    async def close(self) -> None:
        """End the stream and close its connection; queued requests may still be sent. May be called twice."""
        channel, self._channel = self._channel, None
        call, self._call = self._call, None
        self._closed = True
        if channel is None or call is None:
            return
        await self._end_gracefully(call)
        # gRPC keeps the connection of a closed channel open while anything refers to its call. A cancelled
        # task does, through the frames of its exception, so forget the tasks too.
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        tasks.clear()
        await close_channel(channel, call)

    async def __aenter__(self) -> CallStream:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _end_gracefully(self, call: _Call) -> None:
        # A cancelled call leaves a gRPC task in the loop for a moment; a call that the node ends does not.
        if not self._answered:
            return
        self._taken.set()
        with contextlib.suppress(TimeoutError, asyncio.InvalidStateError, grpc.aio.AioRpcError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._outbox.emptied()
                await call.done_writing()
                await asyncio.wait(self._tasks[1:])

    async def _write(self, call: _Call) -> None:
        outbox = self._outbox
        try:
            while True:
                if self._requests is not None and not outbox:
                    for request in self._requests():
                        self.send(request)
                bodies = await outbox.next(FRAME_BYTES_MAX)
                if bodies:
                    await call.write(repeated(_REQUESTS_TAG, bodies))
                    outbox.written()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the reader gets the reason
        except Exception as error:
            self._end(error)
        finally:
            self._lost = True
            outbox.clear()

    async def _read(self, call: _Call) -> None:
        try:
            while isinstance(data := await call.read(), bytes):  # else it is EOF
                self._answered = True
                if self._closed:
                    continue
                responses = deque(pb.ClientServiceCallResponse.FromString(data).responses)
                while responses and self._on_response is not None:
                    self._on_response(responses.popleft())
                    if responses:
                        await asyncio.sleep(0)
                if responses:
                    self._taken.clear()
                    self._received.extend(responses)
                    self._arrived.set()
                    await self._taken.wait()
            self._end(None)
        except grpc.aio.AioRpcError as error:
            self._end(ConnectionError(f"{self.address}: {error.details()}"))
        except DecodeError:
            self._end(ConnectionError(f"{self.address} does not answer like a paxospp node"))
        except asyncio.InvalidStateError as error:
            self._end(ConnectionError(f"{self.address}: {error}"))
        except Exception as error:
            self._end(error)
        finally:
            self._ended = True  # also when this task is cancelled
            self._arrived.set()

    def _end(self, failure: Exception | None) -> None:
        """Record that nothing more will be read, and the first ``failure`` if there is one."""
        self._ended = True
        if self._failure is None:
            self._failure = failure
        self._arrived.set()
        if self._over is not None and not self._over.done():
            self._over.set_result(None)
