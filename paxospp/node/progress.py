"""Log lines about long work: one after a second, then at doubling intervals."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from paxospp.model import NodeId

FIRST_S = 1.0
"""Work that takes less time than this is not logged."""

_log = logging.getLogger("paxospp.node")


class ProgressLog:
    """Logs how far one piece of work has come; the pauses between the lines double."""

    def __init__(self, name: NodeId, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._what = what
        self._clock = clock
        self._began = clock()
        self._next_s = FIRST_S

    def at(self, where: str) -> None:
        """Report that the work has come as far as ``where``; this is logged only if a line is due."""
        passed_s = self._clock() - self._began
        if passed_s >= self._next_s:
            self._next_s = max(2 * self._next_s, passed_s)
            _log.warning("node %s: %s: %s after %.0f s", self._name, self._what, where, passed_s)


@contextmanager
def progress_logged(name: NodeId, what: str) -> Iterator[None]:
    """Log now and then, until the block is left, that ``what`` is still running. Use it on the event loop."""
    loop = asyncio.get_running_loop()
    progress = ProgressLog(name, what)
    timer: asyncio.TimerHandle

    def log() -> None:
        nonlocal timer
        progress.at("still running")
        timer = loop.call_later(FIRST_S, log)

    timer = loop.call_later(FIRST_S, log)
    try:
        yield
    finally:
        timer.cancel()
