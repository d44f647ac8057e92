"""The leader's side of phase 2: a window of slots in flight, each decided on its own (rule 3).

A new leader first proposes in the slots that phase 1 found open, with the values it found there, and then new values.
A value is chosen when a quorum has accepted it under *this* ballot. Unanswered Accepts are sent again, with back-off.
Nothing in here sends a message; methods return what has to be sent.

References: van Renesse and Altinbuken, "Paxos Made Moderately Complex": commander and WINDOW;
Lamport, "Paxos Made Simple", 3: gaps are filled with no-ops.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from paxospp.engine.rules.observer import NO_OBSERVER, Observer
from paxospp.engine.rules.promises import Promises
from paxospp.engine.rules.voters import Voters
from paxospp.engine.settings import Settings
from paxospp.messages import Accept
from paxospp.model import Ballot, Entry, Kind, NodeId, Slot


class DecidedAnnouncement:
    """Schedules a separate announcement of what is decided, for when no other message carries it.

    Every Accept and every heartbeat says up to which slot the log is decided. The next Accept is rarely far
    away, so a separate message is worth its cost only if a caller at a follower waits for the slot, or if
    nothing else was sent for ``wait_s`` seconds.
    """

    def __init__(self, wait_s: float) -> None:
        self.due_at = math.inf
        """The time at which an announcement is due; infinite while nothing has to be announced."""
        self._wait_s = wait_s
        self._awaited = Slot(0)

    def expedite(self, slot: Slot) -> None:
        """Announce ``slot`` as soon as it is decided, because a caller at a follower waits for it."""
        self._awaited = slot

    def on_decided(self, before: Slot, now: float) -> None:
        """Schedule an announcement, because slots above ``before`` have been decided."""
        wait_s = 0.0 if self._awaited > before else self._wait_s
        self.due_at = min(self.due_at, now + wait_s)

    def on_sent(self) -> None:
        """Cancel the announcement, because a message to every follower has just said what is decided."""
        self.due_at = math.inf


@dataclass(slots=True)
class Proposal:
    """One slot in flight, and the nodes that have accepted it."""

    entry: Entry
    sent_at: float
    resend_after_s: float
    accepted_by: set[NodeId] = field(default_factory=set)


class Leading:
    """The state that exists only while this replica leads under ``ballot``."""

    def __init__(
        self,
        promises: Promises,
        decided: Slot,
        settings: Settings,
        *,
        since: float,
        alpha: int,
        observer: Observer = NO_OBSERVER,
    ) -> None:
        self._observer = observer
        self.since = since
        self.announcement = DecidedAnnouncement(settings.announce_after_s)
        self.promises = promises
        self.ballot: Ballot = promises.ballot
        self.alpha = alpha
        self.recovered_up_to = Slot(max(promises.recovered_up_to, decided))
        self.progressed_at = since
        """The time at which ``decided`` last advanced; at first, when this replica became the leader."""
        self.next_slot = Slot(self.recovered_up_to + 1)
        self.proposals: dict[Slot, Proposal] = {}
        self._window_bytes_max = settings.tail_bytes_max
        self._sizes: dict[Slot, int] = {}
        self._bytes = 0
        """Total size of the values proposed above ``decided``, including those already chosen above a gap."""
        self._settled_up_to = decided
        self._prepare_again_at: float | None = None
        self._prepare_pause_s = settings.resend_interval_s
        self._unproposed = Slot(decided + 1)
        self._held_back: set[Slot] = set()
        self._restored_up_to = Slot(0)
        """The highest slot that the followers were last asked to accept again."""
        self._resend_s = settings.resend_interval_s
        self._resend_max_s = settings.resend_interval_max_s
        self._blocked_by: Slot | None = None
        self._blocked_since = since
        """The time since which the same obstacle has kept this leader from deciding or applying anything new."""

    def is_blocked(self, lost: range | None, voters: Voters, now: float, for_s: float) -> bool:
        """Return whether one obstacle has blocked this leader for longer than ``for_s`` seconds.

        The obstacle is that this leader has not seen the end of the log, or that it has not recovered the first slot of
        ``lost`` (see ``Learner.lost``). It may last for ever, if the nodes that could help are unreachable from here.
        """
        blocked_by = Slot(lost.start) if lost is not None else None if self.sees_the_end(voters) else self.next_slot
        if blocked_by != self._blocked_by:
            self._blocked_by, self._blocked_since = blocked_by, now
        return blocked_by is not None and now - self._blocked_since > for_s

    def recover(self, decided: Slot, voters: Voters) -> Iterator[Entry]:
        """Yield the entries to propose in slots that phase 1 left open, as far as answers and the window allow.

        Each slot is yielded once. A slot without clean answers from a quorum is held back and tried again with the
        next call; more promises may have come by then, or the slot may be decided.
        """
        candidates = sorted(slot for slot in self._held_back if slot > decided)
        self._unproposed = Slot(max(self._unproposed, decided + 1))
        limit = min(self.recovered_up_to, decided + self.alpha)
        candidates.extend(Slot(slot) for slot in range(self._unproposed, limit + 1))
        self._unproposed = Slot(max(self._unproposed, limit + 1))
        self._held_back.clear()
        for slot in candidates:
            entry = self.promises.choose(slot, voters)
            if entry is None:
                self._observer.reached("leading: a recovered slot is held back")
                self._held_back.add(slot)
            elif slot not in self.proposals:
                yield entry

    def bootstrap(self, slot: Slot, alpha: int) -> None:
        """Adopt the ``alpha`` of the first membership, proposed in ``slot``.

        New values go above that slot, and reads wait for it.
        """
        self.alpha = alpha
        self.recovered_up_to = Slot(max(self.recovered_up_to, slot))
        self.next_slot = Slot(self.recovered_up_to + 1)
        self._unproposed = Slot(max(self._unproposed, slot + 1))

    def on_late_promise(self, node: NodeId, voters: Voters) -> None:
        """Handle a promise of ``node`` that came after the election; its values may have to precede new ones.

        If other answers were damaged in a slot that has no proposal yet, this answer may be the one that makes the slot
        clean, and the value it holds there may have been chosen. If a quorum without ``node`` is clean in the slot, a
        value that was chosen there is among that quorum's answers already.
        """
        report = self.promises.reports[node]
        reported_up_to = report.decided
        for slot in report.entries:
            clean = [other for other in self.promises.clean(slot, voters) if other != node]
            if slot > reported_up_to and not voters.is_quorum(clean):
                reported_up_to = slot
        if reported_up_to < self.next_slot:
            self._observer.reached("leading: a late promise reports nothing that comes before new values")
            return
        self._observer.reached("leading: a late promise reports what has to come before new values")
        if self._unproposed > self.recovered_up_to:
            self._unproposed = self.next_slot  # every slot below has a proposal or is held back
        self.recovered_up_to = reported_up_to
        self.next_slot = Slot(reported_up_to + 1)

    def prepare_is_due(self, now: float) -> bool:
        """Return whether to send Prepare again for the slots held back; each time doubles the pause."""
        if self._prepare_again_at is None:
            self._prepare_again_at = now + self._prepare_pause_s
            return False
        if now < self._prepare_again_at:
            return False
        self._prepare_pause_s = min(2 * self._prepare_pause_s, self._resend_max_s)
        self._prepare_again_at = now + self._prepare_pause_s
        return True

    def is_waiting(self, decided: Slot, lost: range | None, voters: Voters) -> bool:
        """Return whether more clean answers are needed: for a recovered slot, the next slot, or the first lost slot.

        For a slot that is decided and lost here, this replica's own promise says *decided*, which is not clean. So one
        more answer is needed than for winning the election.
        """
        if any(slot > decided for slot in self._held_back):
            return True
        if lost is not None and not self.promises.is_clean(Slot(lost.start), voters):
            return True
        return not self.sees_the_end(voters)

    def sees_the_end(self, voters: Voters) -> bool:
        """Return whether phase 1 has found the end of the log, above which no node has applied anything.

        Damage without an end names no slot that could be held back, but it may hide a value in the next slot. It is
        enough that the next slot is clean: if nothing was chosen there, no node has applied a value above it.
        """
        promises = self.promises
        return promises.is_clean_from(self.next_slot, voters) or promises.is_clean(self.next_slot, voters)

    def proposable(self, decided: Slot, voters: Voters) -> int:
        """Return how many new values may be proposed now.

        Nothing is proposed above ``decided + alpha`` (rule 7), and nothing while the values in flight have too many
        bytes, because this node and its followers hold them in memory.
        """
        if max(self._unproposed, decided + 1) <= self.recovered_up_to:
            self._observer.reached("leading: no room before all that was recovered is proposed")
            return 0
        if self.has_too_many_bytes:
            self._observer.reached("leading: no room for more bytes")
            return 0
        room = decided + self.alpha - self.next_slot + 1
        if room <= 0:
            self._observer.reached("leading: no room above decided plus alpha")
            return 0
        if self.promises.is_clean_from(self.next_slot, voters):
            return room
        # Propose slot by slot, because no answer that counts says anything about the slot after the next one.
        if self.promises.is_clean(self.next_slot, voters):
            self._observer.reached("leading: room for one value, because only the next slot is clean")
            return 1
        self._observer.reached("leading: no room while the next slot may hold what was chosen")
        return 0

    @property
    def has_too_many_bytes(self) -> bool:
        """Whether the values in flight have reached the limit in bytes."""
        return self._bytes >= self._window_bytes_max

    def vouched_up_to(self, decided: Slot, voters: Voters) -> Slot:
        """Return the slot above which no acceptor can have accepted anything, see ``log.DamagedEnd``; 0 if unknown."""
        if decided < self.recovered_up_to:
            self._observer.reached("leading: it vouches for nothing before it has decided what it recovered")
            return Slot(0)
        if not self.promises.is_clean_from(self.next_slot, voters):
            self._observer.reached("leading: it vouches for nothing before it has seen the end of the log")
            return Slot(0)
        return Slot(decided + self.alpha)

    def next_entry(self, kind: Kind, value: bytes) -> Entry:
        """Bind ``value`` to the next slot; call this only while ``proposable`` is positive.

        Then every slot below is proposed, held back or decided.
        """
        entry = Entry(self.next_slot, self.ballot, kind, value)
        self.next_slot = self._unproposed = Slot(self.next_slot + 1)
        return entry

    def open(self, entry: Entry, now: float) -> None:
        """Start to count acceptances of ``entry``."""
        self.proposals[entry.slot] = Proposal(entry, now, self._resend_s)
        self._bytes += len(entry.value) - self._sizes.get(entry.slot, 0)
        self._sizes[entry.slot] = len(entry.value)

    def on_accepted(self, slot: Slot, node: NodeId, voters: Voters) -> bool:
        """Count one acceptance, and return whether it completed a quorum. A node counts once."""
        proposal = self.proposals.get(slot)
        if proposal is None:
            return False
        proposal.accepted_by.add(node)
        if not voters.is_quorum(proposal.accepted_by):
            return False
        del self.proposals[slot]
        return True

    def settle(self, decided: Slot, now: float) -> None:
        """Drop the proposals of slots that are decided."""
        if decided == self._settled_up_to:
            return
        self.progressed_at = now
        if decided >= self.next_slot:
            self._observer.reached("leading: slots it never proposed in turn out to be decided")
        sizes = self._sizes
        settled = range(self._settled_up_to + 1, decided + 1)
        for slot in [slot for slot in sizes if slot in settled] if len(sizes) < len(settled) else settled:
            self._bytes -= sizes.pop(Slot(slot), 0)
            self.proposals.pop(Slot(slot), None)
        self._settled_up_to = decided
        # A snapshot or a peer may report slots above all recovered ones that an earlier leader decided.
        self.next_slot = Slot(max(self.next_slot, decided + 1))

    def resend(self, now: float, decided: Slot, bytes_max: int) -> Iterator[tuple[Accept, frozenset[NodeId]]]:
        """Yield the Accepts to send again, each with the nodes that need no copy, until ``bytes_max`` is exceeded."""
        size = 0
        for slot in sorted(self.proposals):
            proposal = self.proposals[slot]
            if now < proposal.sent_at + proposal.resend_after_s:
                continue
            size += len(proposal.entry.value)
            proposal.sent_at = now
            proposal.resend_after_s = min(2 * proposal.resend_after_s, self._resend_max_s)
            self._observer.reached("leading: an unanswered accept is sent again")
            yield self.accept(proposal.entry, decided), frozenset(proposal.accepted_by)
            if size > bytes_max:
                return

    def restore(
        self, is_lost: Callable[[Slot], bool], decided: Slot, voters: Voters, bytes_max: int
    ) -> Iterator[Accept]:
        """Yield Accepts for slots that are decided and lost here, so that the followers accept them again.

        A follower may hold such a value without knowing that it is decided, so no node can be asked for it. Once a
        follower has accepted it under this ballot, the follower knows. Proposing is safe: a quorum of clean answers can
        only have held the decided value. The range begins above the slots that a quorum reported as decided, because
        peers can send those. At most ``alpha`` slots are yielded, until ``bytes_max`` is exceeded, oldest first.

        The followers' next promises show whether it worked, so Prepare is sent again soon.
        """
        size = 0
        start = self.promises.undecided_from(voters)
        if 0 < self._restored_up_to < start <= decided:
            self._observer.reached("leading: what was lost here is decided where it was accepted again")
            self._restored_up_to = Slot(0)
            self._prepare_pause_s, self._prepare_again_at = self._resend_s, None
        slots = (Slot(slot) for slot in range(start, decided + 1))
        for slot in islice(filter(is_lost, slots), self.alpha):
            entry = self.promises.choose(slot, voters)
            if entry is not None:
                size += len(entry.value)
                self._restored_up_to = slot
                yield self.accept(entry, decided)
                if size > bytes_max:
                    return

    def accept(self, entry: Entry, decided: Slot) -> Accept:
        """Return the Accept for ``entry``."""
        return Accept(ballot=self.ballot, slot=entry.slot, kind=entry.kind, value=entry.value, decided_up_to=decided)
