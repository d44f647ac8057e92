"""Pausing Python's cyclic garbage collector while a large state is encoded or restored.

A full collection looks at every object: with a million dataclasses that takes hundreds of milliseconds, whichever
thread triggers it, and restoring them triggers a dozen. Nothing that is encoded or restored here is garbage.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_guard = threading.Lock()
_pauses = 0
"""How many pauses are open; a process has one collector for all its nodes."""


@contextmanager
def collector_paused(*, promote: bool = False) -> Iterator[None]:
    """Disable automatic collection in all threads; with ``promote``, objects made meanwhile then count as old."""
    global _pauses
    with _guard:
        if not gc.isenabled() and not _pauses:
            mine = False  # the program has disabled it; leave that alone
        else:
            mine = True
            _pauses += 1
            gc.disable()
    try:
        yield
    finally:
        if mine:
            with _guard:
                _pauses -= 1
                if not _pauses:
                    if promote and not gc.get_freeze_count():
                        # Together these move all objects to the oldest generation without looking at them. If they
                        # stayed in the youngest, the next allocation in any thread would have all of them examined.
                        gc.freeze()
                        gc.unfreeze()
                    gc.enable()
