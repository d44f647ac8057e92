"""Loss of the only copy: of what only one node knows decided, and of snapshots that have just replaced a log.

A leader whose messages are all lost decides what its peers accepted before, loses the decided slots, and leads again.
A node that has installed a peer's snapshot and trimmed its log loses the snapshot.

Reference: Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage" (2018).
"""

from __future__ import annotations

from random import Random

from paxospp.model import SnapshotMeta
from paxospp.testing.simulation.faults.adversary import Adversary
from paxospp.testing.simulation.faults.injector_base import InjectorBase
from paxospp.testing.simulation.faults.link_rules import EVERYTHING, LinkRule
from paxospp.testing.simulation.world.host import SimulatedHost


class SoleCopyLosses:
    """Injects the losses of one run, one after another."""

    def __init__(self, injector: InjectorBase) -> None:
        self._adversary = Adversary(injector)
        self._injector = injector
        self._world = injector.world
        self._mean_s = injector.faults.sole_loss_s
        self._random = Random(f"{self._world.seed} D19 losses")
        self._looked_at: set[tuple[SimulatedHost, SnapshotMeta]] = set()

    def begin(self) -> None:
        """Schedule the first loss."""
        if self._mean_s and len(self._world.hosts) > 1:
            self._next(None)
            self._look_at_snapshots(None)

    def _next(self, _: object) -> None:
        self._world.clock.after(self._random.expovariate(1 / self._mean_s), self._begin_loss)

    def _begin_loss(self, _: object) -> None:
        if not self._injector.is_on:
            return
        leaders = self._world.leaders
        if len(leaders) == 1 and leaders[0].may_be_damaged:
            # So that some values are accepted but not decided yet when the leader is cut off.
            self._adversary.call(leaders[0], self._random.randint(0, 4))
            self._world.clock.after(0.003 * self._random.random(), self._silence, leaders[0])
        else:
            self._next(None)

    def _silence(self, leader: SimulatedHost) -> None:
        """Lose what ``leader`` sends from now on, so that nobody else knows what it decides next."""
        for path in self._world.network.paths:
            path.rules = (LinkRule(EVERYTHING, loss=1.0),) if path.source is leader else ()
        if self._random.random() < 0.5:
            self._world.clock.after(0.04 + 0.02 * self._random.random(), self._adversary.take_snapshots, [leader])
        self._world.clock.after(0.07 + 0.08 * self._random.random(), self._lose, leader)

    def _lose(self, host: SimulatedHost) -> None:
        """Damage what only ``host`` knows decided, its snapshot included, and make it lead again."""
        for path in self._world.network.paths:
            path.rules = ()
        random, clock, image = self._random, self._world.clock, host.disk.image
        known = max(other.decided for other in self._world.hosts if other is not host)
        slots = [slot for slot in sorted(image.entries) if max(image.floor, known + 1) <= slot <= image.decided]
        covers_more = image.snapshot is not None and known < image.snapshot[0].slot
        if (slots or covers_more) and self._injector.is_on:
            host.crash()
            image.snapshot_is_damaged |= covers_more
            image.damage(slots[: random.choice((1, 2, len(slots)))])
            clock.after(0.01 * random.random(), self._injector.restart, host)
            for delay_s in (0.03, 0.06, 0.12):
                clock.after(delay_s, self._adversary.campaign, host)
        clock.after(0.3 + 0.4 * random.random(), self._next)

    def _look_at_snapshots(self, _: object) -> None:
        """Damage a snapshot that a node just installed, of which its source has the other copy."""
        random, hosts = self._random, self._world.hosts
        if not self._injector.is_on:
            return
        self._world.clock.after(0.01, self._look_at_snapshots, None)
        held = [(host, host.disk.image.snapshot[0]) for host in hosts if host.disk.image.snapshot is not None]
        metas = [meta for _, meta in held]
        for host, meta in held:
            if metas.count(meta) < 2 or not host.may_be_damaged or (host, meta) in self._looked_at:
                continue
            self._looked_at.add((host, meta))
            if random.random() < 0.4:
                host.disk.image.snapshot_is_damaged = True
                if random.random() < 0.7:
                    host.crash()
                    self._world.clock.after(0.01 * random.random(), self._injector.restart, host)
