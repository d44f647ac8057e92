"""The replica: the face of the engine, which a node drives.

Every call advances the clock, does one thing, settles what that made possible, and returns an
``Output`` to honour field by field. What is done is said in ``protocol``.
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
from paxospp.engine.rules.observer import NOBODY, Observer
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
        observer: Observer = NOBODY,
    ) -> None:
        """Begin a boot from what the storage remembers.

        ``memberships`` and ``applied`` come from the snapshot that was restored, if there was one.
        ``boot_time`` tells the time that leases need, given ``now``; without it, that is ``now``.
        ``observer`` looks on, see there; it may look at ``protocol``, which is nobody else's business.
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
        # A stall counts for two intervals at most: time in which this replica did not run is nobody's silence.
        self._clock = ActiveClock(2 * settings.heartbeat_interval_s)
        self._boot_time = boot_time
        self._sender = Sender(b"", identity.group, identity.name, identity.incarnation, identity.boot, identity.nonce)
        self._leader_told: Ballot | None = None
        self._wakes_at = 0.0

    # What the node and `status` ask.

    @property
    def sender(self) -> Sender:
        """What every frame of this boot says of who speaks."""
        if self._sender.cluster_id is not self._cluster.id:
            self._sender = self._sender._replace(cluster_id=self._cluster.id)
        return self._sender

    @property
    def cluster_id(self) -> bytes:
        """Empty until the founding membership is known to be decided."""
        return self._cluster.id

    @property
    def membership(self) -> Membership | None:
        """The founding membership, once it is known to be decided."""
        return self._cluster.membership

    @property
    def founding_refused(self) -> str | None:
        """Why the last founding value that arrived was not accepted here."""
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
        """Who leads, as far as this replica knows."""
        return self.protocol.leader

    @property
    def decided(self) -> Slot:
        """Every slot up to this one is known to be decided."""
        return self.protocol.decided

    @property
    def delivered(self) -> Slot:
        """Every slot up to this one was handed out in ``Output.decided``, or came in a snapshot."""
        return self.protocol.learning.delivered

    @property
    def wanted(self) -> Slot:
        """The highest slot that anyone is known to know decided."""
        return self.protocol.learning.wanted

    @property
    def first(self) -> Slot:
        """The first slot the log still holds."""
        return self.protocol.log.first

    def held(self, start: Slot, stop: Slot, bytes_max: int) -> Sequence[Entry]:
        """Entries that memory holds from ``start`` on, of slots handed out to be applied; at least one if it has it."""
        return self.protocol.log.between(start, Slot(min(stop, self.delivered + 1)), bytes_max)

    @property
    def proposable(self) -> int:
        """How many values may be proposed now; 0 while not leading."""
        return self.protocol.room

    @property
    def votes(self) -> bool:
        """Whether this life of the node stands in the membership; before founding, whether it might."""
        return self._cluster.votes

    @property
    def why_not_voting(self) -> str | None:
        """In one sentence, for `status`; None if it votes or is not founded yet."""
        return self._cluster.why_not_voting

    @property
    def waiting_for(self) -> tuple[NodeId, ...]:
        """Until the cluster is founded: who has not been heard within the last window."""
        if self.membership is not None:
            return ()
        heard = set(self.protocol.heartbeats.answered_after(self._clock.time - self.settings.election_timeout_s))
        return tuple(name for name in self._cluster.others if name not in heard)

    @property
    def active_time(self) -> float:
        """Seconds that this boot has lived, see ``clock``."""
        return self._clock.time

    @property
    def dropped(self) -> Counter[str]:
        """How many messages were not heard, by reason."""
        return self._admission.dropped

    # What drives it.

    def start(self, now: float) -> Output:
        """Ask for what the start needs from storage; nobody is heard before it is read."""
        out = self._begin(now)
        self.protocol.lease.start(out.boot_time)
        self.protocol.election.begin(out.now, alone=not self._cluster.others, founded=self._founded_before)
        self.protocol.learning.load(out, founding_known=self.membership is not None)
        return self._finish(out)

    def on_message(self, sender: Sender, message: ProtocolMessage, now: float) -> Output:
        """Handle one message of a peer; one that may not speak, or not say this, is counted and dropped."""
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
        """Do what time asks for; ``wake_at`` of the last output says when the next call is due."""
        out = self._begin(now)
        if not self.protocol.learning.is_loading:
            self.protocol.tick(out)
        return self._finish(out)

    def propose(self, value: bytes, now: float, *, awaited_elsewhere: bool = False) -> Output:
        """Propose ``value``, of kind COMMANDS, in the next slot; only while ``proposable`` is positive.

        With ``awaited_elsewhere``, callers of other nodes wait for it, who learn of it by what this one tells.
        """
        out = self._begin(now)
        self.protocol.propose_commands(value, out, awaited_elsewhere=awaited_elsewhere)
        return self._finish(out)

    def campaign(self, now: float) -> Output:
        """Campaign at once, without asking whether anybody is served; for operators and scenarios."""
        out = self._begin(now)
        bound = self.protocol.accepting.is_bound(out) or self.protocol.learning.is_loading
        if not self.leading and self.votes and not bound:
            self.protocol.become_campaigning(out)
        return self._finish(out)

    def read(self, ticket: int, now: float, *, lease: bool = False) -> Output:
        """Find the slot a linearizable read must wait for; ``Output.readable`` will name ``ticket``.

        With ``lease``, the leader's lease is enough to confirm it, where there is one.
        """
        out = self._begin(now)
        self.protocol.read(ticket, out, lease=lease)
        return self._finish(out)

    def set_lease(self, duration_us: int, now: float) -> Output:
        """The log, as far as it was applied here, says how long leases are; 0: there are none."""
        out = self._begin(now)
        self.protocol.lease.duration_us = duration_us
        self.protocol.accepting.store_lease(out)
        return self._finish(out)

    def on_persisted(self, token: int, now: float) -> Output:
        """Write ``token`` and every earlier one have returned."""
        waiting = list(self.protocol.writes.returned(token))
        if not waiting:
            return self._unchanged()
        out = self._begin(now)
        for durable in waiting:
            self.protocol.on_durable(durable, out)
        return self._finish(out)

    def on_read(self, token: int, entries: Sequence[Entry], now: float, faulty: Sequence[range] = ()) -> Output:
        """The storage read what was asked; ``faulty`` are the slots of a CorruptedError."""
        out = self._begin(now)
        self.protocol.learning.on_read(token, entries, faulty, out)
        return self._finish(out)

    def on_damage(self, faulty: Sequence[range], now: float) -> Output:
        """Somebody else read the storage, for a watcher say, and found these slots damaged."""
        out = self._begin(now)
        self.protocol.log.mark_faulty(faulty)
        return self._finish(out)

    @property
    def holds_delivery(self) -> bool:
        """Whether the state machine has enough to do."""
        return self.protocol.learning.is_held

    def hold_delivery(self, hold: bool, now: float) -> Output:
        """The state machine has enough to do, so ``Output.decided`` stays empty from now on; or it may go on."""
        out = self._begin(now)
        self.protocol.learning.is_held = hold
        return self._finish(out)

    def on_checkpoint(self, slot: Slot, digest: bytes, now: float) -> Output:
        """The machine has applied ``slot``, a multiple of 1,024, and this is the digest then."""
        out = self._begin(now)
        me = self.identity
        self.protocol.heartbeats.compare_digests(me.name, me.incarnation, Checkpoint(slot, digest), out)
        return self._finish(out)

    def publish_snapshot(self, meta: SnapshotMeta, first: Slot, now: float) -> Output:
        """A snapshot of this replica's machine is committed to the storage: it becomes current, and the log
        is trimmed below ``first``, at most its slot + 1."""
        out = self._begin(now)
        assert self.membership is not None, "a snapshot is taken of what was applied"
        self.protocol.learning.publish(meta, first, self.membership, out)
        return self._finish(out)

    def meet_snapshot(self, ballot: Ballot, now: float) -> Output:
        """A chunk came of a snapshot whose slots were decided under ballots up to ``ballot``."""
        out = self._begin(now)
        self.protocol.meet(ballot, out)
        return self._finish(out)

    def install_snapshot(self, covered: Covered, now: float) -> Output:
        """A peer's snapshot is committed to the storage and was verified: it becomes current.

        The node restores it when that write returned; ``Output.decided`` goes on above its slot.
        """
        out = self._begin(now)
        self.protocol.install(covered, out)
        return self._finish(out)

    # The two ends of every call.

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
        """Of a call after which everything is as it was."""
        return Output(token=self.protocol.writes.last_token, wake_at=self._wakes_at)

    def _wake_at(self, now: float) -> float:
        """When, on the caller's clock, ``on_tick`` is due."""
        protocol = self.protocol
        learning = protocol.learning
        if learning.is_loading:
            # Nothing is due before the storage has answered, which is no tick.
            return self._clock.when(now + self.settings.heartbeat_interval_s)
        # Rounds leave early, for reads and with answers to a peer: what else a tick does must not wait for that.
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
