"""The change feed and the machine's state for other processes: one stream each, read only as fast as its client reads.

A node that knows of no leader ends the feeds that it serves, so that their clients turn to another node.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator

from paxospp.engine.replica import Replica
from paxospp.errors import TrimmedError, UnavailableError
from paxospp.node.watch import ChangeBatch, Watches
from paxospp.wire.v1 import client_pb2 as pb

PIECE_BYTES = 1 << 20
"""The changes in one message; a single larger one goes alone."""
LOOK_INTERVAL_S = 1.0
"""How often a feed without new changes checks that there is a leader."""


class RemoteFeeds:
    """The server's ``FeedHandler``."""

    def __init__(self, replica: Replica, watches: Watches) -> None:
        self._replica = replica
        self._watches = watches

    async def watch(self, request: pb.WatchRequest) -> AsyncGenerator[pb.WatchResponse, None]:
        """Stream changes; the first message names the slot where the feed begins, and the cluster."""
        if request.cluster_id and request.cluster_id != self._replica.cluster_id:
            raise UnavailableError("this node belongs to another cluster")
        watch = self._watches.begin(request.start or None)
        yield pb.WatchResponse(next=watch.next, cluster_id=self._replica.cluster_id)
        coming: asyncio.Task[ChangeBatch] | None = None
        try:
            while True:
                coming = coming or asyncio.create_task(watch.batch(), name="paxospp change feed")
                done, _ = await asyncio.wait([coming], timeout=LOOK_INTERVAL_S)
                if not done:
                    if self._replica.leader is None:
                        raise UnavailableError("this node knows of no leader")
                    continue
                batch, coming = coming.result(), None
                for response in _pieces(batch):
                    yield response
        except TrimmedError as error:
            yield pb.WatchResponse(trimmed_first=error.first)
        finally:
            if coming is not None:
                coming.cancel()

    async def snapshot(self) -> AsyncGenerator[pb.SnapshotStreamResponse, None]:
        """Stream the state of the machine; the first message names the slot that it is as of."""
        slot, chunks = self._watches.machine_chunks()
        yield pb.SnapshotStreamResponse(slot=slot, more=True)
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                for start in range(0, max(len(chunk), 1), PIECE_BYTES):
                    piece = chunk[start : start + PIECE_BYTES]
                    yield pb.SnapshotStreamResponse(chunk=piece, more=start + PIECE_BYTES < len(chunk))
        yield pb.SnapshotStreamResponse(end=True)


def _pieces(batch: ChangeBatch) -> Iterator[pb.WatchResponse]:
    """Divide the batch into messages; only the last message completes the last slot."""
    response = pb.WatchResponse()
    size = 0
    for change in batch.changes:
        if size > PIECE_BYTES:
            response.next = change.slot
            yield response
            response, size = pb.WatchResponse(), 0
        response.changes.add(
            slot=change.slot,
            position=change.position,
            unix_time=round(change.time * 1_000_000),
            name=change.name,
            arguments=change.arguments,
        )
        size += len(change.arguments) + len(change.name) + 32
    response.next = batch.next
    yield response
