"""One node of a simulation: a disk that outlives it, and, while it runs, the ``Runtime`` of a real node.

A boot lasts from a start to the next crash or stop, and has an event loop of its own. The steps of ``Node.start`` are
taken here in the same order, each at its time; ``virtual_environment`` makes the environment of the runtime.

A node never restarts itself: the world restarts it, as an operator would.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, Protocol

from paxospp.engine.rules.lease import DRIFT_BOUND
from paxospp.errors import ConfigError, ReplicaStoppedError, StorageError, UnavailableError
from paxospp.events import Event, MembershipChanged
from paxospp.messages import DecidedEntries, Message, Sender
from paxospp.model import NodeId, Slot
from paxospp.node.environment import Environment
from paxospp.node.loading import LoadedStorage
from paxospp.node.recovery import Recovered, recover
from paxospp.node.runtime import Runtime
from paxospp.state_machine import prepare
from paxospp.testing.simulation.faults.disk_faults import DiskFaults
from paxospp.testing.simulation.judges.observed import LastSeen
from paxospp.testing.simulation.world.disk import SimulatedDisk
from paxospp.testing.simulation.world.node_host import CommandFaults, NodeWorld
from paxospp.testing.simulation.world.observer import HostObserver
from paxospp.testing.simulation.world.virtual_environment import WatchedExecutor, virtual_environment
from paxospp.testing.simulation.world.virtual_storage import VirtualStorage
from paxospp.testing.simulation.world.virtual_time import VirtualLoop

LOAD_S = 0.01
_ROUNDS_S = (0.001, 0.01, 0.03)
"""Duration of one round of the event loop, where the machine is slow to apply."""
_BOOT_DRIFT = DRIFT_BOUND / 2.04
"""Drift of one clock against the world's, so that two clocks drift apart by less than the bound."""


class LocalFaultError(MemoryError):
    """A fault that only one machine suffers (P6)."""


class NodeKilled(BaseException):
    """The node was killed in the middle of an event."""


class StartFaults(CommandFaults, Protocol):
    """Faults that may be injected while a node starts."""

    def on_load(self, host: SimulatedHost) -> None:
        """Raise InjectedError if the storage does not load this time."""

    def on_start(self, host: SimulatedHost) -> None:
        """Note that ``host`` has come up."""


class HostWorld(NodeWorld, Protocol):
    """The world, as a host sees it."""

    @property
    def addresses(self) -> dict[NodeId, str]: ...

    @property
    def injector(self) -> StartFaults: ...

    def on_event(self, host: SimulatedHost, event: Event) -> None: ...

    def on_failed(self, host: SimulatedHost, cause: Exception) -> None: ...

    def on_down(self, host: SimulatedHost) -> None: ...

    def wall_clock(self, host: SimulatedHost) -> int: ...


class SimulatedHost:
    """One node, up or down."""

    killed = NodeKilled

    def __init__(self, world: HostWorld, index: int, name: NodeId) -> None:
        self.world = world
        self.index = index
        self.name = name
        self.disk = SimulatedDisk()
        self.disk_faults = DiskFaults(f"{world.seed} {name}", world.plan.write_s)
        self.faults = world.plan.faults
        self.runtime: Runtime | None = None
        self.loop: VirtualLoop | None = None
        self.sender: Sender = Sender(b"", 0, name, 0, 0, 0)
        self.cause: Exception | None = None
        """Why it stopped, or did not start."""
        self.wants_up = True
        """Whether an operator would start it again."""
        self.may_be_damaged = False
        """Whether the cluster can continue if its disk is damaged for good."""
        self.slow_disk = 1.0
        self.slowness_s = 0.0
        self._stalled = False
        self._on_disk: list[tuple[Callable[[Any], None], Any]] = []
        """Handlers that wait for a disk that hangs."""
        self.full_until = 0.0
        self.asleep = False
        self.inbox: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self.observer = HostObserver(self)
        self.random = Random(f"{world.seed} {name}")
        self.reloads = Random(f"{world.seed} {name} rebirths")
        self._is_slow_to_apply = world.plan.pacing.apply_slice_s == 0.0
        self._goes_on = False
        """Whether the next round of its loop is scheduled."""
        self._rounds = Random(f"{world.seed} {name} rounds")
        self._round_s = self._rounds.choice(_ROUNDS_S)
        self._chance = Random(f"{world.seed} {name} node")
        self._clock_rate = self._boot_rate = 1.0
        self._clock_offset_s = 0.0
        self._storage: VirtualStorage | None = None
        # What the judges remember of this boot.
        self.began_at = 0.0
        """When it last began to take part, in the time of the world."""
        self.record = LastSeen()
        self.is_made_to_campaign = False
        """Whether it is made to campaign without having asked whether it may."""
        self.received: set[Slot] = set()
        """Slots that peers have sent it."""
        self.executed = 0
        """Number of commands that the entry applied last has executed."""

    # State.

    @property
    def has_vote(self) -> bool:
        """Whether its incarnation votes, as far as that is settled."""
        return self.world.invariants.has_vote(self)

    @property
    def decided(self) -> int:
        """The slot up to which all were known decided here after the latest event."""
        return self.record.decided

    @property
    def applied(self) -> Slot:
        """The slot that was applied last here."""
        return self.record.applied

    @property
    def is_up(self) -> bool:
        return self.runtime is not None

    @property
    def is_installing(self) -> bool:
        """Whether a peer's snapshot is being loaded into its machine."""
        return self.runtime is not None and self.runtime.driver.installing

    def boot_time(self) -> float:
        """Return CLOCK_BOOTTIME of this machine; it drifts less than ``DRIFT_BOUND``, as leases require (family C1)."""
        return self.world.clock.now * self._boot_rate

    def world_time_of(self, boot_time: float) -> float:
        """Return the time of the world at ``boot_time`` of this machine."""
        return boot_time / self._boot_rate

    def finds_faulty(self, slot: Slot) -> bool:
        """Return whether this boot could not read ``slot`` (D5), which counts as damage until the next start."""
        return self.runtime is not None and self.runtime.replica.protocol.log.is_faulty(slot)

    def set_clock(self, rate: float, offset_s: float) -> None:
        self._clock_rate, self._clock_offset_s = rate, offset_s
        self._boot_rate = 1 + max(-_BOOT_DRIFT, min(_BOOT_DRIFT, rate - 1))

    def start(self) -> None:
        """Begin a boot: open and load the storage, count the boot in it, and take part."""
        assert self.loop is None
        self.cause = None
        self._goes_on = False
        self.loop = VirtualLoop(  # type: ignore[abstract]  # the parts of a node use no other methods
            self.world.clock,
            self.take,
            code=self.index * 256,
            rate=self._clock_rate,
            offset_s=self._clock_offset_s,
        )
        self.record = LastSeen()
        self.world.clock.after(LOAD_S * self._chance.random() * self.slow_disk, self._load, self.loop)

    def _load(self, loop: VirtualLoop) -> None:
        if self.loop is not loop or self.waits_for_disk(self._load, loop):
            return
        self.world.clock.trace(self.index * 256 + 3)
        try:
            self.world.injector.on_load(self)
            storage = VirtualStorage(self.disk, self.world.invariants.snapshot_rules)
            storage.on_write = lambda: self.disk_faults.on_write(self)
            self._storage = storage
            if self.disk.image.copy_is_damaged:
                self.world.coverage["one copy of the promise was repaired from the other"] += 1
            state = storage.load()
            machine = self.world.plan.machine()
            prepare(machine)
            environment = virtual_environment(self, storage)
            recovered = recover(
                storage,
                state,
                name=self.name,
                cluster=self.world.addresses,
                executor=WatchedExecutor(self, machine),
                random_bits=environment.random_bits,
            )
        except (StorageError, ConfigError, ReplicaStoppedError) as error:
            self.fail(error)
            return
        if recovered.damage is not None:
            # The state comes from a peer.
            self.world.coverage["a damaged snapshot was found at a start"] += 1
        elif state.snapshot is not None:
            self.world.coverage["a node started from its snapshot"] += 1
        identity = recovered.identity
        self.sender = self.sender._replace(
            incarnation=identity.incarnation, boot=identity.boot, nonce=identity.nonce, cluster_id=b""
        )
        self.world.invariants.on_load(self, state)
        if self.world.validator is not None:
            self.world.validator.on_load(self, identity)
        storage.on_snapshot = lambda: self.disk_faults.on_snapshot(self)
        loaded = LoadedStorage(self.name, storage, state, environment.start_worker("writer"))
        self.world.clock.after(self.disk_faults.write_s(self), self._begin, (loaded, recovered, environment))

    def _begin(self, what: tuple[LoadedStorage, Recovered, Environment]) -> None:
        loaded, recovered, environment = what
        if self.loop is not environment.loop or self.waits_for_disk(self._begin, what):
            return
        self.world.clock.trace(self.index * 256 + 4)
        self.on_written()
        self.runtime = Runtime(
            loaded,
            recovered,
            self.world.plan.config_of(self.index),
            environment,
            on_event=self.on_event,
            on_failed=self.fail,
            observer=self.observer,
        )
        self.began_at = self.world.clock.now
        self.sender = self.runtime.replica.sender
        self.world.injector.on_start(self)
        self.take(self.loop, self.runtime.start, ())

    @property
    def _runtime(self) -> Runtime:
        assert self.runtime is not None
        return self.runtime

    def stall(self, seconds: float) -> None:
        """Let the disk hang for this time."""
        self._stalled = True
        self.world.clock.after(seconds, self.unstall)

    def unstall(self, _: object = None) -> None:
        """Let the disk continue with what it was asked to do."""
        self._stalled = False
        waiting, self._on_disk = self._on_disk, []
        for handler, argument in waiting:
            handler(argument)

    def waits_for_disk(self, handler: Callable[[Any], None], argument: Any) -> bool:
        """Return whether the disk hangs; if so, ``handler(argument)`` is called when it continues."""
        if self._stalled:
            self._on_disk.append((handler, argument))
        return self._stalled

    def crash(self) -> None:
        """Kill the process and cut the power: only the disk is left, with what a power cut leaves on it."""
        if self.loop is None:
            return
        faults = self.faults
        self.disk.cut_power(self._chance, lose=faults.lose_unsynced, torn=faults.torn)
        self._vanish()
        self.world.on_down(self)

    def fail(self, cause: Exception) -> None:
        """Stop because the storage, the machine or a rule failed, and tell the callers."""
        if self.loop is None:
            return
        self.cause = cause
        self.world.on_failed(self, cause)
        runtime = self.runtime
        if runtime is not None:
            runtime.end(lambda: UnavailableError(f"node {self.name} stopped: {cause}"))
            # Its callers are told before it is gone.
            assert self.loop is not None
            ready = self.loop.ready
            while ready:
                callback, arguments = ready.popleft()
                callback(*arguments)
        # The process ends without a power cut: what was written stays, and a failed write may be there.
        self.disk.cut_power(self._chance, lose=False, torn=False)
        self._vanish()
        self.world.on_down(self)

    def _vanish(self) -> None:
        self.loop = None
        self.runtime = None
        self.asleep = False
        self.inbox.clear()
        self._on_disk.clear()
        if self._storage is not None:
            self._storage.close()
            self._storage = None

    def dies_here(self) -> bool:
        """Return whether the node is killed just now, between two operations of its storage; if so, kill it."""
        if not self.disk_faults.dies_here(self):
            return False
        self.world.coverage["killed between two storage operations"] += 1
        self.crash()
        return True

    def random_bits(self, bits: int) -> int:
        return self._chance.getrandbits(bits)

    # Events.

    def take(self, loop: VirtualLoop | None, callback: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        """Handle one event of ``loop``: run the callback and what it made due, and let the judges check the result.

        Do nothing if the boot that ``loop`` belongs to has ended.
        """
        if loop is not self.loop or loop is None:
            return
        if self.asleep:
            self.inbox.append((callback, arguments))
            return
        try:
            callback(*arguments)
            ready = loop.ready
            rounds = 1 if self._is_slow_to_apply else sys.maxsize
            while ready and self.loop is loop and rounds:
                rounds -= 1
                for _ in range(len(ready)):
                    callback, arguments = ready.popleft()
                    callback(*arguments)
                    if self.loop is not loop:
                        break
        except NodeKilled:
            return
        if ready and self.loop is loop and not self._goes_on:
            self._goes_on = True
            self.world.clock.after(self._round_s, self._go_on, loop)
        if self.runtime is not None and self.loop is loop:
            self.world.invariants.after_event(self)
            if self.slowness_s:
                self.sleep(self.slowness_s)

    def _go_on(self, loop: VirtualLoop) -> None:
        """Run the next round of the loop; other events may have come since the former round."""
        if self.loop is loop:
            self._goes_on = False
            self.take(loop, _nothing, ())

    def sleep(self, seconds: float) -> None:
        """Pause the process for this time; events wait meanwhile."""
        self.asleep = True
        self.world.clock.after(seconds, self._wake, self.loop)

    def _wake(self, loop: VirtualLoop | None) -> None:
        if loop is None or loop is not self.loop or not self.asleep:
            return
        self.asleep = False
        inbox = self.inbox
        if len(inbox) > 1 and not self.slowness_s and self._chance.random() < 0.5:
            # After a pause, an event loop runs what was due in the process first, then what came over links.
            heard = [item for item in inbox if item[0] in (self.receive, self.receive_bytes)]
            due = [item for item in inbox if item[0] not in (self.receive, self.receive_bytes)]
            inbox = self.inbox = deque([*due, *heard])
        if len(inbox) > 1 and self._rounds.random() < 0.4:
            # All of it runs in one round of the loop: what one callback schedules comes after the others.
            together, self.inbox = inbox, deque()
            self.take(loop, self._do_together, (loop, together))
            return
        while inbox and not self.asleep and self.loop is loop:
            callback, arguments = inbox.popleft()
            self.take(loop, callback, arguments)

    def _do_together(self, loop: VirtualLoop, inbox: Iterable[tuple[Callable[..., object], tuple[Any, ...]]]) -> None:
        for callback, arguments in inbox:
            if self.loop is loop:
                callback(*arguments)

    def receive(self, sender: Sender, message: Message) -> None:
        if type(message) is DecidedEntries:
            self.received.update(entry.slot for entry in message.entries)
        self._runtime.receive(sender, (message,))

    def receive_bytes(self, frame: bytes) -> None:
        self._runtime.on_frame(frame)

    def campaign_at_once(self) -> None:
        """Campaign at once, no matter who leads or how far behind this node is."""
        runtime = self._runtime
        self.is_made_to_campaign = True
        try:
            runtime.driver.campaign()
        finally:
            self.is_made_to_campaign = False

    def on_written(self) -> None:
        """Let the current write return, and have the judges check what is synced."""
        for batch in self.disk.returned(self.random):
            self.world.invariants.on_synced(self, batch)
            if batch.snapshot is not None:
                current = self.disk.image.snapshot
                assert current is not None
                self.world.applied_log.on_snapshot(self, *current)
        for slot in self.disk.healed:
            how = "from a peer" if slot in self.received else "by an accept"
            self.world.coverage[f"a lost slot was repaired {how}"] += 1
        self.disk.healed.clear()

    def on_event(self, event: Event) -> None:
        if isinstance(event, MembershipChanged) and self.runtime is not None:
            self.sender = self.runtime.replica.sender
        self.world.on_event(self, event)

    # Time as users see it.

    def unix_time(self) -> int:
        """Return the wall clock of this machine, in microseconds since 1970."""
        return self.world.wall_clock(self)


def _nothing() -> None:
    """Stand in for the event of a round that only runs what is due."""
