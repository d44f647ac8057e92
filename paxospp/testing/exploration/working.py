"""One step of one node: drive a copy of its replica, do what its output asks, and note facts and claims."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from paxospp.engine.handlers.learning import stored_membership
from paxospp.engine.output import Output, Send
from paxospp.engine.replica import Replica
from paxospp.engine.rules.covered import Covered
from paxospp.engine.rules.observer import Observer
from paxospp.engine.rules.promises import PromiseReport
from paxospp.engine.rules.storage_reads import ReadRange
from paxospp.engine.settings import Identity
from paxospp.errors import CorruptedError, InvariantViolatedError, TrimmedError
from paxospp.messages import Accept, DecidedEntries, Heartbeat, HeartbeatAnswer, Promise, Sender
from paxospp.model import Ballot, NodeId, Slot, SnapshotMeta
from paxospp.storage.contract import WriteBatch
from paxospp.testing.exploration.claims import (
    Announced,
    Applied,
    Claim,
    Closed,
    CountedAcceptance,
    CountedAnswer,
    GivenAnswer,
    Held,
    Learned,
    Proposed,
    ReportedNone,
    Vouched,
)
from paxospp.testing.exploration.disk_state import DiskState, SnapshotState
from paxospp.testing.exploration.node_events import (
    Campaign,
    Crash,
    DeliverMessage,
    Event,
    FireTimer,
    Install,
    Participants,
    Propose,
    Publish,
    ReturnWrite,
)
from paxospp.testing.exploration.node_state import NodeState
from paxospp.testing.exploration.timeless import Timer, duplicate_without_time


class Even(Random):
    """A generator that always returns the same number: without time, jitter has no effect."""

    def random(self) -> float:
        return 0.5

    def getstate(self) -> tuple[Any, ...]:
        return ()

    def __copy__(self) -> Even:
        return self


EVEN = Even(0)


class Listener(Observer):
    """Notes what the replica reports in the current step."""

    def __init__(self) -> None:
        self.name = NodeId("")
        self.marks: set[str] = set()
        self.claims: list[Claim] = []
        self.counted: list[tuple[Sender, Ballot]] = []
        self.met: list[Ballot] = []
        self.closed: list[Slot] = []

    def begin(self, name: NodeId) -> None:
        """Begin a step of ``name``."""
        self.name = name
        self.marks, self.claims, self.counted, self.met, self.closed = set(), [], [], [], []

    def reached(self, marker: str) -> None:
        self.marks.add(marker)

    def counted_promise(self, sender: Sender, answer: int, ballot: Ballot, report: PromiseReport) -> None:
        self.counted.append((sender, ballot))
        if sender.node != self.name:
            accepted = frozenset((slot, entry.ballot) for slot, entry in report.entries.items())
            given = GivenAnswer(
                sender.node, sender.boot, answer, ballot, report.decided, report.first, report.faulty, accepted
            )
            self.claims.append(CountedAnswer(self.name, given))

    def counted_acceptance(self, ballot: Ballot, slot: Slot, node: NodeId, incarnation: int) -> None:
        self.claims.append(CountedAcceptance(self.name, ballot, slot, node))

    def learned(self, slot: Slot, ballot: Ballot) -> None:
        self.met.append(ballot)
        self.claims.append(Learned(self.name, slot, ballot))

    def installed(self, slot: Slot, ballot: Ballot) -> None:
        self.met.append(ballot)
        self.claims.append(Announced(self.name, ballot, slot, "installs a snapshot up to"))

    def closed_damage(self, bound: Slot, ballot: Ballot) -> None:
        self.closed.append(bound)


class WorkingNode:
    """A node during one step. It does what the replica's outputs ask, as ``paxospp.Node`` does."""

    def __init__(self, participants: Participants, name: NodeId, listener: Listener, *, is_synced: bool) -> None:
        self.name = name
        self.replica: Replica
        self.disk: DiskState
        self.out: list[WriteBatch] = []
        self.held: list[tuple[int, tuple[Send, ...]]] = []
        self.ranges: list[tuple[int, ReadRange]] = []
        self.applied_under = Ballot(0, NodeId(""), 0)
        self.staged: SnapshotState | None = None
        self.fetches_from: NodeId | None = None
        self.sends: list[Send] = []
        self.held_facts: list[Held] = []
        self.answers: list[GivenAnswer] = []
        self.broken: str | None = None
        self._returned = 0
        """How many writes returned in this step; at its beginning the replica numbers its open writes from 1 on."""
        self._participants = participants
        self._is_synced = is_synced
        self._listener = listener
        listener.begin(name)
        self.claims = listener.claims

    def start(self, disk: DiskState) -> WorkingNode:
        """Start a replica from ``disk``, and let it send heartbeats at once, so that its peers know this boot."""
        self.disk = disk = disk._replace(boot=disk.boot + 1)
        participants = self._participants
        identity = Identity(
            name=self.name,
            group=0,
            incarnation=participants.incarnations[self.name],
            boot=disk.boot,
            nonce=disk.boot,
            cluster=dict.fromkeys(sorted(participants.settings), "any:1"),
        )
        membership = stored_membership(dict(disk.meta))
        snapshot = disk.snapshot
        if snapshot is not None:
            self.applied_under = snapshot.ballot
        self.replica = Replica(
            identity,
            disk.load(),
            participants.settings[self.name],
            EVEN,
            memberships=() if membership is None else ((Slot(1), membership),),
            applied=0 if snapshot is None else snapshot.slot,
            observer=self._listener,
        )
        self._honour(self.replica.start(0.0))
        self._returned = 0
        self.replica = duplicate_without_time(self.replica, due=Timer.HEARTBEAT)
        self._honour(self.replica.on_tick(0.0))
        return self

    def take(self, node: NodeState, event: Event) -> WorkingNode:
        """Do ``event`` at ``node``."""
        if isinstance(event, Crash):
            disk = node.disk
            if event.damaged:
                disk = disk.lose_end(event.damaged) if event.from_there_on else disk.damage(event.damaged)
            return self.start(disk)
        due = event.timer if isinstance(event, FireTimer) else None
        self.replica = duplicate_without_time(node.replica, due=due)
        self.disk, self.out, self.held = node.disk, list(node.out), list(node.held)
        self.ranges, self.applied_under = list(node.ranges), node.applied_under
        self.staged, self.fetches_from = node.staged, node.fetches_from
        log = self.replica.protocol.log
        lost = [Slot(slot) for slot in range(1, self._highest() + 1) if log.is_faulty(Slot(slot))] if log.faulty else []
        try:
            self._drive(event)
        except InvariantViolatedError as error:
            self.broken = f"the engine stops: {error}"
        for bound in self._listener.closed:
            gone = frozenset(slot for slot in lost if log.get(slot) is None)
            self.claims.append(Closed(self.name, bound, self.replica.decided, gone))
        self._judge_role()
        return self

    def _highest(self) -> int:
        """Return a slot above every accepted one; in an explored scope, no node is 64 slots ahead of another."""
        return self.replica.protocol.log.last + 64

    def _drive(self, event: Event) -> None:
        replica = self.replica
        match event:
            case DeliverMessage(sender, message):
                self._honour(replica.on_message(sender, message, 0.0))
            case ReturnWrite():
                self._write()
            case Campaign():
                self._honour(replica.campaign(0.0))
            case Propose(value):
                self._honour(replica.propose(value, 0.0))
            case FireTimer():
                self._honour(replica.on_tick(0.0))
            case Publish():
                self.staged = SnapshotState(replica.delivered, self.applied_under)
                meta = SnapshotMeta(replica.delivered, "s")
                self._honour(replica.publish_snapshot(meta, Slot(replica.delivered + 1), 0.0))
            case Install(snapshot):
                self.staged, self.fetches_from = snapshot, None
                self.applied_under = max(self.applied_under, snapshot.ballot)
                covered = Covered(
                    meta=SnapshotMeta(snapshot.slot, "s"),
                    ballot=snapshot.ballot,
                    memberships=((Slot(1), self._participants.membership),),
                )
                self._honour(replica.install_snapshot(covered, 0.0))
            case Crash():
                raise AssertionError("a crash starts another replica")

    def _judge_role(self) -> None:
        """Check that the promise covers everything learned (rule 4), and the node's own ballot covers both (rule 1)."""
        protocol = self.replica.protocol
        own, promised = protocol.own_ballot, protocol.acceptor.promised
        if self.broken is not None:
            return
        for ballot in self._listener.met:
            if promised is None or promised < ballot:
                self.broken = f"rule 4: {self.name} learned a decision of {ballot}, but has promised {promised}"
        if own is None:
            return
        if promised is not None and promised > own:
            self.broken = f"rule 1: {self.name} leads or campaigns under {own}, but has promised {promised}"
        for ballot in self._listener.met:
            if ballot > own:
                self.broken = f"rule 1: {self.name} leads or campaigns under {own}, but learned a decision of {ballot}"
        for sender, ballot in self._listener.counted:
            if sender.node == self.name and (self.disk.promised is None or self.disk.promised < ballot):
                self.broken = f"rule 1: {self.name} counts its own promise to {ballot} before it is durable"

    # Outputs.

    def _honour(self, output: Output) -> None:
        self._send(output.send_now)
        if output.persist is not None:
            self.out.append(output.persist)
        if self.out:
            if output.send_after_persist:
                self._claim(output.send_after_persist)
                self.held.append((len(self.out), tuple(output.send_after_persist)))
        else:
            self._send(output.send_after_persist)
        for entry in output.decided:
            self.applied_under = max(self.applied_under, entry.ballot)
            if entry.slot > 1:
                self.claims.append(Applied(self.name, entry.slot, entry.kind, entry.value))
        if output.snapshot_from is not None:
            self.fetches_from = output.snapshot_from
        self.ranges.extend((len(self.out), wanted) for wanted in output.log_reads)
        if self._is_synced:
            while self.out:
                self._write()
        if not self.out:
            self._read()

    def _write(self) -> None:
        batch = self.out.pop(0)
        self.disk = self.disk.write(batch, self.staged)
        if batch.snapshot is not None:
            self.staged = None
        self.held_facts.extend(
            Held(self.name, entry.slot, entry.ballot, entry.kind, entry.value)
            for entry in batch.accepted
            if entry.slot > 1
        )
        held, self.held = self.held, []
        for waits, sends in held:
            if waits > 1:
                self.held.append((waits - 1, sends))
            else:
                self._leave(sends)
        self.ranges = [(max(waits - 1, 0), wanted) for waits, wanted in self.ranges]
        self._returned += 1
        self._honour(self.replica.on_persisted(self._returned, 0.0))

    def _read(self) -> None:
        while self.ranges:
            _, wanted = self.ranges.pop(0)
            entries, faulty = (), ()  # type: tuple[Any, ...], Sequence[range]
            try:
                entries = tuple(self.disk.read(wanted.start, wanted.stop))
            except TrimmedError:
                pass
            except CorruptedError as error:
                faulty = error.slots
            self._honour(self.replica.on_log_read(wanted.token, entries, 0.0, faulty))

    # Messages.

    def _send(self, sends: Sequence[Send]) -> None:
        self._claim(sends)
        self._leave(sends)

    def _leave(self, sends: Sequence[Send]) -> None:
        self.sends.extend(sends)
        parts: dict[tuple[Ballot, int], list[Promise]] = {}
        for send in sends:
            if isinstance(send.message, Promise):
                parts.setdefault((send.message.ballot, send.message.answer), []).append(send.message)
        self.answers.extend(self._answer(answer) for answer in parts.values())

    def _answer(self, parts: Sequence[Promise]) -> GivenAnswer:
        first = parts[0]
        accepted = frozenset((entry.slot, entry.ballot) for part in parts for entry in part.entries)
        return GivenAnswer(
            self.name,
            self.disk.boot,
            first.answer,
            first.ballot,
            first.decided,
            first.first,
            tuple(first.faulty),
            accepted,
        )

    def _claim(self, sends: Sequence[Send]) -> None:
        """Note what these messages claim, at the moment the replica makes them."""
        log, name = self.replica.protocol.log, self.name
        answers: dict[int, list[Promise]] = {}
        for send in sends:
            message = send.message
            if isinstance(message, Promise):
                answers.setdefault(message.answer, []).append(message)
            elif isinstance(message, Accept):
                self.claims.append(Announced(name, message.ballot, message.decided_up_to))
                clean = not log.is_faulty(message.slot)
                self.claims.append(
                    Proposed(name, message.ballot, message.slot, message.kind, message.value, has_clean=clean)
                )
            elif isinstance(message, Heartbeat) and message.leading is not None:
                self.claims.append(Announced(name, message.leading, message.decided_up_to))
                if message.vouched_up_to:
                    self.claims.append(Vouched(name, message.leading, message.vouched_up_to))
            elif isinstance(message, HeartbeatAnswer) and message.vouched_up_to and message.promised is not None:
                self.claims.append(Vouched(name, message.promised, message.vouched_up_to))
            elif isinstance(message, DecidedEntries):
                for entry in message.entries:
                    if entry.slot > 1:
                        self.claims.append(Applied(name, entry.slot, entry.kind, entry.value))
                        self.claims.append(Learned(name, entry.slot, entry.ballot))
        self.claims.extend(ReportedNone(name, self._answer(parts)) for parts in answers.values())
