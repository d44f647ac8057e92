"""The link from one node to another, and what travels on it."""

from __future__ import annotations

from paxospp.messages import Message, Sender
from paxospp.testing.simulation.faults.link_rules import LinkRule
from paxospp.testing.simulation.world.host import SimulatedHost

Packet = tuple["Path", Sender, "Message | bytes"]


class Path:
    """The link from one node to another."""

    __slots__ = (
        "arrived_at",
        "base_s",
        "clogged",
        "code",
        "cut",
        "dead_until",
        "held",
        "rules",
        "source",
        "target",
        "under_way",
    )

    def __init__(self, source: SimulatedHost, target: SimulatedHost, base_s: float) -> None:
        self.source = source
        self.target = target
        self.base_s = base_s
        self.cut = False
        self.clogged = False
        self.dead_until = 0.0
        self.held: list[Packet] = []
        self.rules: tuple[LinkRule, ...] = ()
        self.under_way = 0
        self.arrived_at = 0.0
        self.code = (source.index * 16 + target.index) * 16
