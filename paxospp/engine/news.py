"""What a leader knows decided and its followers do not: when to tell them, if nothing else carries it.

Every Accept and every heartbeat says how far the log is decided. With one call at a time the next
Accept is rarely far away, so a message of its own is worth its cost only where somebody at a
follower waits for what was decided, or where nothing followed for a moment.
"""

from __future__ import annotations

import math

from paxospp.model import Slot


class News:
    """For one leader; ``wait_s`` is that moment in seconds."""

    def __init__(self, wait_s: float) -> None:
        self.due_at = math.inf
        """When a message of its own is due; never, while there is nothing to tell."""
        self._wait_s = wait_s
        self._awaited = Slot(0)

    def awaited(self, slot: Slot) -> None:
        """Callers of followers wait for ``slot``: it is told as soon as it is decided."""
        self._awaited = slot

    def on_decided(self, before: Slot, now: float) -> None:
        """More is decided than ``before``."""
        wait_s = 0.0 if self._awaited > before else self._wait_s
        self.due_at = min(self.due_at, now + wait_s)

    def told(self) -> None:
        """A message to every follower says what is decided."""
        self.due_at = math.inf
