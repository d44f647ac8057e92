"""A node's writer over any storage, without a node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from paxospp.markers import NO_MARKERS, Markers
from paxospp.model import NodeId
from paxospp.node.loading import load_storage
from paxospp.node.worker import ThreadWorker
from paxospp.node.writer import InlineWrites, Writer
from paxospp.storage.contract import Storage


async def open_writer(
    factory: Callable[[], Storage],
    *,
    on_persisted: Callable[[int], None] = lambda token: None,
    on_failed: Callable[[Exception], None] = lambda error: None,
    inline: InlineWrites | None = None,
    observer: Markers = NO_MARKERS,
) -> Writer:
    """Open and load the storage that ``factory`` makes, and return a writer to it."""
    loop = asyncio.get_running_loop()

    def start_worker(role: str) -> ThreadWorker:
        return ThreadWorker(f"paxospp-n1-{role}", loop)

    return Writer(
        await load_storage(NodeId("n1"), factory, start_worker("writer"), close_timeout_s=5.0),
        start_worker=start_worker,
        on_persisted=on_persisted,
        on_failed=on_failed,
        inline=inline,
        observer=observer,
    )
