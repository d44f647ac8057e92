"""A send queue for one writer, which takes as many items as fit one frame.

Any code of the event loop may put items. While one frame is being written the next one fills, so under load there are
fewer and larger frames, without a timer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Outbox(Generic[Item]):
    """A queue that knows its size in bytes, for one consumer. It is not bounded: producers check ``bytes``."""

    def __init__(self) -> None:
        self._items: deque[tuple[Item, int]] = deque()
        self._woken = False
        self._consumer: asyncio.Future[None] | None = None
        """Set while the consumer waits in ``next``."""
        self._emptied: list[asyncio.Future[None]] = []
        """One for each waiter in ``emptied``."""
        self._taken_bytes = 0
        self._is_writing = False
        """Whether items were taken that are not written yet."""
        self.bytes = 0
        """The size of all items that are not written yet."""

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item, size: int) -> None:
        self._items.append((item, size))
        self.bytes += size
        if self._consumer is not None:
            self.wake()

    def wake(self) -> None:
        """Let ``next`` return, with an empty list if nothing is queued."""
        self._woken = True
        consumer, self._consumer = self._consumer, None
        if consumer is not None and not consumer.done():
            consumer.set_result(None)

    async def next(self, bytes_max: int) -> list[Item]:
        """Wait for items or ``wake``; return the oldest items, up to ``bytes_max`` but at least one if any is queued.

        Call ``written`` after they are written.
        """
        items = self._items
        if not items and not self._woken:
            self._consumer = asyncio.get_running_loop().create_future()
            await self._consumer
        self._woken = False
        taken: list[Item] = []
        size = 0
        while items and (not taken or size + items[0][1] <= bytes_max):
            item, item_size = items.popleft()
            taken.append(item)
            size += item_size
        self._taken_bytes = size
        self._is_writing = bool(taken)
        return taken

    def written(self) -> None:
        """Note that the items ``next`` returned last were handed to the transport."""
        self.bytes -= self._taken_bytes
        self._taken_bytes = 0
        self._is_writing = False
        if self._emptied and not self._items:
            self._tell_emptied()

    async def emptied(self) -> None:
        """Wait until every item is written or dropped."""
        if self._items or self._is_writing:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._emptied.append(future)
            await future

    def clear(self) -> int:
        """Drop everything and return how many items were queued."""
        dropped = len(self._items)
        self._items.clear()
        self.bytes = self._taken_bytes = 0
        self._is_writing = self._woken = False
        self._tell_emptied()
        return dropped

    def _tell_emptied(self) -> None:
        waiting, self._emptied = self._emptied, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
