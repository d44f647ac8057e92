"""The acceptor: the only place that remembers what this replica has promised and accepted (rules 1 to 4).

It answers Prepare and Accept, and stores entries that are learned. It never sends and never writes: each method returns
the reply *and* the batch that must be durable before the reply is sent. One promise covers every slot.

Reference: Lamport, "Paxos Made Simple" (2001), section 2.2, phases 1b and 2b.
"""

from __future__ import annotations

from collections.abc import Mapping

from paxospp.engine.rules.covered import Met
from paxospp.engine.rules.invariants import check_promise_rises, check_same_value
from paxospp.engine.rules.log import NOTHING, Log
from paxospp.engine.rules.observer import NO_OBSERVER, Observer
from paxospp.engine.rules.writes import Writes
from paxospp.messages import Accept, Accepted, Nack, Prepare, Promise
from paxospp.model import Ballot, Entry, Slot
from paxospp.storage.contract import WriteBatch


class Acceptor:
    """The promise and the accepted entries of one replica; ``promised`` is the promise in memory."""

    def __init__(
        self,
        promised: Ballot | None,
        log: Log,
        writes: Writes,
        *,
        chunk_bytes_max: int,
        observer: Observer = NO_OBSERVER,
    ) -> None:
        self._observer = observer
        self._writes = writes
        self.promised = promised
        self.log = log
        self._chunk_bytes_max = chunk_bytes_max
        self._answers = 0
        """The number of reports that this boot has given; every report carries its own number."""

    def on_prepare(self, prepare: Prepare, decided: Slot) -> tuple[Nack | tuple[Promise, ...], WriteBatch]:
        """Phase 1b: promise and report what is held above ``decided``, unless a higher ballot was promised."""
        if self._has_promised_above(prepare.ballot):
            assert self.promised is not None
            self._observer.reached("acceptor: a prepare below the promise is refused")
            return Nack(refused=prepare.ballot, promised=self.promised), NOTHING
        # Answer an equal ballot again: our first Promise may have been lost.
        batch = self.promise(prepare.ballot)
        if batch is NOTHING:
            self._observer.reached("acceptor: an equal prepare is answered again")
        return self._report(prepare, decided), batch

    def promise(self, ballot: Ballot) -> WriteBatch:
        """Raise the promise to ``ballot``, and return the batch that stores it; it is empty if nothing changed."""
        check_promise_rises(self.promised, ballot)
        if self.promised == ballot:
            return NOTHING
        self.promised = ballot
        return WriteBatch(promised=ballot)

    def on_accept(self, accept: Accept, *, own: bool = False) -> tuple[Accepted | Nack | None, WriteBatch]:
        """Phase 2b: accept, unless a higher ballot was promised; the reply is None if no answer would help.

        A replica's ``own`` proposals are never refused for lack of memory: the leader's window already limits them.
        """
        if self._has_promised_above(accept.ballot):
            assert self.promised is not None
            self._observer.reached("acceptor: an accept below the promise is refused")
            return Nack(refused=accept.ballot, promised=self.promised), NOTHING
        if accept.slot < max(self.log.first, self.log.memory_from):
            # Decided long ago. Our promise and our heartbeats say so; the leader will fetch the entry.
            self._observer.reached("acceptor: an accept below what memory holds gets no answer")
            return None, NOTHING
        entry = Entry(accept.slot, accept.ballot, accept.kind, accept.value)
        held = self.log.get(accept.slot)
        if held is not None and held.ballot == accept.ballot:
            check_same_value(accept.slot, held, entry, "one ballot proposes one value per slot")
            self._observer.reached("acceptor: the same accept is answered again")
            return Accepted(ballot=accept.ballot, slot=accept.slot), NOTHING
        if held is None and accept.slot > self.log.last and self.log.is_full and not own:
            # This replica is too far behind to hold more; it catches up first. Not accepting is always safe.
            self._observer.reached("acceptor: a full log accepts nothing new")
            return None, NOTHING
        if self._writes.is_behind and not own:
            self._observer.reached("acceptor: nothing new is accepted while too much waits for the disk")
            return None, NOTHING
        promise = self.promise(accept.ballot)
        if held is not None:
            same = (held.kind, held.value) == (entry.kind, entry.value)
            self._observer.reached(
                "acceptor: an accept confirms a value under a higher ballot"
                if same
                else "acceptor: an accept replaces the value of a lower ballot"
            )
        elif self.log.faulty and self.log.is_faulty(accept.slot):
            self._observer.reached("acceptor: an accept heals a damaged slot")
        self.log.store(entry)
        return (
            Accepted(ballot=accept.ballot, slot=accept.slot),
            WriteBatch(promised=promise.promised, accepted=(entry,)),
        )

    def learn(self, entry: Entry) -> WriteBatch:
        """Store a decided entry under the ballot it came with, or under the slot's own ballot if that is higher.

        A later Prepare must be answered with a ballot under which this value was chosen or confirmed, and an accepted
        ballot never exceeds the promise. So one batch raises both (rule 4).
        """
        if entry.slot < self.log.first:
            return NOTHING
        held = self.log.get(entry.slot)
        if held is not None and held.ballot >= entry.ballot:
            check_same_value(entry.slot, held, entry, "accepted at or above the ballot that decided")
            return NOTHING
        if held is not None:
            same = (held.kind, held.value) == (entry.kind, entry.value)
            self._observer.reached(
                "acceptor: a learned entry raises the ballot of its slot"
                if same
                else "acceptor: a learned entry replaces another value"
            )
        elif self.log.faulty and self.log.is_faulty(entry.slot):
            self._observer.reached("acceptor: a learned entry heals a damaged slot")
        self.log.store(entry)
        if self.promised is None or entry.ballot > self.promised:
            self._observer.reached("acceptor: a learned entry raises the promise")
            self.promised = entry.ballot
            return WriteBatch(promised=entry.ballot, accepted=(entry,))
        return WriteBatch(accepted=(entry,))

    def install(self, covered: Met, meta: Mapping[str, bytes]) -> WriteBatch:
        """Replace all entries up to the slot of a peer's snapshot; accepted entries above it stay.

        Like a learned entry, a snapshot raises the promise to its ballot in the same batch, which also stores ``meta``.
        """
        slot = covered.meta.slot
        first = Slot(slot + 1)
        rises = self.promised is None or covered.ballot > self.promised
        if rises:
            self._observer.reached("acceptor: an installed snapshot raises the promise")
            self.promised = covered.ballot
        if self.log.last > slot:
            self._observer.reached("acceptor: accepted slots stay above an installed snapshot")
        self.log.trim(first)
        return WriteBatch(
            promised=covered.ballot if rises else None, snapshot=covered.meta, trim=first, decided=slot, meta=meta
        )

    def _has_promised_above(self, ballot: Ballot) -> bool:
        return self.promised is not None and self.promised > ballot

    def _report(self, prepare: Prepare, decided: Slot) -> tuple[Promise, ...]:
        """Return the entries held above ``decided``, in parts that fit into a message."""
        parts: list[list[Entry]] = [[]]
        size = 0
        for entry in self.log.above(decided):
            if parts[-1] and size + len(entry.value) > self._chunk_bytes_max:
                parts.append([])
                size = 0
            parts[-1].append(entry)
            size += len(entry.value)
        faulty = tuple(slots for slots in self.log.faulty if slots.stop > decided + 1)
        self._answers += 1
        self._observer.reported(self._answers)
        if len(parts) > 1:
            self._observer.reached("acceptor: a report has several parts")
        if faulty:
            self._observer.reached("acceptor: a report names damaged slots")
            if faulty[-1].stop > self.log.last + 1:
                self._observer.reached("acceptor: a report names damage beyond all that is held")
        if prepare.start < self.log.first:
            self._observer.reached("acceptor: a prepare begins below the first slot of the log")
        return tuple(
            Promise(
                ballot=prepare.ballot,
                start=prepare.start,
                answer=self._answers,
                part=number,
                parts=len(parts),
                decided=decided,
                first=self.log.first,
                last=self.log.last,
                entries=tuple(entries),
                faulty=faulty,
            )
            for number, entries in enumerate(parts)
        )
