"""The injector of a run: it schedules faults of processes, disks and clocks, and begins all other injectors.

Every family is scheduled by itself, with its own random stream, from ``begin`` to ``end``. This module holds the faults
that strike a node or its disk at some time, at a crash or at a load; ``disk_faults`` draws those of single operations
of a disk, and ``world.network`` those of single messages. Faults of links are in ``link_faults``, and those of leaders
in ``leader_faults``. Lasting damage is limited to disks that the cluster can do without (``may_be_damaged``), unless
the plan says that it may get stuck.

Reference: Kingsbury's nemesis (Jepsen).
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from paxospp.model import NodeId, Slot
from paxospp.testing.simulation.faults.contested_elections import ContestedElections
from paxospp.testing.simulation.faults.disk_faults import InjectedError
from paxospp.testing.simulation.faults.fetch_only import FetchOnlyRounds
from paxospp.testing.simulation.faults.injector_base import InjectorBase
from paxospp.testing.simulation.faults.leader_faults import LeaderFaults
from paxospp.testing.simulation.faults.link_faults import LinkFaults
from paxospp.testing.simulation.faults.scripted_faults import ScriptedFaults
from paxospp.testing.simulation.faults.sole_copy_losses import SoleCopyLosses
from paxospp.testing.simulation.faults.targeted_faults import TargetedFaults
from paxospp.testing.simulation.world.host import LocalFaultError, SimulatedHost
from paxospp.testing.simulation.world.world import SimulatedWorld

YEAR_2026 = 1_770_000_000


class FaultInjector(InjectorBase):
    """Injects the faults of one run."""

    def __init__(self, world: SimulatedWorld) -> None:
        super().__init__(world)
        self._wall: dict[NodeId, tuple[float, float]] = {}
        """By node: how far its wall clock is ahead, and the virtual second at which it stopped, or 0."""
        self._set_clocks()
        self._links = LinkFaults(self)
        self.leader_faults = LeaderFaults(self)
        self.contested_elections = ContestedElections(self)
        self._fetch_only = FetchOnlyRounds(self)
        self._targeted = TargetedFaults(self)
        self._scripted = ScriptedFaults(self)
        self._sole_copy_losses = SoleCopyLosses(self)
        world.network.older = frozenset(host.name for host in world.hosts if host.index in world.plan.older)

    def _set_clocks(self) -> None:
        random, drift = self.stream("C1"), self.faults.drift
        for host in self.world.hosts:
            if drift:
                host.set_clock(1 + random.uniform(-drift, drift), random.uniform(0, 7200))  # monotonic: never below 0
            self._wall[host.name] = (random.uniform(-3600, 3600) if drift else 0.0, 0.0)

    # Beginning and ending.

    def begin(self) -> None:
        """Inject faults from now on."""
        self.is_on = True
        faults = self.faults
        if faults.slow_disk > 1:
            self.stream("D16").choice(self.world.hosts).slow_disk = faults.slow_disk
        if faults.slowness_s:
            self.stream("P5").choice(self.world.hosts).slowness_s = faults.slowness_s
        links = self._links
        for family, rate, inject in (
            ("N4", faults.partition_rate, links.partition),
            ("N5", faults.one_way_rate, links.one_way),
            ("N6", faults.partial_rate, links.partial),
            ("N7", faults.clog_rate, links.clog),
            ("N9", faults.forge_rate, links.forge),
            ("N11", faults.interference_rate, links.interfere),
            ("P1", faults.crash_rate, self._crash),
            ("P3", faults.pause_rate, self._pause),
            ("D4", faults.full_rate, self._fill),
            ("D6", faults.damage_rate, self._damage_a_slot),
            ("D10", faults.copy_damage_rate, self._damage_a_copy),
            ("D12", faults.wipe_rate, self._wipe),
            ("D13", faults.swap_rate, self._swap),
            ("D16", faults.stall_rate, self._stall),
            ("C2", faults.clock_step_rate, self._step_clock),
        ):
            if rate:
                self._inject_later(family, rate, inject)
        self.leader_faults.begin()
        self.contested_elections.begin()
        self._fetch_only.begin()
        self._targeted.begin()
        self._scripted.begin()
        self._sole_copy_losses.begin()

    def _inject_later(self, family: str, rate: float, inject: Callable[[Random], None]) -> None:
        self.world.clock.after(self.stream(family).expovariate(rate), self._inject, (family, rate, inject))

    def _inject(self, what: tuple[str, float, Callable[[Random], None]]) -> None:
        if not self.is_on:
            return
        family, rate, inject = what
        inject(self.stream(family))
        self._inject_later(family, rate, inject)

    def end(self) -> None:
        """Inject no new faults; existing ones stay."""
        self.is_on = False
        self.world.network.applied_rules.release_all()

    # Processes.

    def _up(self) -> list[SimulatedHost]:
        return [host for host in self.world.hosts if host.loop is not None]

    def _crash(self, random: Random) -> None:
        up = self._up()
        if not up:
            return
        all_of_them = random.random() < self.faults.crash_all
        for host in up if all_of_them else [self.victim(random, up)]:
            self._damage_at_crash(host)
            host.crash()
            self.world.coverage["killed"] += 1

    def _damage_at_crash(self, host: SimulatedHost) -> None:
        faults = self.faults
        if not host.may_be_damaged:
            return
        random = self.stream("D7")
        image = host.disk.image
        if faults.tail_damage and random.random() < faults.tail_damage and image.entries:
            newest = sorted(image.entries)[-random.randint(1, 3) :]
            image.damage(newest)
            self.world.coverage["the tail of a log was damaged"] += 1
        random = self.stream("D14")
        if faults.snapshot_damage and image.snapshot is not None and random.random() < faults.snapshot_damage:
            image.snapshot_is_damaged = True
            self.world.coverage["a snapshot was damaged"] += 1
        random, chance = self.stream("D11"), faults.both_copies_damage
        if host in self.wipeable and chance and random.random() < chance and self._is_founded(host):
            image.unreadable = "both copies of the promise are damaged"

    def on_start(self, host: SimulatedHost) -> None:
        """Note that a node came up; perhaps kill it while it recovers (P4)."""
        self.world.network.applied_rules.on_change()
        chance, random = self.faults.crash_in_recovery, self.stream("P4")
        if self.is_on and chance and random.random() < chance:
            loop = host.loop
            self.world.clock.after(
                random.random() * 0.05, lambda _: host.crash() if host.loop is loop and self.is_on else None
            )
            self.world.coverage["killed in its recovery"] += 1

    def on_leader(self, host: SimulatedHost) -> None:
        """Note that ``host`` leads from now on."""
        self.world.network.applied_rules.on_change()
        self.contested_elections.on_leader(host)
        self.leader_faults.on_leader(host)

    def on_load(self, host: SimulatedHost) -> None:
        """Perhaps raise an error that is gone at the next load (D5, D15)."""
        if not self.is_on:
            return
        chance = max(self.faults.refuse_load, self.faults.read_error if host.may_be_damaged else 0.0)
        if chance and self.stream("D15").random() < chance:
            raise InjectedError("load: EIO")

    def on_command(self) -> None:
        """Perhaps fail a command on this machine only (P6)."""
        chance = self.faults.local_fault
        if self.is_on and chance and self.stream("P6").random() < chance:
            self.world.coverage["trouble of one machine"] += 1
            raise LocalFaultError("simulated")

    def _pause(self, random: Random) -> None:
        up = [host for host in self._up() if not host.asleep]
        if up:
            self.victim(random, up).sleep(min(0.1 * 600 ** random.random(), 60.0))
            self.world.coverage["paused"] += 1

    # Disks.

    def _is_founded(self, host: SimulatedHost) -> bool:
        return Slot(1) in self.world.invariants.chosen.values

    def _fill(self, random: Random) -> None:
        random.choice(self.world.hosts).full_until = self.world.clock.now + random.expovariate(0.5)

    def _stall(self, random: Random) -> None:
        host = self.victim(random, self.world.hosts)
        host.stall(random.expovariate(1 / self.faults.stall_s) if self.faults.stall_s else 120 ** random.random())
        self.world.coverage["a disk hung"] += 1

    def _damage_a_slot(self, random: Random) -> None:
        hosts = [host for host in self.world.hosts if host.may_be_damaged and host.disk.image.entries]
        if hosts:
            host = random.choice(hosts)
            slot = random.choice(sorted(host.disk.image.entries))
            host.disk.image.damage([slot])
            self.world.coverage["a slot was damaged"] += 1

    def _damage_a_copy(self, random: Random) -> None:
        host = random.choice(self.world.hosts)
        host.disk.image.copy_is_damaged = host.disk.image.promised is not None

    def _wipe(self, random: Random) -> None:
        if not self.wipeable:
            return
        host = random.choice(self.wipeable)
        if self.world.invariants.chosen.membership is None and self.world.plan.profile and not self.swapped:
            self.wipe(host)
            self.world.clock.after(0.1 * random.random(), self.restart, host)
            self.world.coverage["a founder's disk was wiped"] += 1
            return
        if not self._is_founded(host) or not self.world.invariants.has_vote(host):
            return
        if any(host in pair for pair in self.swapped):
            return  # the disk in it belongs to a node whose disk may have to last
        self.wipe(host)

    def _swap(self, random: Random) -> None:
        if len(self.world.hosts) < 2 or self.swapped:
            return
        one, other = random.sample(self.world.hosts, 2)
        if not (one.disk.image.meta and other.disk.image.meta):
            return
        if one.disk.image.unreadable or other.disk.image.unreadable:
            return
        one.crash()
        other.crash()
        one.disk, other.disk = other.disk, one.disk
        self.swapped.append((one, other))
        one.start()
        other.start()
        self.world.clock.after(0.2 + random.random(), self.swap_back)

    def swap_back(self, _: object = None) -> None:
        """Swap the disks back, as the operator who swapped them would."""
        for one, other in self.swapped:
            one.crash()
            other.crash()
            one.disk, other.disk = other.disk, one.disk
            self.restart_later(one)
            self.restart_later(other)
        self.swapped.clear()

    # Clocks.

    def _step_clock(self, random: Random) -> None:
        host = random.choice(self.world.hosts)
        ahead, _ = self._wall[host.name]
        if random.random() < 0.3:
            self._wall[host.name] = (ahead, self.world.clock.now)
        else:
            self._wall[host.name] = (ahead + random.uniform(-3600, 3600), 0.0)

    def wall_clock(self, host: SimulatedHost) -> int:
        """Return what the wall clock of ``host`` says, in microseconds since 1970."""
        ahead, stopped_at = self._wall[host.name]
        return int((YEAR_2026 + ahead + (stopped_at or self.world.clock.now)) * 1_000_000)
