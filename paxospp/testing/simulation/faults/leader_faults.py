"""Faults of leaders: a leader is lost while it has work in hand, and a candidate that lags may follow it.

A new leader is cut off before long, alone or with some followers. They have accepted what the leader proposed, and
nobody else has. Where disks lose writes (D9), these followers are killed, and what they accepted is lost. One of the
remaining nodes may be made to campaign without asking whether it may, even if it is far behind.

Before the founding, a node that is about to found the cluster is cut off at once; it loses the founding value that it
accepted (D7), or a node that had promised to it comes back with an empty disk (D12).

References: families N4, D7, D9 and D12; bugs B16 and B20; Alagappan et al., "Protocol-Aware Recovery for
Consensus-Based Storage" (2018).
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from paxospp.model import Slot
from paxospp.testing.simulation.faults.injector_base import InjectorBase
from paxospp.testing.simulation.world.host import SimulatedHost
from paxospp.testing.simulation.world.virtual_time import VirtualLoop

_LOOK_S = 0.05
_SOON_S = 0.2
_FOUNDING_S = 0.5
_BOOTSTRAP = Slot(1)
_WIPED_FOUNDERS = 0.5


class LeaderFaults:
    """Looks for leaders, and injects faults there."""

    def __init__(self, injector: InjectorBase) -> None:
        self._injector = injector
        self._world = injector.world
        self._faults = injector.faults
        seed = self._world.seed
        self._random = Random(f"{seed} N4 depose troubles")
        self._losses = Random(f"{seed} D9 company troubles")
        self._forced_candidates = Random(f"{seed} N4 usurpers troubles")
        self._founders = Random(f"{seed} D7 founders troubles")

    def begin(self) -> None:
        """Look for leaders from now on."""
        if self._faults.depose_s:
            self._depose(None)
        if self._faults.founder_wipe:
            self._look_for_founders(None)

    # Leaders that are cut off.

    def _depose(self, leader: SimulatedHost | None) -> None:
        """Cut ``leader`` off if it still leads; then look for the next leader that reaches most of the others."""
        if not self._injector.is_on:
            return
        world, random = self._world, self._random
        if leader is not None and leader in world.leaders:
            others = [host for host in world.hosts if host is not leader]
            company = random.sample(others, random.randint(0, max(0, (len(others) - 2) // 2)))
            self._cut_off(leader, *company)
            self._kill_with_loss(company)
            self._make_one_campaign({leader, *company})
        leaders = [host for host in world.leaders if self._reaches_most(host)]
        if leaders:
            world.clock.after(random.expovariate(1 / self._faults.depose_s), self._depose, random.choice(leaders))
        else:
            world.clock.after(_LOOK_S, self._depose, None)

    def _cut_off(self, *hosts: SimulatedHost) -> None:
        """Cut these nodes off from all others."""
        side = {host.name for host in hosts}
        names = [host.name for host in self._world.hosts]
        self._world.network.cut((a, b) for a in names for b in names if (a in side) != (b in side))

    def _reaches_most(self, host: SimulatedHost) -> bool:
        network = self._world.network
        reached = sum(
            not (network.path(host.name, other.name).cut or network.path(other.name, host.name).cut)
            for other in self._world.hosts
            if other is not host
        )
        return reached >= len(self._world.hosts) // 2

    # Followers that are cut off with a leader.

    def _kill_with_loss(self, company: Iterable[SimulatedHost]) -> None:
        chance, random = self._faults.lost_end, self._losses
        if not chance:
            return
        for host in company:
            if host.may_be_damaged and random.random() < chance:
                self._world.clock.after(random.random() * _SOON_S, self._lose_end, (host, host.loop))

    def _lose_end(self, what: tuple[SimulatedHost, VirtualLoop | None]) -> None:
        """Kill the node; entries that it does not know decided are lost, and their slots cannot be named."""
        host, loop = what
        image = host.disk.image
        if (
            not self._injector.is_on
            or host.loop is not loop
            or loop is None
            or max(image.entries, default=0) <= image.decided
        ):
            return
        host.crash()
        image.lose_end()
        self._world.coverage["the end of a log was lost beside its leader"] += 1
        self._world.clock.after(self._losses.random() * _SOON_S, self._injector.restart, host)

    # Candidates that lag.

    def _make_one_campaign(self, gone: set[SimulatedHost]) -> None:
        chance, random = self._faults.forced_campaign, self._forced_candidates
        if not chance or random.random() >= chance:
            return
        left = [host for host in self._world.hosts if host not in gone and host.runtime is not None and not host.asleep]
        if left:
            candidate = min(left, key=lambda host: host.decided) if random.random() < 0.7 else random.choice(left)
            assert candidate.loop is not None
            candidate.take(candidate.loop, candidate.campaign_at_once, ())

    # Before the founding.

    def on_leader(self, host: SimulatedHost) -> None:
        """Perhaps inject faults into the founding: ``host`` leads before there is a cluster."""
        faults, random, clock = self._faults, self._founders, self._world.clock
        if not self._injector.is_on or self._world.invariants.chosen.membership is not None:
            return
        others = [other for other in self._injector.wipeable if other is not host and other.runtime is not None]
        if faults.tail_damage and host.may_be_damaged and random.random() < faults.tail_damage:
            self._cut_off(host)
            clock.after(0.0, self._lose_founding, (host, host.loop, clock.now + _FOUNDING_S))
        elif faults.wipe_rate and others and random.random() < _WIPED_FOUNDERS:
            self._cut_off(host)
            clock.after(0.0, self._wipe_founder, random.choice(others))
            clock.after(random.random() * _FOUNDING_S, lambda _: self._world.network.cut(()))

    def _look_for_founders(self, _: object) -> None:
        """Make a node campaign to found the cluster; one that promises loses its disk, and the others hear nothing."""
        world, random = self._world, self._founders
        world.network.cut(())
        if not self._injector.is_on or world.invariants.chosen.membership is not None:
            return
        up = [host for host in world.hosts if host.runtime is not None and not host.asleep]
        wipeable = [host for host in self._injector.wipeable if host in up]
        if len(world.hosts) > 2 and len(up) > 1 and wipeable and random.random() < self._faults.founder_wipe:
            host = random.choice(wipeable)
            candidate = random.choice([other for other in up if other is not host])
            self._cut_off(candidate, host)
            candidate.take(candidate.loop, candidate.campaign_at_once, ())
            world.clock.after(0.01 + 0.02 * random.random(), self._wipe_founder, host)
            world.clock.after(0.1 + 0.3 * random.random(), self._look_for_founders, None)
        else:
            world.clock.after(0.02, self._look_for_founders, None)

    def _wipe_founder(self, host: SimulatedHost) -> None:
        """Wipe a node that has promised to the founder, which is cut off and counts on this incarnation."""
        if self._injector.is_on and self._world.invariants.chosen.membership is None and not self._injector.swapped:
            self._injector.wipe(host)
            self._world.clock.after(self._founders.random() ** 3 * _SOON_S, self._injector.restart, host)
            self._world.coverage["a founder's disk was wiped"] += 1

    def _lose_founding(self, what: tuple[SimulatedHost, VirtualLoop, float]) -> None:
        """Kill the founder once it has accepted its founding value, which no other node has, and damage the value."""
        host, loop, until = what
        clock = self._world.clock
        if host.loop is not loop or clock.now > until or not self._injector.is_on:
            self._world.network.cut(())
        elif _BOOTSTRAP in host.disk.image.entries:
            host.crash()
            host.disk.image.damage([_BOOTSTRAP])
            self._world.network.cut(())
            self._world.coverage["the only founding value was damaged"] += 1
        else:
            clock.after(0.001, self._lose_founding, what)
