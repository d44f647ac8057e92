"""The client's end of a Call stream: open it, send requests, read responses, close it.

One stream per object, never opened again: what to do when it is lost, and what to send anew, is
the client's decision. A writer sends all that queued while the last frame was on its way; a
reader fetches the next frame once the responses of the last one were taken. Only these two
tasks touch the call, because gRPC cancels a call whose read or write is cancelled, and whoever
waits for a response may be. Who converses lends both tasks his own hands (``converse``): no task
of his has to be woken for what one of these could do itself.
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

from paxospp.rpc.channel import CALL, CLIENT_CHANNEL, FRAME_BYTES_MAX, hang_up, open_channel
from paxospp.rpc.outbox import Outbox
from paxospp.wire.fields import repeated
from paxospp.wire.v1 import client_pb2 as pb

GOODBYE_S = 0.1

_REQUESTS_TAG = b"\x0a"
"""Field 1 of ClientServiceCallRequest, length-delimited."""

_Call: TypeAlias = "grpc.aio.StreamStreamCall[bytes, bytes]"


class CallStream:
    """One pipelined stream to the node at ``address``. For one loop, and one reader at a time."""

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
        self._heard = False  # the node answered
        self._lost = False  # nothing more can be written
        self._ended = False  # nothing more will be read
        self._closed = False
        self._channel: grpc.aio.Channel | None = None
        self._call: _Call | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, timeout_s: float | None = None) -> pb.Greeting:
        """Connect and ask for the greeting, with which a session begins.

        Raises:
            ConnectionError: nobody answers there, or not as a node does.
            TimeoutError: not within ``timeout_s``.
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
            loop.create_task(self._read(call), name=f"paxospp responses of {self.address}"),
        ]
        early: deque[pb.CallResponse] = deque()  # what came before the greeting, to be iterated over later
        async with asyncio.timeout(timeout_s):
            async for response in self:
                if response.WhichOneof("response") == "greeting":
                    self._received.extendleft(reversed(early))
                    return response.greeting
                early.append(response)
        raise ConnectionError(f"{self.address} ended the stream before its greeting")

    def send(self, request: pb.CallRequest | bytes) -> None:
        """Queue a request, or the bytes of one; all that queue while one frame is written go with the next."""
        if self._lost:
            return
        body = request if isinstance(request, bytes) else request.SerializeToString()
        self._outbox.put(body, len(body))

    async def sent(self) -> None:
        """Wait until everything queued was handed to the transport.

        Who makes up runs only then makes them as large as the load is high. Returns at once when
        the stream is lost; reading says that it is.
        """
        await self._outbox.emptied()

    async def converse(
        self,
        requests: Callable[[], Iterable[pb.CallRequest]],
        on_response: Callable[[pb.CallResponse], None],
    ) -> None:
        """Write what ``requests`` gives whenever all before is written, and hand over what comes, until the end.

        ``requests`` is asked after every write, and when ``wake`` says that it has something. Between two
        responses the loop gets a turn, so that what the first one leads to is on its way before the second
        is looked at: half of the work of a client at full load goes on beside that of the nodes. To be
        cancelled when somebody has heard enough; the stream is still to be closed then.

        Raises:
            ConnectionError: the stream is lost.
            Exception: what either of the two raised.
        """
        assert self._requests is None, "one conversation at a time"
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
        """There is something in ``requests`` of whoever converses."""
        self._outbox.wake()

    def __aiter__(self) -> CallStream:
        """Responses as they come; ends when either side ends the stream.

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
        """End the stream and its connection; may come twice. What was queued may still be sent."""
        channel, self._channel = self._channel, None
        call, self._call = self._call, None
        self._closed = True
        if channel is None or call is None:
            return
        await self._say_goodbye(call)
        # gRPC keeps the connection of a closed channel for as long as its call is known: to a task
        # that was cancelled too, by the frames of its exception.
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        tasks.clear()
        await hang_up(channel, call)

    async def __aenter__(self) -> CallStream:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _say_goodbye(self, call: _Call) -> None:
        # A call that is cancelled leaves a task of gRPC's in the loop for a moment; one that the node ends does not.
        if not self._heard:
            return
        self._taken.set()
        with contextlib.suppress(TimeoutError, asyncio.InvalidStateError, grpc.aio.AioRpcError):
            async with asyncio.timeout(GOODBYE_S):
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
            pass  # the reader hears why
        except Exception as error:
            self._end(error)
        finally:
            self._lost = True
            outbox.clear()

    async def _read(self, call: _Call) -> None:
        try:
            while isinstance(data := await call.read(), bytes):  # else it is EOF
                self._heard = True
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
            self._end(ConnectionError(f"{self.address} does not answer as a node does"))
        except asyncio.InvalidStateError as error:
            self._end(ConnectionError(f"{self.address}: {error}"))
        except Exception as error:
            self._end(error)
        finally:
            self._ended = True  # also when it is cancelled
            self._arrived.set()

    def _end(self, failure: Exception | None) -> None:
        """Nothing more is read, because of ``failure`` if there is one; the first one counts."""
        self._ended = True
        if self._failure is None:
            self._failure = failure
        self._arrived.set()
        if self._over is not None and not self._over.done():
            self._over.set_result(None)
