"""A context for unit tests of state machines that use ``self.context``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from paxospp.state_machine import Context, StateMachine, set_context


@contextmanager
def context(machine: StateMachine, slot: int = 1, time: float = 0.0) -> Iterator[Context]:
    """Set ``machine.context`` within the block, as for the first command of ``slot``.

    ::

        with paxospp.testing.context(lottery, slot=7, time=1_700_000_000.0):
            lottery.draw()

    ``time`` is in seconds since the epoch. ``context.random`` is seeded from the slot, so every run draws the same.
    """
    try:
        before: Context | None = machine.context
    except RuntimeError:
        before = None
    inside = Context(slot, 0, time)
    set_context(machine, inside)
    try:
        yield inside
    finally:
        set_context(machine, before)
