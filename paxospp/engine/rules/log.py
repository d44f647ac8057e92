"""The part of the log that is held in memory, and which of its slots are damaged.

``Log`` holds every undecided entry and a bounded tail of decided ones; the storage holds all of them. Every entry
from ``memory_from`` on is here. A slot whose record was damaged is *faulty*: neither *accepted* nor *none*, until
a value is stored there again. ``DamagedEnd`` decides where damage without an end stops; its docstring proves that this
is safe.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from paxospp.engine.rules.observer import NO_OBSERVER, Observer
from paxospp.messages import Heartbeat, HeartbeatAnswer
from paxospp.model import Ballot, Entry, NodeId, Slot
from paxospp.storage.contract import WriteBatch

NOTHING = WriteBatch()
"""The write of a step that has nothing to write."""


class Log:
    """Entries by slot, and the slots that are faulty; evicts decided entries once they take too much memory."""

    def __init__(self, *, first: Slot, last: Slot, memory_from: Slot, faulty: Sequence[range], bytes_max: int) -> None:
        self.first = first
        self.last = last
        self.memory_from = memory_from
        self.faulty = [range(max(slots.start, first), slots.stop) for slots in faulty if slots.stop > first]
        self.bytes = 0
        self.bytes_max = bytes_max
        """The most that ``bytes`` may be after ``evict``."""
        self._entries: dict[Slot, Entry] = {}

    def get(self, slot: Slot) -> Entry | None:
        """Return the entry of ``slot`` if memory holds it."""
        return self._entries.get(slot)

    @property
    def held(self) -> Collection[Slot]:
        """The slots whose entries are in memory."""
        return self._entries.keys()

    def store(self, entry: Entry) -> None:
        """Store ``entry``; a slot that was faulty no longer is."""
        former = self._entries.get(entry.slot)
        if former is not None:
            self.bytes -= len(former.value)
        self._entries[entry.slot] = entry
        self.bytes += len(entry.value)
        self.last = max(self.last, entry.slot)
        if self.faulty:
            self.faulty = list(_without(self.faulty, entry.slot))

    def mark_faulty(self, slots: Iterable[range]) -> None:
        """Mark ``slots``, which could not be read, as faulty, except those in memory."""
        for damaged in slots:
            start = max(damaged.start, self.first)
            stop = min(damaged.stop, self.last + 1)
            held = sorted(slot for slot in self._entries if start <= slot < stop)
            for slot in (*held, stop):
                if start < slot and not any(known.start <= start and slot <= known.stop for known in self.faulty):
                    self.faulty.append(range(start, slot))
                start = slot + 1

    @property
    def faulty_end(self) -> bool:
        """Whether the damage reaches beyond the last entry, so that its end is unknown."""
        return bool(self.faulty) and self.is_faulty_above(self.last)

    def is_faulty(self, slot: Slot) -> bool:
        return any(slot in slots for slots in self.faulty)

    def is_faulty_above(self, bound: Slot) -> bool:
        """Return whether any slot above ``bound`` is faulty."""
        return any(slots.stop > bound + 1 for slots in self.faulty)

    def end_of_faulty(self, slot: Slot) -> Slot:
        """Return the first slot after the damage that contains ``slot``, but at most one past the last entry."""
        for slots in self.faulty:
            if slot in slots:
                # Damage may reach far beyond the last entry, and callers that step over it must make progress.
                return Slot(max(slot + 1, min(slots.stop, self.last + 1)))
        return slot

    def forget_loose(self, slot: Slot) -> None:
        """Drop the entry of ``slot`` if it was stored over damage and lies below ``memory_from``."""
        if slot < self.memory_from:
            entry = self._entries.pop(slot, None)
            if entry is not None:
                self.bytes -= len(entry.value)

    def close_faulty_end(self, bound: Slot) -> bool:
        """End all damage at ``bound``, because nothing above can have been accepted; return whether this changed it."""
        if not self.is_faulty_above(bound):
            return False
        self.faulty = [
            slots
            for slots in (range(faulty.start, min(faulty.stop, bound + 1)) for faulty in self.faulty)
            if len(slots)
        ]
        return True

    def above(self, slot: Slot) -> tuple[Entry, ...]:
        """Return the entries above ``slot`` in order; complete if ``slot >= memory_from - 1``."""
        return tuple(self._entries[held] for held in sorted(self._entries) if held > slot)

    def between(self, start: Slot, stop: Slot, bytes_max: int) -> tuple[Entry, ...]:
        """Return consecutive entries from ``start`` on, up to ``bytes_max``, but at least one if memory holds it."""
        entries: list[Entry] = []
        size = 0
        for slot in range(start, stop):
            entry = self._entries.get(Slot(slot))
            if entry is None or (entries and size + len(entry.value) > bytes_max):
                break
            entries.append(entry)
            size += len(entry.value)
        return tuple(entries)

    def trim(self, first: Slot) -> None:
        """Forget the slots below ``first``."""
        if first <= self.first:
            return
        for slot in [slot for slot in self._entries if slot < first]:
            self.bytes -= len(self._entries.pop(slot).value)
        self.first = first
        self.last = max(self.last, Slot(first - 1))
        self.memory_from = max(self.memory_from, first)
        self.faulty = [range(max(slots.start, first), slots.stop) for slots in self.faulty if slots.stop > first]

    def evict(self, up_to: Slot) -> None:
        """Remove the oldest entries from memory, up to ``up_to``, until ``bytes_max`` holds again."""
        while self.bytes > self.bytes_max and self.memory_from <= up_to:
            entry = self._entries.pop(self.memory_from, None)
            if entry is not None:
                self.bytes -= len(entry.value)
            self.memory_from = Slot(self.memory_from + 1)

    @property
    def is_full(self) -> bool:
        """Whether undecided values alone take too much memory to accept more."""
        return self.bytes > 2 * self.bytes_max


def _without(ranges: Iterable[range], slot: Slot) -> Iterator[range]:
    for slots in ranges:
        if slot not in slots:
            yield slots
            continue
        if slots.start < slot:
            yield range(slots.start, slot)
        if slot + 1 < slots.stop:
            yield range(slot + 1, slots.stop)


class DamagedEnd:
    """Decides when damage to the end of the log stops, so that slots above it count as empty again.

    An acceptor that lost the end of its log answers *faulty* for every slot from some slot on, and no candidate may
    count such an answer. The damage has to end somewhere, or this acceptor can never help a candidate again. A leader
    ends it by *vouching* up to a slot: no acceptor can have accepted anything above that slot. Every method returns the
    batch to write, which is ``NOTHING`` while the damage stays open.

    **Claim.** An acceptor A starts with the promise p and with damage. Then A accepted nothing above d + alpha before
    it was damaged, if the leader of a ballot b vouched for d + alpha and these premises hold:

    1. The leader knows that every slot up to d is decided, and d reaches everything its promises reported
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

    A writes the end down (``WriteBatch.faulty_until``), so that its next boot needs no leader to find it. Otherwise,
    if two of three disks had ever lost their end, no node could become the leader when all start at once. The claim
    is about the log as this boot found it, so it stays true. If the disk loses something later, the storage reports
    new damage.

    ``tests/engine/test_damaged_end.py`` and ``test_leader.py`` test the premises one by one.

    Reference: Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage" (2018), 3.3.
    """

    def __init__(self, log: Log, booted_with: Ballot | None, observer: Observer = NO_OBSERVER) -> None:
        self._log = log
        self._booted_with = booted_with
        self._observer = observer

    def on_leader(self, ballot: Ballot, heartbeat: Heartbeat) -> WriteBatch:
        """Handle a heartbeat of the leader of ``ballot``, which may have been sent before this boot began."""
        if not self._log.faulty_end:
            return NOTHING
        if not heartbeat.vouched_up_to:
            self._observer.reached("damaged end: a leader that has not seen the end of the log ends no damage")
            return NOTHING
        if self._booted_with is not None and ballot <= self._booted_with:
            self._observer.reached("damaged end: a heartbeat that may be older than this boot ends no damage")
            return NOTHING
        self._observer.reached("damaged end: a leader elected since ends it")
        return self._close(heartbeat.vouched_up_to, ballot)

    def on_answer(self, peer: NodeId, answer: HeartbeatAnswer) -> WriteBatch:
        """Handle an answer of ``peer`` to a round of this boot.

        A peer that leads has promised its own ballot and nothing higher.
        """
        ballot = answer.promised
        if not answer.vouched_up_to or ballot is None or not peer == answer.leader == ballot.node:
            return NOTHING
        if not self._log.faulty_end or (self._booted_with is not None and ballot < self._booted_with):
            return NOTHING
        self._observer.reached("damaged end: the leader it accepted from ends it in an answer to this boot")
        return self._close(answer.vouched_up_to, ballot)

    def on_own(self, ballot: Ballot, vouched_up_to: Slot) -> WriteBatch:
        """End the damage where this replica itself vouches that it ends, while it leads under ``ballot``.

        Its ballot is of this boot (premise 3), and its own answer is not among the clean ones (premise 2).
        """
        if not vouched_up_to or not self._log.is_faulty_above(vouched_up_to):
            return NOTHING
        self._observer.reached("damaged end: a leader ends its own")
        return self._close(vouched_up_to, ballot)

    def _close(self, bound: Slot, ballot: Ballot) -> WriteBatch:
        self._observer.closed_damage(bound, ballot)
        if not self._log.close_faulty_end(bound):
            return NOTHING
        return WriteBatch(faulty_until=Slot(bound + 1))
