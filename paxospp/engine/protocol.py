"""The protocol: routes messages to the roles, changes roles, and composes what they return.

The rules live elsewhere, each in the module that bears its name: ``voting`` and ``learning`` for
every replica, ``campaigning`` for a candidate, ``leading`` for a leader, ``confirming`` for who
reads, ``election`` and ``pulse`` for all who wait, ``founding`` before there is a cluster. This
module decides nothing about safety beyond their order, and it alone assigns ``role``.

References: Lamport, "Paxos Made Simple" (2001); van Renesse and Altinbuken, "Paxos Made
Moderately Complex" (2015).
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import assert_never

from paxospp.engine.acceptor import Acceptor
from paxospp.engine.admission import highest_ballot
from paxospp.engine.campaigning import Campaigning, next_ballot
from paxospp.engine.cluster import Cluster
from paxospp.engine.confirming import Confirming
from paxospp.engine.damaged_end import DamagedEnd
from paxospp.engine.election import Election, Verdict
from paxospp.engine.founding import FOUNDING_SLOT, founding_entry, may_found, voters_to_found
from paxospp.engine.heartbeats import ANNOUNCEMENT
from paxospp.engine.leading import Leading
from paxospp.engine.learning import Learning
from paxospp.engine.lease import META_KEY, Lease
from paxospp.engine.log import Log
from paxospp.engine.pulse import Pulse
from paxospp.engine.settings import Identity, Settings
from paxospp.engine.turn import Turn
from paxospp.engine.voting import Voting
from paxospp.events import MembershipChanged
from paxospp.messages import (
    Accept,
    Accepted,
    CatchUp,
    Decided,
    Heartbeat,
    HeartbeatAnswer,
    Nack,
    Prepare,
    Promise,
    ProtocolMessage,
    ReadAnswer,
    ReadRequest,
    Sender,
)
from paxospp.model import Ballot, Entry, Kind, Membership, NodeId, Slot
from paxospp.storage.contract import DurableState


@dataclass(slots=True)
class Following:
    """Listens to a leader, or waits for its window to run out."""


class Protocol:
    """The roles of one replica and what they share."""

    def __init__(
        self,
        identity: Identity,
        state: DurableState,
        settings: Settings,
        random: Random,
        *,
        cluster: Cluster,
        applied: Slot,
    ) -> None:
        decided = Slot(max(state.decided, applied))
        self.role: Following | Campaigning | Leading = Following()
        self.leading: Leading | None = None
        """The leader's role, while this replica leads."""
        self.log = Log(
            first=state.first,
            last=state.last,
            memory_from=Slot(decided + 1),
            faulty=state.faulty,
            bytes_max=settings.tail_bytes_max,
        )
        self._damaged_end = DamagedEnd(self.log, state.promised)
        self._acceptor = Acceptor(state.promised, self.log, chunk_bytes_max=settings.chunk_bytes_max)
        self.learning = Learning(
            self.log, self._acceptor, settings, decided=decided, applied=applied, hinted=state.decided
        )
        self.election = Election(settings.election_timeout_s, random)
        self.pulse = Pulse(identity, state, settings, cluster, self._acceptor, self.learning, self.election)
        self._cluster = cluster
        self._identity = identity
        self._settings = settings
        self._random = random
        self.lease = Lease(state.meta.get(META_KEY))
        self.voting = Voting(identity, cluster, self._acceptor, self.lease)
        self._confirming = Confirming(
            identity, cluster, self.pulse, self.learning, self.lease, window_s=settings.election_timeout_s
        )
        self.tick_due_at = 0.0
        """When to tick however many rounds of heartbeats leave for other reasons."""
        self._seen: Ballot | None = state.promised

    @property
    def decided(self) -> Slot:
        return self.learning.decided

    @property
    def leading_ballot(self) -> Ballot | None:
        """The ballot of whoever leads, as far as this replica knows."""
        return self.election.leader if self.leading is None else self.leading.ballot

    @property
    def leader(self) -> NodeId | None:
        """Who leads, as far as this replica knows."""
        ballot = self.leading_ballot
        return None if ballot is None else ballot.node

    # What the replica was called for.

    def propose_commands(self, value: bytes, turn: Turn, *, awaited_elsewhere: bool) -> None:
        """Propose ``value`` in the next slot; only while there is room."""
        leading = self.leading
        assert leading is not None, "only a leader proposes"
        entry = leading.next_entry(Kind.COMMANDS, value)
        if awaited_elsewhere:
            leading.news.awaited(entry.slot)
        self.propose(entry, turn)

    def read(self, ticket: int, turn: Turn, *, lease: bool = False) -> None:
        """Find the slot a read that begins now must wait for: confirm it, or ask the leader."""
        self._confirming.read(ticket, self.leading, self.leader, turn, lease=lease)

    # Messages.

    def is_late(self, message: ProtocolMessage) -> bool:
        """Whether ``message`` cannot change anything: the answer of the slowest to what is chosen already."""
        if type(message) is not Accepted or self._seen is None or message.ballot > self._seen:
            return False
        return self.leading is None or message.slot not in self.leading.proposals

    def on_message(self, sender: Sender, message: ProtocolMessage, turn: Turn) -> None:
        """Handle a message that was admitted."""
        ballot = highest_ballot(message)
        if ballot is not None and (self._seen is None or ballot > self._seen):
            # What others promised or claim who have no vote deposes nobody; what is decided does, whoever tells it.
            # Until there is a cluster everybody may be promised something, so everybody deposes.
            counts = self._cluster.membership is None or self._cluster.voters.has(sender.node, sender.incarnation)
            if counts or isinstance(message, Decided):
                self._on_higher_ballot(ballot, turn)
        match message:  # most frequent first
            case Accept():
                self._on_accept(sender, message, turn)
            case Accepted():
                self._on_accepted(sender.node, sender.incarnation, message)
            case HeartbeatAnswer():
                self._on_heartbeat_answer(sender, message, turn)
            case Heartbeat():
                self._on_heartbeat(sender, message, turn)
            case Prepare():
                if self.voting.on_prepare(sender, message, self.decided, turn):
                    self.election.restart(turn.now)  # give the candidate a window
            case Promise():
                self._on_promise(sender, message, turn)
            case Nack():
                self._on_nack(message, turn)
            case CatchUp():
                self.learning.on_catch_up(sender.node, message, turn)
            case Decided():
                self.learning.on_decided(sender.node, message, turn)
            case ReadRequest():
                self._confirming.on_request(sender, message, self.leading, turn)
            case ReadAnswer():
                self._confirming.on_answer(message, turn)
            case _:
                assert_never(message)

    def _on_promise(self, sender: Sender, promise: Promise, turn: Turn) -> None:
        match self.role:
            case Campaigning(promises=promises) if promises.ballot == promise.ballot:
                self._take_promise(sender.node, sender.incarnation, promise, turn)
            case Leading(promises=promises) if promises.ballot == promise.ballot:
                # A slot that lacked clean answers may have them now; settle proposes it.
                votes = self._cluster.voters.has(sender.node, sender.incarnation)
                if votes and promises.add(sender.node, sender.incarnation, promise):
                    self.role.on_late_promise(sender.node, self._cluster.voters)
            case _:
                return
        self.learning.on_hearsay(sender.node, promise.decided)

    def _take_promise(self, node: NodeId, incarnation: int, promise: Promise, turn: Turn) -> None:
        campaign = self.role
        assert isinstance(campaign, Campaigning)
        if campaign.promises.add(node, incarnation, promise) and campaign.has_won(self._cluster):
            self._become_leading(turn)

    def _on_accept(self, sender: Sender, accept: Accept, turn: Turn) -> None:
        self.learning.on_announcement(sender.node, accept.ballot, accept.decided_up_to)
        self._advance(turn)
        if self.voting.on_accept(sender, accept, turn):
            self.election.on_leader_message(accept.ballot, turn.now)

    def _on_accepted(self, node: NodeId, incarnation: int, accepted: Accepted) -> None:
        role = self.role
        if (
            isinstance(role, Leading)
            and role.ballot == accepted.ballot
            and self._cluster.voters.has(node, incarnation)
            and role.on_accepted(accepted.slot, node, self._cluster.voters)
        ):
            self.learning.decide(accepted.slot)

    def _on_nack(self, nack: Nack, turn: Turn) -> None:
        # The higher ballot in it was noticed already, which ended what it refused.
        if isinstance(self.role, Campaigning) and self.role.promises.ballot == nack.refused:
            self._become_following(turn)

    def _on_heartbeat(self, sender: Sender, heartbeat: Heartbeat, turn: Turn) -> None:
        promised = self._acceptor.promised
        ballot = heartbeat.leading
        granted = 0
        if ballot is not None:
            self.learning.on_announcement(sender.node, ballot, heartbeat.decided_up_to)
            if promised is None or ballot >= promised:
                granted = self.voting.on_leader(ballot, turn, wants_lease=heartbeat.round != ANNOUNCEMENT)
                self.election.on_leader_heartbeat(ballot, heartbeat.served, turn.now)
                if self._cluster.membership is not None:
                    self._damaged_end.on_leader(ballot, heartbeat, self._cluster.membership.alpha)
        if heartbeat.checkpoint is not None:
            self.pulse.compare_digests(sender.node, heartbeat.checkpoint, turn)
        if heartbeat.round != ANNOUNCEMENT:
            answer = self.pulse.answer(
                sender.nonce, heartbeat.round, self.leading, self.leader, turn.now, lease=granted
            )
            turn.send(sender.node, answer)
            if self.pulse.heartbeats.is_nearly_due(turn.now):
                self._begin_round(turn)  # it travels with the answer, in one frame instead of two

    def _on_heartbeat_answer(self, sender: Sender, answer: HeartbeatAnswer, turn: Turn) -> None:
        if answer.nonce != self._identity.nonce or not self.pulse.heartbeats.on_answer(sender.node, answer, turn.now):
            return
        self.learning.on_hearsay(sender.node, answer.decided)
        if self._cluster.membership is not None:
            self._damaged_end.on_answer(sender.node, answer, self._cluster.membership.alpha)
        if self.election.leader is not None and self.election.leader.node == sender.node and answer.served:
            self.election.on_leader_message(self.election.leader, turn.now)
        # One that learns has raised its promise to what it learned, and may be the successor of one that voted.
        votes = self._cluster.voters.has(sender.node, sender.incarnation)
        if isinstance(self.role, Leading) and votes and answer.promised == self.role.ballot:
            self._confirming.on_heartbeat_answer(sender.node, answer)
        self._maybe_campaign(turn)

    # Roles. Only the next three change them.

    def become_campaigning(self, turn: Turn) -> None:
        ballot = next_ballot(self._identity, self._seen, self._acceptor.promised)
        self._seen = ballot
        start, resend_s = Slot(self.decided + 1), self._settings.resend_interval_s
        campaign = Campaigning(self._identity, ballot, start, now=turn.now, resend_s=resend_s)
        self._take_role(campaign)
        self.election.forget_leader()
        # Its own promise comes first: the ballot must be on disk before anybody hears of it.
        turn.write(self._acceptor.promise(ballot), then=self._promise_to_self)
        turn.send_all(self._cluster.others, campaign.prepare)

    def _become_leading(self, turn: Turn) -> None:
        campaign = self.role
        assert isinstance(campaign, Campaigning)
        alpha = self._cluster.membership.alpha if self._cluster.membership is not None else self._settings.alpha
        leading = Leading(campaign.promises, self.decided, self._settings, since=turn.now, alpha=alpha)
        self._take_role(leading)
        self.lease.lead()
        if self._cluster.membership is None:
            self._propose_founding(leading, turn)
        self._begin_round(turn)

    def _become_following(self, turn: Turn) -> None:
        self._take_role(Following())
        self._confirming.abandon(turn)
        self._cluster.abandon_founding()
        self.election.restart(turn.now)

    def _take_role(self, role: Following | Campaigning | Leading) -> None:
        self.role = role
        self.leading = role if isinstance(role, Leading) else None

    def _on_higher_ballot(self, ballot: Ballot, turn: Turn) -> None:
        """Rule 1: before anything else is done with a message that carries a higher ballot."""
        self._seen = ballot
        if not isinstance(self.role, Following):
            self._become_following(turn)
        if self.election.leader is not None and ballot > self.election.leader:
            self.election.forget_leader()

    # Leading.

    def _propose_founding(self, leading: Leading, turn: Turn) -> None:
        entry = founding_entry(self._identity, self._settings, leading.promises, self._random)
        self._cluster.try_founding(Membership.from_bytes(entry.value))
        leading.start_after(FOUNDING_SLOT)
        self.propose(entry, turn)

    def propose(self, entry: Entry, turn: Turn) -> None:
        leading = self.role
        assert isinstance(leading, Leading)
        leading.open(entry, turn.now)
        accept = leading.accept(entry, self.decided)
        reply, batch = self._acceptor.on_accept(accept, own=True)
        assert isinstance(reply, Accepted), "a leader has promised its own ballot and nothing higher"
        me = self._identity
        turn.write(batch, then=lambda _: self._on_accepted(me.name, me.incarnation, reply))
        turn.send_all(self._cluster.others, accept)
        leading.news.told()

    def _promise_to_self(self, turn: Turn) -> None:
        """This replica's own promise is durable: it counts like anyone's."""
        campaign = self.role
        if isinstance(campaign, Campaigning) and campaign.promises.ballot == self._acceptor.promised:
            self._report_to_self(campaign.promises.ballot, turn)

    def _report_to_self(self, ballot: Ballot, turn: Turn) -> None:
        parts, _ = self._acceptor.on_prepare(Prepare(ballot=ballot, start=Slot(self.decided + 1)), self.decided)
        assert not isinstance(parts, Nack)
        for part in parts:
            if isinstance(self.role, Campaigning):
                self._take_promise(self._identity.name, self._identity.incarnation, part, turn)
            elif isinstance(self.role, Leading):
                self.role.promises.add(self._identity.name, self._identity.incarnation, part)

    # Time.

    def tick(self, turn: Turn) -> None:
        now = turn.now
        self.tick_due_at = now + self._settings.heartbeat_interval_s
        match self.role:
            case Leading():
                self._tick_leading(self.role, turn)
            case Campaigning():
                if now - self.role.began_at >= self._window_s:
                    self._become_following(turn)
                else:
                    turn.send_all(self.role.to_ask_again(now, self._cluster.others), self.role.prepare)
            case Following():
                if self.election.has_lost_leader(now):
                    self.election.forget_leader()  # callers are better told that nobody is known to lead
                self._maybe_campaign(turn)
        if now >= self.pulse.heartbeats.next_at:
            self._begin_round(turn)
            self.learning.write_hint(turn)
        self.voting.store_lease(turn)
        self._confirming.give_up(turn)

    def _tick_leading(self, leading: Leading, turn: Turn) -> None:
        now, window = turn.now, self._window_s
        lonely = now - leading.since > 2 * window and not self.pulse.hears_quorum(now - 2 * window)
        if lonely or self.pulse.disk_hangs(now):
            self._become_following(turn)
            return
        for accept, answered in leading.resend(now, self.decided, self._settings.chunk_bytes_max):
            turn.send_all((peer for peer in self._cluster.others if peer not in answered), accept)
        if self.learning.lost is not None:
            for accept in leading.restore(self.learning.lost, self.decided, self._cluster.voters):
                turn.send_all(self._cluster.others, accept)
        if leading.is_waiting(self.decided, self._cluster.voters) and leading.prepare_is_due(now):
            self._report_to_self(leading.ballot, turn)
            turn.send_all(self._cluster.others, Prepare(ballot=leading.ballot, start=Slot(self.decided + 1)))

    def _maybe_campaign(self, turn: Turn) -> None:
        if not isinstance(self.role, Following) or not self._cluster.votes or not self.pulse.disk_answers(turn.now):
            return
        voters = self._cluster.voters
        if self._cluster.membership is None:
            held, answers = self.log.get(FOUNDING_SLOT), self.pulse.heartbeats.answers.values()
            if not may_found(self.decided, held, (answered.answer.decided for answered in answers)):
                return
            voters = voters_to_found(held, voters)
        verdict = self.election.decide(
            turn.now,
            self.pulse.heartbeats,
            me=self._identity.name,
            voters=voters,
            others=self._cluster.others,
            decided=self.decided,
            far_ahead_slots=self._settings.alpha,
        )
        match verdict:
            case Verdict.CAMPAIGN if not self.voting.is_bound(turn):
                self.become_campaigning(turn)
            case Verdict.PROBE:
                self._begin_round(turn)
                self.election.probing(self.pulse.heartbeats.round, self.pulse.heartbeats.next_at)
                if not self._cluster.others and not self.voting.is_bound(turn):
                    self.become_campaigning(turn)
            case _:
                return

    def _begin_round(self, turn: Turn) -> None:
        round = self.pulse.heartbeats.begin(turn.now)
        if self.leading is not None:
            self._confirming.on_round(round, turn)
            self.leading.news.told()
        turn.send_all(self._cluster.others, self.pulse.heartbeat(round, self.leading, turn.now))

    @property
    def _window_s(self) -> float:
        return self._settings.election_timeout_s

    def _advance(self, turn: Turn) -> None:
        """Learn what is decided now, and found the cluster if that is among it."""
        self.learning.advance(turn)
        if self._cluster.membership is None and self.learning.founding is not None:
            founding = self.learning.founding
            self.join(founding.slot, Membership.from_bytes(founding.value), turn)

    def join(self, slot: Slot, membership: Membership, turn: Turn) -> None:
        """The membership decided at ``slot`` is the first this replica knows."""
        self._cluster.adopt(membership)
        members = tuple(sorted(membership.names))
        turn.output.events.append(
            MembershipChanged(node=self._identity.name, slot=slot, members=members, cluster_id=membership.cluster_id)
        )
        if isinstance(self.role, Campaigning) or (self.leading is not None and not self._cluster.votes):
            # It asked everyone, and now has to ask the members; or it founded what this life has no vote in.
            self._become_following(turn)

    def settle(self, turn: Turn) -> None:
        """What any event may have made possible."""
        before = self.learning.learner.decided
        if self.log.faulty and self._cluster.membership is not None:
            self.learning.trim_damage(self._cluster.membership, turn)
        self._advance(turn)
        if self.leading is not None:
            self._lead_on(self.leading, turn, before)
        self.learning.fetch(self.leading_ballot, turn)

    def _lead_on(self, leading: Leading, turn: Turn, before: Slot) -> None:
        decided = self.learning.learner.decided
        leading.settle(decided)
        if decided < leading.recovered_up_to and self._cluster.membership is not None:
            for entry in leading.recover(decided, self._cluster.voters):
                self.propose(entry, turn)
        if self._confirming.settle(leading, turn):
            self._begin_round(turn)
            self._confirming.settle(leading, turn)
        if decided > before and not leading.proposals and not turn.sent_accept:
            leading.news.on_decided(before, turn.now)
        if leading.news.due_at <= turn.now:
            self.pulse.announce(leading, turn)
