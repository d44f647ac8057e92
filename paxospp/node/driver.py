"""Drives the replica: the one place that honours an ``Output``, field by field, in its order.

Messages, timers, finished writes and proposals come in; each becomes one call of the pure
engine, and what it returns is done here: messages leave, batches go to the writer, decided
entries to the executor. Everything happens on the event loop, so the replica needs no lock.

Applying is cut into slices: after ``Pacing.apply_slice_s`` the loop gets its turn, so that heartbeats
do not starve behind a long backlog. After every input there is one *turn*: apply a slice, then
let the front door propose what queued.

It decides nothing of the protocol. When the disk, the machine or a rule of the protocol fails,
it says nothing more to anybody and reports the cause once.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence

from paxospp.engine.output import Output, ReadReady, Send
from paxospp.engine.replica import Replica
from paxospp.engine.rules.covered import Covered
from paxospp.engine.rules.storage_reads import ReadRange
from paxospp.errors import CorruptedError, ReplicaStoppedError, TrimmedError
from paxospp.events import Event, FaultFound
from paxospp.execution.executor import Executor
from paxospp.messages import ProtocolMessage, Sender
from paxospp.model import Ballot, Entry, NodeId, Slot, SnapshotMeta
from paxospp.node.observer import UNOBSERVED, NodeObserver
from paxospp.node.pacing import PACING, Pacing
from paxospp.node.writer import Writer
from paxospp.rpc.peers import PeerLinks
from paxospp.sessions.table import RunOutcome

UVLOOP_ROUNDS_S = 0.0006
"""uvloop counts whole milliseconds and rounds. A timer of its that fires a hair too early is armed anew, for no
time at all, until the millisecond is over: ten rounds of the loop per tick, a tenth of what an idle node costs."""
CHECKPOINT_SLOTS = 1024
"""Replicas compare their digests at multiples of this; equal on all of them, hence no setting."""


class Driver:
    """One replica and what surrounds it. Use it on its loop only."""

    def __init__(
        self,
        replica: Replica,
        executor: Executor,
        writer: Writer,
        links: PeerLinks,
        *,
        loop: asyncio.AbstractEventLoop,
        on_outcomes: Callable[[Sequence[RunOutcome]], None],
        on_readable: Callable[[ReadReady], None],
        on_turn: Callable[[], None],
        on_applied: Callable[[Entry], None],
        on_snapshot_needed: Callable[[NodeId], None],
        on_event: Callable[[Event], None],
        on_failed: Callable[[Exception], None],
        pacing: Pacing = PACING,
        observer: NodeObserver = UNOBSERVED,
    ) -> None:
        self._observer = observer
        self._apply_slice_s = pacing.apply_slice_s
        self._backlog_bytes_max = pacing.backlog_bytes_max
        self.replica = replica
        self._executor = executor
        self._writer = writer
        self._links = links
        self._loop = loop
        self._on_outcomes = on_outcomes
        self._on_readable = on_readable
        self._on_turn = on_turn
        self._on_applied = on_applied
        self._on_snapshot_needed = on_snapshot_needed
        self._on_event = on_event
        self._on_failed = on_failed
        self._decided: deque[Entry] = deque()
        self._backlog_bytes = 0
        self._held: deque[tuple[int, list[Send]]] = deque()
        self._then: deque[tuple[int, Callable[[], None]]] = deque()
        self._lease_us = 0
        self._holds = False
        """Whether the replica was asked to hand out no more decided values."""
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = math.inf
        self._rounding_s = UVLOOP_ROUNDS_S if type(loop).__module__.startswith("uvloop") else 0.0
        self._wake_at = math.inf
        self._turn_is_due = False
        self.holding = False
        """Whether a snapshot is on its way into the machine: nothing is applied and no query answered."""
        self.stopped = False

    # What comes in.

    def start(self) -> None:
        self._drive(lambda: self.replica.start(self._loop.time()))

    def receive(self, sender: Sender, messages: Sequence[ProtocolMessage]) -> None:
        """Messages of one frame, one by one; what they want written merges in the writer."""
        if self.stopped:
            return
        now = self._loop.time()
        try:
            for message in messages:
                self._honour(self.replica.on_message(sender, message, now))
        except Exception as error:
            self.fail(error)
            return
        self._turn()

    def persisted(self, token: int) -> None:
        """The write ``token`` and all before it returned."""
        held = self._held
        while held and held[0][0] <= token and not self.stopped:
            self._send(held.popleft()[1])
        then = self._then
        if self.replica.leading or then:
            self._drive(lambda: self.replica.on_persisted(token, self._loop.time()))
        else:
            self._try(lambda: self.replica.on_persisted(token, self._loop.time()))  # no turn: nobody waits for it
        while then and then[0][0] <= token and not self.stopped:
            then.popleft()[1]()

    def propose(self, value: bytes, awaited_elsewhere: bool) -> None:
        """Only from within ``on_turn``, and only while ``replica.proposable``."""
        self._honour(self.replica.propose(value, self._loop.time(), awaited_elsewhere=awaited_elsewhere))

    def read(self, ticket: int, lease: bool) -> None:
        """Only from within ``on_turn``; ``on_readable`` answers."""
        self._honour(self.replica.read(ticket, self._loop.time(), lease=lease))

    def campaign(self) -> None:
        """Make the replica campaign now, even if another one leads. For tests and simulations."""
        self._drive(lambda: self.replica.campaign(self._loop.time()))

    # Snapshots.

    def publish(self, meta: SnapshotMeta, first: Slot, then: Callable[[], None]) -> None:
        """Make this node's committed snapshot current; ``then`` is called when that write returned."""
        self._observer.publishes(meta, first)
        self._drive(lambda: self._and_then(self.replica.publish_snapshot(meta, first, self._loop.time()), then))

    def meet_snapshot(self, ballot: Ballot) -> None:
        """A peer's snapshot is on its way here; its slots were decided under ballots up to ``ballot``."""
        self._drive(lambda: self.replica.meet_snapshot(ballot, self._loop.time()))

    def install(self, covered: Covered, then: Callable[[], None]) -> None:
        """Make a peer's committed snapshot current, as ``publish`` does this node's; only while ``holding``."""
        self._drive(lambda: self._and_then(self.replica.install_snapshot(covered, self._loop.time()), then))

    def _and_then(self, output: Output, then: Callable[[], None]) -> Output:
        self._then.append((output.token, then))
        return output

    def hold(self) -> None:
        """Apply nothing until ``release``."""
        self.holding = True

    def release(self, applied: Slot) -> None:
        """The machine has taken in everything up to ``applied`` another way."""
        self.holding = False
        decided = self._decided
        if decided and decided[0].slot <= applied:
            self._observer.reached("driver: what waited to be applied came in a snapshot")
        while decided and decided[0].slot <= applied:
            self._backlog_bytes -= len(decided.popleft().value)
        self.want_turn()

    # Wishes.

    def want_turn(self) -> None:
        """Have a turn in the next round of the loop: callers made calls."""
        if not self._turn_is_due:
            self._turn_is_due = True
            self._loop.call_soon(self._due_turn)

    # What goes out.

    def _drive(self, call: Callable[[], Output]) -> None:
        if self._try(call):
            self._turn()

    def _try(self, call: Callable[[], Output]) -> bool:
        """Honour what comes of ``call``; False when that was the end."""
        if self.stopped:
            return False
        try:
            self._honour(call())
        except Exception as error:
            self.fail(error)
            return False
        return True

    def _honour(self, output: Output) -> None:
        if output.send_now:
            self._send(output.send_now)
        if output.persist is not None:
            self._writer.submit(output.token, output.persist)
        if output.send_after_persist:
            if output.token <= self._writer.persisted:
                self._send(output.send_after_persist)
            else:
                self._observer.reached("driver: messages wait for a write")
                self._held.append((output.token, output.send_after_persist))
        if output.decided:
            self._decided.extend(output.decided)
            self._backlog_bytes += sum(len(entry.value) for entry in output.decided)
        if output.reads:
            for wanted in output.reads:
                self._writer.read(wanted, self._on_read)
        if output.readable:
            for ready in output.readable:
                self._on_readable(ready)
        if output.events:
            for event in output.events:
                self._on_event(event)
        if output.snapshot_from is not None:
            self._on_snapshot_needed(output.snapshot_from)
        if output.diverged_at is not None:
            raise ReplicaStoppedError(
                f"slot {output.diverged_at}: a majority of the replicas computed another digest, so this one's state "
                "cannot be trusted; look for chance, time or the order of a set in the state machine",
                output.diverged_at,
            )
        self._wake_at = output.wake_at
        if output.wake_at < self._armed_for:
            self._arm(output.wake_at)

    def _send(self, sends: Sequence[Send]) -> None:
        send = self._links.send
        for one in sends:
            send(one.to, one.message)

    def _on_read(self, wanted: ReadRange, entries: Sequence[Entry], problem: Exception | None) -> None:
        faulty: Sequence[range] = ()
        if problem is not None and not isinstance(problem, TrimmedError) and not self.stopped:
            self._observer.reached("driver: a read of the log fails")
            faulty = self._tell_damage(range(wanted.start, wanted.stop), problem)
        self._drive(lambda: self.replica.on_read(wanted.token, entries, self._loop.time(), faulty))

    def on_damage(self, slot: Slot, problem: Exception) -> None:
        """A read of the log from ``slot`` on, which the replica had not asked for, failed."""
        if self.stopped:
            return
        self._observer.reached("driver: a read of the log for a watcher fails")
        faulty = self._tell_damage(range(slot, slot + 1), problem)
        self._drive(lambda: self.replica.on_damage(faulty, self._loop.time()))

    def _tell_damage(self, wanted: range, problem: Exception) -> Sequence[range]:
        """Say that the log cannot be read; returns the slots that count as faulty, whatever the reason was.

        What cannot be read must never pass for "nothing there".
        """
        self._on_event(
            FaultFound(node=self.replica.identity.name, peer=None, reason=f"the log cannot be read: {problem}")
        )
        return (problem.slots if isinstance(problem, CorruptedError) else ()) or (wanted,)

    # Turns.

    def _due_turn(self) -> None:
        self._turn_is_due = False
        if not self.stopped:
            self._turn()

    def _turn(self) -> None:
        try:
            if self._decided and not self.holding:
                self._apply_slice()
            if self._executor.lease_us != self._lease_us and not self.holding:
                self._observer.reached("driver: leases are switched")
                self._lease_us = self._executor.lease_us
                self._honour(self.replica.set_lease(self._lease_us, self._loop.time()))
            # A machine that is slower than the others' must not have their log in its memory.
            bound = self._backlog_bytes_max // 2 if self._holds else self._backlog_bytes_max
            if (self._backlog_bytes > bound) is not self._holds:
                self._observer.reached("driver: the machine falls behind the log, or has caught up")
                self._holds = not self._holds
                self._honour(self.replica.hold_delivery(self._holds, self._loop.time()))
            self._on_turn()
        except Exception as error:
            self.fail(error)
            return
        if self._decided and not self.holding:
            self._observer.reached("driver: what is left to apply waits for the next turn")
            self.want_turn()

    def _apply_slice(self) -> None:
        apply = self._executor.apply
        decided = self._decided
        until = self._loop.time() + self._apply_slice_s
        while decided:
            outcomes = apply(decided[0])
            entry = decided.popleft()
            self._backlog_bytes -= len(entry.value)
            self._on_applied(entry)
            if outcomes:
                self._on_outcomes(outcomes)
            applied = self._executor.applied
            if applied % CHECKPOINT_SLOTS == 0:
                self._honour(self.replica.on_checkpoint(applied, self._executor.digest, self._loop.time()))
            if self._loop.time() >= until:
                break

    # Time.

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed_for = at
        self._timer = self._loop.call_at(at + self._rounding_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._armed_for = math.inf
        if self.stopped:
            return
        if self._loop.time() < self._wake_at:
            # Asked for later since the timer was armed; moving it each time would cost more.
            self._arm(self._wake_at)
            return
        self._drive(lambda: self.replica.on_tick(self._loop.time()))

    # The end.

    def fail(self, cause: Exception) -> None:
        """Say nothing more to anybody, and report the cause; the first one counts."""
        if not self.stopped:
            self.stop()
            self._on_failed(cause)

    def stop(self) -> None:
        self.stopped = True
        self._held.clear()
        self._then.clear()
        self._decided.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
