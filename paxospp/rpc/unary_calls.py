"""Calls with one request and one response, which the command line makes: status and take-snapshot."""

from __future__ import annotations

import json
from typing import Any

import grpc.aio
from google.protobuf.message import DecodeError

from paxospp.errors import OutcomeUnknownError, UnavailableError
from paxospp.rpc.channel import CLIENT_CHANNEL, STATUS, TAKE_SNAPSHOT, open_channel
from paxospp.wire.v1 import client_pb2 as pb


async def fetch_status(address: str, *, timeout_s: float = 1.0) -> dict[str, Any] | None:
    """Return the status object of the node at ``address``; None without a valid answer in time."""
    async with open_channel(address, CLIENT_CHANNEL) as channel:
        ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(STATUS)
        try:
            answer = await ask(b"", timeout=timeout_s)
            status = json.loads(pb.StatusResponse.FromString(answer).status)
        except (grpc.aio.AioRpcError, DecodeError, ValueError):
            return None
    return status if isinstance(status, dict) else None


async def ask_for_snapshot(address: str, *, timeout_s: float) -> pb.TakeSnapshotResponse:
    """Ask the node at ``address`` to take a snapshot, and return its description.

    Raises:
        UnavailableError: the node cannot be reached, is not a paxospp node, or cannot take a snapshot now.
        OutcomeUnknownError: no response within ``timeout_s`` seconds; the snapshot may still be under way.
    """
    async with open_channel(address, CLIENT_CHANNEL) as channel:
        ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(TAKE_SNAPSHOT)
        try:
            answer = pb.TakeSnapshotResponse.FromString(await ask(b"", timeout=timeout_s))
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise OutcomeUnknownError(
                    f"{address} has not taken a snapshot within {timeout_s:g} s; it may still be doing so"
                ) from error
            raise UnavailableError(f"{address}: {error.details()}") from error
        except DecodeError as error:
            raise UnavailableError(f"{address} does not answer like a paxospp node") from error
    if answer.problem:
        raise UnavailableError(f"{answer.node or address}: {answer.problem}")
    return answer
