"""Phase 2, seen by the leader: a window of slots in flight, each decided on its own.

First the slots that phase 1 found open, with the values it found; then new ones. What a quorum
accepted under *this* ballot is chosen. Unanswered accepts are sent again, with back-off.

References: van Renesse and Altinbuken, "Paxos Made Moderately Complex": commander and WINDOW;
Lamport, "Paxos Made Simple", 3: gaps are filled with no-ops.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from paxospp.engine.news import News
from paxospp.engine.promises import Promises
from paxospp.engine.quorum import Voters
from paxospp.engine.settings import Settings
from paxospp.messages import Accept
from paxospp.model import Ballot, Entry, Kind, NodeId, Slot


@dataclass(slots=True)
class Proposal:
    """One slot in flight."""

    entry: Entry
    sent_at: float
    resend_after_s: float
    accepted_by: set[NodeId] = field(default_factory=set)


class Leading:
    """What exists only while this replica leads under ``ballot``."""

    def __init__(
        self,
        promises: Promises,
        decided: Slot,
        settings: Settings,
        *,
        since: float,
        alpha: int,
    ) -> None:
        self.since = since
        self.news = News(settings.news_wait_s)
        self.promises = promises
        self.ballot: Ballot = promises.ballot
        self.alpha = alpha
        self.recovered_up_to = Slot(max(promises.recovered_up_to, decided))
        self.next_slot = Slot(self.recovered_up_to + 1)
        self.proposals: dict[Slot, Proposal] = {}
        self._window_bytes_max = settings.tail_bytes_max
        self._sizes: dict[Slot, int] = {}
        self._bytes = 0
        """Of the values in slots that were opened and are not decided, those chosen above a hole included."""
        self._settled_up_to = decided
        self._prepare_again_at: float | None = None
        self._prepare_pause_s = settings.resend_interval_s
        self._unproposed = Slot(decided + 1)
        self._held_back: set[Slot] = set()
        self._resend_s = settings.resend_interval_s
        self._resend_max_s = settings.resend_interval_max_s

    def recover(self, decided: Slot, voters: Voters) -> Iterator[Entry]:
        """Entries to propose in slots that phase 1 left open, as far as answers and the window allow.

        Yields each slot once. A slot without clean answers from a quorum is held back and tried
        again when another promise came, or when it turns out to be decided.
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
                self._held_back.add(slot)
            elif slot not in self.proposals:
                yield entry

    def start_after(self, slot: Slot) -> None:
        """New values go above ``slot``, and reads wait for it."""
        self.recovered_up_to = Slot(max(self.recovered_up_to, slot))
        self.next_slot = Slot(self.recovered_up_to + 1)
        self._unproposed = Slot(max(self._unproposed, slot + 1))

    def on_late_promise(self, node: NodeId, voters: Voters) -> None:
        """The promise of ``node`` came after the lead was taken: values in it may have to come before new ones.

        Where another answer was damaged, this one may be what makes a slot clean that is not proposed
        in yet, and then what it holds there may be chosen. Where a quorum said *none* without it, not.
        """
        report = self.promises.reports[node]
        found = report.decided
        for slot in report.entries:
            clean = [other for other in self.promises.clean(slot, voters) if other != node]
            if slot > found and not voters.is_quorum(clean):
                found = slot
        if found < self.next_slot:
            return
        if self._unproposed > self.recovered_up_to:
            self._unproposed = self.next_slot  # in all below something was proposed, or is held back
        self.recovered_up_to = found
        self.next_slot = Slot(found + 1)

    def prepare_is_due(self, now: float) -> bool:
        """Whether to ask again for the slots held back; asking doubles the pause."""
        if self._prepare_again_at is None:
            self._prepare_again_at = now + self._prepare_pause_s
            return False
        if now < self._prepare_again_at:
            return False
        self._prepare_pause_s = min(2 * self._prepare_pause_s, self._resend_max_s)
        self._prepare_again_at = now + self._prepare_pause_s
        return True

    def is_waiting(self, decided: Slot, voters: Voters) -> bool:
        """Whether a slot still lacks clean answers: a recovered one, or the next."""
        if any(slot > decided for slot in self._held_back):
            return True
        return not self.sees_the_end(voters)

    def sees_the_end(self, voters: Voters) -> bool:
        """Whether nothing can have been chosen above what phase 1 recovered.

        Damage with no end names no slot that could be held back, and yet it may reach the next one.
        """
        promises = self.promises
        return promises.is_clean_from(self.next_slot, voters) or promises.is_clean(self.next_slot, voters)

    def room(self, decided: Slot, voters: Voters) -> int:
        """How many new values may be proposed now: rule 7, nothing above ``decided + alpha``.

        And none while the window holds too many bytes: what is in flight is held in memory here and there.
        """
        if max(self._unproposed, decided + 1) <= self.recovered_up_to:
            return 0
        if not self.sees_the_end(voters):
            return 0
        if self._bytes >= self._window_bytes_max:
            return 0
        room = decided + self.alpha - self.next_slot + 1
        return room if room > 0 else 0

    def next_entry(self, kind: Kind, value: bytes) -> Entry:
        """Bind ``value`` to the next slot."""
        entry = Entry(self.next_slot, self.ballot, kind, value)
        self.next_slot = Slot(self.next_slot + 1)
        return entry

    def open(self, entry: Entry, now: float) -> None:
        """Count answers for ``entry`` from now on."""
        self.proposals[entry.slot] = Proposal(entry, now, self._resend_s)
        self._bytes += len(entry.value) - self._sizes.get(entry.slot, 0)
        self._sizes[entry.slot] = len(entry.value)

    def on_accepted(self, slot: Slot, node: NodeId, voters: Voters) -> bool:
        """Take one answer; True when it made the slot chosen. Two of one node are one."""
        proposal = self.proposals.get(slot)
        if proposal is None:
            return False
        proposal.accepted_by.add(node)
        if not voters.is_quorum(proposal.accepted_by):
            return False
        del self.proposals[slot]
        return True

    def settle(self, decided: Slot) -> None:
        """Stop asking for slots that turned out to be decided."""
        if decided == self._settled_up_to:
            return
        sizes = self._sizes
        settled = range(self._settled_up_to + 1, decided + 1)
        for slot in [slot for slot in sizes if slot in settled] if len(sizes) < len(settled) else settled:
            self._bytes -= sizes.pop(Slot(slot), 0)
            self.proposals.pop(Slot(slot), None)
        self._settled_up_to = decided
        # A snapshot, which names no ballot, may tell of slots that another leader decided meanwhile.
        self.next_slot = Slot(max(self.next_slot, decided + 1))

    def resend(self, now: float, decided: Slot, bytes_max: int) -> Iterator[tuple[Accept, frozenset[NodeId]]]:
        """Accepts that went unanswered too long, with those who answered; oldest first, bounded."""
        size = 0
        for slot in sorted(self.proposals):
            proposal = self.proposals[slot]
            if now < proposal.sent_at + proposal.resend_after_s:
                continue
            size += len(proposal.entry.value)
            proposal.sent_at = now
            proposal.resend_after_s = min(2 * proposal.resend_after_s, self._resend_max_s)
            yield self.accept(proposal.entry, decided), frozenset(proposal.accepted_by)
            if size > bytes_max:
                return

    def restore(self, lost: range, decided: Slot, voters: Voters) -> Iterator[Accept]:
        """Have the others accept again, under this ballot, what is decided and lost here.

        They may hold it without knowing it decided, so that there is nobody to fetch it from. Accepted
        under this ballot, they know; and a quorum's clean answers can only have held what was decided.
        """
        for slot in lost[: self.alpha]:
            entry = self.promises.choose(Slot(slot), voters)
            if entry is not None:
                yield self.accept(entry, decided)

    def accept(self, entry: Entry, decided: Slot) -> Accept:
        """The Accept that asks for ``entry``."""
        return Accept(ballot=self.ballot, slot=entry.slot, kind=entry.kind, value=entry.value, decided_up_to=decided)
