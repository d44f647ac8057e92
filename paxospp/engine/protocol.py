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
from paxospp.engine.covered import Covered, Met
from paxospp.engine.damaged_end import DamagedEnd
from paxospp.engine.election import Election, Verdict
from paxospp.engine.founding import FOUNDING_SLOT, founding_entry, may_found, voters_to_found
from paxospp.engine.heartbeats import ANNOUNCEMENT
from paxospp.engine.leading import Leading
from paxospp.engine.learning import Learning
from paxospp.engine.lease import META_KEY, Lease
from paxospp.engine.log import Log
from paxospp.engine.observer import Observer
from paxospp.engine.pulse import Pulse
from paxospp.engine.settings import Identity, Settings
from paxospp.engine.turn import Turn
from paxospp.engine.voting import Voting
from paxospp.engine.writes import AcceptanceDurable, Durable, LeaseDurable, PromiseDurable, Writes
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
        observer: Observer,
    ) -> None:
        self._observer = observer
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
        self._damaged_end = DamagedEnd(self.log, state.promised, observer)
        self.writes = Writes(settings.tail_bytes_max)
        self.acceptor = Acceptor(
            state.promised, self.log, self.writes, chunk_bytes_max=settings.chunk_bytes_max, observer=observer
        )
        self.learning = Learning(
            self.log, self.acceptor, settings, observer, decided=decided, applied=applied, hinted=state.decided
        )
        self.election = Election(settings.election_timeout_s, random, observer)
        self.pulse = Pulse(
            identity, state, settings, self.writes, cluster, self.acceptor, self.learning, self.election, observer
        )
        self.cluster = cluster
        self._identity = identity
        self._me = Sender(b"", identity.group, identity.name, identity.incarnation, identity.boot, identity.nonce)
        self._settings = settings
        self._random = random
        self.lease = Lease(state.meta.get(META_KEY), observer)
        self.voting = Voting(identity, cluster, self.acceptor, self.lease, observer)
        self._confirming = Confirming(
            identity, cluster, self.pulse, self.learning, self.lease, observer, window_s=settings.election_timeout_s
        )
        self.tick_due_at = 0.0
        """When to tick however many rounds of heartbeats leave for other reasons."""
        self._seen: Ballot | None = state.promised
        self._has_to_reach = Slot(0)
        """What the promises reported when this replica led last and could not decide; until then others go first."""
        self._promised_durably: Ballot | None = None
        """The latest of this boot's own ballots whose promise is known to be on disk."""

    @property
    def decided(self) -> Slot:
        return self.learning.decided

    @property
    def leading_ballot(self) -> Ballot | None:
        """The ballot of whoever leads, as far as this replica knows."""
        return self.election.leader if self.leading is None else self.leading.ballot

    @property
    def own_ballot(self) -> Ballot | None:
        """The ballot this replica campaigns or leads under."""
        match self.role:
            case Campaigning(promises=promises):
                return promises.ballot
            case Leading(ballot=ballot):
                return ballot
            case Following():
                return None

    @property
    def leader(self) -> NodeId | None:
        """Who leads, as far as this replica knows."""
        ballot = self.leading_ballot
        return None if ballot is None else ballot.node

    @property
    def room(self) -> int:
        """How many values may be proposed now; 0 while not leading."""
        leading = self.leading
        if leading is None or self.cluster.membership is None:
            return 0
        if self.writes.is_full:
            self._observer.reached("protocol: nothing new is proposed while too much waits for the disk")
            return 0
        return leading.room(self.learning.learner.decided, self.cluster.voters)

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
            counts = self.cluster.membership is None or self.cluster.voters.has(sender.node, sender.incarnation)
            if counts or isinstance(message, Decided):
                self._on_higher_ballot(ballot, turn)
            else:
                self._observer.reached("protocol: a higher ballot of an incarnation without a vote deposes nobody")
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
                return  # the higher ballot in it was met above, which ended what it refuses
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
        if self._take_promise(sender, promise, turn):
            self.learning.on_hearsay(sender.node, promise.decided)

    def _take_promise(self, sender: Sender, promise: Promise, turn: Turn) -> bool:
        """Take one part of a promise, a peer's or this replica's own; False if it is to another ballot."""
        votes = self.cluster.voters.has(sender.node, sender.incarnation)
        match self.role:
            case Campaigning(promises=promises) as campaign if promises.ballot == promise.ballot:
                if votes and promises.add(sender, promise) and campaign.has_won(self.cluster):
                    self._become_leading(turn)
            case Leading(promises=promises) as leading if promises.ballot == promise.ballot:
                # A slot that lacked clean answers may have them now; settle proposes it.
                if votes and promises.add(sender, promise):
                    if sender is self._me:
                        self._observer.reached("protocol: a leader's own promise is counted late")
                    leading.on_late_promise(sender.node, self.cluster.voters)
            case _:
                self._observer.reached("protocol: a promise to a ballot that was given up counts for nothing")
                return False
        return True

    def _on_accept(self, sender: Sender, accept: Accept, turn: Turn) -> None:
        self.learning.on_announcement(sender.node, accept.ballot, accept.decided_up_to)
        self._advance(turn)
        if self.voting.on_accept(sender, accept, turn):
            self.election.on_leader_message(accept.ballot, turn.now)

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

    def _on_heartbeat(self, sender: Sender, heartbeat: Heartbeat, turn: Turn) -> None:
        promised = self.acceptor.promised
        ballot = heartbeat.leading
        granted = 0
        if ballot is not None:
            self.learning.on_announcement(sender.node, ballot, heartbeat.decided_up_to)
            if promised is None or ballot >= promised:
                granted = self.voting.on_leader(ballot, turn, wants_lease=heartbeat.round != ANNOUNCEMENT)
                self.election.on_leader_heartbeat(ballot, heartbeat.served, turn.now)
                if self.cluster.membership is not None:
                    self._damaged_end.on_leader(ballot, heartbeat, turn)
        if heartbeat.checkpoint is not None:
            self.pulse.compare_digests(sender.node, sender.incarnation, heartbeat.checkpoint, turn)
        if heartbeat.round != ANNOUNCEMENT:
            answer = self.pulse.answer(
                sender.nonce, heartbeat.round, self.leading, self.leader, turn.now, lease=granted
            )
            turn.send(sender.node, answer)
            if self.pulse.heartbeats.is_nearly_due(turn.now):
                self._begin_round(turn)  # it travels with the answer, in one frame instead of two

    def _on_heartbeat_answer(self, sender: Sender, answer: HeartbeatAnswer, turn: Turn) -> None:
        if answer.nonce != self._identity.nonce or not self.pulse.heartbeats.on_answer(sender, answer, turn.now):
            return
        self.learning.on_hearsay(sender.node, answer.decided)
        if self.cluster.membership is not None:
            self._damaged_end.on_answer(sender.node, answer, turn)
        leader = self.election.leader
        if (
            leader is not None
            and answer.served
            and answer.leader == leader.node
            and (leader.node, leader.incarnation) == (sender.node, sender.incarnation)
        ):
            self.election.on_leader_message(leader, turn.now)
        # One that learns has raised its promise to what it learned, and may be the successor of one that voted.
        votes = self.cluster.voters.has(sender.node, sender.incarnation)
        if isinstance(self.role, Leading) and votes and answer.promised == self.role.ballot:
            self._confirming.on_heartbeat_answer(sender.node, answer)
        self._maybe_campaign(turn)

    def meet(self, ballot: Ballot, turn: Turn) -> None:
        """What is decided under ``ballot`` is about to be learned: rule 1, whoever tells it."""
        if self._seen is None or ballot > self._seen:
            self._observer.reached("protocol: a snapshot brings a higher ballot")
            self._on_higher_ballot(ballot, turn)

    def install(self, covered: Covered, turn: Turn) -> None:
        """Take a peer's snapshot for what is decided up to its slot, once its ballot is met."""
        self.meet(covered.ballot, turn)
        if self.cluster.membership is None:
            self.join(*covered.memberships[-1], turn)
        self.learning.install(Met(covered), turn)

    # Roles. Only the next three change them.

    def become_campaigning(self, turn: Turn) -> None:
        self._observer.campaigns(self.election.probe_round)
        ballot = next_ballot(self._identity, self._seen, self.acceptor.promised)
        self._seen = ballot
        start, resend_s = Slot(self.decided + 1), self._settings.resend_interval_s
        campaign = Campaigning(self._identity, ballot, start, now=turn.now, resend_s=resend_s, observer=self._observer)
        self._take_role(campaign)
        self.election.forget_leader()
        # Its own promise comes first: the ballot must be on disk before anybody hears of it.
        turn.write(self.acceptor.promise(ballot), then=PromiseDurable(ballot))
        turn.send_all(self.cluster.others, campaign.prepare)

    def _become_leading(self, turn: Turn) -> None:
        campaign = self.role
        assert isinstance(campaign, Campaigning)
        leading = Leading(
            campaign.promises,
            self.decided,
            self._settings,
            since=turn.now,
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
            self._propose_founding(leading, turn)
        self._begin_round(turn)

    def _become_following(self, turn: Turn) -> None:
        self._take_role(Following())
        self._confirming.abandon(turn)
        self.cluster.abandon_founding()
        self.election.restart(turn.now)

    def _take_role(self, role: Following | Campaigning | Leading) -> None:
        self.role = role
        self.leading = role if isinstance(role, Leading) else None

    def _on_higher_ballot(self, ballot: Ballot, turn: Turn) -> None:
        """Rule 1: before anything else is done with a message that carries a higher ballot."""
        self._seen = ballot
        match self.role:
            case Leading():
                self._observer.reached("protocol: a leader meets a higher ballot")
                self._become_following(turn)
            case Campaigning():
                self._observer.reached("protocol: a candidate meets a higher ballot")
                self._become_following(turn)
            case Following():
                pass
        if self.election.leader is not None and ballot > self.election.leader:
            self.election.forget_leader()

    # Leading.

    def _propose_founding(self, leading: Leading, turn: Turn) -> None:
        entry = founding_entry(self._identity, self._settings, leading.promises, self._random, self._observer)
        membership = Membership.from_bytes(entry.value)
        if membership.alpha != self._settings.alpha:
            self._observer.reached("protocol: a founder completes a founding with another alpha than its own")
        self.cluster.try_founding(membership)
        leading.found(FOUNDING_SLOT, membership.alpha)
        self.propose(entry, turn)

    def propose(self, entry: Entry, turn: Turn) -> None:
        leading = self.role
        assert isinstance(leading, Leading)
        leading.open(entry, turn.now)
        accept = leading.accept(entry, self.decided)
        reply, batch = self.acceptor.on_accept(accept, own=True)
        assert isinstance(reply, Accepted), "a leader has promised its own ballot and nothing higher"
        turn.write(batch, then=AcceptanceDurable(reply))
        turn.send_all(self.cluster.others, accept)
        leading.news.told()

    def on_durable(self, durable: Durable, turn: Turn) -> None:
        """A write has returned: what this replica promised or accepted itself counts like anyone's."""
        match durable:
            case AcceptanceDurable(accepted):
                self._on_accepted(self._identity.name, self._identity.incarnation, accepted)
            case PromiseDurable(ballot):
                self._promised_durably = ballot
                if ballot != self.own_ballot:
                    self._observer.reached("protocol: the promise of a campaign that was given up becomes durable")
                self._report_to_self(turn)
            case LeaseDurable(duration_us):
                self.lease.stored(duration_us)
            case _:
                assert_never(durable)

    def _report_to_self(self, turn: Turn) -> None:
        """Count this replica's own promise to the ballot it campaigns or leads under, once that is on disk.

        A later campaign's promise may be in memory while an earlier one's write returns.
        """
        ballot = self._promised_durably
        if ballot is None or ballot != self.own_ballot:
            return
        parts, _ = self.acceptor.on_prepare(Prepare(ballot=ballot, start=Slot(self.decided + 1)), self.decided)
        assert not isinstance(parts, Nack), "a replica that promised a higher ballot has given up its own"
        for part in parts:
            self._take_promise(self._me, part, turn)

    # Time.

    def tick(self, turn: Turn) -> None:
        now = turn.now
        self.tick_due_at = now + self._settings.heartbeat_interval_s
        match self.role:
            case Leading():
                self._tick_leading(self.role, turn)
                if self.leading is not None:
                    self._observer.leads_on(now)
            case Campaigning():
                if now - self.role.began_at >= self._window_s:
                    self._observer.reached("protocol: a campaign ends after a window")
                    self._become_following(turn)
                else:
                    turn.send_all(self.role.to_ask_again(now, self.cluster.others), self.role.prepare)
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
        lonely = now - leading.since > 2 * window and not self.pulse.hears_quorum(now - 2 * window, now)
        if lonely or self.pulse.disk_hangs(now):
            self._observer.reached(
                "protocol: a leader that no quorum answers steps down"
                if lonely
                else "protocol: a leader whose disk hangs steps down"
            )
            self._become_following(turn)
            return
        if self._is_stalled(leading, now):
            self._observer.reached("protocol: a leader that does not get at what it recovered steps down")
            self._has_to_reach = leading.recovered_up_to
            self._become_following(turn)
            return
        lost = self.learning.lost
        if leading.is_blocked(lost, self.cluster.voters, now, 2 * window) and len(self.cluster.voters.names) > 1:
            self._observer.reached(
                "protocol: a leader that does not see the end of the log steps down"
                if lost is None
                else "protocol: a leader that does not get back what it has lost steps down"
            )
            self._become_following(turn)
            self.election.let_others_go_first(now)
            return
        bytes_max = self._settings.chunk_bytes_max
        for accept, answered in leading.resend(now, self.decided, bytes_max):
            turn.send_all((peer for peer in self.cluster.others if peer not in answered), accept)
        if lost is not None:
            is_lost = self.learning.learner.is_lost
            for accept in leading.restore(is_lost, self.decided, self.cluster.voters, bytes_max):
                self._observer.reached(
                    "protocol: what is decided and damaged here is asked to be accepted again"
                    if accept.slot >= self.log.first
                    else "protocol: what a lost snapshot covered is asked to be accepted again"
                )
                turn.send_all(self.cluster.others, accept)
        if leading.is_waiting(self.decided, lost, self.cluster.voters) and leading.prepare_is_due(now):
            self._observer.reached("protocol: a leader asks again for clean answers")
            self._report_to_self(turn)
            turn.send_all(self.cluster.others, Prepare(ballot=leading.ballot, start=Slot(self.decided + 1)))

    def _maybe_campaign(self, turn: Turn) -> None:
        if not isinstance(self.role, Following) or not self.cluster.votes or not self.pulse.disk_answers(turn.now):
            return
        voters = self.cluster.voters
        if self.cluster.membership is None:
            held, answers = self.log.get(FOUNDING_SLOT), self.pulse.heartbeats.answers.values()
            if not may_found(self.decided, held, (answered.answer.decided for answered in answers)):
                return
            voters = voters_to_found(held, voters)
        verdict = self.election.decide(
            turn.now,
            self.pulse.heartbeats,
            me=self._identity.name,
            voters=voters,
            decided=self.decided,
            far_ahead_slots=self._alpha,
            is_stuck=self.learning.waits_for_snapshot or self.decided < self._has_to_reach,
        )
        match verdict:
            case Verdict.CAMPAIGN if self.voting.is_bound(turn):
                self._observer.reached("protocol: a lease keeps a replica from campaigning")
            case Verdict.CAMPAIGN:
                self.become_campaigning(turn)
            case Verdict.PROBE:
                self._begin_round(turn)
                self.election.probing(self.pulse.heartbeats.round, self.pulse.heartbeats.next_at)
                if not self.cluster.others and not self.voting.is_bound(turn):
                    self.become_campaigning(turn)
            case _:
                return

    def _begin_round(self, turn: Turn) -> None:
        round = self.pulse.heartbeats.begin(turn.now)
        if self.leading is not None:
            self._confirming.on_round(round, turn)
            self.leading.news.told()
        turn.send_all(self.cluster.others, self.pulse.heartbeat(round, self.leading, turn.now))

    def _is_stalled(self, leading: Leading, now: float) -> bool:
        """Whether this leader has had a window to decide what its promises reported, and another had better try.

        Either nothing moves, or a working voter knows more already, which can decide at once.
        """
        if self.decided >= leading.recovered_up_to or now - leading.since <= self._window_s:
            return False
        if now - leading.progressed_at > self._window_s:
            return True
        return self.pulse.heartbeats.knows_more(self.decided, now - self._window_s, self.cluster.voters)

    @property
    def _window_s(self) -> float:
        return self._settings.election_timeout_s

    @property
    def _alpha(self) -> int:
        """The alpha that the founding membership fixed; until that is known, what this node would found with."""
        membership = self.cluster.membership
        return self._settings.alpha if membership is None else membership.alpha

    def _advance(self, turn: Turn) -> None:
        """Learn what is decided now, and found the cluster if that is among it."""
        self.learning.advance(turn)
        if self.cluster.membership is None and self.learning.founding is not None:
            founding = self.learning.founding
            self.join(founding.slot, Membership.from_bytes(founding.value), turn)

    def join(self, slot: Slot, membership: Membership, turn: Turn) -> None:
        """The membership decided at ``slot`` is the first this replica knows."""
        self.cluster.adopt(membership)
        members = tuple(sorted(membership.names))
        turn.output.events.append(
            MembershipChanged(node=self._identity.name, slot=slot, members=members, cluster_id=membership.cluster_id)
        )
        if isinstance(self.role, Campaigning) or (self.leading is not None and not self.cluster.votes):
            # It asked everyone, and now has to ask the members; or it founded what this life has no vote in.
            self._observer.reached("protocol: a candidate or founder learns who the members are, and gives up")
            self._become_following(turn)

    def settle(self, turn: Turn) -> None:
        """What any event may have made possible."""
        before = self.learning.learner.decided
        if self.log.faulty and self.cluster.membership is not None:
            self.learning.trim_damage(self.cluster.membership, turn)
        self._advance(turn)
        if self.leading is not None:
            self._lead_on(self.leading, turn, before)
            if self.log.faulty_end and self.cluster.membership is not None:
                vouched_up_to = self.leading.vouched_up_to(self.decided, self.cluster.voters)
                self._damaged_end.on_own(self.leading.ballot, vouched_up_to, turn)
        self.learning.fetch(self.leading_ballot, turn, disk_is_full=self.writes.is_full)

    def _lead_on(self, leading: Leading, turn: Turn, before: Slot) -> None:
        decided = self.learning.learner.decided
        leading.settle(decided, turn.now)
        if decided < leading.recovered_up_to and self.cluster.membership is not None:
            for entry in leading.recover(decided, self.cluster.voters):
                self.propose(entry, turn)
        if self._confirming.settle(leading, turn):
            self._begin_round(turn)
            self._confirming.settle(leading, turn)
        if decided > before and not leading.proposals and not turn.sent_accept:
            leading.news.on_decided(before, turn.now)
        if leading.news.due_at <= turn.now:
            self.pulse.announce(leading, turn)
