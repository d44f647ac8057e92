"""The change feed of a client: one stream at a time, from any node, without gaps or repetitions.

The log is the same on every node. When a stream is lost, the feed continues from another node, starting with the slot
of the last change; changes of that slot that were already delivered are skipped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import Any

from paxospp.client.addresses import AddressBook
from paxospp.errors import TrimmedError, UnavailableError
from paxospp.model import Change, Slot
from paxospp.rpc.feed_stream import FeedStream, snapshot_stream, watch_stream
from paxospp.wire.v1 import client_pb2 as wire

_log = logging.getLogger("paxospp.client")


class Feed:
    """One watcher's progress through the log.

    ``start`` is the first slot to deliver, None for "from now on". The feed ends with an error when
    ``client_closed`` is done.
    """

    def __init__(
        self, book: AddressBook, start: int | None, cluster_id: bytes, client_closed: asyncio.Future[None]
    ) -> None:
        if start is not None and start < 0:
            raise ValueError(f"watch({start}): slots begin with 1; give 1 or more, or None for changes from now on")
        self._book = book
        self._next = 0 if start is None else max(start, 1)
        self._delivered = (0, -1)
        """Slot and position of the last change."""
        self._cluster_id = cluster_id
        self._client_closed = client_closed
        self._trimmed: dict[str, int] = {}
        """The first slot of each node, by address, whose log begins after the wanted slot."""

    async def changes(self) -> AsyncGenerator[Change, None]:
        """Yield one change after another, without end.

        Raises:
            TrimmedError: every known node has trimmed the wanted slot from its log.
            UnavailableError: the client was closed.
        """
        while True:
            if self._client_closed.done():
                raise UnavailableError("the client was closed")
            await asyncio.sleep(self._book.pause_s())
            address = self._book.next()
            stream = watch_stream(address, wire.WatchRequest(start=self._next, cluster_id=self._cluster_id))
            try:
                while True:
                    response = await self._next_of(stream)
                    self._book.reached(address)
                    if response.trimmed_first:
                        self._on_trimmed(address, response.trimmed_first)
                        break
                    self._cluster_id = response.cluster_id or self._cluster_id
                    for change in response.changes:
                        place = (change.slot, change.position)
                        if place > self._delivered:
                            self._delivered, self._next = place, change.slot
                            yield _change(change)
                    if response.next > self._next:
                        self._next = response.next
                        self._trimmed.clear()
            except ConnectionError as error:
                _log.debug("the change feed continues from another node: %s", error)
            finally:
                await stream.close()
            self._book.not_reached(address, asyncio.get_running_loop().time())

    async def _next_of(self, stream: FeedStream[wire.WatchResponse]) -> wire.WatchResponse:
        response = asyncio.ensure_future(stream.next())
        try:
            either: list[asyncio.Future[Any]] = [response, self._client_closed]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if response.done():
                return response.result()
            raise UnavailableError("the client was closed")
        finally:
            if not response.done():
                response.cancel()
                await asyncio.wait([response])

    def _on_trimmed(self, address: str, first: int) -> None:
        self._trimmed[address] = first
        if set(self._book.known) <= self._trimmed.keys():
            raise TrimmedError(min(self._trimmed.values()))


def _change(change: wire.Change) -> Change:
    return Change(Slot(change.slot), change.position, change.unix_time / 1_000_000, change.name, change.arguments)


async def open_snapshot(book: AddressBook, timeout_s: float | None) -> tuple[int, AsyncGenerator[bytes, None]]:
    """Open a stream of one node's state; return the slot of the state and its chunks.

    Raises:
        UnavailableError: no node opened one within ``timeout_s`` seconds, or, raised while
            iterating over the chunks, the stream was lost.
    """
    reason = "no node was reached"
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                await asyncio.sleep(book.pause_s())
                stream = snapshot_stream(book.next())
                try:
                    head = await stream.next()
                except BaseException as error:
                    await stream.close()
                    if not isinstance(error, ConnectionError):
                        raise
                    reason = str(error)
                    book.not_reached(stream.address, asyncio.get_running_loop().time())
                else:
                    return head.slot, _chunks(stream)
    except TimeoutError:
        raise UnavailableError(f"no snapshot within {timeout_s:g} s: {reason}") from None


async def _chunks(stream: FeedStream[wire.SnapshotStreamResponse]) -> AsyncGenerator[bytes, None]:
    pieces: list[bytes] = []
    try:
        while not (response := await stream.next()).end:
            pieces.append(response.chunk)
            if not response.more:
                yield b"".join(pieces)
                pieces = []
    except ConnectionError as error:
        raise UnavailableError(f"the snapshot is incomplete, open it again: {error}") from error
    finally:
        await stream.close()
