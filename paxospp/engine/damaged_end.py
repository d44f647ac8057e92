"""Where damage to the end of the log stops at the latest, so that slots above it count as empty again.

An acceptor A that lost the end of its log answers *faulty* for every slot from some slot on, and
no candidate may count such an answer. The damage has to end somewhere, or A never helps anybody
again. A leader ends it by *vouching* up to a slot: nobody can have accepted anything above that slot.

**Claim.** A starts with the promise p and with damage. Then A accepted nothing above d + alpha before
it was damaged, if the leader of a ballot b vouched for d + alpha and these premises hold:

1. The leader knows every slot up to d decided, and d reaches everything its promises reported
   (``Leading.recovered_up_to``).
2. One quorum of voters has given the leader whole answers to b that are clean in every slot from
   its next slot on (``Promises.is_clean_from``). An answer that A gave after the damage is not among
   them, because its damage has no end.
3. b > p; or b = p, and the leader vouched after this boot of A began.
4. An acceptance raises the promise in the same write, and p itself is not damaged: a storage that
   has lost its promise does not load.
5. A proposer under a ballot c proposes in slot s only if it knows every slot up to s - alpha decided,
   and only while it has met no ballot above c: it knows them decided under ballots up to c.
6. A leader proposes above what it recovered only in slots of which a quorum said *none*.

**Proof.** Suppose A accepted slot s > d + alpha under a ballot c before the damage. By 4, c <= p. Let
t = s - alpha, so t > d. By 5 a quorum accepted t under some c' <= c <= p <= b.

*c' < b.* That quorum and the one of premise 2 share an acceptor R, which accepted t under c' before it
promised b. If R's answer is clean in t, it says *accepted*; if not, t lies below the leader's next slot, or
R said *decided*. So t is among what the promises reported, and t <= d by premise 1; or the leader has
proposed in t itself above what it recovered, and by 6 no lower ballot can have chosen t. Either way a
contradiction. (R may have been damaged as well. What a leader vouched for to R is true by induction on
the time of vouching, and named damage is not clean.)

*c' = b.* Then c = p = b: the leader itself decided t before it proposed s. By 3 it vouched after A had
accepted s, so d >= t: a contradiction. Answers that A gave to b before the damage were true when it
gave them, so they may be among those of premise 2.

A writes the end down (``WriteBatch.faulty_until``), so that its next boot needs no leader to find it. Otherwise, if two
of three disks had ever lost their end, nobody could become the leader when all start at once. The claim is about the
log as this boot found it, so it stays true. If the disk loses something later, the storage reports new damage.

``tests/engine/test_damaged_end.py`` and ``test_leading.py`` test the premises one by one.

Reference: Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage" (2018), 3.3.
"""

from __future__ import annotations

from paxospp.engine.log import Log
from paxospp.engine.observer import NOBODY, Observer
from paxospp.engine.turn import Turn
from paxospp.messages import Heartbeat, HeartbeatAnswer
from paxospp.model import Ballot, NodeId, Slot
from paxospp.storage.contract import WriteBatch


class DamagedEnd:
    """Closes open ends of ``log.faulty`` once a leader's word allows it."""

    def __init__(self, log: Log, booted_with: Ballot | None, observer: Observer = NOBODY) -> None:
        self._log = log
        self._booted_with = booted_with
        self._observer = observer

    def on_leader(self, ballot: Ballot, heartbeat: Heartbeat, turn: Turn) -> None:
        """A heartbeat of the leader of ``ballot``. It may have been sent before this boot began."""
        if not self._log.faulty_end:
            return
        if not heartbeat.vouched_up_to:
            self._observer.reached("damaged end: a leader that has not seen the end of the log ends no damage")
        elif self._booted_with is not None and ballot <= self._booted_with:
            self._observer.reached("damaged end: a heartbeat that may be older than this boot ends no damage")
        else:
            self._observer.reached("damaged end: a leader elected since ends it")
            self._close(heartbeat.vouched_up_to, ballot, turn)

    def on_answer(self, peer: NodeId, answer: HeartbeatAnswer, turn: Turn) -> None:
        """``peer`` answered a round of this boot; while it leads, it has promised its own ballot and nothing higher."""
        ballot = answer.promised
        if not answer.vouched_up_to or ballot is None or not peer == answer.leader == ballot.node:
            return
        if self._log.faulty_end and (self._booted_with is None or ballot >= self._booted_with):
            self._observer.reached("damaged end: the leader it accepted from ends it in an answer to this boot")
            self._close(answer.vouched_up_to, ballot, turn)

    def on_own(self, ballot: Ballot, vouched_up_to: Slot, turn: Turn) -> None:
        """This replica leads under ``ballot``, and vouches: to itself like to anybody else.

        Its ballot is of this boot (premise 3), and its own answer is not among the clean ones (premise 2).
        """
        if vouched_up_to and self._log.is_faulty_above(vouched_up_to):
            self._observer.reached("damaged end: a leader ends its own")
            self._close(vouched_up_to, ballot, turn)

    def _close(self, bound: Slot, ballot: Ballot, turn: Turn) -> None:
        self._observer.closed_damage(bound, ballot)
        if self._log.close_faulty_end(bound):
            turn.write(WriteBatch(faulty_until=Slot(bound + 1)))
