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
    """A queue that knows its size in bytes. Not bounded: whoever puts decides what is too much."""

    def __init__(self) -> None:
        self._items: deque[tuple[Item, int]] = deque()
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._taken_bytes = 0
        self.bytes = 0
        """Of all that was put and is not written yet."""

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item, size: int) -> None:
        self._items.append((item, size))
        self.bytes += size
        self._filled.set()
        self._emptied.clear()

    def wake(self) -> None:
        """Let ``next`` return, with nothing if there is nothing."""
        self._filled.set()

    async def next(self, bytes_max: int) -> list[Item]:
        """Wait for items; the oldest, up to ``bytes_max`` but at least one. ``written`` must follow."""
        await self._filled.wait()
        items = self._items
        taken: list[Item] = []
        size = 0
        while items and (not taken or size + items[0][1] <= bytes_max):
            item, item_size = items.popleft()
            taken.append(item)
            size += item_size
        self._taken_bytes = size
        if not items:
            self._filled.clear()
        return taken

    def written(self) -> None:
        """What ``next`` returned last is out of our hands."""
        self.bytes -= self._taken_bytes
        self._taken_bytes = 0
        if not self._items:
            self._emptied.set()

    async def emptied(self) -> None:
        """Wait until all that was put has been written."""
        await self._emptied.wait()

    def clear(self) -> int:
        """Forget everything; how many items that were."""
        dropped = len(self._items)
        self._items.clear()
        self.bytes = self._taken_bytes = 0
        self._filled.clear()
        self._emptied.set()
        return dropped
