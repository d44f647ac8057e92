"""The protocol: routes messages to rules and handlers, composes what they return, and changes the role.

The rules live in ``rules`` and ``handlers``, one module for each. This module keeps the order of steps, and the
conditions under which a leader steps down (``_tick_leading``, rule 5), because these draw on several rules. It is the
only one that assigns ``role``.

References: Lamport, "Paxos Made Simple" (2001); van Renesse and Altinbuken, "Paxos Made
Moderately Complex" (2015).
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import assert_never

from paxospp.engine.handlers.accepting import AcceptorHandler
from paxospp.engine.handlers.heartbeats import HeartbeatHandler
from paxospp.engine.handlers.learning import LearningHandler
from paxospp.engine.handlers.reads import ReadHandler
from paxospp.engine.output import OutputBuilder
from paxospp.engine.rules.acceptor import Acceptor
from paxospp.engine.rules.admission import highest_ballot
from paxospp.engine.rules.bootstrap import FOUNDING_SLOT, founding_entry, may_found, voters_to_found
from paxospp.engine.rules.campaign import Campaigning, next_ballot
from paxospp.engine.rules.covered import Covered, Met
from paxospp.engine.rules.election import Election, ElectionStep
from paxospp.engine.rules.heartbeat_rounds import ANNOUNCEMENT
from paxospp.engine.rules.leader import Leading
from paxospp.engine.rules.lease import META_KEY, Lease
from paxospp.engine.rules.log import DamagedEnd, Log
from paxospp.engine.rules.observer import Observer
from paxospp.engine.rules.promises import Promises
from paxospp.engine.rules.voters import ClusterView
from paxospp.engine.rules.writes import AcceptanceDurable, Durable, LeaseDurable, PromiseDurable, Writes
from paxospp.engine.settings import Identity, Settings
from paxospp.events import MembershipChanged
from paxospp.messages import (
    Accept,
    Accepted,
    CatchUp,
    DecidedEntries,
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
    """The role of a replica that listens to a leader, or waits until it may campaign."""


class Protocol:
    """The role of one replica, and the parts that all roles share."""

    def __init__(
        self,
        identity: Identity,
        state: DurableState,
        settings: Settings,
        random: Random,
        *,
        cluster: ClusterView,
        applied: Slot,
        observer: Observer,
    ) -> None:
        self._observer = observer
        decided = Slot(max(state.decided, applied))
        self.role: Following | Campaigning | Leading = Following()
        self.leading: Leading | None = None
        """``role`` while this replica leads; else None."""
        self.log = Log(
            first=state.first,
            last=state.last,
            memory_from=Slot(decided + 1),
            faulty=state.faulty,
            bytes_max=settings.tail_bytes_max,
        )
        self._damaged_end = DamagedEnd(self.log, state.promised, observer)
        self.writes = Writes(settings.tail_bytes_max)
        self.acceptor = Acceptor(
            state.promised, self.log, self.writes, chunk_bytes_max=settings.chunk_bytes_max, observer=observer
        )
        self.learning = LearningHandler(
            self.log, self.acceptor, settings, observer, decided=decided, applied=applied, hinted=state.decided
        )
        self.election = Election(settings.election_timeout_s, random, observer)
        self.heartbeats = HeartbeatHandler(
            identity, state, settings, self.writes, cluster, self.acceptor, self.learning, self.election, observer
        )
        self.cluster = cluster
        self._identity = identity
        self._me = Sender(b"", identity.group, identity.name, identity.incarnation, identity.boot, identity.nonce)
        self._settings = settings
        self._random = random
        self.lease = Lease(state.meta.get(META_KEY), observer)
        self.accepting = AcceptorHandler(identity, cluster, self.acceptor, self.lease, observer)
        self._reads = ReadHandler(
            identity,
            cluster,
            self.heartbeats,
            self.learning,
            self.lease,
            observer,
            window_s=settings.election_timeout_s,
        )
        self.tick_due_at = 0.0
        """The time of the next tick, even if rounds of heartbeats are sent early for other reasons."""
        self._seen: Ballot | None = state.promised
        self._has_to_reach = Slot(0)
        """While ``decided`` is below this slot, this replica lets others campaign first.

        It is set when this replica steps down because it could not decide what its promises had reported.
        """
        self._promised_durably: Ballot | None = None
        """The latest of this boot's own ballots whose promise is on disk."""

    @property
    def decided(self) -> Slot:
        return self.learning.decided

    @property
    def leading_ballot(self) -> Ballot | None:
        """The ballot of the current leader, as far as this replica knows."""
        return self.election.leader if self.leading is None else self.leading.ballot

    @property
    def own_ballot(self) -> Ballot | None:
        """The ballot under which this replica campaigns or leads; None while it follows."""
        match self.role:
            case Campaigning(promises=promises):
                return promises.ballot
            case Leading(ballot=ballot):
                return ballot
            case Following():
                return None

    @property
    def leader(self) -> NodeId | None:
        """The current leader, as far as this replica knows."""
        ballot = self.leading_ballot
        return None if ballot is None else ballot.node

    @property
    def proposable(self) -> int:
        """The number of values that may be proposed now; 0 while not leading."""
        leading = self.leading
        if leading is None or self.cluster.membership is None:
            return 0
        if self.writes.is_behind:
            self._observer.reached("protocol: nothing new is proposed while too much waits for the disk")
            return 0
        return leading.proposable(self.learning.learner.decided, self.cluster.voters)

    # Calls of the node.

    def propose_value(self, value: bytes, out: OutputBuilder, *, awaited_elsewhere: bool) -> None:
        """Propose ``value`` in the next slot; call this only while ``proposable`` is positive."""
        leading = self.leading
        assert leading is not None, "only a leader proposes"
        entry = leading.next_entry(Kind.COMMANDS, value)
        if awaited_elsewhere:
            leading.announcement.expedite(entry.slot)
        self.propose(entry, out)

    def read(self, ticket: int, out: OutputBuilder, *, lease: bool = False) -> None:
        """Find the slot that a read which begins now must wait for: confirm it, or ask the leader."""
        self._reads.read(ticket, self.leading, self.leader, out, lease=lease)

    # Messages.

    def is_late(self, message: ProtocolMessage) -> bool:
        """Return whether ``message`` is an acceptance of a slot that is chosen already, which changes nothing."""
        if type(message) is not Accepted or self._seen is None or message.ballot > self._seen:
            return False
        return self.leading is None or message.slot not in self.leading.proposals

    def on_message(self, sender: Sender, message: ProtocolMessage, out: OutputBuilder) -> None:
        """Handle a message that was admitted."""
        ballot = highest_ballot(message)
        if ballot is not None and (self._seen is None or ballot > self._seen):
            # A ballot that a node without a vote promised or claims does not depose a leader. The ballot of a decided
            # entry does, whichever node sends it. Before the cluster is bootstrapped, every node's ballot counts.
            counts = self.cluster.membership is None or self.cluster.voters.has(sender.node, sender.incarnation)
            if counts or isinstance(message, DecidedEntries):
                self._on_higher_ballot(ballot, out)
            else:
                self._observer.reached("protocol: a higher ballot of an incarnation without a vote deposes nobody")
        match message:  # most frequent first
            case Accept():
                self._on_accept(sender, message, out)
            case Accepted():
                self._on_accepted(sender.node, sender.incarnation, message)
            case HeartbeatAnswer():
                self._on_heartbeat_answer(sender, message, out)
            case Heartbeat():
                self._on_heartbeat(sender, message, out)
            case Prepare():
                if self.accepting.on_prepare(sender, message, self.decided, out):
                    self.election.restart(out.now)  # give the candidate a window
            case Promise():
                self._on_promise(sender, message, out)
            case Nack():
                return  # its higher ballot was met above, which ended the campaign or lead that it refuses
            case CatchUp():
                self.learning.on_catch_up(sender.node, message, out)
            case DecidedEntries():
                self.learning.on_decided_entries(sender.node, message, out)
            case ReadRequest():
                self._reads.on_request(sender, message, self.leading, out)
            case ReadAnswer():
                self._reads.on_answer(message, out)
            case _:
                assert_never(message)

    def _on_promise(self, sender: Sender, promise: Promise, out: OutputBuilder) -> None:
        if self._take_promise(sender, promise, out):
            self.learning.on_hearsay(sender.node, promise.decided)

    def _take_promise(self, sender: Sender, promise: Promise, out: OutputBuilder) -> bool:
        """Count one part of a promise, a peer's or this replica's own; return False if it is to another ballot."""
        votes = self.cluster.voters.has(sender.node, sender.incarnation)
        match self.role:
            case Campaigning(promises=promises) as campaign if promises.ballot == promise.ballot:
                if votes and self._completes_report(promises, sender, promise) and campaign.has_won(self.cluster):
                    self._become_leading(out)
            case Leading(promises=promises) as leading if promises.ballot == promise.ballot:
                # A slot that was held back for lack of clean answers may have them now; ``settle`` proposes in it.
                if votes and self._completes_report(promises, sender, promise):
                    if sender is self._me:
                        self._observer.reached("protocol: a leader's own promise is counted late")
                    leading.on_late_promise(sender.node, self.cluster.voters)
            case _:
                self._observer.reached("protocol: a promise to a ballot that was given up counts for nothing")
                return False
        return True

    def _completes_report(self, promises: Promises, sender: Sender, promise: Promise) -> bool:
        if not promises.add(sender, promise):
            return False
        self._observer.counted_promise(sender, promise.answer, promises.ballot, promises.reports[sender.node])
        return True

    def _on_accept(self, sender: Sender, accept: Accept, out: OutputBuilder) -> None:
        self.learning.on_announcement(sender.node, accept.ballot, accept.decided_up_to)
        self._advance(out)
        if self.accepting.on_accept(sender, accept, out):
            self.election.on_leader_message(accept.ballot, out.now)

    def _on_accepted(self, node: NodeId, incarnation: int, accepted: Accepted) -> None:
        leading, voters = self.leading, self.cluster.voters
        if leading is None or leading.ballot != accepted.ballot:
            self._observer.reached("protocol: an acceptance under another ballot than the leader's counts for nothing")
        elif not voters.has(node, incarnation):
            self._observer.reached("protocol: an acceptance of an incarnation without a vote counts for nothing")
        elif accepted.slot in leading.proposals:
            self._observer.counted_acceptance(accepted.ballot, accepted.slot, node, incarnation)
            if leading.on_accepted(accepted.slot, node, voters):
                self.learning.decide(accepted.slot, leading.ballot)

    def _on_heartbeat(self, sender: Sender, heartbeat: Heartbeat, out: OutputBuilder) -> None:
        promised = self.acceptor.promised
        ballot = heartbeat.leading
        granted = 0
        if ballot is not None:
            self.learning.on_announcement(sender.node, ballot, heartbeat.decided_up_to)
            if promised is None or ballot >= promised:
                granted = self.accepting.on_leader(ballot, out, wants_lease=heartbeat.round != ANNOUNCEMENT)
                self.election.on_leader_heartbeat(ballot, heartbeat.quorum_connected, out.now)
                if self.cluster.membership is not None:
                    out.write(self._damaged_end.on_leader(ballot, heartbeat))
        if heartbeat.checkpoint is not None:
            self.heartbeats.compare_digests(sender.node, sender.incarnation, heartbeat.checkpoint, out)
        if heartbeat.round != ANNOUNCEMENT:
            answer = self.heartbeats.answer(
                sender.nonce, heartbeat.round, self.leading, self.leader, out.now, lease=granted
            )
            out.send(sender.node, answer)
            if self.heartbeats.rounds.is_nearly_due(out.now):
                self._begin_round(out)  # it travels in the same frame as the answer

    def _on_heartbeat_answer(self, sender: Sender, answer: HeartbeatAnswer, out: OutputBuilder) -> None:
        if answer.nonce != self._identity.nonce or not self.heartbeats.rounds.on_answer(sender, answer, out.now):
            return
        self.learning.on_hearsay(sender.node, answer.decided)
        if self.cluster.membership is not None:
            out.write(self._damaged_end.on_answer(sender.node, answer))
        leader = self.election.leader
        if (
            leader is not None
            and answer.quorum_connected
            and answer.leader == leader.node
            and (leader.node, leader.incarnation) == (sender.node, sender.incarnation)
        ):
            self.election.on_leader_message(leader, out.now)
        # A node without a vote may have raised its promise by learning, and may be the wiped successor of a voter.
        votes = self.cluster.voters.has(sender.node, sender.incarnation)
        if isinstance(self.role, Leading) and votes and answer.promised == self.role.ballot:
            self._reads.on_heartbeat_answer(sender.node, answer)
        self._maybe_campaign(out)

    def meet(self, ballot: Ballot, out: OutputBuilder) -> None:
        """Meet ``ballot`` before something that was decided under it is learned (rule 1)."""
        if self._seen is None or ballot > self._seen:
            self._observer.reached("protocol: a snapshot brings a higher ballot")
            self._on_higher_ballot(ballot, out)

    def install(self, covered: Covered, out: OutputBuilder) -> None:
        """Meet the ballot of a peer's snapshot, and then install the snapshot."""
        self.meet(covered.ballot, out)
        if self.cluster.membership is None:
            self.join(*covered.memberships[-1], out)
        self.learning.install(Met(covered), out)

    # Changes of role: only the next three methods make them.

    def become_campaigning(self, out: OutputBuilder) -> None:
        self._observer.campaigns(self.election.probe_round)
        ballot = next_ballot(self._identity, self._seen, self.acceptor.promised)
        self._seen = ballot
        start, resend_s = Slot(self.decided + 1), self._settings.resend_interval_s
        campaign = Campaigning(self._identity, ballot, start, now=out.now, resend_s=resend_s, observer=self._observer)
        self._take_role(campaign)
        self.election.forget_leader()
        # Its own promise comes first: the ballot must be on disk before any peer hears of it.
        out.write(self.acceptor.promise(ballot), then=PromiseDurable(ballot))
        out.send_all(self.cluster.others, campaign.prepare)

    def _become_leading(self, out: OutputBuilder) -> None:
        campaign = self.role
        assert isinstance(campaign, Campaigning)
        leading = Leading(
            campaign.promises,
            self.decided,
            self._settings,
            since=out.now,
            alpha=self._alpha,
            observer=self._observer,
        )
        if leading.recovered_up_to > self.decided:
            self._observer.reached("protocol: a new leader finds slots that it does not know decided")
        if not leading.sees_the_end(self.cluster.voters):
            self._observer.reached("protocol: a new leader has not seen the end of the log")
        if self.acceptor.promised != self._promised_durably:
            self._observer.reached("protocol: a replica leads before its own promise is durable")
        self._take_role(leading)
        self.lease.lead()
        if self.cluster.membership is None:
            self._propose_founding(leading, out)
        self._begin_round(out)

    def _become_following(self, out: OutputBuilder) -> None:
        self._take_role(Following())
        self._reads.abandon(out)
        self.cluster.abandon_founding()
        self.election.restart(out.now)

    def _take_role(self, role: Following | Campaigning | Leading) -> None:
        self.role = role
        self.leading = role if isinstance(role, Leading) else None

    def _on_higher_ballot(self, ballot: Ballot, out: OutputBuilder) -> None:
        """Step down before anything else is done with a message that carries a higher ballot (rule 1)."""
        self._seen = ballot
        match self.role:
            case Leading():
                self._observer.reached("protocol: a leader meets a higher ballot")
                self._become_following(out)
            case Campaigning():
                self._observer.reached("protocol: a candidate meets a higher ballot")
                self._become_following(out)
            case Following():
                pass
        if self.election.leader is not None and ballot > self.election.leader:
            self.election.forget_leader()

    # Leading.

    def _propose_founding(self, leading: Leading, out: OutputBuilder) -> None:
        entry = founding_entry(self._identity, self._settings, leading.promises, self._random, self._observer)
        membership = Membership.from_bytes(entry.value)
        if membership.alpha != self._settings.alpha:
            self._observer.reached("protocol: a founder completes a founding with another alpha than its own")
        self.cluster.try_founding(membership)
        leading.bootstrap(FOUNDING_SLOT, membership.alpha)
        self.propose(entry, out)

    def propose(self, entry: Entry, out: OutputBuilder) -> None:
        leading = self.role
        assert isinstance(leading, Leading)
        leading.open(entry, out.now)
        accept = leading.accept(entry, self.decided)
        reply, batch = self.acceptor.on_accept(accept, own=True)
        assert isinstance(reply, Accepted), "a leader has promised its own ballot and nothing higher"
        out.write(batch, then=AcceptanceDurable(reply))
        out.send_all(self.cluster.others, accept)
        leading.announcement.on_sent()

    def on_durable(self, durable: Durable, out: OutputBuilder) -> None:
        """Count this replica's own promise or acceptance, or allow leases, now that its write has returned."""
        match durable:
            case AcceptanceDurable(accepted):
                self._on_accepted(self._identity.name, self._identity.incarnation, accepted)
            case PromiseDurable(ballot):
                self._promised_durably = ballot
                if ballot != self.own_ballot:
                    self._observer.reached("protocol: the promise of a campaign that was given up becomes durable")
                self._report_to_self(out)
            case LeaseDurable(duration_us):
                self.lease.stored(duration_us)
            case _:
                assert_never(durable)

    def _report_to_self(self, out: OutputBuilder) -> None:
        """Count this replica's own promise to the ballot it campaigns or leads under, if it is on disk.

        A write of an earlier campaign may return while the promise to a later one is still being written.
        """
        ballot = self._promised_durably
        if ballot is None or ballot != self.own_ballot:
            return
        parts, _ = self.acceptor.on_prepare(Prepare(ballot=ballot, start=Slot(self.decided + 1)), self.decided)
        assert not isinstance(parts, Nack), "a replica that promised a higher ballot has given up its own"
        for part in parts:
            self._take_promise(self._me, part, out)

    # Time.

    def tick(self, out: OutputBuilder) -> None:
        now = out.now
        self.tick_due_at = now + self._settings.heartbeat_interval_s
        match self.role:
            case Leading():
                self._tick_leading(self.role, out)
                if self.leading is not None:
                    self._observer.leads_on(now)
            case Campaigning():
                if now - self.role.began_at >= self._window_s:
                    self._observer.reached("protocol: a campaign ends after a window")
                    self._become_following(out)
                else:
                    out.send_all(self.role.to_ask_again(now, self.cluster.others), self.role.prepare)
            case Following():
                if self.election.has_lost_leader(now):
                    self.election.forget_leader()  # callers are told at once that no leader is known
                self._maybe_campaign(out)
        if now >= self.heartbeats.rounds.next_at:
            self._begin_round(out)
            self.learning.write_hint(out)
        self.accepting.store_lease(out)
        self._reads.give_up(out)

    def _tick_leading(self, leading: Leading, out: OutputBuilder) -> None:
        now, window = out.now, self._window_s
        no_quorum = now - leading.since > 2 * window and not self.heartbeats.hears_quorum(now - 2 * window, now)
        if no_quorum or self.heartbeats.disk_hangs(now):
            self._observer.reached(
                "protocol: a leader that no quorum answers steps down"
                if no_quorum
                else "protocol: a leader whose disk hangs steps down"
            )
            self._become_following(out)
            return
        if self._is_stalled(leading, now):
            self._observer.reached("protocol: a leader that does not get at what it recovered steps down")
            self._has_to_reach = leading.recovered_up_to
            self._become_following(out)
            return
        lost = self.learning.lost
        if leading.is_blocked(lost, self.cluster.voters, now, 2 * window) and len(self.cluster.voters.names) > 1:
            self._observer.reached(
                "protocol: a leader that does not see the end of the log steps down"
                if lost is None
                else "protocol: a leader that does not get back what it has lost steps down"
            )
            self._become_following(out)
            self.election.let_others_go_first(now)
            return
        bytes_max = self._settings.chunk_bytes_max
        for accept, answered in leading.resend(now, self.decided, bytes_max):
            out.send_all((peer for peer in self.cluster.others if peer not in answered), accept)
        if lost is not None:
            is_lost = self.learning.learner.is_lost
            for accept in leading.restore(is_lost, self.decided, self.cluster.voters, bytes_max):
                self._observer.reached(
                    "protocol: what is decided and damaged here is asked to be accepted again"
                    if accept.slot >= self.log.first
                    else "protocol: what a lost snapshot covered is asked to be accepted again"
                )
                out.send_all(self.cluster.others, accept)
        if leading.is_waiting(self.decided, lost, self.cluster.voters) and leading.prepare_is_due(now):
            self._observer.reached("protocol: a leader asks again for clean answers")
            self._report_to_self(out)
            out.send_all(self.cluster.others, Prepare(ballot=leading.ballot, start=Slot(self.decided + 1)))

    def _maybe_campaign(self, out: OutputBuilder) -> None:
        if not isinstance(self.role, Following) or not self.cluster.votes or not self.heartbeats.disk_answers(out.now):
            return
        voters = self.cluster.voters
        if self.cluster.membership is None:
            held, answers = self.log.get(FOUNDING_SLOT), self.heartbeats.rounds.answers.values()
            if not may_found(self.decided, held, (answered.answer.decided for answered in answers)):
                return
            voters = voters_to_found(held, voters)
        step = self.election.decide(
            out.now,
            self.heartbeats.rounds,
            me=self._identity.name,
            voters=voters,
            decided=self.decided,
            far_ahead_slots=self._alpha,
            is_stuck=self.learning.waits_for_snapshot or self.decided < self._has_to_reach,
        )
        match step:
            case ElectionStep.CAMPAIGN if self.accepting.is_bound(out):
                self._observer.reached("protocol: a lease keeps a replica from campaigning")
            case ElectionStep.CAMPAIGN:
                self.become_campaigning(out)
            case ElectionStep.PROBE:
                self._begin_round(out)
                self.election.probing(self.heartbeats.rounds.round, self.heartbeats.rounds.next_at)
                if not self.cluster.others and not self.accepting.is_bound(out):
                    self.become_campaigning(out)
            case _:
                return

    def _begin_round(self, out: OutputBuilder) -> None:
        round = self.heartbeats.rounds.begin(out.now)
        if self.leading is not None:
            self._reads.on_round(round, out)
            self.leading.announcement.on_sent()
        out.send_all(self.cluster.others, self.heartbeats.heartbeat(round, self.leading, out.now))

    def _is_stalled(self, leading: Leading, now: float) -> bool:
        """Return whether this leader should let another replica try to decide what its promises reported.

        It has had a window for that, and either made no progress or knows of a working voter that knows more.
        """
        if self.decided >= leading.recovered_up_to or now - leading.since <= self._window_s:
            return False
        if now - leading.progressed_at > self._window_s:
            return True
        return self.heartbeats.rounds.knows_more(self.decided, now - self._window_s, self.cluster.voters)

    @property
    def _window_s(self) -> float:
        return self._settings.election_timeout_s

    @property
    def _alpha(self) -> int:
        """The alpha of the membership; before one is known, the alpha that this node would propose."""
        membership = self.cluster.membership
        return self._settings.alpha if membership is None else membership.alpha

    def _advance(self, out: OutputBuilder) -> None:
        """Advance over all decided slots, and adopt the first membership once slot 1 is among them."""
        self.learning.advance(out)
        if self.cluster.membership is None and self.learning.founding is not None:
            founding = self.learning.founding
            self.join(founding.slot, Membership.from_bytes(founding.value), out)

    def join(self, slot: Slot, membership: Membership, out: OutputBuilder) -> None:
        """Adopt the membership decided in ``slot``, the first that this replica knows."""
        self.cluster.adopt(membership)
        members = tuple(sorted(membership.names))
        out.output.events.append(
            MembershipChanged(node=self._identity.name, slot=slot, members=members, cluster_id=membership.cluster_id)
        )
        if isinstance(self.role, Campaigning) or (self.leading is not None and not self.cluster.votes):
            # Its campaign asked every named node and must now ask the members; or its own incarnation has no vote.
            self._observer.reached("protocol: a candidate or founder learns who the members are, and gives up")
            self._become_following(out)

    def settle(self, out: OutputBuilder) -> None:
        """Follow up on whatever the event of this call made possible."""
        before = self.learning.learner.decided
        if self.log.faulty and self.cluster.membership is not None:
            self.learning.trim_damage(self.cluster.membership, out)
        self._advance(out)
        if self.leading is not None:
            self._lead_on(self.leading, out, before)
            if self.log.faulty_end and self.cluster.membership is not None:
                vouched_up_to = self.leading.vouched_up_to(self.decided, self.cluster.voters)
                out.write(self._damaged_end.on_own(self.leading.ballot, vouched_up_to))
        self.learning.fetch(self.leading_ballot, out, disk_is_behind=self.writes.is_behind)

    def _lead_on(self, leading: Leading, out: OutputBuilder, before: Slot) -> None:
        decided = self.learning.learner.decided
        leading.settle(decided, out.now)
        if decided < leading.recovered_up_to and self.cluster.membership is not None:
            for entry in leading.recover(decided, self.cluster.voters):
                self.propose(entry, out)
        if self._reads.settle(leading, out):
            self._begin_round(out)
            self._reads.settle(leading, out)
        if decided > before and not leading.proposals and not out.sent_accept:
            leading.announcement.on_decided(before, out.now)
        if leading.announcement.due_at <= out.now:
            self.heartbeats.announce(leading, out)
