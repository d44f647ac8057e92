"""The change feed of a client: one stream at a time, to whichever node answers, without gaps or repetitions.

The log is the same on every node, so a stream that is lost is followed by one to another node,
from the slot that was told last on; what of that slot was told before is passed over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import Any

from paxospp.client.addresses import AddressBook
from paxospp.errors import TrimmedError, UnavailableError
from paxospp.model import Change, Slot
from paxospp.rpc.feeding import FeedStream, snapshot_stream, watch_stream
from paxospp.wire.v1 import client_pb2 as wire

_log = logging.getLogger("paxospp.client")


class Feed:
    """What one watcher was told so far."""

    def __init__(
        self, book: AddressBook, start: int | None, cluster_id: bytes, client_closed: asyncio.Future[None]
    ) -> None:
        if start is not None and start < 0:
            raise ValueError(f"watch({start}): slots begin with 1")
        self._book = book
        self._next = 0 if start is None else max(start, 1)
        self._told = (0, -1)
        self._cluster_id = cluster_id
        self._client_closed = client_closed
        self._trimmed: dict[str, int] = {}
        """Nodes whose log begins later than what is wanted, and where."""

    async def changes(self) -> AsyncGenerator[Change, None]:
        """One by one, without end.

        Raises:
            TrimmedError: no node that can be reached has the log from there on.
            UnavailableError: the client was closed.
        """
        while True:
            if self._client_closed.done():
                raise UnavailableError("the client was closed")
            await asyncio.sleep(self._book.rest_s())
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
                        if place > self._told:
                            self._told, self._next = place, change.slot
                            yield _change(change)
                    if response.next > self._next:
                        self._next = response.next
                        self._trimmed.clear()
            except ConnectionError as error:
                _log.debug("the change feed goes on elsewhere: %s", error)
            finally:
                await stream.close()
            self._book.not_reached(address, asyncio.get_running_loop().time())

    async def _next_of(self, stream: FeedStream[wire.WatchResponse]) -> wire.WatchResponse:
        coming = asyncio.ensure_future(stream.next())
        try:
            either: list[asyncio.Future[Any]] = [coming, self._client_closed]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if coming.done():
                return coming.result()
            raise UnavailableError("the client was closed")
        finally:
            if not coming.done():
                coming.cancel()
                await asyncio.wait([coming])

    def _on_trimmed(self, address: str, first: int) -> None:
        self._trimmed[address] = first
        if set(self._book.known) <= self._trimmed.keys():
            raise TrimmedError(min(self._trimmed.values()))


def _change(change: wire.Change) -> Change:
    return Change(Slot(change.slot), change.position, change.unix_time / 1_000_000, change.name, change.arguments)


async def open_snapshot(book: AddressBook, timeout_s: float | None) -> tuple[int, AsyncGenerator[bytes, None]]:
    """The state of some node's machine: its slot, and its chunks as they come.

    Raises:
        UnavailableError: no node gives one in time; or, from the chunks, the stream was cut off.
    """
    reason = "no node was asked"
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                await asyncio.sleep(book.rest_s())
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
        raise UnavailableError(f"no snapshot in time: {reason}") from None


async def _chunks(stream: FeedStream[wire.SnapshotStreamResponse]) -> AsyncGenerator[bytes, None]:
    pieces: list[bytes] = []
    try:
        while not (response := await stream.next()).end:
            pieces.append(response.chunk)
            if not response.more:
                yield b"".join(pieces)
                pieces = []
    except ConnectionError as error:
        raise UnavailableError(f"the snapshot was cut off: {error}") from error
    finally:
        await stream.close()
