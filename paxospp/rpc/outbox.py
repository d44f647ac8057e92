"""What waits for one writer: put from anywhere in the loop, taken as much as fits one frame.

While a frame is being written the next one fills: under load frames grow and their number
falls, without a timer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Outbox(Generic[Item]):
    """A queue that knows its size in bytes. Not bounded: whoever puts decides what is too much. One task takes."""

    def __init__(self) -> None:
        self._items: deque[tuple[Item, int]] = deque()
        self._woken = False
        self._taker: asyncio.Future[None] | None = None
        """Who waits in ``next``."""
        self._emptied: list[asyncio.Future[None]] = []
        """Who waits in ``emptied``."""
        self._taken_bytes = 0
        self._is_out = False
        """Whether something was taken that is not written yet."""
        self.bytes = 0
        """Of all that was put and is not written yet."""

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item, size: int) -> None:
        self._items.append((item, size))
        self.bytes += size
        if self._taker is not None:
            self.wake()

    def wake(self) -> None:
        """Let ``next`` return, with nothing if there is nothing."""
        self._woken = True
        taker, self._taker = self._taker, None
        if taker is not None and not taker.done():
            taker.set_result(None)

    async def next(self, bytes_max: int) -> list[Item]:
        """Wait for items; the oldest, up to ``bytes_max`` but at least one. ``written`` must follow."""
        items = self._items
        if not items and not self._woken:
            self._taker = asyncio.get_running_loop().create_future()
            await self._taker
        self._woken = False
        taken: list[Item] = []
        size = 0
        while items and (not taken or size + items[0][1] <= bytes_max):
            item, item_size = items.popleft()
            taken.append(item)
            size += item_size
        self._taken_bytes = size
        self._is_out = bool(taken)
        return taken

    def written(self) -> None:
        """What ``next`` returned last is out of our hands."""
        self.bytes -= self._taken_bytes
        self._taken_bytes = 0
        self._is_out = False
        if self._emptied and not self._items:
            self._tell_emptied()

    async def emptied(self) -> None:
        """Wait until all that was put has been written."""
        if self._items or self._is_out:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._emptied.append(future)
            await future

    def clear(self) -> int:
        """Forget everything; how many items that were."""
        dropped = len(self._items)
        self._items.clear()
        self.bytes = self._taken_bytes = 0
        self._is_out = self._woken = False
        self._tell_emptied()
        return dropped

    def _tell_emptied(self) -> None:
        waiting, self._emptied = self._emptied, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
