"""Asks a node what ``paxospp status`` shows of it."""

from __future__ import annotations

import json
from typing import Any

import grpc.aio
from google.protobuf.message import DecodeError

from paxospp.rpc.channel import CLIENT_CHANNEL, STATUS, open_channel
from paxospp.wire.v1 import client_pb2 as pb


async def fetch_status(address: str, *, timeout_s: float = 1.0) -> dict[str, Any] | None:
    """The status object of the node at ``address``; None if it does not answer in time."""
    async with open_channel(address, CLIENT_CHANNEL) as channel:
        ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(STATUS)
        try:
            answer = await ask(b"", timeout=timeout_s)
            status = json.loads(pb.StatusResponse.FromString(answer).status)
        except (grpc.aio.AioRpcError, DecodeError, ValueError):
            return None
    return status if isinstance(status, dict) else None
