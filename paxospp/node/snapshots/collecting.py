"""Python's cyclic garbage collector, kept out of the way while a large state is encoded or built.

Each of its full passes looks at every object there is: with a million dataclasses one takes
hundreds of milliseconds, in whichever thread runs, and a restore that makes them has a dozen of
them. Nothing that is encoded or restored here is garbage.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_guard = threading.Lock()
_resting = 0
"""How many are at it in this process, which has one collector for all its nodes."""


@contextmanager
def collector_resting(*, promote: bool = False) -> Iterator[None]:
    """No automatic collection meanwhile, in any thread; with ``promote``, what was made counts as old afterwards."""
    global _resting
    with _guard:
        if not gc.isenabled() and not _resting:
            mine = False  # somebody else's decision
        else:
            mine = True
            _resting += 1
            gc.disable()
    try:
        yield
    finally:
        if mine:
            with _guard:
                _resting -= 1
                if not _resting:
                    if promote and not gc.get_freeze_count():
                        # Both together move everything to the oldest generation without looking at it. Left
                        # in the youngest, the next allocation anywhere would have all of it looked at.
                        gc.freeze()
                        gc.unfreeze()
                    gc.enable()
