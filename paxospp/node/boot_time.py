"""The clock for leases and bounded reads: it goes on while the machine sleeps.

Python's monotonic clock stops there on Linux, and a leader that slept would believe in a lease
that is long over.
"""

from __future__ import annotations

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Where there is no CLOCK_BOOTTIME (macOS), CLOCK_MONOTONIC counts sleep."""


def boot_time() -> float:
    """Seconds since some moment of this boot of the machine."""
    return time.clock_gettime(_CLOCK)
