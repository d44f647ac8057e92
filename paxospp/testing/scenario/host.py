"""A host of a scenario: one replica, its disk and its machine. It carries out the replica's outputs as a node does.

Writes return when a command lets them, in the order in which the replica handed them out; the host keeps the messages
and reads that wait for them. The state machine applies a value by storing it. The host uses only public methods of
``Replica``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from paxospp.engine.output import Output, Send, merge
from paxospp.engine.replica import Replica
from paxospp.engine.rules.covered import Covered
from paxospp.engine.rules.storage_reads import ReadRange
from paxospp.engine.settings import Identity, Settings
from paxospp.errors import CorruptedError, TrimmedError
from paxospp.events import FaultFound
from paxospp.messages import Accepted, HeartbeatAnswer, ProtocolMessage
from paxospp.model import Entry, NodeId, Slot, SnapshotMeta
from paxospp.storage.contract import WriteBatch
from paxospp.testing.describe import describe_value, describe_write
from paxospp.testing.scenario.disk import ScenarioDisk, ScenarioSnapshot
from paxospp.testing.scenario.language import ScenarioError
from paxospp.testing.scenario.selecting import Envelope


class Machine:
    """A state machine whose state is the values it has applied."""

    def __init__(self, restored: Sequence[Entry] = ()) -> None:
        self.restored = tuple(restored)
        """The values that came with a snapshot."""
        self.applied: list[Entry] = []
        """The values applied since then."""

    def state(self, slot: Slot) -> tuple[Entry, ...]:
        """Return the state after ``slot`` was applied: the values up to it.

        Raises:
            ScenarioError: the machine has not applied all of these slots, or does not have their values.
        """
        entries = tuple(entry for entry in (*self.restored, *self.applied) if entry.slot <= slot)
        if len(entries) < slot:
            known = {entry.slot for entry in entries}
            missing = next(slot for slot in range(1, slot + 1) if slot not in known)
            raise ScenarioError(f"this machine does not have the value of slot {missing}")
        return entries


class ScenarioHost:
    """One node of a scenario; ``replica`` is None while it is down."""

    def __init__(
        self,
        name: NodeId,
        disk: ScenarioDisk,
        *,
        post: Callable[[Envelope], None],
        tell: Callable[[str], None],
    ) -> None:
        """Make a host that is down; ``post`` sends a message, and ``tell`` adds a line to the story."""
        self.name = name
        self.disk = disk
        self.replica: Replica | None = None
        self.hangs = False
        """Whether writes return only when a command lets them."""
        self.machine = Machine()
        self.accepted_by: dict[Slot, tuple[Entry, set[NodeId]]] = {}
        """The proposals since the last start, by slot, each with the nodes that this host knows accepted it."""
        self.reads: list[int] = []
        """The tickets of the reads that wait for an answer."""
        self.grants: dict[NodeId, float] = {}
        """When each lease that this host granted since its last start ends, by the leader it was granted to."""
        self._post = post
        self._tell = tell
        self._out: list[tuple[int, WriteBatch]] = []
        self._sends: list[tuple[int, Sequence[Send]]] = []
        self._ranges: list[tuple[int, ReadRange]] = []
        self._persisted = 0
        self._is_told_leading = False
        self._snapshots = 0

    @property
    def running(self) -> Replica:
        """The replica.

        Raises:
            ScenarioError: the host is down.
        """
        if self.replica is None:
            raise ScenarioError(f"{self.name} is down")
        return self.replica

    @property
    def offered_snapshot(self) -> ScenarioSnapshot | None:
        """The snapshot that peers can fetch from this host; None if it has none.

        Raises:
            ScenarioError: the host is down.
        """
        assert self.running
        return self.disk.readable_snapshot

    @property
    def writes_out(self) -> Sequence[WriteBatch]:
        """The writes under way, oldest first."""
        return [batch for _, batch in self._out]

    # Starting and stopping.

    def start(self, cluster: dict[NodeId, str], settings: Settings, nonce: int, now: float) -> None:
        """Start a replica from the disk."""
        self.stop()
        self.disk.boot += 1
        snapshot = self.disk.readable_snapshot
        self.machine = Machine(() if snapshot is None else snapshot.applied)
        identity = Identity(
            name=self.name,
            group=0,
            incarnation=self.disk.incarnation,
            boot=self.disk.boot,
            nonce=nonce,
            cluster=cluster,
        )
        self.replica = Replica(
            identity,
            self.disk.load(),
            settings,
            Random(self.name),
            memberships=self.disk.memberships,
            applied=self.disk.applied,
        )
        self.honour(self.replica.start(now), now)

    def stop(self) -> None:
        """End the replica; writes under way are lost."""
        self.replica = None
        self.hangs = self._is_told_leading = False
        self.accepted_by, self.reads, self.grants = {}, [], {}
        self._out, self._sends, self._ranges, self._persisted = [], [], [], 0

    # Messages.

    def receive(self, envelope: Envelope, now: float, *, is_shown: bool) -> None:
        """Hand a message to the replica, which must be running; ``is_shown``: tell if the replica drops it."""
        replica = self.running
        before = sum(replica.dropped.values())
        output = replica.on_message(envelope.sender, envelope.message, now)
        if sum(replica.dropped.values()) == before:
            self._note_accepted(envelope.source, envelope.message)
        elif is_shown:
            self._tell(f"  {self.name} drops it")
        self.honour(output, now)

    # Writes.

    def persist(self, now: float, *, oldest_only: bool = False) -> bool:
        """Let all writes under way return, or the oldest one; return False if there are none."""
        if self.replica is None or not self._out:
            return False
        returning = [self._out.pop(0)]
        while self._out and not oldest_only:
            returning.append(self._out.pop(0))
        while returning:
            self._write(_take_one_write(returning), now)
        return True

    def _write(self, returning: Sequence[tuple[int, WriteBatch]], now: float) -> None:
        """Write several batches as one, as group commit does."""
        token = returning[-1][0]
        batch = merge([batch for _, batch in returning])
        self.disk.write(batch)
        if batch.sync:
            self._tell(f"{self.name} persist {describe_write(batch)}")
        for entry in batch.accepted:
            if entry.slot in self.accepted_by and self.accepted_by[entry.slot][0] == entry:
                self.accepted_by[entry.slot][1].add(self.name)
        self._persisted = token
        ready = [sends for waits, sends in self._sends if waits <= token]
        self._sends = [(waits, sends) for waits, sends in self._sends if waits > token]
        for sends in ready:
            self._send(sends, now)
        self.honour(self.running.on_persisted(token, now), now)
        wanted = [range for waits, range in self._ranges if waits <= token]
        self._ranges = [(waits, range) for waits, range in self._ranges if waits > token]
        for range in wanted:
            self._read(range, now)

    # Snapshots. No other method calls the replica about them.

    def publish(self, slot: Slot, first: Slot, now: float) -> None:
        """Take a snapshot of the machine up to ``slot``, make it current, and trim the log below ``first``.

        Raises:
            ScenarioError: the machine has not applied ``slot``, or the log would lose more than the snapshot covers.
        """
        replica = self.running
        membership = replica.membership
        if membership is None or replica.delivered < slot:
            raise ScenarioError(f"{self.name} has applied the slots up to {replica.delivered}, not up to {slot}")
        if first > slot + 1:
            raise ScenarioError(f"a snapshot up to slot {slot} does not cover all slots below {first}")
        self._snapshots += 1
        meta = SnapshotMeta(slot, f"{self.disk.incarnation}-{self.disk.boot}-{self._snapshots}")
        self.disk.stage(ScenarioSnapshot(meta, membership, self.machine.state(slot)))
        self.honour(replica.publish_snapshot(meta, first, now), now)

    def install(self, snapshot: ScenarioSnapshot, source: NodeId, now: float) -> None:
        """Install a snapshot of ``source``: machine and log continue above it.

        Raises:
            ScenarioError: this machine has already applied everything that the snapshot covers.
        """
        replica = self.running
        slot = snapshot.meta.slot
        if replica.delivered >= slot:
            raise ScenarioError(f"{self.name} has applied the slots up to {replica.delivered} already")
        self.disk.stage(snapshot)
        self.machine = Machine(snapshot.applied)
        values = describe_applied(snapshot.applied) or "nothing"
        self._tell(f"{self.name} applies {values} (the snapshot of {source} up to slot {slot})")
        ballot = max(entry.ballot for entry in snapshot.applied)
        covered = Covered(meta=snapshot.meta, ballot=ballot, memberships=[(Slot(1), snapshot.membership)])
        self.honour(replica.install_snapshot(covered, now), now)

    # Outputs.

    def honour(self, output: Output, now: float) -> None:
        """Carry out ``output``, field by field, in the order that ``Output`` prescribes."""
        replica = self.running
        self._send(output.send_now, now)
        if output.persist is not None:
            self._out.append((output.token, output.persist))
            self._note_proposals(replica, output.persist)
        if self._persisted >= output.token:
            self._send(output.send_after_persist, now)
        elif output.send_after_persist:
            self._sends.append((output.token, output.send_after_persist))
        if output.snapshot_from is not None:
            self._tell(f"{self.name} needs a snapshot, {output.snapshot_from} has one")
        for entry in output.decided:
            self.machine.applied.append(entry)
            if entry.slot > 1:
                self._tell(f"{self.name} applies {describe_applied([entry])}")
        for ready in output.settled_reads:
            slot = "is not confirmed" if ready.slot is None else f"may be served from slot {ready.slot}"
            self._tell(f"{self.name} read {ready.ticket} {slot}")
            self.reads = [ticket for ticket in self.reads if ticket != ready.ticket]
        for event in output.events:
            if isinstance(event, FaultFound):
                self._tell(f"{self.name} says of {event.peer}: {event.reason}")
        for wanted in output.log_reads:
            if self._persisted >= output.token:
                self._read(wanted, now)
            else:
                self._ranges.append((output.token, wanted))
        if replica.leading and not self._is_told_leading:
            self._tell(f"{self.name} leads b={replica.ballot}")
        self._is_told_leading = replica.leading

    def _send(self, sends: Sequence[Send], now: float) -> None:
        sender = self.running.sender
        for send in sends:
            if isinstance(send.message, HeartbeatAnswer) and send.message.lease:
                self.grants[send.to] = now + send.message.lease / 1_000_000
            self._post(Envelope(sender, send))

    def _read(self, wanted: ReadRange, now: float) -> None:
        entries: Sequence[Entry] = ()
        faulty: Sequence[range] = ()
        try:
            entries = self.disk.read(wanted.start, wanted.stop, wanted.max_bytes)
        except TrimmedError:
            entries = ()
        except CorruptedError as error:
            faulty = error.slots
        self.honour(self.running.on_log_read(wanted.token, entries, now, faulty), now)

    # The replica does not report its proposals, so they are derived from its writes and the messages it receives.

    def _note_proposals(self, replica: Replica, batch: WriteBatch) -> None:
        if replica.leading:
            for entry in batch.accepted:
                if entry.ballot == replica.ballot:
                    self.accepted_by[entry.slot] = entry, set()

    def _note_accepted(self, source: NodeId, message: ProtocolMessage) -> None:
        if isinstance(message, Accepted) and message.slot in self.accepted_by:
            entry, nodes = self.accepted_by[message.slot]
            if entry.ballot == message.ballot:
                nodes.add(source)


def describe_applied(entries: Sequence[Entry]) -> str:
    """Return applied values as ``2:x 3:y``, without the membership in slot 1."""
    return " ".join(f"{entry.slot}:{describe_value(entry.kind, entry.value)}" for entry in entries if entry.slot > 1)


def _take_one_write(returning: list[tuple[int, WriteBatch]]) -> list[tuple[int, WriteBatch]]:
    """Remove and return the batches that become one write: up to a second snapshot, as in ``node/writer.py``."""
    taken = [returning.pop(0)]
    has_snapshot = taken[0][1].snapshot is not None
    while returning and not (has_snapshot and returning[0][1].snapshot is not None):
        taken.append(returning.pop(0))
        has_snapshot = has_snapshot or taken[-1][1].snapshot is not None
    return taken
