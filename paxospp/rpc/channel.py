"""Settings of every gRPC channel and server of paxospp, and the names of the methods.

Services are registered and called with raw bytes, so that size and checksum are checked before
anything is decoded. The .proto files describe the bytes.
"""

from __future__ import annotations

import asyncio
import logging

import grpc
import grpc.aio

_log = logging.getLogger("paxospp.rpc")

PEER_SERVICE = "paxospp.wire.v1.PeerService"
CLIENT_SERVICE = "paxospp.wire.v1.ClientService"
HEALTH_SERVICE = "grpc.health.v1.Health"

LINK = f"/{PEER_SERVICE}/Link"
CALL = f"/{CLIENT_SERVICE}/Call"
STATUS = f"/{CLIENT_SERVICE}/Status"
WATCH = f"/{CLIENT_SERVICE}/Watch"
SNAPSHOT = f"/{CLIENT_SERVICE}/Snapshot"
TAKE_SNAPSHOT = f"/{CLIENT_SERVICE}/TakeSnapshot"

GRPC_MESSAGE_BYTES_MAX = 16 << 20
FRAME_BYTES_MAX = 4 << 20
"""A writer adds no more messages to a frame beyond this size; a single larger message gets a frame of its own."""

SETTLE_S = 0.005
"""How long ``settle`` waits."""

Option = tuple[str, int]

_BOTH_ENDS: tuple[Option, ...] = (
    ("grpc.max_receive_message_length", GRPC_MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", GRPC_MESSAGE_BYTES_MAX),
)

_CHANNEL: tuple[Option, ...] = (
    *_BOTH_ENDS,
    ("grpc.enable_http_proxy", 0),
    # Channels otherwise share connections by address, and a new channel could get a connection that hangs.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    # Notice within nine seconds that the other end has vanished without closing the connection. Both timeouts
    # are needed: keepalive_timeout is also TCP_USER_TIMEOUT; ping_timeout, a minute by default, ends a
    # connection that accepts bytes and does not answer.
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 4_000),
    ("grpc.http2.ping_timeout_ms", 4_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)

PEER_CHANNEL: tuple[Option, ...] = (
    *_CHANNEL,
    # A link reconnects by itself, each time with a new channel, so that a host name is resolved again.
    # The minimum back-off also limits the time of an attempt to connect: two round trips must fit.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 500),
)

CLIENT_CHANNEL = _CHANNEL

SERVER: tuple[Option, ...] = (
    *_BOTH_ENDS,
    # Without this a second server can silently share the port and take half of the connections.
    ("grpc.so_reuseport", 0),
    ("grpc.max_concurrent_streams", 1_000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    # Do not treat the pings of our own channels as abuse, not even between two calls.
    ("grpc.http2.min_ping_interval_without_data_ms", 2_000),
    ("grpc.keepalive_permit_without_calls", 1),
)

SERVER_STREAMS_MAX = 4_000
"""Limit of streams and unary calls open at once on a server, over all connections."""


def open_channel(address: str, options: tuple[Option, ...]) -> grpc.aio.Channel:
    """Return a channel that connects when it is first used."""
    return grpc.aio.insecure_channel(address, options=options)


async def close_channel(channel: grpc.aio.Channel, call: grpc.aio.Call) -> None:
    """Cancel ``call`` if it is still running, and close ``channel``."""
    call.cancel()
    await channel.close()
    await settle()


async def settle() -> None:
    """Give gRPC a moment to finish with calls that were cancelled.

    gRPC does not say when its last completion was delivered. A completion that finds its event loop
    closed is logged as an error in the next loop; without this wait that happened in 4 of 100 runs.
    """
    await asyncio.sleep(SETTLE_S)


async def read_frame(context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes | None:
    """Return the next message of a stream that this server serves; None when the stream has ended for any reason.

    Callers use this in a loop because gRPC's own iterator adds 0.1 ms to each message.
    """
    try:
        data = await context.read()
    except Exception as error:
        # gRPC raises private exception types when the client disconnects or the server shuts down.
        _log.debug("no more requests from %s: %s", context.peer(), error)
        return None
    return data if isinstance(data, bytes) else None  # else it is EOF
