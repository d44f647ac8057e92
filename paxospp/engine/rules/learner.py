"""The learner: which slots are decided, and in which order they reach the state machine (rule 4).

A replica knows that a slot is decided if it counted a quorum as the leader, if it received a decided entry, or if a
leader announced the slot and this replica has accepted a value there under that leader's ballot or a higher one. Every
other slot is a hole and has to be fetched.

An announcement under ballot b covers slots decided under ballots up to b; a value accepted under b or above in such a
slot is the chosen one (Lamport, "Paxos Made Simple", P2b).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from paxospp.engine.rules.invariants import check_next_delivery, check_next_snapshot
from paxospp.engine.rules.log import Log
from paxospp.engine.rules.observer import NO_OBSERVER, Observer
from paxospp.model import Ballot, Entry, Slot

_LOOKAHEAD_SLOTS = 1024


class Learner:
    """The slots that one replica knows to be decided.

    Every slot up to ``decided`` is known to be decided and is held; every slot up to ``delivered`` was handed to the
    state machine.
    """

    def __init__(self, *, decided: Slot, applied: Slot, log: Log, observer: Observer = NO_OBSERVER) -> None:
        self._observer = observer
        self.decided = decided
        self.delivered = applied
        self.wanted = decided
        """The highest slot that any replica has reported as decided."""
        self._log = log
        self._decided_above: set[Slot] = set()
        self._announced_under: Ballot | None = None
        self._announced_up_to = Slot(0)

    @property
    def decided_above(self) -> Collection[Slot]:
        """The slots above ``decided`` that are known to be decided."""
        return self._decided_above

    def decide(self, slot: Slot) -> None:
        """Note that ``slot`` is decided and that the log holds its entry."""
        if slot > self.decided:
            self._decided_above.add(slot)
            self.wanted = max(self.wanted, slot)

    def announce(self, ballot: Ballot, decided_up_to: Slot) -> None:
        """Note that every slot up to ``decided_up_to`` is decided, as the leader of ``ballot`` announced."""
        self.wanted = max(self.wanted, decided_up_to)
        if self._announced_under is not None and ballot < self._announced_under:
            self._observer.reached("learner: an announcement of an older leader comes late")
            return
        if ballot == self._announced_under:
            self._announced_up_to = max(self._announced_up_to, decided_up_to)
        else:
            self._observer.reached("learner: another leader announces")
            self.advance()  # the former leader's announcement still covers what was accepted since
            self._announced_under, self._announced_up_to = ballot, decided_up_to

    def heard_of(self, decided: Slot) -> None:
        """Note that a peer knows slots up to ``decided`` to be decided, and can be asked for them."""
        self.wanted = max(self.wanted, decided)

    def advance(self) -> bool:
        """Advance ``decided`` over all slots now known to be decided, and return whether it moved."""
        before = self.decided
        if not self._decided_above and self._announced_up_to <= before:
            return False
        while self._is_decided(Slot(self.decided + 1)):
            self.decided = Slot(self.decided + 1)
            if self.decided in self._decided_above:
                self._decided_above.remove(self.decided)
            else:
                assert self._announced_under is not None
                self._observer.learned(self.decided, self._announced_under)
        self.wanted = max(self.wanted, self.decided)
        return self.decided > before

    def hole(self) -> range | None:
        """Return the first range of decided slots that peers know of and this replica lacks; None if it lacks none."""
        if (lost := self.lost()) is not None:
            self._observer.reached(
                "learner: trimmed slots are missing, because no snapshot could be restored"
                if lost.start < self._log.first
                else "learner: a decided slot that is damaged here is missing"
            )
            return lost
        start = Slot(self.decided + 1)
        if start > self.wanted:
            return None
        held = self._log.get(start)
        if held is not None and start <= self._announced_up_to:
            self._observer.reached("learner: a slot held under an older ballot than announced has to be fetched")
        for stop in range(start + 1, min(self.wanted, start + _LOOKAHEAD_SLOTS) + 1):
            if self._is_decided(Slot(stop)):
                return range(start, stop)
        return range(start, self.wanted + 1)

    def lost(self) -> range | None:
        """Return the next slots to apply, if they are known to be decided but not readable here; else None.

        Either their records are damaged, and they are fetched like any other hole; or they were trimmed and the
        snapshot that covers them cannot be restored, so that only a peer's snapshot can help.
        """
        start = Slot(self.delivered + 1)
        if start < self._log.first:
            return range(start, self._log.first)
        if not self.is_lost(start):
            return None
        return range(start, max(start + 1, min(self._log.end_of_faulty(start), self.decided + 1)))

    def is_lost(self, slot: Slot) -> bool:
        """Return whether ``slot`` is known to be decided, is not applied yet, and is not readable here."""
        if not self.delivered < slot <= self.decided:
            return False
        return slot < self._log.first or (bool(self._log.faulty) and self._log.is_faulty(slot))

    def deliver(self) -> Iterator[Entry]:
        """Yield the decided entries that are next for the state machine, as far as memory holds them."""
        while self.delivered < self.decided:
            entry = self._log.get(Slot(self.delivered + 1))
            if entry is None:
                return
            self.hand_out(entry)
            yield entry

    def jump(self, slot: Slot) -> None:
        """Continue after ``slot``: a snapshot has replaced all entries up to it."""
        check_next_snapshot(self.delivered, slot)
        self.delivered = slot
        self.decided = max(self.decided, slot)
        self.wanted = max(self.wanted, slot)
        self._decided_above = {above for above in self._decided_above if above > self.decided}

    def hand_out(self, entry: Entry) -> None:
        """Count ``entry`` as delivered."""
        check_next_delivery(self.delivered, entry)
        self.delivered = entry.slot

    def _is_decided(self, slot: Slot) -> bool:
        if slot in self._decided_above:
            return True
        if self._announced_under is None or slot > self._announced_up_to:
            return False
        entry = self._log.get(slot)
        return entry is not None and entry.ballot >= self._announced_under
