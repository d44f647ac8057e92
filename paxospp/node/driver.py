"""Drives the replica: the one place that carries out an ``Output``, field by field, in its order.

Messages, timers, finished writes and proposals come in. Each becomes one call of the pure engine, and its output is
carried out here: messages leave, batches go to the writer, decided entries to the executor. Everything happens on the
event loop, so the replica needs no lock.

After every input the driver *advances*: it applies decided entries, then lets its client do what became possible.
Applying is cut into slices of ``Pacing.apply_slice_s``, so that a long backlog does not hold up heartbeats.

The driver decides nothing of the protocol. When the disk, the machine or a rule of the protocol fails, it sends
nothing more and reports the cause once.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from paxospp.engine.output import Output, Send, SettledRead
from paxospp.engine.replica import Replica
from paxospp.engine.rules.covered import Covered
from paxospp.engine.rules.storage_reads import ReadRange
from paxospp.errors import CorruptedError, ReplicaStoppedError, TrimmedError
from paxospp.events import Event, FaultFound
from paxospp.execution.executor import Executor
from paxospp.messages import ProtocolMessage, Sender
from paxospp.model import Ballot, Entry, NodeId, Slot, SnapshotMeta
from paxospp.node.environment import Links
from paxospp.node.observer import NO_NODE_OBSERVER, NodeObserver
from paxospp.node.pacing import Pacing
from paxospp.node.writer import Writer
from paxospp.sessions.table import RunAnswer

UVLOOP_ROUNDS_S = 0.0006
"""Added to timers on uvloop, which counts in whole milliseconds.

A timer that fires slightly early is set again with a delay of zero until the millisecond is over: ten iterations of
the loop per tick, a tenth of the cost of an idle node.
"""
CHECKPOINT_SLOTS = 1024
"""Replicas compare their digests at multiples of this. All must use the same number, so it is not a setting."""


class DriverClient(Protocol):
    """Receives what the replica and the machine did.

    While one output is carried out, the calls are ``on_read_settled``, ``on_event`` and ``on_snapshot_needed``, in
    this order. ``on_applied`` and then ``on_answers`` follow for each applied entry, and ``advance`` comes last.
    ``on_failed`` may come at any time, once, and nothing comes after it.
    """

    def on_read_settled(self, ready: SettledRead) -> None:
        """Handle the result for the reads that ``Driver.read`` passed under one ticket: confirmed, or not."""
        ...

    def on_event(self, event: Event) -> None: ...

    def on_snapshot_needed(self, peer: NodeId) -> None:
        """Handle that the replica needs slots that ``peer`` has trimmed."""
        ...

    def on_applied(self, entry: Entry) -> None: ...

    def on_answers(self, answers: Sequence[RunAnswer]) -> None:
        """Handle the answers to the runs in the entry just applied."""
        ...

    def advance(self) -> None:
        """Propose, read and answer what is possible now; only here may ``Driver.propose`` and ``read`` be called."""
        ...

    def on_failed(self, cause: Exception) -> None: ...


class Driver:
    """One replica and everything that happens because of its outputs. Use it on its event loop only."""

    def __init__(
        self,
        replica: Replica,
        executor: Executor,
        writer: Writer,
        links: Links,
        *,
        loop: asyncio.AbstractEventLoop,
        client: DriverClient,
        pacing: Pacing,
        observer: NodeObserver = NO_NODE_OBSERVER,
    ) -> None:
        self._observer = observer
        self._apply_slice_s = pacing.apply_slice_s
        self._backlog_bytes_max = pacing.backlog_bytes_max
        self.replica = replica
        self._executor = executor
        self._writer = writer
        self._links = links
        self._loop = loop
        self._client = client
        self._decided: deque[Entry] = deque()
        """Decided entries that are not applied yet."""
        self._backlog_bytes = 0
        self._unsent: deque[tuple[int, list[Send]]] = deque()
        """Messages, and the token of the write that each list waits for."""
        self._then: deque[tuple[int, Callable[[], None]]] = deque()
        """Callbacks, and the token of the write that each waits for."""
        self._lease_us = 0
        self._delivery_is_paused = False
        """Whether the replica was asked to deliver no more decided values."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._rounding_s = UVLOOP_ROUNDS_S if type(loop).__module__.startswith("uvloop") else 0.0
        self._wake_at = math.inf
        self._advance_is_due = False
        self.installing = False
        """Whether a snapshot is being installed: nothing is applied and no query answered."""
        self.stopped = False

    @property
    def decided(self) -> Slot:
        """Every slot up to this one is known to be decided."""
        return self.replica.decided

    # Inputs.

    def start(self) -> None:
        """Start the replica."""
        self._drive(lambda: self.replica.start(self._loop.time()))

    def receive(self, sender: Sender, messages: Sequence[ProtocolMessage]) -> None:
        """Give the messages of one frame to the replica; the writer merges the batches that they cause."""
        if self.stopped:
            return
        now = self._loop.time()
        try:
            for message in messages:
                self._carry_out(self.replica.on_message(sender, message, now))
        except Exception as error:
            self.fail(error)
            return
        self._advance()

    def on_persisted(self, token: int) -> None:
        """Continue what waited for the write of ``token`` or an earlier one."""
        unsent = self._unsent
        while unsent and unsent[0][0] <= token and not self.stopped:
            self._send(unsent.popleft()[1])
        then = self._then
        if self.replica.leading or then:
            self._drive(lambda: self.replica.on_persisted(token, self._loop.time()))
        else:
            # Do not advance: no part of the node waits for this write.
            self._try(lambda: self.replica.on_persisted(token, self._loop.time()))
        while then and then[0][0] <= token and not self.stopped:
            then.popleft()[1]()

    def propose(self, value: bytes, awaited_elsewhere: bool) -> None:
        """Propose ``value``; only within ``DriverClient.advance``, and only while ``replica.proposable``."""
        self._carry_out(self.replica.propose(value, self._loop.time(), awaited_elsewhere=awaited_elsewhere))

    def read(self, ticket: int, lease: bool) -> None:
        """Ask the replica to confirm reads under the number ``ticket``; only within ``DriverClient.advance``.

        ``on_read_settled`` reports the result. ``lease``: a lease may confirm them.
        """
        self._carry_out(self.replica.read(ticket, self._loop.time(), lease=lease))

    def campaign(self) -> None:
        """Make the replica campaign now, even if another node leads. For tests and simulations."""
        self._drive(lambda: self.replica.campaign(self._loop.time()))

    # Snapshots.

    def publish(self, meta: SnapshotMeta, first: Slot, then: Callable[[], None]) -> None:
        """Make this node's committed snapshot current, and trim the log below ``first``.

        ``then`` is called when that is durable.
        """
        self._observer.publishes(meta, first)
        self._drive(lambda: self._and_then(self.replica.publish_snapshot(meta, first, self._loop.time()), then))

    def meet_snapshot(self, ballot: Ballot) -> None:
        """Tell the replica that a peer's snapshot is being fetched; its slots were decided under at most ``ballot``."""
        self._drive(lambda: self.replica.meet_snapshot(ballot, self._loop.time()))

    def install(self, covered: Covered, then: Callable[[], None]) -> None:
        """Make a peer's committed snapshot current, between ``begin_install`` and ``end_install``.

        ``then`` is called when that is durable.
        """
        self._drive(lambda: self._and_then(self.replica.install_snapshot(covered, self._loop.time()), then))

    def _and_then(self, output: Output, then: Callable[[], None]) -> Output:
        self._then.append((output.token, then))
        return output

    def begin_install(self) -> None:
        """Apply no entry and answer no query until ``end_install``, because the machine is being replaced."""
        self.installing = True

    def end_install(self, applied: Slot) -> None:
        """Go on after the machine was restored from a snapshot of slot ``applied``."""
        self.installing = False
        decided = self._decided
        if decided and decided[0].slot <= applied:
            self._observer.reached("driver: what waited to be applied came in a snapshot")
        while decided and decided[0].slot <= applied:
            self._backlog_bytes -= len(decided.popleft().value)
        self.advance_soon()

    # Outputs.

    def _drive(self, call: Callable[[], Output]) -> None:
        """Carry out the output of ``call``, then advance."""
        if self._try(call):
            self._advance()

    def _try(self, call: Callable[[], Output]) -> bool:
        """Carry out the output of ``call``; return False if the driver is stopped, or failed at it."""
        if self.stopped:
            return False
        try:
            self._carry_out(call())
        except Exception as error:
            self.fail(error)
            return False
        return True

    def _carry_out(self, output: Output) -> None:
        if output.send_now:
            self._send(output.send_now)
        if output.persist is not None:
            self._writer.submit(output.token, output.persist)
        if output.send_after_persist:
            if output.token <= self._writer.persisted:
                self._send(output.send_after_persist)
            else:
                self._observer.reached("driver: messages wait for a write")
                self._unsent.append((output.token, output.send_after_persist))
        if output.decided:
            self._decided.extend(output.decided)
            self._backlog_bytes += sum(len(entry.value) for entry in output.decided)
        if output.log_reads:
            for wanted in output.log_reads:
                self._writer.read(wanted, self._on_log_read)
        if output.settled_reads:
            for ready in output.settled_reads:
                self._client.on_read_settled(ready)
        if output.events:
            for event in output.events:
                self._client.on_event(event)
        if output.snapshot_from is not None:
            self._client.on_snapshot_needed(output.snapshot_from)
        if output.diverged_at is not None:
            raise ReplicaStoppedError(
                f"slot {output.diverged_at}: a majority of the replicas computed a different digest, so the state of "
                "this one cannot be trusted: look for randomness, time or the order of a set in the state machine",
                output.diverged_at,
            )
        self._wake_at = output.wake_at
        if output.wake_at < self._timer_at:
            self._set_timer(output.wake_at)

    def _send(self, sends: Sequence[Send]) -> None:
        send = self._links.send
        for one in sends:
            send(one.to, one.message)

    def _on_log_read(self, wanted: ReadRange, entries: Sequence[Entry], problem: Exception | None) -> None:
        faulty: Sequence[range] = ()
        if problem is not None and not isinstance(problem, TrimmedError) and not self.stopped:
            self._observer.reached("driver: a read of the log fails")
            faulty = self._tell_damage(range(wanted.start, wanted.stop), problem)
        self._drive(lambda: self.replica.on_log_read(wanted.token, entries, self._loop.time(), faulty))

    def on_damage(self, slot: Slot, problem: Exception) -> None:
        """Handle a failed read of the log at ``slot`` that the replica had not asked for."""
        if self.stopped:
            return
        self._observer.reached("driver: a read of the log for a watcher fails")
        faulty = self._tell_damage(range(slot, slot + 1), problem)
        self._drive(lambda: self.replica.on_damage(faulty, self._loop.time()))

    def _tell_damage(self, wanted: range, problem: Exception) -> Sequence[range]:
        """Report that the log cannot be read, and return the slots to be treated as faulty, whatever the reason is.

        A slot that cannot be read must never pass for an empty one.
        """
        self._client.on_event(
            FaultFound(node=self.replica.identity.name, peer=None, reason=f"the log cannot be read: {problem}")
        )
        return (problem.slots if isinstance(problem, CorruptedError) else ()) or (wanted,)

    # Advancing.

    def advance_soon(self) -> None:
        """Advance in the next iteration of the event loop, because callers made calls or a timer fired."""
        if not self._advance_is_due:
            self._advance_is_due = True
            self._loop.call_soon(self._advance_now)

    def _advance_now(self) -> None:
        self._advance_is_due = False
        if not self.stopped:
            self._advance()

    def _advance(self) -> None:
        try:
            if self._decided and not self.installing:
                self._apply_slice()
            if self._executor.lease_us != self._lease_us and not self.installing:
                self._observer.reached("driver: leases are switched")
                self._lease_us = self._executor.lease_us
                self._carry_out(self.replica.set_lease(self._lease_us, self._loop.time()))
            # A machine slower than those of the other nodes must not fill its memory with their log.
            bound = self._backlog_bytes_max // 2 if self._delivery_is_paused else self._backlog_bytes_max
            if (self._backlog_bytes > bound) is not self._delivery_is_paused:
                self._observer.reached("driver: the machine falls behind the log, or has caught up")
                self._delivery_is_paused = not self._delivery_is_paused
                self._carry_out(self.replica.hold_delivery(self._delivery_is_paused, self._loop.time()))
            self._client.advance()
        except Exception as error:
            self.fail(error)
            return
        if self._decided and not self.installing:
            self._observer.reached("driver: what is left to apply waits for the next iteration")
            self.advance_soon()

    def _apply_slice(self) -> None:
        apply = self._executor.apply
        decided = self._decided
        until = self._loop.time() + self._apply_slice_s
        while decided:
            answers = apply(decided[0])
            entry = decided.popleft()
            self._backlog_bytes -= len(entry.value)
            self._client.on_applied(entry)
            if answers:
                self._client.on_answers(answers)
            applied = self._executor.applied
            if applied % CHECKPOINT_SLOTS == 0:
                self._carry_out(self.replica.on_checkpoint(applied, self._executor.digest, self._loop.time()))
            if self._loop.time() >= until:
                break

    # Time.

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at + self._rounding_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        if self.stopped:
            return
        if self._loop.time() < self._wake_at:
            # The replica has asked for a later time since; moving the timer each time would cost more.
            self._set_timer(self._wake_at)
            return
        self._drive(lambda: self.replica.on_tick(self._loop.time()))

    # The end.

    def fail(self, cause: Exception) -> None:
        """Stop, and report ``cause`` unless the driver was stopped before."""
        if not self.stopped:
            self.stop()
            self._client.on_failed(cause)

    def stop(self) -> None:
        """Send, write and apply nothing more."""
        self.stopped = True
        self._unsent.clear()
        self._then.clear()
        self._decided.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
