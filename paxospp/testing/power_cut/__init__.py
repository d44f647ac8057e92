"""Simulated power cuts for any store that works through files, drawn from a recording of its system calls.

A child process runs under ``strace``, which records every write, sync and rename below one directory, including those
of native code. Marks in the recording show the child's progress. For each moment the recording shows what was durable
and what may have been, and from that follows what a store may find when it opens after a power cut::

    recording = record([sys.executable, "child.py", ...], directory)     # in it: offer(n), persist, acknowledge(n)
    for state in recording.states(random.Random(1), 500):
        state.write_to(place)
        ...open it: batches up to state.acknowledged are there, those up to state.offered may be

The package knows nothing about storages and judges nothing. ``recorded_disk`` states what a disk is assumed to promise,
``cut_states`` what a power cut may leave. The idea is that of ALICE (Pillai et al., OSDI 2014).
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
        # Late: a child that only writes marks starts in half the time.
        from importlib import import_module

        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = next((module for module, names in _MODULES.items() if name in names), "strace")
        return getattr(import_module(f"{__name__}.{module}"), name)
