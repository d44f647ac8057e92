"""One run in three phases: safety, liveness, quiet.

*Safety*: everything that the plan allows goes wrong while clients work, and nothing unsafe may happen. *Liveness*: a
random quorum is the core. It is healed and its faults end; what is wrong with the other nodes stays wrong. Calls that
wait on the core must end, and new calls must be answered in time. *Quiet*: everything heals, and all live replicas end
with the same log and the same state.

A cluster may fail to recover only if it is stuck (``judges.stuck``).

Reference: TigerBeetle's VOPR, for the phases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random

from paxospp.engine.settings import RESEND_INTERVAL_MAX_S
from paxospp.model import Slot
from paxospp.testing.simulation.clients.all_clients import Clients
from paxospp.testing.simulation.clients.embedded_clients import EmbeddedClient
from paxospp.testing.simulation.clients.watchers import Watcher
from paxospp.testing.simulation.faults.families import Faults
from paxospp.testing.simulation.faults.injector import FaultInjector
from paxospp.testing.simulation.faults.rollback import roll_back
from paxospp.testing.simulation.judges.stuck import founding_is_stuck, stuck_slot
from paxospp.testing.simulation.plan import RunPlan
from paxospp.testing.simulation.report import WORST
from paxospp.testing.simulation.rule_broken import RuleBroken
from paxospp.testing.simulation.world.host import SimulatedHost
from paxospp.testing.simulation.world.world import SimulatedWorld

FOUNDING_S = 30.0
LIVENESS_WINDOWS = 10
"""Election timeouts within which a call on the healed core has to be answered."""
CATCH_UP_S = 10.0
"""Extra time if a node of the core has to fetch what it missed."""
PENDING_S = 20.0
"""Time within which all calls that waited on the core have ended."""
QUIET_S = 40.0
CHUNK_S = 0.007
"""Longest time for one chunk of a snapshot: asked for, read, carried over the slowest link and staged."""
_STEP_S = 0.05

GENTLE = Faults()


class SimulationRun:
    """Runs one plan."""

    def __init__(self, plan: RunPlan) -> None:
        self.plan = plan
        self.world = SimulatedWorld(plan, self._make_injector)
        self.watchers = [
            Watcher(self.world, Random(f"{plan.seed} watcher {number}")) for number in range(plan.watchers)
        ]
        self.world.watchers = self.watchers
        self.clients = Clients(self.world)
        self.world.clients = self.clients
        self._random = Random(f"{plan.seed} phases")

    def _make_injector(self, world: SimulatedWorld) -> FaultInjector:
        self.injector = FaultInjector(world)
        return self.injector

    def go(self) -> None:
        """Run all three phases. Raises RuleBroken."""
        self._found()
        if self.plan.rolls_back:
            roll_back(self.world, self.clients.begin)
            return
        self._safety()
        core = self._choose_core()
        if core is not None:
            self._liveness(core)
        if self._quiet() and self.plan.cold_start:
            self._cold_start()

    # The phases.

    def _found(self) -> None:
        world = self.world
        for host in world.hosts:
            host.start()
        if not self.plan.founds_first:
            return
        self._set_faults(GENTLE, world.hosts)
        if not self._wait(FOUNDING_S, lambda: world.invariants.chosen.membership is not None):
            raise RuleBroken("liveness", f"no cluster was founded within {FOUNDING_S:g} s without faults")
        self._set_faults(self.plan.faults, world.hosts)

    def _safety(self) -> None:
        self.clients.begin()
        for watcher in self.watchers:
            watcher.begin()
        self.injector.begin()
        self.world.clock.run_until(self.world.clock.now + self.plan.safety_s)

    def _choose_core(self) -> list[SimulatedHost] | None:
        """Choose the nodes to heal; None if the cluster is stuck, so that there is nothing to choose."""
        world = self.world
        self.injector.end()
        self.injector.swap_back()
        if world.invariants.chosen.membership is None:
            # The founding needs every node.
            world.coverage["not founded when the faults ended"] += 1
            return None if founding_is_stuck(world.hosts) else list(world.hosts)
        voters = [
            host for host in world.hosts if world.invariants.has_vote(host) and host.disk.image.unreadable is None
        ]
        quorum = len(world.invariants.chosen.membership.members) // 2 + 1
        size = self._random.randint(quorum, max(quorum, len(voters)))
        core = self._random.sample(voters, min(size, len(voters)))
        if self._is_stuck(core, quorum):
            core = voters
            if self._is_stuck(core, quorum):
                return None
        return sorted(core, key=lambda host: host.index)

    def _is_stuck(self, core: Sequence[SimulatedHost], quorum: int) -> bool:
        slot = stuck_slot(core, quorum)
        if slot is not None:
            self.world.coverage["a core had no clean copy of a slot"] += 1
        return slot is not None

    def _liveness(self, core: list[SimulatedHost]) -> None:
        world = self.world
        for host in world.hosts:
            if host not in core:
                self._abandon(host, core)
        self._mend(core)
        began = world.clock.now
        window_s = self.plan.election_timeout_s * (1 + 2 * self.plan.faults.drift)
        # A crashed node takes a moment to start, and before the founding there is more to agree on.
        grace_s = 1.0 if world.invariants.chosen.membership is not None else FOUNDING_S
        if any(self._is_behind(host) for host in core):
            grace_s += max(CATCH_UP_S, self._asking_s())
        # The calls of a burst come first. Each may be a value of its own, and a log that is full of undecided slots
        # takes the next value only after the former one was sent again, written and known decided.
        resend_s = max(self.plan.config_of(host.index).resend_interval_s for host in core)
        grace_s += len(self.clients.waiting) * (resend_s + 2 * self.plan.write_s)
        # A write that a slow disk has begun still takes its time, though the disk is healed now.
        grace_s += max(self._writing_s(host) for host in core)
        bound_s = LIVENESS_WINDOWS * window_s + grace_s
        self.clients.end()
        probes = [self.clients.probe(host) for host in core]

        def late() -> list[str]:
            asked = [probe.home for probe in probes if not probe.is_done]
            # A founding under way may have been completed with an earlier incarnation of one of them.
            return [host.name for host in asked if host.has_vote and not self._has_lost_its_state(host)]

        if not self._wait(bound_s, lambda: not late()):
            raise RuleBroken(
                "liveness",
                f"calls on {', '.join(late())} of the core are not answered {bound_s:g} s after it was healed",
            )
        world.coverage[WORST] = int((world.clock.now - began) / window_s)
        waiting = [
            client for client in self.clients.waiting if isinstance(client, EmbeddedClient) and client.home in core
        ]
        if not self._wait(PENDING_S, lambda: all(client.operation is None for client in waiting)):
            raise RuleBroken("liveness", f"calls of {', '.join(client.name for client in waiting)} do not end")

    def _is_behind(self, host: SimulatedHost) -> bool:
        """Return whether ``host`` has to fetch something that its disk does not hold, or no longer holds."""
        image = host.disk.image
        if image.decided < self.world.invariants.chosen.up_to:
            return True
        if host.runtime is not None and host.runtime.executor.applied >= image.decided:
            return False
        state_is_lost = image.snapshot_is_damaged and image.first > 1
        return state_is_lost or any(slot <= image.decided for slot in image.faulty)

    def _asking_s(self) -> float:
        """Return the time to ask every peer twice: some are silent, others take a snapshot first."""
        return 2 * (len(self.world.hosts) - 1) * RESEND_INTERVAL_MAX_S

    def _writing_s(self, host: SimulatedHost) -> float:
        """Return how long the write under way still takes."""
        if host.disk.under_way is None:
            return 0.0
        return max(0.0, host.disk_faults.write_returns_at - self.world.clock.now)

    def _rested_at(self, host: SimulatedHost) -> float:
        """Return when ``host``, if it pauses after a failed snapshot, takes snapshots again."""
        if host.runtime is None or host.loop is None:
            return 0.0
        return host.loop.world_time(host.runtime.snapshots.rests_until)

    def _carrying_s(self) -> float:
        """Return the time to carry the largest snapshot to a peer, one chunk at a time."""
        images = (host.disk.image for host in self.world.hosts)
        size = max((len(image.snapshot[1]) for image in images if image.snapshot is not None), default=0)
        chunk = min(self.plan.config_of(host.index).chunk_bytes_max for host in self.world.hosts)
        return size / chunk * CHUNK_S

    def _has_lost_its_state(self, host: SimulatedHost) -> bool:
        """Return whether the snapshot of ``host`` is damaged, the log below it is gone, and no peer can replace it."""
        image = host.disk.image
        if not image.snapshot_is_damaged or image.snapshot is None or image.first == 1:
            return False
        slot = image.snapshot[0].slot
        others = (other.disk.image for other in self.world.hosts if other is not host)
        return not any(
            other.snapshot is not None and not other.snapshot_is_damaged and other.snapshot[0].slot >= slot
            for other in others
        )

    def _abandon(self, host: SimulatedHost, core: Iterable[SimulatedHost]) -> None:
        """Leave ``host`` as it is for good: perhaps crashed, perhaps cut off in one direction."""
        network = self.world.network
        host.wants_up = False
        inward = outward = True
        match self._random.randrange(4):
            case 0:
                host.crash()
            case 1:
                inward = False
            case 2:
                outward = False
            case _:
                pass
        for other in self.world.hosts:
            if other is not host:
                network.path(other.name, host.name).cut |= inward
                network.path(host.name, other.name).cut |= outward

    def _quiet(self) -> bool:
        """Heal everything and return whether all became quiet; False if the cluster is stuck, which excuses it."""
        world = self.world
        self.clients.end()
        alive = [host for host in world.hosts if host.disk.image.unreadable is None]
        self._mend(alive)
        voters = [host for host in alive if world.invariants.has_vote(host)]
        membership = world.invariants.chosen.membership
        if membership is None:
            stuck = founding_is_stuck(world.hosts)
        else:
            stuck = self._is_stuck(voters, len(membership.members) // 2 + 1)
        if stuck:
            world.coverage["excused: the cluster cannot go on"] += 1
            return False
        if not self._wait(QUIET_S, lambda: self._is_quiet(alive)):
            raise RuleBroken("quiet", self._why_not_quiet(alive))
        self._compare_states(alive)
        return True

    def _cold_start(self) -> None:
        """Stop all nodes, and check that they come up from their disks with the same state."""
        world = self.world
        up = [host for host in world.hosts if host.is_up]
        voters = [host for host in up if world.invariants.has_vote(host)]
        membership = world.invariants.chosen.membership
        if membership is None or self._is_stuck(voters, len(membership.members) // 2 + 1):
            return  # what they still know is in their memory only
        before = world.applied_log.digests[-1]
        slots = len(world.applied_log.entries)
        for host in up:
            host.crash()
            host.start()
        if not self._wait(QUIET_S, lambda: self._is_quiet(up)):
            raise RuleBroken("cold start", self._why_not_quiet(up))
        if world.applied_log.digests[slots] != before:
            raise RuleBroken("cold start", "the log changed")
        self._compare_states(up)

    # What the phases share.

    def _set_faults(self, faults: Faults, hosts: Iterable[SimulatedHost]) -> None:
        self.world.network.set_faults(faults)
        for host in hosts:
            host.faults = faults

    def _mend(self, hosts: list[SimulatedHost]) -> None:
        """Heal these nodes, their disks and the links between them."""
        world = self.world
        self._set_faults(GENTLE, hosts)
        world.network.heal(host.name for host in hosts)
        for host in hosts:
            host.full_until = 0.0
            host.unstall()
            host.slow_disk, host.slowness_s = 1.0, 0.0
            host.wants_up = True
            if host.asleep:
                host.sleep(0.0)
            if host.loop is None:
                host.start()

    def _wait(self, seconds: float, until: Callable[[], bool]) -> bool:
        """Wait without faults, and return whether ``until`` came true in time, allowing extra time for snapshots."""
        clock = self.world.clock
        began = clock.now
        while not until():
            since = max([began, *map(self._rested_at, self.world.hosts)])
            if clock.now >= since + seconds + self._carrying_s():
                return False
            clock.run_until(clock.now + _STEP_S)
        return True

    def _is_quiet(self, hosts: Iterable[SimulatedHost]) -> bool:
        if self.clients.waiting:
            return False
        top = Slot(len(self.world.applied_log.entries))
        if not all(watcher.has_been_told(top) for watcher in self.watchers):
            return False
        return all(
            host.runtime is not None and host.runtime.executor.applied == top == host.runtime.replica.decided
            for host in hosts
        )

    def _why_not_quiet(self, hosts: Iterable[SimulatedHost]) -> str:
        where = {
            host.name: (host.runtime.executor.applied, host.runtime.replica.decided, host.runtime.replica.first)
            if host.runtime is not None
            else host.cause
            for host in hosts
        }
        waiting = [client.name for client in self.clients.waiting]
        told = [watcher.next for watcher in self.watchers]
        return (
            f"of {len(self.world.applied_log.entries)} slots, the nodes have applied, decided and kept from: "
            f"{where}; waiting: {waiting}; watchers are at {told}"
        )

    def _compare_states(self, hosts: Iterable[SimulatedHost]) -> None:
        """Check invariant 14 for the states themselves, not only for results."""
        states = {}
        for host in hosts:
            if host.runtime is None or host.runtime.executor.applied < len(self.world.applied_log.entries):
                self.world.coverage["excused: a node has lost its state"] += 1
                continue
            states[host.name] = b"".join(host.runtime.executor.machine.snapshot())
        states["alone in its order"] = b"".join(self.world.applied_log.reference.machine.snapshot())  # type: ignore[index]
        if len(set(states.values())) > 1:
            raise RuleBroken("divergence", f"the states differ: {states}"[:2000])
