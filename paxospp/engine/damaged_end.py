"""Where damage to the end of the log stops at the latest, so that slots above it count as empty again.

A leader proposes at most alpha slots above what it knows decided. So nothing was accepted here
above ``decided + alpha`` of a leader that has decided everything its phase 1 found, if

* its ballot is above the promise this boot began with: whatever was accepted here before came
  under a lower one, its proposer knew everything up to alpha slots below it decided, and a
  quorum of promises told the leader so; or
* it says so in answer to this boot's own round: it may be the very leader whose values were
  accepted here, and a heartbeat of it may be older than they are.

Reference: Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage" (2018), 3.3.
"""

from __future__ import annotations

from paxospp.engine.log import Log
from paxospp.messages import Heartbeat, HeartbeatAnswer
from paxospp.model import Ballot, NodeId, Slot


class DamagedEnd:
    """Closes open ends of ``log.faulty`` once a leader's word allows it."""

    def __init__(self, log: Log, booted_with: Ballot | None) -> None:
        self._log = log
        self._booted_with = booted_with
        self._caught_up: Ballot | None = None
        self._decided_up_to = Slot(0)

    def on_leader(self, ballot: Ballot, heartbeat: Heartbeat, alpha: int) -> None:
        """A heartbeat of the leader of ``ballot``, which is promised nothing higher here."""
        if not self._log.faulty or heartbeat.decided_up_to < heartbeat.recovered_up_to:
            return
        if self._booted_with is None or ballot > self._booted_with:
            self._log.close_faulty_end(Slot(heartbeat.decided_up_to + alpha))
        else:
            self._caught_up, self._decided_up_to = ballot, heartbeat.decided_up_to

    def on_answer(self, peer: NodeId, answer: HeartbeatAnswer, alpha: int) -> None:
        """``peer`` answered a round of this boot."""
        ballot = self._caught_up
        # Who leads has promised its own ballot and nothing higher.
        if ballot is not None and answer.promised == ballot and peer == answer.leader == ballot.node:
            self._log.close_faulty_end(Slot(max(answer.decided, self._decided_up_to) + alpha))
