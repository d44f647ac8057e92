"""One link: the stream from this node to one peer, and the messages queued for it.

A single task connects, writes frames while the stream is open, and connects again. Paxos tolerates message loss, so
messages that are queued when a stream or an attempt to connect ends are dropped, and so is a message that does not fit
the queue. Dropping the *newest* messages keeps a prefix in slot order, which a follower can apply; the leader sends
the rest again.

Heartbeats have a queue of their own, so they always fit. They go at the end of the next frame: they overtake only a
backlog of more than one frame, and a follower does not learn of a decision before it gets the value.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from random import Random

import grpc.aio

from paxospp.messages import Heartbeat, HeartbeatAnswer, Message
from paxospp.rpc.channel import FRAME_BYTES_MAX, GRPC_MESSAGE_BYTES_MAX, LINK, PEER_CHANNEL, close_channel, open_channel
from paxospp.rpc.outbox import Outbox
from paxospp.wire.frames import size_of

RECONNECT_MIN_S = 0.05
HEARTBEATS_MAX = 64
MESSAGE_BYTES_MAX = GRPC_MESSAGE_BYTES_MAX - (64 << 10)

_log = logging.getLogger("paxospp.rpc")


class Link:
    """A link to ``address``. Constructing it needs a running event loop and starts to connect."""

    def __init__(
        self,
        name: str,
        address: str,
        *,
        encode: Callable[[Sequence[Message]], bytes],
        on_dropped: Callable[[int], None],
        queue_bytes_max: int,
        reconnect_max_s: float,
        random: Random,
    ) -> None:
        self.address = address
        self.connected = False
        self._name = name
        self._encode = encode
        self._on_dropped = on_dropped
        self._queue_bytes_max = queue_bytes_max
        self._reconnect_max_s = reconnect_max_s
        self._random = random
        self._outbox: Outbox[Message] = Outbox()
        self._heartbeats: deque[Message] = deque(maxlen=HEARTBEATS_MAX)
        loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = loop.create_task(self._run(), name=f"paxospp link to {name}")

    def send(self, message: Message) -> None:
        """Queue ``message`` without waiting, or drop it if it does not fit."""
        if isinstance(message, (Heartbeat, HeartbeatAnswer)):
            if len(self._heartbeats) == HEARTBEATS_MAX:
                self._on_dropped(1)
            self._heartbeats.append(message)
            self._outbox.wake()
            return
        size = size_of(message)
        outbox = self._outbox
        if (outbox.bytes and outbox.bytes + size > self._queue_bytes_max) or size > MESSAGE_BYTES_MAX:
            self._on_dropped(1)
            return
        outbox.put(message, size)

    async def close(self) -> None:
        """Close the link for good; queued messages are dropped."""
        # Drop the reference to the task: it keeps the exception that cancelled it, and with its traceback the stack
        # frames, which refer to the gRPC call. gRPC keeps the connection open as long as anything refers to the call.
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        pause_s = RECONNECT_MIN_S
        while True:
            reached = await self._serve_stream()
            if reached:
                pause_s = RECONNECT_MIN_S
            await asyncio.sleep(pause_s * self._random.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, self._reconnect_max_s)

    async def _serve_stream(self) -> bool:
        """Open one stream and write to it until it ends; return whether the peer was reached."""
        channel = open_channel(self.address, PEER_CHANNEL)
        call: grpc.aio.StreamUnaryCall[bytes, bytes] = channel.stream_unary(LINK)()
        reached = False
        try:
            call.add_done_callback(lambda _: self._outbox.wake())
            await call.wait_for_connection()
            reached = self.connected = True
            _log.info("%s: link to %s open", self._name, self.address)
            await self._write(call)
            await call
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError) as error:
            reason = error.details() if isinstance(error, grpc.aio.AioRpcError) else error
            _log.log(logging.INFO if reached else logging.DEBUG, "%s: no link: %s", self._name, reason)
        except asyncio.CancelledError:
            if _is_task_cancelled():
                raise
            # gRPC raises this for a call that it cancelled itself; this task was not cancelled and connects again.
            _log.info("%s: link cancelled by gRPC", self._name)
        finally:
            self.connected = False
            self._drop_all()
            await close_channel(channel, call)
        return reached

    async def _write(self, call: grpc.aio.StreamUnaryCall[bytes, bytes]) -> None:
        while not call.done():
            messages = await self._outbox.next(FRAME_BYTES_MAX)
            messages += self._heartbeats
            self._heartbeats.clear()
            if not messages:
                continue
            try:
                frame = self._encode(messages)
            except Exception:
                # A message that cannot be encoded is a bug in this package; do not end the link because of it.
                _log.exception("%s: %d messages dropped because they cannot be encoded", self._name, len(messages))
                self._on_dropped(len(messages))
                self._outbox.written()
                continue
            await call.write(frame)
            self._outbox.written()

    def _drop_all(self) -> None:
        dropped = self._outbox.clear() + len(self._heartbeats)
        self._heartbeats.clear()
        if dropped:
            self._on_dropped(dropped)


def _is_task_cancelled() -> bool:
    # A separate function, so that `_serve_stream` has no local variable for its own task. The task keeps the exception
    # that ends it, and the exception's traceback keeps the local variables of `_serve_stream`. With the task among
    # them this is a cycle, which would keep the gRPC call and its connection until the garbage collector runs.
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
