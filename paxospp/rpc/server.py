"""The gRPC server of a node: frames from peers, calls from clients, status, health.

It owns the server and the tasks of its streams, and passes what arrives to callables; it knows neither the node nor the
engine. Invalid input never raises into gRPC's log: at worst, a stream ends with a status that says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol

import grpc.aio
from google.protobuf.message import DecodeError

from paxospp.errors import ConfigError, CorruptedError, PaxosppError
from paxospp.rpc.channel import (
    CLIENT_SERVICE,
    HEALTH_SERVICE,
    PEER_SERVICE,
    SERVER,
    SERVER_STREAMS_MAX,
    read_frame,
    settle,
)
from paxospp.rpc.connection import CallHandler, ClientConnection, MalformedRequestError
from paxospp.rpc.listening import check_listen
from paxospp.wire.v1 import client_pb2 as pb

__all__ = ["CallHandler", "ClientConnection", "FeedHandler", "MalformedRequestError", "Server"]

FLUSH_S = 0.15
"""How long ``close`` waits for queued answers to be sent."""
STOP_S = 0.15
"""How long ``close`` waits for the tasks of streams to end."""

_SERVING = b"\x08\x01"
_NOT_SERVING = b"\x08\x02"
"""grpc.health.v1.HealthCheckResponse, written by hand: two bytes are not worth a dependency on grpcio-health."""

_log = logging.getLogger("paxospp.rpc")


class FeedHandler(Protocol):
    """The node's streams of changes and of snapshots; each is pulled only as fast as its client reads.

    Either may raise UnavailableError: the stream ends, and the client asks another node.
    """

    def watch(self, request: pb.WatchRequest) -> AsyncGenerator[pb.WatchResponse, None]: ...

    def snapshot(self) -> AsyncGenerator[pb.SnapshotStreamResponse, None]: ...


class Server:
    """Serves one node on one address.

    ``on_frame`` gets the bytes of each frame from a peer. It may return an awaitable: the link is not read further
    until it is done. ``status`` returns one JSON object. ``ready`` answers gRPC's health check.
    """

    def __init__(
        self,
        *,
        on_frame: Callable[[bytes], Awaitable[None] | None],
        calls: CallHandler,
        status: Callable[[], bytes],
        feeds: FeedHandler | None = None,
        take_snapshot: Callable[[], Awaitable[pb.TakeSnapshotResponse]] | None = None,
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        self._on_frame = on_frame
        self._calls = calls
        self._status = status
        self._feeds = feeds
        self._take_snapshot = take_snapshot
        self._ready = ready
        self._server: grpc.aio.Server | None = None
        self._connections: set[ClientConnection] = set()
        self._tasks: set[asyncio.Task[None]] = set()  # those of streams, so that close() can wait for them

    async def start(self, listen: str) -> int:
        """Open the port and serve.

        Returns:
            The port that was bound, which differs from the one in ``listen`` if that is 0; 0 for a ``unix:`` path.

        Raises:
            ConfigError: the address is malformed, in use, or not an address of this machine.
        """
        await check_listen(listen)
        server = grpc.aio.server(options=SERVER, maximum_concurrent_rpcs=SERVER_STREAMS_MAX)
        server.add_generic_rpc_handlers(self._handlers())
        try:
            port = server.add_insecure_port(listen)
        except RuntimeError as error:
            raise ConfigError(f"cannot listen on {listen}: {error}; give this node another address") from error
        await server.start()
        self._server = server
        return 0 if listen.startswith("unix:") else port

    async def close(self) -> None:
        """Give queued answers a moment to be sent, then end every stream; takes at most half a second."""
        server, self._server = self._server, None
        if server is None:
            return
        if self._connections:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_S):
                    for connection in list(self._connections):
                        await connection.answered()
        await server.stop(None)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_S)
        await settle()

    def _handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        services: dict[str, dict[str, grpc.RpcMethodHandler[bytes, bytes]]] = {
            PEER_SERVICE: {"Link": grpc.stream_unary_rpc_method_handler(self._serve_link)},
            CLIENT_SERVICE: {
                "Call": grpc.stream_stream_rpc_method_handler(self._serve_call),
                "Watch": grpc.unary_stream_rpc_method_handler(self._serve_watch),
                "Snapshot": grpc.unary_stream_rpc_method_handler(self._serve_snapshot),
                "Status": grpc.unary_unary_rpc_method_handler(self._serve_status),
                "TakeSnapshot": grpc.unary_unary_rpc_method_handler(self._serve_take_snapshot),
            },
            HEALTH_SERVICE: {"Check": grpc.unary_unary_rpc_method_handler(self._serve_health)},
        }
        return tuple(grpc.method_handlers_generic_handler(name, methods) for name, methods in services.items())

    async def _serve_link(self, _requests: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        self._track()
        try:
            while (frame := await read_frame(context)) is not None:
                waiting = self._on_frame(frame)
                if waiting is not None:
                    await waiting
        except Exception:
            _log.exception("the link from %s was closed because handling a frame failed", context.peer())
            await context.abort(grpc.StatusCode.INTERNAL, "the node failed")
        return b""

    async def _serve_call(self, _requests: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        self._track()
        connection = ClientConnection(context.peer())
        writer = asyncio.create_task(connection.write_all(context), name=f"paxospp answers to {connection.peer}")
        self._tasks.add(writer)
        writer.add_done_callback(self._tasks.discard)
        self._connections.add(connection)
        end = grpc.StatusCode.OK, ""
        try:
            self._calls.on_connect(connection)
            await connection.read_all(context, self._calls)
        except (MalformedRequestError, CorruptedError) as error:
            _log.info("the stream of %s was closed: %s", connection.peer, error)
            end = grpc.StatusCode.INVALID_ARGUMENT, str(error)
        except Exception:
            _log.exception("the stream of %s was closed because handling a request failed", connection.peer)
            end = grpc.StatusCode.INTERNAL, "the node failed"
        finally:
            connection.closed = True
            self._connections.discard(connection)
            writer.cancel()
            self._calls.on_disconnect(connection)
        await asyncio.wait([writer])
        if end[0] is not grpc.StatusCode.OK:
            await context.abort(*end)

    async def _serve_watch(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        if self._feeds is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this server has no change feed")
        try:
            wanted = pb.WatchRequest.FromString(request)
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the bytes are not a watch request")
        await self._feed(self._feeds.watch(wanted), context)

    async def _serve_snapshot(self, _request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        if self._feeds is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this server has no snapshots")
        await self._feed(self._feeds.snapshot(), context)

    async def _feed(
        self,
        responses: AsyncGenerator[pb.WatchResponse, None] | AsyncGenerator[pb.SnapshotStreamResponse, None],
        context: grpc.aio.ServicerContext[bytes, bytes],
    ) -> None:
        self._track()
        try:
            async with contextlib.aclosing(responses):
                async for response in responses:
                    await context.write(response.SerializeToString())
        except PaxosppError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))

    async def _serve_status(self, _request: bytes, _context: object) -> bytes:
        return pb.StatusResponse(status=self._status()).SerializeToString()

    async def _serve_take_snapshot(self, _request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        if self._take_snapshot is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this server takes no snapshots")
        self._track()
        return (await self._take_snapshot()).SerializeToString()

    async def _serve_health(self, _request: bytes, _context: object) -> bytes:
        return _SERVING if self._ready() else _NOT_SERVING

    def _track(self) -> None:
        """Make ``close`` wait for the running task, which serves a stream."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
