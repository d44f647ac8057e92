"""The client's end of a stream that only the node writes: changes, or the chunks of a snapshot.

gRPC's flow control suffices: the node writes only as fast as the client reads. ``FeedStream`` is an object
rather than an async generator so that its owner can close it at a defined place, even when the event loop ends.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

import grpc.aio
from google.protobuf.message import DecodeError

from paxospp.rpc.channel import CLIENT_CHANNEL, SNAPSHOT, WATCH, close_channel, open_channel
from paxospp.wire.v1 import client_pb2 as pb

M = TypeVar("M", covariant=True)


class _Decodes(Protocol[M]):
    def FromString(self, data: bytes, /) -> M: ...


class FeedStream(Generic[M]):
    """A stream from one node; constructing it sends the request."""

    def __init__(self, address: str, method: str, request: bytes, response: _Decodes[M]) -> None:
        self.address = address
        self._response = response
        self._channel = open_channel(address, CLIENT_CHANNEL)
        ask: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = self._channel.unary_stream(method)
        self._call = ask(request)
        self._closed = False

    async def next(self) -> M:
        """Return the next message.

        Raises:
            ConnectionError: the stream is lost, or the node ended it.
        """
        try:
            data = await self._call.read()
            if isinstance(data, bytes):  # else it is EOF
                return self._response.FromString(data)
        except grpc.aio.AioRpcError as error:
            raise ConnectionError(f"{self.address}: {error.details()}") from error
        except DecodeError:
            raise ConnectionError(f"{self.address} does not answer like a paxospp node") from None
        raise ConnectionError(f"{self.address} ended the stream")

    async def close(self) -> None:
        """Cancel the stream and close its connection; may be called twice."""
        if not self._closed:
            self._closed = True
            await close_channel(self._channel, self._call)


def watch_stream(address: str, request: pb.WatchRequest) -> FeedStream[pb.WatchResponse]:
    """Open the change feed of the node at ``address``."""
    return FeedStream(address, WATCH, request.SerializeToString(), pb.WatchResponse)


def snapshot_stream(address: str) -> FeedStream[pb.SnapshotStreamResponse]:
    """Open a stream of the state of the machine at ``address``."""
    return FeedStream(address, SNAPSHOT, b"", pb.SnapshotStreamResponse)
