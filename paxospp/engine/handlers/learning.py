"""Learning: how decided entries reach this replica, its state machine and its peers (rule 4).

The handler combines the learner, catch-up from peers and reads of the storage. It sends nothing but CatchUp and
DecidedEntries, and writes only what it learned.

Reference: Liskov and Cowling, "Viewstamped Replication Revisited" (2012), 5.2: state transfer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_never

from paxospp.engine.output import OutputBuilder
from paxospp.engine.rules.acceptor import Acceptor
from paxospp.engine.rules.bootstrap import FOUNDING_SLOT
from paxospp.engine.rules.covered import Met
from paxospp.engine.rules.fetching import Fetching
from paxospp.engine.rules.learner import Learner
from paxospp.engine.rules.log import Log
from paxospp.engine.rules.observer import Observer
from paxospp.engine.rules.storage_reads import Deliver, Load, Serve, StorageReads
from paxospp.engine.settings import Settings
from paxospp.messages import CatchUp, DecidedEntries
from paxospp.model import Ballot, Entry, Membership, NodeId, Slot, SnapshotMeta
from paxospp.storage.contract import WriteBatch

_MEMBERSHIP = "membership"


def membership_meta(membership: Membership) -> dict[str, bytes]:
    """Return the meta entry that keeps the membership once slot 1 is trimmed.

    A replica whose snapshot is damaged still knows its cluster from it.
    """
    return {_MEMBERSHIP: membership.to_bytes()}


def stored_membership(meta: Mapping[str, bytes]) -> Membership | None:
    """Return the membership that ``membership_meta`` stored; None if nothing was trimmed yet.

    Raises:
        CorruptedError: the stored bytes are not a membership.
    """
    data = meta.get(_MEMBERSHIP)
    return None if data is None else Membership.from_bytes(data)


class LearningHandler:
    """The learner of one replica and its sources: announcements, peers and the storage."""

    def __init__(
        self,
        log: Log,
        acceptor: Acceptor,
        settings: Settings,
        observer: Observer,
        *,
        decided: Slot,
        applied: Slot,
        hinted: Slot,
    ) -> None:
        """Start from what is ``decided``.

        Args:
            applied: the slot of the snapshot that was restored; 0 without one.
            hinted: the ``decided`` slot on disk, which may lag.
        """
        self.founding: Entry | None = None
        """The entry of slot 1, once it is decided."""
        self.is_held = False
        """Whether the state machine is behind, so that nothing more is delivered, read or fetched for it."""
        self.is_loading = False
        """Whether the entries that a start needs are still being read; until then every message is dropped."""
        self.waits_for_snapshot = False
        """Whether the next slots are available only as a snapshot, according to the peers that were asked."""
        self._observer = observer
        self._log = log
        self._acceptor = acceptor
        self._hinted = hinted
        self._covered = applied
        self._chunk_bytes_max = settings.chunk_bytes_max
        self.learner = Learner(decided=decided, applied=applied, log=log, observer=observer)
        self._reads = StorageReads(settings.chunk_bytes_max)
        self.fetching = Fetching(
            grace_s=settings.heartbeat_interval_s / 2,
            resend_s=settings.resend_interval_s,
            resend_max_s=settings.resend_interval_max_s,
            observer=observer,
        )

    @property
    def decided(self) -> Slot:
        return self.learner.decided

    @property
    def delivered(self) -> Slot:
        """The highest slot handed to the state machine."""
        return self.learner.delivered

    @property
    def wanted(self) -> Slot:
        """The highest slot that any replica has reported as decided."""
        return self.learner.wanted

    @property
    def covered(self) -> Slot:
        """The slot of the current snapshot; 0 if it is damaged or missing."""
        return self._covered

    @property
    def lost(self) -> range | None:
        """The next slots to apply, if they are known to be decided but not readable here; see ``Learner.lost``."""
        return self.learner.lost()

    # After a start.

    def load(self, out: OutputBuilder, *, founding_known: bool) -> None:
        """Request the entries that memory has to hold: all above ``decided``, and slot 1."""
        if not founding_known and self.decided >= FOUNDING_SLOT:
            self._load(FOUNDING_SLOT, Slot(FOUNDING_SLOT + 1), out)
        self._load(self._log.memory_from, Slot(self._log.last + 1), out)

    def _load(self, start: Slot, stop: Slot, out: OutputBuilder) -> None:
        while start < stop and self._log.is_faulty(start):
            start = self._log.end_of_faulty(start)
        if start < stop:
            out.output.log_reads.append(self._reads.ask(Load(stop), start, stop))
            self.is_loading = True

    def on_log_read(self, token: int, entries: Sequence[Entry], faulty: Sequence[range], out: OutputBuilder) -> None:
        """Handle the result of a read; ``faulty`` are slots that the storage found damaged."""
        purpose, wanted = self._reads.take(token)
        damaged = [max(slots.start, wanted.start) for slots in faulty if slots.stop > wanted.start]
        first = Slot(min(damaged, default=wanted.start))
        if faulty and not entries and (not isinstance(purpose, Load) or first >= wanted.stop):
            first = wanted.start  # a decided slot was stored once, so at least the first slot asked for is damaged
            faulty = (*faulty, range(first, first + 1))
        if faulty:
            self._observer.reached("learning: a read of the log finds damage")
        self._log.mark_faulty(faulty)
        match purpose:
            case Load():
                for entry in entries:
                    self._on_loaded(entry)
                # A read stops at a byte limit or before damage, so only an empty read means the end of the log. Slots
                # below the first damaged one that hold no entry were never accepted.
                if entries or faulty:
                    self._load(Slot(entries[-1].slot + 1) if entries else first, wanted.stop, out)
                self.is_loading = self._reads.is_out(Load)
            case Deliver():
                if not entries and not faulty and wanted.start > self.learner.delivered:
                    self._mark_gone(wanted.start)
                for entry in entries:
                    if entry.slot > self.learner.delivered:  # a snapshot may have been installed since
                        self._observer.reached("learning: a decided slot is read from the storage to be applied")
                        self.learner.hand_out(entry)
                        out.output.decided.append(entry)
            case Serve():
                self._observer.reached("learning: a peer is served from the storage")
                if not entries and not faulty and wanted.start >= self._log.first:
                    self._mark_gone(wanted.start)
                out.send(purpose.peer, self._answer(entries, wanted.start))
            case _:
                assert_never(purpose)

    def _mark_gone(self, slot: Slot) -> None:
        """Mark ``slot`` as damaged: it is decided, so it was stored once, and the storage no longer has it."""
        self._observer.reached("learning: a decided slot is gone from the storage")
        self._log.mark_faulty([range(slot, slot + 1)])

    def _on_loaded(self, entry: Entry) -> None:
        if entry.slot >= self._log.memory_from:
            self._log.store(entry)
        if entry.slot == FOUNDING_SLOT and self.decided >= FOUNDING_SLOT:
            self.founding = entry

    # What is decided.

    def decide(self, slot: Slot, ballot: Ballot) -> None:
        """Note that ``slot`` is decided: this replica, the leader of ``ballot``, has counted a quorum for it."""
        self._observer.learned(slot, ballot)
        self.learner.decide(slot)

    def on_announcement(self, peer: NodeId, ballot: Ballot, decided_up_to: Slot) -> None:
        """Note that every slot up to ``decided_up_to`` is decided, as the leader of ``ballot`` announced."""
        self.fetching.heard(peer, decided_up_to)
        self.learner.announce(ballot, decided_up_to)

    def on_hearsay(self, peer: NodeId, decided: Slot) -> None:
        """Note that ``peer`` reported slots up to ``decided`` as decided, and can be asked for them."""
        self.fetching.heard(peer, decided)
        self.learner.heard_of(decided)

    def on_decided_entries(self, peer: NodeId, message: DecidedEntries, out: OutputBuilder) -> None:
        """Learn the decided entries that ``peer`` sent, each with its ballot."""
        progress = False
        for entry in message.entries:
            if entry.slot > self.decided or self._log.is_faulty(entry.slot):
                self._observer.learned(entry.slot, entry.ballot)
                out.write(self._acceptor.learn(entry))
                self.learner.decide(entry.slot)
                progress = True
        self.on_hearsay(peer, message.decided)
        self.fetching.on_answer(peer, progress)
        if progress:
            self._observer.reached("learning: a peer tells what is decided")
            self.waits_for_snapshot = False
            return
        hole = self.learner.hole()
        if hole is not None and hole.start < max(message.first, self._log.first) and hole.start <= message.decided:
            self._observer.reached("learning: only a snapshot can help")
            out.output.snapshot_from = peer
            self.waits_for_snapshot = True

    def advance(self, out: OutputBuilder) -> None:
        """Advance over all slots now known to be decided, and deliver them in order."""
        learner, log = self.learner, self._log
        learner.advance()
        if self.founding is None and learner.decided >= FOUNDING_SLOT:
            self.founding = log.get(FOUNDING_SLOT)
        if self.is_held:
            return
        if learner.delivered < learner.decided:
            self._deliver(out)
        if log.bytes > log.bytes_max:
            log.evict(learner.delivered)

    def _deliver(self, out: OutputBuilder) -> None:
        for entry in self.learner.deliver():
            out.output.decided.append(entry)
            self._log.forget_loose(entry.slot)
        next_slot = Slot(self.learner.delivered + 1)
        stop = Slot(min(self.decided + 1, self._log.memory_from))
        readable = self._log.first <= next_slot < stop and not self._log.is_faulty(next_slot)
        if readable and not self._reads.is_out(Deliver):
            out.output.log_reads.append(self._reads.ask(Deliver(), next_slot, stop))

    # The hint on disk: the highest slot known to be decided when it was written.

    def hint(self, out: OutputBuilder) -> Slot | None:
        """Return the slot to store as the hint with a write of this output; None if no hint has to be stored."""
        decided = self.learner.decided
        if decided <= self._hinted or not out.has_writes:
            return None
        self._hinted = decided
        return decided

    def write_hint(self, out: OutputBuilder) -> None:
        """Write the hint by itself, if this output has no other write to carry it."""
        if self.decided > self._hinted and not out.has_writes:
            self._hinted = self.decided
            out.write(WriteBatch(decided=self.decided, sync=False))

    # Snapshots.

    def publish(self, meta: SnapshotMeta, first: Slot, governing: Membership, out: OutputBuilder) -> None:
        """Make this replica's own staged snapshot current, and trim the log below ``first``."""
        first = Slot(min(first, meta.slot + 1))
        out.write(WriteBatch(snapshot=meta, trim=first, decided=self.decided, meta=membership_meta(governing)))
        self._log.trim(first)
        self._covered = meta.slot

    def install(self, covered: Met, out: OutputBuilder) -> None:
        """Make a peer's staged snapshot current; every slot up to the snapshot's is decided."""
        self._observer.reached("learning: a peer's snapshot is installed")
        self._observer.installed(covered.meta.slot, covered.ballot)
        out.write(self._acceptor.install(covered, membership_meta(covered.governing)))
        self.learner.jump(covered.meta.slot)
        self._covered = covered.meta.slot
        self.fetching.forget_progress()
        self.waits_for_snapshot = False

    def trim_damage(self, governing: Membership, out: OutputBuilder) -> None:
        """Trim damage that the current snapshot covers.

        A peer that lacks such a slot needs the snapshot anyway. After the trim, this replica tells its peers that its
        log begins after the damage.
        """
        ends = [min(slots.stop, self._covered + 1) for slots in self._log.faulty if slots.start <= self._covered]
        if ends:
            first = Slot(max(ends))
            self._observer.reached("learning: damage below the current snapshot is trimmed")
            out.write(WriteBatch(trim=first, meta=membership_meta(governing)))
            self._log.trim(first)

    # Peers.

    def fetch(self, leader: Ballot | None, out: OutputBuilder, *, disk_is_behind: bool) -> None:
        """Ask a peer for the first hole, if a request is due and the disk keeps up."""
        hole = None if self.is_held else self.learner.hole()
        if hole is None:
            self.fetching.forget_progress()
            self.waits_for_snapshot &= self.is_held
            return
        if disk_is_behind:
            self._observer.reached("learning: nothing is fetched while too much waits for the disk")
            self.fetching.wait(out.now)
            return
        request = self.fetching.ask(hole, None if leader is None else leader.node, out.now)
        if request is not None:
            out.send(*request)

    def on_catch_up(self, peer: NodeId, wanted: CatchUp, out: OutputBuilder) -> None:
        """Answer a peer's request from memory, or else with one read of the storage at a time per peer."""
        stop = Slot(min(wanted.stop, self.decided + 1))
        entries: tuple[Entry, ...] = ()
        if self._log.first <= wanted.start < stop:
            entries = self._log.between(wanted.start, stop, self._chunk_bytes_max)
            if not entries and not self._log.is_faulty(wanted.start):
                if not self._reads.is_out(peer):
                    out.output.log_reads.append(self._reads.ask(Serve(peer, stop), wanted.start, stop))
                return
        out.send(peer, self._answer(entries, wanted.start))

    def _answer(self, entries: Sequence[Entry], start: Slot) -> DecidedEntries:
        """Return the answer to a peer that asked for entries from ``start`` on.

        A slot that is damaged here and was applied is available only as a snapshot, like a slot that was trimmed.
        """
        first = self._log.first
        if not entries and first <= start <= self.delivered:
            self._observer.reached("learning: a damaged slot that was applied is answered like a trimmed one")
            first = self._log.end_of_faulty(start)
        return DecidedEntries(entries=tuple(entries), decided=self.decided, first=first)
