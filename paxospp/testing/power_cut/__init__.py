"""What a power cut leaves of a store: recorded from outside, for any store that works through files.

A child runs under ``strace``; every write, sync and rename of its threads below one directory is
noted, native code's included, between the marks by which it says how far it is. From that follows
for each moment what was durable, what may have been, and so what a store may find when it opens::

    recording = record([sys.executable, "child.py", ...], directory)     # in it: offer(n), persist, acknowledge(n)
    for state in recording.states(random.Random(1), 500):
        state.write_to(place)
        ...open it: batches up to state.acknowledged are there, those up to state.offered may be

It judges nothing and knows nothing of storages. What it takes a disk to promise stands in ``disk``,
and what a cut may leave in ``drawing``. Idea: ALICE (Pillai et al., OSDI 2014).
"""

from typing import TYPE_CHECKING

__all__ = [
    "Ended",
    "Fault",
    "PowerCutState",
    "Recording",
    "acknowledge",
    "count_calls",
    "fast_directory",
    "inject",
    "limited",
    "mark",
    "offer",
    "record",
    "trace_available",
]

if TYPE_CHECKING:
    from paxospp.testing.power_cut.marks import acknowledge, mark, offer
    from paxospp.testing.power_cut.recorder import PowerCutState, Recording, record
    from paxospp.testing.power_cut.strace import (
        Ended,
        Fault,
        count_calls,
        fast_directory,
        inject,
        limited,
        trace_available,
    )
else:
    _MODULES = {"marks": ("acknowledge", "mark", "offer"), "recorder": ("PowerCutState", "Recording", "record")}

    def __getattr__(name):
        # Late: a child that only says marks starts in half the time.
        from importlib import import_module

        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        room = next((room for room, names in _MODULES.items() if name in names), "strace")
        return getattr(import_module(f"{__name__}.{room}"), name)
