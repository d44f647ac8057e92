"""The network of a scenario: messages wait until a command, or time, lets them arrive.

On a cut link every message is lost. A standing rule (``only``, ``all except``, ``hold``) applies to
messages that arrive by themselves, not to one that a command selects.
"""

from __future__ import annotations

from collections.abc import Callable

from paxospp.model import NodeId
from paxospp.testing.scenario.selecting import Clause, Envelope, Selection


class Network:
    """Messages that wait, in the order in which they were sent; cut links; standing rules."""

    def __init__(self) -> None:
        self.waiting: list[Envelope] = []
        self.cut: set[tuple[NodeId, NodeId]] = set()
        """Links, by sender and receiver, on which everything is lost."""
        self.only: Selection | None = None
        """Messages outside of it are lost when they would arrive by themselves; None: nothing is."""
        self.held: list[Selection] = []
        """Messages that do not arrive by themselves and are not lost either."""

    def post(self, envelope: Envelope) -> None:
        """Let ``envelope`` wait."""
        self.waiting.append(envelope)

    def pick(self, clause: Clause) -> list[Envelope]:
        """Remove the waiting messages that ``clause`` selects, and return them in their order."""
        picked = clause.pick(self.waiting)
        by_identity = {id(envelope) for envelope in picked}  # two that are equal are two
        self.waiting = [envelope for envelope in self.waiting if id(envelope) not in by_identity]
        return picked

    def take(self, fits: Callable[[Envelope], bool]) -> list[Envelope]:
        """Remove the waiting messages that fit, and return them in their order."""
        taken: list[Envelope] = []
        left: list[Envelope] = []
        for envelope in self.waiting:
            (taken if fits(envelope) else left).append(envelope)
        self.waiting = left
        return taken

    def is_held(self, envelope: Envelope) -> bool:
        """Whether ``envelope`` waits until a command selects it."""
        return any(selection.fits(envelope) for selection in self.held)

    def lets_arrive(self, envelope: Envelope) -> bool:
        """Whether the standing rule lets ``envelope`` arrive by itself."""
        return self.only is None or self.only.fits(envelope)

    def is_cut(self, envelope: Envelope) -> bool:
        """Whether ``envelope`` is on a link on which everything is lost."""
        return (envelope.source, envelope.target) in self.cut
