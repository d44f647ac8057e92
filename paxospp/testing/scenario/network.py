"""The network of a scenario: messages wait until a command lets them arrive.

A cut link loses every message. A standing rule (``only``, ``all except``, ``hold``) applies to the messages that
``run`` and ``stabilize`` let arrive, and not to those that a command selects.
"""

from __future__ import annotations

from collections.abc import Callable

from paxospp.model import NodeId
from paxospp.testing.scenario.selecting import Clause, Envelope, Selection


class ScenarioNetwork:
    """The waiting messages in the order in which they were sent, the cut links, and the standing rules."""

    def __init__(self) -> None:
        self.waiting: list[Envelope] = []
        self.cut: set[tuple[NodeId, NodeId]] = set()
        """The cut links, by sender and receiver."""
        self.only: Selection | None = None
        """The standing rule that loses every message outside this selection; None: it loses none."""
        self.held: list[Selection] = []
        """The standing rules that leave messages waiting."""

    def post(self, envelope: Envelope) -> None:
        """Add ``envelope`` to the waiting messages."""
        self.waiting.append(envelope)

    def pick(self, clause: Clause) -> list[Envelope]:
        """Remove the waiting messages that ``clause`` selects, and return them in their order."""
        picked = clause.pick(self.waiting)
        by_identity = {id(envelope) for envelope in picked}  # equal messages are distinct here
        self.waiting = [envelope for envelope in self.waiting if id(envelope) not in by_identity]
        return picked

    def take(self, fits: Callable[[Envelope], bool]) -> list[Envelope]:
        """Remove the waiting messages for which ``fits`` is true, and return them in their order."""
        taken: list[Envelope] = []
        left: list[Envelope] = []
        for envelope in self.waiting:
            (taken if fits(envelope) else left).append(envelope)
        self.waiting = left
        return taken

    def is_held(self, envelope: Envelope) -> bool:
        """Whether a standing rule leaves ``envelope`` waiting."""
        return any(selection.fits(envelope) for selection in self.held)

    def lets_arrive(self, envelope: Envelope) -> bool:
        """Whether the standing rule ``only`` lets ``envelope`` arrive."""
        return self.only is None or self.only.fits(envelope)

    def is_cut(self, envelope: Envelope) -> bool:
        """Whether the link of ``envelope`` is cut."""
        return (envelope.source, envelope.target) in self.cut
