"""Makes things go wrong: who is killed, cut off, paused, damaged, and when.

Every family is a process of its own on the clock, with its own random stream, from ``begin`` to
``end``; faults of single operations and messages are drawn where these happen. Lasting damage is
kept to so many disks that the cluster can still go on (``may_be_damaged``), except where the plan
says that waiting may be right. What is done to links stands in ``link_troubles``, and
what is done to leaders in ``leader_troubles``.

Reference: Kingsbury's nemesis (Jepsen).
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from paxospp.model import NodeId, Slot
from paxospp.testing.simulation.faults.contested_elections import ContestedElections
from paxospp.testing.simulation.faults.families import Faults
from paxospp.testing.simulation.faults.fetch_only import FetchOnlyRounds
from paxospp.testing.simulation.faults.leader_faults import LeaderFaults
from paxospp.testing.simulation.faults.link_faults import LinkFaults
from paxospp.testing.simulation.faults.scripts import ScriptedFaults
from paxospp.testing.simulation.faults.sole_copy_losses import SoleCopyLosses
from paxospp.testing.simulation.faults.targeted import TargetedFaults
from paxospp.testing.simulation.world.disk import SimulatedDisk
from paxospp.testing.simulation.world.host import LocalFaultError, SimulatedHost
from paxospp.testing.simulation.world.network import KEEP_ALIVE_S
from paxospp.testing.simulation.world.virtual_writer import InjectedError

if TYPE_CHECKING:
    from paxospp.testing.simulation.world.world import SimulatedWorld

RESTART_S = 1.0
"""Mean time after which whoever runs a node starts it again."""
RESTART_SOON_S = 0.1
"""The same once nothing new goes wrong, exactly."""
YEAR_2026 = 1_770_000_000


class FaultInjector:
    """The faults of one run."""

    def __init__(self, world: SimulatedWorld) -> None:
        self.world = world
        self.faults: Faults = world.plan.faults
        self.swapped: list[tuple[SimulatedHost, SimulatedHost]] = []
        self._random: dict[str, Random] = {}
        self.is_on = False
        self._wall: dict[NodeId, tuple[float, float]] = {}
        """Per node what its wall clock is ahead, and the virtual second at which it stopped, or 0."""
        choice = self._stream("who may be damaged").sample(world.hosts, len(world.hosts))
        for host in choice[: (len(choice) - 1) // 2]:
            host.may_be_damaged = True
        self.wipeable = [host for host in choice if host.may_be_damaged]
        if world.plan.damages_all:
            for host in choice:
                host.may_be_damaged = True
        self._set_clocks()
        self._links = LinkFaults(self)
        self.of_leaders = LeaderFaults(self)
        self.duels = ContestedElections(self)
        self._whispers = FetchOnlyRounds(self)
        self._ambush = TargetedFaults(self)
        self._rehearsal = ScriptedFaults(self)
        self._losses = SoleCopyLosses(self)
        world.network.older = frozenset(host.name for host in world.hosts if host.index in world.plan.older)

    def _stream(self, name: str) -> Random:
        random = self._random.get(name)
        if random is None:
            random = self._random[name] = Random(f"{self.world.seed} {name} troubles")
        return random

    def _set_clocks(self) -> None:
        random, drift = self._stream("C1"), self.faults.drift
        for host in self.world.hosts:
            if drift:
                host.set_clock(1 + random.uniform(-drift, drift), random.uniform(0, 7200))  # monotonic: never below 0
            self._wall[host.name] = (random.uniform(-3600, 3600) if drift else 0.0, 0.0)

    # Beginning and ending.

    def begin(self) -> None:
        """From now on things go wrong."""
        self.is_on = True
        faults = self.faults
        if faults.slow_disk > 1:
            self._stream("D16").choice(self.world.hosts).slow_disk = faults.slow_disk
        if faults.slowness_s:
            self._stream("P5").choice(self.world.hosts).slowness_s = faults.slowness_s
        links = self._links
        for family, rate, strike in (
            ("N4", faults.partition_rate, links.partition),
            ("N5", faults.one_way_rate, links.one_way),
            ("N6", faults.partial_rate, links.partial),
            ("N7", faults.clog_rate, links.clog),
            ("N9", faults.forge_rate, links.forge),
            ("N11", faults.interference_rate, links.interfere),
            ("P1", faults.crash_rate, self._crash),
            ("P3", faults.pause_rate, self._pause),
            ("D4", faults.full_rate, self._fill),
            ("D6", faults.rot_rate, self._rot),
            ("D10", faults.copy_rot_rate, self._rot_a_copy),
            ("D12", faults.wipe_rate, self._wipe),
            ("D13", faults.swap_rate, self._swap),
            ("D16", faults.stall_rate, self._stall),
            ("C2", faults.clock_step_rate, self._step_clock),
        ):
            if rate:
                self._again(family, rate, strike)
        self.of_leaders.begin()
        self.duels.begin()
        self._whispers.begin()
        self._ambush.begin()
        self._rehearsal.begin()
        self._losses.begin()

    def _again(self, family: str, rate: float, strike: Callable[[Random], None]) -> None:
        self.world.clock.after(self._stream(family).expovariate(rate), self._strike, (family, rate, strike))

    def _strike(self, what: tuple[str, float, Callable[[Random], None]]) -> None:
        if not self.is_on:
            return
        family, rate, strike = what
        strike(self._stream(family))
        self._again(family, rate, strike)

    def end(self) -> None:
        """Nothing new goes wrong; what is wrong stays so."""
        self.is_on = False
        self.world.network.interference.release_all()

    # The processes.

    def victim(self, random: Random, hosts: list[SimulatedHost]) -> SimulatedHost:
        """One of ``hosts``: often whoever leads, for that is where it hurts."""
        leaders = [host for host in self.world.leaders if host in hosts]
        return random.choice(leaders if leaders and random.random() < 0.5 else hosts)

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
        random = self._stream("D7")
        image = host.disk.image
        if faults.tail_rot and random.random() < faults.tail_rot and image.entries:
            newest = sorted(image.entries)[-random.randint(1, 3) :]
            image.damage(newest)
            self.world.coverage["the tail of a log rotted"] += 1
        random = self._stream("D14")
        if faults.snapshot_rot and image.snapshot is not None and random.random() < faults.snapshot_rot:
            image.snapshot_is_damaged = True
            self.world.coverage["a snapshot rotted"] += 1
        random = self._stream("D11")
        if host in self.wipeable and faults.both_rot and random.random() < faults.both_rot and self._is_founded(host):
            image.unreadable = "both copies of the promise are damaged"

    def restart_later(self, host: SimulatedHost) -> None:
        """Start the node again after a while, as its operator would; soon, once no new faults are injected.

        A node may stop even then: a slow disk had begun a write before, and that write fails.
        """
        down_s = self._stream("restarts").expovariate(1 / RESTART_S) if self.is_on else RESTART_SOON_S
        self.world.clock.after(down_s, self.restart, host)

    def restart(self, host: SimulatedHost) -> None:
        """It is started again, if it is down and may be."""
        if host.loop is not None or not host.wants_up:
            return
        if host.disk.image.unreadable is not None:
            return
        for pair in self.swapped:
            if host in pair:
                return
        self.half_open(host)
        host.start()

    def half_open(self, host: SimulatedHost) -> None:
        """Links to a node that was away may be dead without knowing it (N8)."""
        faults, random = self.faults, self._stream("N8")
        if not faults.half_open or not self.is_on:
            return
        for path in self.world.network.paths:
            if path.target is host and random.random() < faults.half_open:
                path.dead_until = self.world.clock.now + random.random() * KEEP_ALIVE_S

    def on_start(self, host: SimulatedHost) -> None:
        """A node came up; it may be killed in its recovery (P4)."""
        self.world.network.interference.on_change()
        chance, random = self.faults.crash_in_recovery, self._stream("P4")
        if self.is_on and chance and random.random() < chance:
            life = host.loop
            self.world.clock.after(
                random.random() * 0.05, lambda _: host.crash() if host.loop is life and self.is_on else None
            )
            self.world.coverage["killed in its recovery"] += 1

    def on_load(self, host: SimulatedHost) -> None:
        """A load may end in an error, which is gone the next time (D5, D15)."""
        if not self.is_on:
            return
        chance = max(self.faults.refuse_load, self.faults.read_error if host.may_be_damaged else 0.0)
        if chance and self._stream("D15").random() < chance:
            raise InjectedError("load: EIO")

    def on_command(self, host: SimulatedHost) -> None:
        """A command may meet trouble that only this machine has (P6)."""
        chance = self.faults.trouble
        if self.is_on and chance and self._stream("P6").random() < chance:
            self.world.coverage["trouble of one machine"] += 1
            raise LocalFaultError("simulated")

    def _pause(self, random: Random) -> None:
        up = [host for host in self._up() if not host.asleep]
        if up:
            self.victim(random, up).sleep(min(0.1 * 600 ** random.random(), 60.0))
            self.world.coverage["paused"] += 1

    # The disks.

    def _is_founded(self, host: SimulatedHost) -> bool:
        return Slot(1) in self.world.invariants.chosen.values

    def _fill(self, random: Random) -> None:
        random.choice(self.world.hosts).full_until = self.world.clock.now + random.expovariate(0.5)

    def _stall(self, random: Random) -> None:
        host = self.victim(random, self.world.hosts)
        host.stall(random.expovariate(1 / self.faults.stall_s) if self.faults.stall_s else 120 ** random.random())
        self.world.coverage["a disk hung"] += 1

    def _rot(self, random: Random) -> None:
        hosts = [host for host in self.world.hosts if host.may_be_damaged and host.disk.image.entries]
        if hosts:
            host = random.choice(hosts)
            slot = random.choice(sorted(host.disk.image.entries))
            host.disk.image.damage([slot])
            self.world.coverage["a slot rotted"] += 1

    def _rot_a_copy(self, random: Random) -> None:
        host = random.choice(self.world.hosts)
        host.disk.image.copy_is_rotten = host.disk.image.promised is not None

    def _wipe(self, random: Random) -> None:
        if not self.wipeable:
            return
        host = random.choice(self.wipeable)
        if self.world.invariants.chosen.membership is None and self.world.plan.drill and not self.swapped:
            self.wipe(host)
            self.world.clock.after(0.1 * random.random(), self.restart, host)
            self.world.coverage["a founder's disk was wiped"] += 1
            return
        if not self._is_founded(host) or not self.world.invariants.has_vote(host):
            return
        if any(host in pair for pair in self.swapped):
            return  # the disk in it is that of one whose disk may have to last
        self.wipe(host)

    def wipe(self, host: SimulatedHost) -> None:
        """It comes back with an empty disk."""
        host.crash()
        host.disk = SimulatedDisk()
        host.sender = host.sender._replace(incarnation=0)
        self.world.coverage["a disk was wiped"] += 1

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
        """Whoever mixed the disks up puts them back."""
        for one, other in self.swapped:
            one.crash()
            other.crash()
            one.disk, other.disk = other.disk, one.disk
            self.restart_later(one)
            self.restart_later(other)
        self.swapped.clear()

    # The clocks.

    def _step_clock(self, random: Random) -> None:
        host = random.choice(self.world.hosts)
        ahead, _ = self._wall[host.name]
        if random.random() < 0.3:
            self._wall[host.name] = (ahead, self.world.clock.now)
        else:
            self._wall[host.name] = (ahead + random.uniform(-3600, 3600), 0.0)

    def wall_clock(self, host: SimulatedHost) -> int:
        """Microseconds since 1970, as the clock of ``host`` has it."""
        ahead, stopped_at = self._wall[host.name]
        return int((YEAR_2026 + ahead + (stopped_at or self.world.clock.now)) * 1_000_000)
