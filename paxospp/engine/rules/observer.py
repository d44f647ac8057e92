"""What a replica tells whoever looks on while it works: a simulator, an explorer, a test.

The observer is passed in when a replica is made. It hears two things: *markers*, which name a branch
that matters for safety and was just taken, so that a sweep of random runs can say which branches it
reached; and *steps*, which say what was counted or concluded, so that each can be judged when it
happens, by somebody who sees all disks and all messages. An observer looks and never changes
anything. Without one nothing is recorded: a marker costs one call of an empty method.
"""

from __future__ import annotations

from paxospp.engine.rules.pending_reads import ReadRequester
from paxospp.engine.rules.promises import PromiseReport
from paxospp.markers import Markers
from paxospp.messages import Sender
from paxospp.model import Ballot, NodeId, Slot


class Observer(Markers):
    """Every method does nothing; override those you want to hear. Calls come in the middle of a step."""

    def reported(self, answer: int) -> None:
        """The acceptor's answer of that number is made; what it accepts and learns from here on is not in it."""

    def counted_promise(self, sender: Sender, answer: int, ballot: Ballot, report: PromiseReport) -> None:
        """All parts of one answer to ``ballot`` are in, and say ``report``."""

    def counted_acceptance(self, ballot: Ballot, slot: Slot, node: NodeId, incarnation: int) -> None:
        """The leader of ``ballot`` counts this acceptance; it asked for it and has not counted a quorum yet."""

    def counted_grant(self, peer: NodeId, until: float) -> None:
        """The leader counts on a lease that ``peer`` granted, until this boot time of its own."""

    def took_read(self, asker: ReadRequester, ballot: Ballot, next_slot: Slot) -> None:
        """The leader of ``ballot`` takes in a read; ``next_slot`` is the first above all it knows of."""

    def confirmed_read(self, asker: ReadRequester, ballot: Ballot | None, slot: Slot, *, by_lease: bool) -> None:
        """A read is confirmed from ``slot`` on, by the lease of the leader of ``ballot`` or by a round of heartbeats.

        None for a replica that does not lead, which confirms nothing.
        """

    def gave_up_read(self, asker: ReadRequester) -> None:
        """The leader says that it cannot confirm this read."""

    def learned(self, slot: Slot, ballot: Ballot) -> None:
        """A slot is decided, as somebody told under a ballot up to ``ballot``, or as this leader counted under it."""

    def installed(self, slot: Slot, ballot: Ballot) -> None:
        """A peer's snapshot tells that every slot up to ``slot`` is decided, under ballots up to ``ballot``."""

    def campaigns(self, asked_in: int | None) -> None:
        """A campaign begins, on the answers to the round ``asked_in`` of heartbeats and later ones; None: on none."""

    def leads_on(self, now: float) -> None:
        """A leader that ticked at ``now`` has found no reason to step down."""

    def closed_damage(self, bound: Slot, ballot: Ballot) -> None:
        """On the word of the leader of ``ballot`` nothing above ``bound`` counts as damaged from now on."""


NOBODY = Observer()
"""Looks at nothing."""
