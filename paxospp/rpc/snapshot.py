"""Asks a node to take a snapshot, for ``paxospp snapshot``."""

from __future__ import annotations

import grpc.aio
from google.protobuf.message import DecodeError

from paxospp.errors import OutcomeUnknownError, UnavailableError
from paxospp.rpc.channel import CLIENT_CHANNEL, TAKE_SNAPSHOT, open_channel
from paxospp.wire.v1 import client_pb2 as pb


async def ask_for_snapshot(address: str, *, timeout_s: float) -> pb.TakeSnapshotResponse:
    """What the node at ``address`` says of the snapshot it took.

    Raises:
        UnavailableError: it is not reached, or cannot take one now.
        OutcomeUnknownError: it does not answer in time; it may still be at it.
    """
    async with open_channel(address, CLIENT_CHANNEL) as channel:
        ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(TAKE_SNAPSHOT)
        try:
            answer = pb.TakeSnapshotResponse.FromString(await ask(b"", timeout=timeout_s))
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise OutcomeUnknownError(f"{address} has not taken a snapshot within {timeout_s:g} s") from error
            raise UnavailableError(f"{address}: {error.details()}") from error
        except DecodeError as error:
            raise UnavailableError(f"{address} does not answer like a node") from error
    if answer.problem:
        raise UnavailableError(f"{answer.node or address}: {answer.problem}")
    return answer
