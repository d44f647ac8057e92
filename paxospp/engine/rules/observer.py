"""The observer of a replica: a simulator, an explorer or a test that watches it work.

A replica is given its observer when it is made, and reports two kinds of events. A *marker* names a branch that matters
for safety and was just taken, so that a sweep of random runs can list the branches it reached. A *step* says what was
counted or concluded, so that a judge that sees all disks and all messages can check it at once. An observer never
changes anything. By default nothing is recorded, and a marker costs one call of an empty method.
"""

from __future__ import annotations

from paxospp.engine.rules.pending_reads import ReadRequester
from paxospp.engine.rules.promises import PromiseReport
from paxospp.markers import Markers
from paxospp.messages import Sender
from paxospp.model import Ballot, NodeId, Slot


class Observer(Markers):
    """Methods that do nothing; override those of interest. They are called in the middle of a step."""

    def reported(self, answer: int) -> None:
        """Called when the acceptor has made its report number ``answer``; later acceptances are not in it."""

    def counted_promise(self, sender: Sender, answer: int, ballot: Ballot, report: PromiseReport) -> None:
        """Called when all parts of one answer to ``ballot`` have arrived; ``report`` is what they say together."""

    def counted_acceptance(self, ballot: Ballot, slot: Slot, node: NodeId, incarnation: int) -> None:
        """Called when the leader of ``ballot`` counts this acceptance of a slot that is not chosen yet."""

    def counted_grant(self, peer: NodeId, until: float) -> None:
        """Called when the leader counts a lease granted by ``peer``, until the leader's boot time ``until``."""

    def took_read(self, requester: ReadRequester, ballot: Ballot, next_slot: Slot) -> None:
        """Called when the leader of ``ballot`` receives a read; ``next_slot`` is above all slots that it knows of."""

    def confirmed_read(self, requester: ReadRequester, ballot: Ballot | None, slot: Slot, *, by_lease: bool) -> None:
        """Called when a read is confirmed for ``slot``, by the leader's lease or by a round of heartbeats.

        ``ballot`` is None if the replica does not lead, in which case it must not confirm anything.
        """

    def gave_up_read(self, requester: ReadRequester) -> None:
        """Called when the leader refuses this read."""

    def learned(self, slot: Slot, ballot: Ballot) -> None:
        """Called when ``slot`` is decided under a ballot up to ``ballot``, as a peer said or this leader counted."""

    def installed(self, slot: Slot, ballot: Ballot) -> None:
        """Called when a peer's snapshot is installed: slots up to ``slot`` are decided, under at most ``ballot``."""

    def campaigns(self, asked_in: int | None) -> None:
        """Called when a campaign begins, after answers to round ``asked_in`` or later; None: without asking."""

    def leads_on(self, now: float) -> None:
        """Called when a leader has ticked at ``now`` and found no reason to step down."""

    def closed_damage(self, bound: Slot, ballot: Ballot) -> None:
        """Called when damage is closed because the leader of ``ballot`` vouched that it ends at ``bound``."""


NO_OBSERVER = Observer()
"""The observer that ignores everything."""
