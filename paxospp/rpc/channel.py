"""How every gRPC channel and server of paxospp is set up, and the names of the methods.

Services are registered and called on raw bytes, so that size and checksum are looked at before
anything is decoded; the .proto files remain the description of what the bytes are.
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
"""Where a writer stops adding messages to a frame; one large message may exceed it."""

SETTLE_S = 0.005

Option = tuple[str, int]

_BOTH_ENDS: tuple[Option, ...] = (
    ("grpc.max_receive_message_length", GRPC_MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", GRPC_MESSAGE_BYTES_MAX),
)

_CHANNEL: tuple[Option, ...] = (
    *_BOTH_ENDS,
    ("grpc.enable_http_proxy", 0),
    # Channels otherwise share connections by address: one that hangs would be handed out again.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    # A connection whose other end is gone without a word is noticed within nine seconds. It takes
    # both time-outs: the first is also TCP_USER_TIMEOUT, the second, a minute if left alone, is
    # what ends a connection that takes bytes and does not answer.
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 4_000),
    ("grpc.http2.ping_timeout_ms", 4_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)

PEER_CHANNEL: tuple[Option, ...] = (
    *_CHANNEL,
    # The link redials on its own, each time on a new channel, so that a name is resolved anew. The
    # least back-off is also the time an attempt to connect may take: two round trips must fit.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 500),
)

CLIENT_CHANNEL = _CHANNEL

SERVER: tuple[Option, ...] = (
    *_BOTH_ENDS,
    # Else a second server takes the same port and every other connection, without a word.
    ("grpc.so_reuseport", 0),
    ("grpc.max_concurrent_streams", 1_000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    # What our own channels ask is no abuse: their pings, also between two calls.
    ("grpc.http2.min_ping_interval_without_data_ms", 2_000),
    ("grpc.keepalive_permit_without_calls", 1),
)

SERVER_STREAMS_MAX = 4_000
"""Calls and links open at once, over all connections."""


def open_channel(address: str, options: tuple[Option, ...]) -> grpc.aio.Channel:
    """A channel that connects when it is first used."""
    return grpc.aio.insecure_channel(address, options=options)


async def hang_up(channel: grpc.aio.Channel, call: grpc.aio.Call) -> None:
    """Cancel ``call`` if it still runs, and close ``channel``."""
    call.cancel()
    await channel.close()
    await settle()


async def settle() -> None:
    """Let gRPC deliver what it still has to say about calls that were cancelled.

    A completion that finds its loop closed ends as an error in the log of the next loop, and
    gRPC has no event for "that was the last one". Measured, without this: 4 of 100.
    """
    await asyncio.sleep(SETTLE_S)


async def read_frame(context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes | None:
    """The next message of a stream that this server serves; None when there is no more, for whatever reason.

    With ``read()`` in a loop: gRPC's iterator costs a tenth of a millisecond more on the way.
    """
    try:
        data = await context.read()
    except Exception as error:
        # gRPC raises private kinds when the client or the server itself is just going away.
        _log.debug("reading from %s ends: %s", context.peer(), error)
        return None
    return data if isinstance(data, bytes) else None  # else it is EOF
