"""The replica: the public face of the engine, driven by a node.

Every call advances the clock, handles one event, follows up on whatever that event made possible, and returns an
``Output`` that the node carries out field by field. ``protocol`` does the handling.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

from paxospp.engine.output import Output, OutputBuilder
from paxospp.engine.protocol import Following, Protocol
from paxospp.engine.rules.admission import Admission
from paxospp.engine.rules.campaign import Campaigning
from paxospp.engine.rules.clock import ActiveClock
from paxospp.engine.rules.covered import Covered
from paxospp.engine.rules.leader import Leading
from paxospp.engine.rules.observer import NO_OBSERVER, Observer
from paxospp.engine.rules.voters import ClusterView
from paxospp.engine.settings import Identity, Settings
from paxospp.events import LeaderChanged
from paxospp.messages import Checkpoint, ProtocolMessage, Sender
from paxospp.model import Ballot, Entry, Membership, NodeId, Slot, SnapshotMeta
from paxospp.storage.contract import DurableState


class Replica:
    """One replica of one group."""

    def __init__(
        self,
        identity: Identity,
        state: DurableState,
        settings: Settings,
        random: Random,
        *,
        memberships: Sequence[tuple[Slot, Membership]] = (),
        applied: int = 0,
        boot_time: Callable[[float], float] | None = None,
        observer: Observer = NO_OBSERVER,
    ) -> None:
        """Start from what the storage remembers.

        Args:
            identity: who this replica is: name, incarnation, boot, and the cluster it was started with.
            state: what the storage's ``load`` returned.
            settings: intervals in seconds and limits in bytes.
            random: the only source of randomness, so that a seed replays a run.
            memberships: the memberships in the snapshot that was restored, with their slots; empty without one.
            applied: the slot of that snapshot; 0 without one.
            boot_time: maps ``now`` to the clock that leases use, which keeps running while the machine sleeps.
                By default it is ``now`` itself.
            observer: is told every safety-relevant step. Only an observer may look at ``protocol``.
        """
        self.identity = identity
        self.settings = settings
        self._founded_before = state.decided > 0
        self._cluster = ClusterView(identity)
        if memberships:
            self._cluster.adopt(memberships[-1][1])
        self.protocol = Protocol(
            identity, state, settings, random, cluster=self._cluster, applied=Slot(applied), observer=observer
        )
        self._admission = Admission(self._cluster, observer)
        # A pause counts as two intervals at most: a replica that did not run must not blame its leader for silence.
        self._clock = ActiveClock(2 * settings.heartbeat_interval_s)
        self._boot_time = boot_time
        self._sender = Sender(b"", identity.group, identity.name, identity.incarnation, identity.boot, identity.nonce)
        self._leader_told: Ballot | None = None
        self._wakes_at = 0.0

    # What the node and `paxospp status` ask.

    @property
    def sender(self) -> Sender:
        """The sender that every frame of this boot carries."""
        if self._sender.cluster_id is not self._cluster.id:
            self._sender = self._sender._replace(cluster_id=self._cluster.id)
        return self._sender

    @property
    def cluster_id(self) -> bytes:
        """The id of the cluster; empty until this replica knows that slot 1 is decided."""
        return self._cluster.id

    @property
    def membership(self) -> Membership | None:
        """The membership that slot 1 decided; None until this replica knows it."""
        return self._cluster.membership

    @property
    def founding_refused(self) -> str | None:
        """Why this replica refused the last membership proposed to bootstrap the cluster; None if it did not."""
        return self._cluster.founding_refused

    @property
    def leading(self) -> bool:
        return self.protocol.leading is not None

    @property
    def role_name(self) -> str:
        """``leader``, ``candidate`` or ``follower``."""
        match self.protocol.role:
            case Leading():
                return "leader"
            case Campaigning():
                return "candidate"
            case Following():
                return "follower"

    @property
    def ballot(self) -> Ballot | None:
        """The ballot this replica leads or campaigns under, else that of the leader it hears."""
        return self.protocol.own_ballot or self.protocol.election.leader

    @property
    def leader(self) -> NodeId | None:
        """The current leader, as far as this replica knows."""
        return self.protocol.leader

    @property
    def decided(self) -> Slot:
        """Every slot up to this one is known to be decided."""
        return self.protocol.decided

    @property
    def delivered(self) -> Slot:
        """The highest slot that was handed out in ``Output.decided`` or covered by an installed snapshot."""
        return self.protocol.learning.delivered

    @property
    def wanted(self) -> Slot:
        """The highest slot that any replica has reported as decided."""
        return self.protocol.learning.wanted

    @property
    def first(self) -> Slot:
        """The first slot the log still holds."""
        return self.protocol.log.first

    def held(self, start: Slot, stop: Slot, bytes_max: int) -> Sequence[Entry]:
        """Return the entries from ``start`` on that are delivered and in memory, up to ``bytes_max``, at least one.

        The result is empty if memory does not hold ``start``; read the storage then.
        """
        return self.protocol.log.between(start, Slot(min(stop, self.delivered + 1)), bytes_max)

    @property
    def proposable(self) -> int:
        """The number of values that may be proposed now; 0 while not leading."""
        return self.protocol.proposable

    @property
    def votes(self) -> bool:
        """Whether this incarnation is a voter; before the cluster is bootstrapped, whether it may become one."""
        return self._cluster.votes

    @property
    def why_not_voting(self) -> str | None:
        """Why this replica has no vote, in one sentence for ``paxospp status``; None if it votes."""
        return self._cluster.why_not_voting

    @property
    def waiting_for(self) -> tuple[NodeId, ...]:
        """The nodes that bootstrapping waits for: those that have not answered within an election timeout."""
        if self.membership is not None:
            return ()
        heard = set(self.protocol.heartbeats.answered_after(self._clock.time - self.settings.election_timeout_s))
        return tuple(name for name in self._cluster.others if name not in heard)

    @property
    def active_time(self) -> float:
        """Seconds that this boot has run, see ``rules.clock``."""
        return self._clock.time

    @property
    def dropped(self) -> Counter[str]:
        """The number of dropped messages, by reason."""
        return self._admission.dropped

    # Events. ``now`` is monotonic seconds of the node's clock.

    def start(self, now: float) -> Output:
        """Request the part of the log that a start needs; no message is handled before the storage has read it."""
        out = self._begin(now)
        self.protocol.lease.start(out.boot_time)
        self.protocol.election.begin(out.now, alone=not self._cluster.others, founded=self._founded_before)
        self.protocol.learning.load(out, founding_known=self.membership is not None)
        return self._finish(out)

    def on_message(self, sender: Sender, message: ProtocolMessage, now: float) -> Output:
        """Handle one message of a peer, or count and drop it if that peer may not send it."""
        out = self._begin(now)
        loading = self.protocol.learning.is_loading
        reason = "still loading" if loading else self._admission.admit(sender, message, self.sender)
        if reason is None:
            if self.protocol.is_late(message):
                return self._unchanged()
            self.protocol.on_message(sender, message, out)
        elif (fault := self._admission.drop(sender, reason, self.identity.name)) is not None:
            out.output.events.append(fault)
        return self._finish(out)

    def on_tick(self, now: float) -> Output:
        """Do what is due by now; the last output's ``wake_at`` says when to call next."""
        out = self._begin(now)
        if not self.protocol.learning.is_loading:
            self.protocol.tick(out)
        return self._finish(out)

    def propose(self, value: bytes, now: float, *, awaited_elsewhere: bool = False) -> Output:
        """Propose ``value``, of kind COMMANDS, in the next slot; call this only while ``proposable`` is positive.

        With ``awaited_elsewhere``, callers of other nodes wait for it, so the decision is announced without delay.
        """
        out = self._begin(now)
        self.protocol.propose_value(value, out, awaited_elsewhere=awaited_elsewhere)
        return self._finish(out)

    def campaign(self, now: float) -> Output:
        """Campaign at once, without asking whether a leader has a quorum; for operators and scenarios."""
        out = self._begin(now)
        bound = self.protocol.accepting.is_bound(out) or self.protocol.learning.is_loading
        if not self.leading and self.votes and not bound:
            self.protocol.become_campaigning(out)
        return self._finish(out)

    def read(self, ticket: int, now: float, *, lease: bool = False) -> Output:
        """Find the slot that must be applied before a linearizable read; a ``SettledRead`` for ``ticket`` tells it.

        With ``lease``, a leader that holds a lease confirms the read without a round of heartbeats.
        """
        out = self._begin(now)
        self.protocol.read(ticket, out, lease=lease)
        return self._finish(out)

    def set_lease(self, duration_us: int, now: float) -> Output:
        """Set the length of leases that an applied entry decided, in microseconds; 0 switches leases off."""
        out = self._begin(now)
        self.protocol.lease.duration_us = duration_us
        self.protocol.accepting.store_lease(out)
        return self._finish(out)

    def on_persisted(self, token: int, now: float) -> Output:
        """Handle the return of write ``token`` and of every earlier write."""
        waiting = list(self.protocol.writes.returned(token))
        if not waiting:
            return self._unchanged()
        out = self._begin(now)
        for durable in waiting:
            self.protocol.on_durable(durable, out)
        return self._finish(out)

    def on_log_read(self, token: int, entries: Sequence[Entry], now: float, faulty: Sequence[range] = ()) -> Output:
        """Handle the result of a ``ReadRange``; ``faulty`` are the slots that a ``CorruptedError`` named."""
        out = self._begin(now)
        self.protocol.learning.on_log_read(token, entries, faulty, out)
        return self._finish(out)

    def on_damage(self, faulty: Sequence[range], now: float) -> Output:
        """Mark slots as damaged that a reader other than this replica, such as a watcher, could not read."""
        out = self._begin(now)
        self.protocol.log.mark_faulty(faulty)
        return self._finish(out)

    @property
    def holds_delivery(self) -> bool:
        """Whether delivery is on hold because the state machine is behind."""
        return self.protocol.learning.is_held

    def hold_delivery(self, hold: bool, now: float) -> Output:
        """Stop or resume delivery: while it is on hold, ``Output.decided`` stays empty."""
        out = self._begin(now)
        self.protocol.learning.is_held = hold
        return self._finish(out)

    def on_checkpoint(self, slot: Slot, digest: bytes, now: float) -> Output:
        """Compare this replica's digest after ``slot``, a multiple of 1,024, with those of its peers."""
        out = self._begin(now)
        me = self.identity
        self.protocol.heartbeats.compare_digests(me.name, me.incarnation, Checkpoint(slot, digest), out)
        return self._finish(out)

    def publish_snapshot(self, meta: SnapshotMeta, first: Slot, now: float) -> Output:
        """Make a snapshot of this replica's own machine current, and trim the log below ``first``.

        The storage has committed the snapshot. ``first`` is at most the snapshot's slot + 1.
        """
        out = self._begin(now)
        assert self.membership is not None, "a snapshot is taken of what was applied"
        self.protocol.learning.publish(meta, first, self.membership, out)
        return self._finish(out)

    def meet_snapshot(self, ballot: Ballot, now: float) -> Output:
        """Handle the ballot that a chunk of a snapshot names: its slots were decided under ballots up to this one."""
        out = self._begin(now)
        self.protocol.meet(ballot, out)
        return self._finish(out)

    def install_snapshot(self, covered: Covered, now: float) -> Output:
        """Make a peer's snapshot current, once it was verified and the storage has committed it.

        The node restores the snapshot when the write has returned; ``Output.decided`` continues above its slot.
        """
        out = self._begin(now)
        self.protocol.install(covered, out)
        return self._finish(out)

    # Beginning and end of every call.

    def _begin(self, now: float) -> OutputBuilder:
        return OutputBuilder(self._clock.advance(now), self._boot_time, now)

    def _finish(self, out: OutputBuilder) -> Output:
        protocol = self.protocol
        if not protocol.learning.is_loading:
            protocol.settle(out)
        output = out.finish(protocol.writes, protocol.learning.hint(out))
        ballot = protocol.leading_ballot
        if ballot is not self._leader_told and ballot != self._leader_told:
            self._leader_told = ballot
            leader = None if ballot is None else ballot.node
            output.events.append(LeaderChanged(node=self.identity.name, leader=leader, ballot=ballot))
        output.wake_at = self._wakes_at = self._wake_at(out.now)
        return output

    def _unchanged(self) -> Output:
        """Return the output of a call that changed nothing."""
        return Output(token=self.protocol.writes.last_token, wake_at=self._wakes_at)

    def _wake_at(self, now: float) -> float:
        """Return when ``on_tick`` is due, on the node's clock."""
        protocol = self.protocol
        learning = protocol.learning
        if learning.is_loading:
            # Nothing is due before the storage has answered, and its answer needs no tick.
            return self._clock.when(now + self.settings.heartbeat_interval_s)
        # A round may be sent early, for a read or together with an answer. The tick's other duties keep their own time.
        due, tick_due_at = protocol.heartbeats.rounds.next_at, protocol.tick_due_at
        if tick_due_at < due:
            due = tick_due_at
        if protocol.leading is not None:
            announcement_due_at = protocol.leading.announcement.due_at
            if announcement_due_at < due:
                due = announcement_due_at
        elif due > (runs_out_at := protocol.election.next_at) > now and isinstance(protocol.role, Following):
            due = runs_out_at
        if (fetches_at := learning.fetching.due_at) is not None and fetches_at < due:
            due = fetches_at
        return self._clock.when(due)
