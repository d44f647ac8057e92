"""The client's end of a server's stream: changes, or the chunks of a state.

gRPC's own flow control is the whole of it: what is not read here is not written there. An object
and no generator: what is left open when a loop ends is closed by whoever holds it, in one place.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

import grpc.aio
from google.protobuf.message import DecodeError

from paxospp.rpc.channel import CLIENT_CHANNEL, SNAPSHOT, WATCH, hang_up, open_channel
from paxospp.wire.v1 import client_pb2 as pb

M = TypeVar("M", covariant=True)


class _Decodes(Protocol[M]):
    def FromString(self, data: bytes, /) -> M: ...


class FeedStream(Generic[M]):
    """What one node tells; it is dialled when it is made."""

    def __init__(self, address: str, method: str, request: bytes, response: _Decodes[M]) -> None:
        self.address = address
        self._response = response
        self._channel = open_channel(address, CLIENT_CHANNEL)
        ask: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = self._channel.unary_stream(method)
        self._call = ask(request)
        self._closed = False

    async def next(self) -> M:
        """What it tells next.

        Raises:
            ConnectionError: the stream is lost, or ended there.
        """
        try:
            data = await self._call.read()
            if isinstance(data, bytes):  # else it is EOF
                return self._response.FromString(data)
        except grpc.aio.AioRpcError as error:
            raise ConnectionError(f"{self.address}: {error.details()}") from error
        except DecodeError:
            raise ConnectionError(f"{self.address} does not answer as a node does") from None
        raise ConnectionError(f"{self.address} ended the stream")

    async def close(self) -> None:
        """Hang up; may come twice."""
        if not self._closed:
            self._closed = True
            await hang_up(self._channel, self._call)


def watch_stream(address: str, request: pb.WatchRequest) -> FeedStream[pb.WatchResponse]:
    """The changes that the node at ``address`` tells."""
    return FeedStream(address, WATCH, request.SerializeToString(), pb.WatchResponse)


def snapshot_stream(address: str) -> FeedStream[pb.SnapshotStreamResponse]:
    """The state of the machine at ``address``."""
    return FeedStream(address, SNAPSHOT, b"", pb.SnapshotStreamResponse)
