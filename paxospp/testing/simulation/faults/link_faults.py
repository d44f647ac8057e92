"""Faults of links: which nodes cannot hear which, in which direction, and for how long.

The names N4 to N11 are those of ``families``.

References: Kingsbury's nemesis (Jepsen); FoundationDB's swizzle-clogging (N7).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from random import Random

from paxospp.model import NodeId
from paxospp.testing.simulation.faults.injector_base import InjectorBase
from paxospp.testing.simulation.faults.link_rules import LinkRule, draw_rule
from paxospp.testing.simulation.world.path import Path


class LinkFaults:
    """Injects faults of links."""

    def __init__(self, injector: InjectorBase) -> None:
        self._injector = injector
        self._world = injector.world

    def _pairs(self, apart: Callable[[NodeId, NodeId], bool]) -> list[tuple[NodeId, NodeId]]:
        names = [host.name for host in self._world.hosts]
        return [(a, b) for a in names for b in names if a != b and apart(a, b)]

    def _mend_later(self, random: Random) -> None:
        self._world.clock.after(random.expovariate(1 / 1.5), self._mend)

    def _mend(self, _: object) -> None:
        if self._injector.is_on:
            self._world.network.cut(())

    def partition(self, random: Random) -> None:
        """Split the nodes into two parts (N4)."""
        names = [host.name for host in self._world.hosts]
        if random.random() < 0.5:
            side = {self._injector.victim(random, self._world.hosts).name}
            if random.random() < 0.3:
                side.add(random.choice(names))
        else:
            side = set(random.sample(names, random.choice((len(names) // 2, random.randint(0, len(names))))))
        self._world.network.cut(self._pairs(lambda a, b: (a in side) != (b in side)))
        self._mend_later(random)

    def one_way(self, random: Random) -> None:
        """Let some links carry messages in one direction only (N5)."""
        pairs = self._pairs(lambda a, b: True)
        victim = self._injector.victim(random, self._world.hosts).name
        match random.randrange(3):
            case 0:  # it hears nobody
                pairs = [pair for pair in pairs if pair[1] == victim]
            case 1:  # nobody hears it
                pairs = [pair for pair in pairs if pair[0] == victim]
            case _:
                pairs = random.sample(pairs, random.randint(0, len(pairs) // 2))
        self._world.network.cut(pairs)
        self._mend_later(random)

    def partial(self, random: Random) -> None:
        """Connect the nodes partially: a star, a chain, or two halves with one bridge (N6)."""
        names = [host.name for host in self._world.hosts]
        random.shuffle(names)
        match random.randrange(3):
            case 0:  # a star: one node reaches the others
                linked = {(names[0], name) for name in names}
            case 1:  # a chain
                linked = set(pairwise(names))
            case _:  # two halves and a bridge
                half = len(names) // 2
                left, right = set(names[: half + 1]), set(names[half:])
                linked = {
                    (a, b) for a in names for b in names if (a in left and b in left) or (a in right and b in right)
                }
        self._world.network.cut(self._pairs(lambda a, b: (a, b) not in linked and (b, a) not in linked))
        self._mend_later(random)

    def clog(self, random: Random) -> None:
        """Hold back what some links carry (N7)."""
        paths = list(self._world.network.paths)
        if random.random() < 0.3:  # everything that one node would hear, or everything that it sends
            victim, inward = self._injector.victim(random, self._world.hosts), random.random() < 0.5
            paths = [path for path in paths if (path.target if inward else path.source) is victim]
        else:
            paths = random.sample(paths, min(len(paths), random.randint(1, 3)))
        for path in paths:
            path.clogged = True
            self._world.clock.after(random.expovariate(1.0), self._world.network.unclog, path)

    def interfere(self, random: Random) -> None:
        """Set a rule on some links for a while: on random ones, or on those to or from one node (N11)."""
        paths = list(self._world.network.paths)
        if not paths:
            return
        if random.random() < 0.5:
            victim, inward = self._injector.victim(random, self._world.hosts), random.random() < 0.5
            paths = [path for path in paths if (path.target if inward else path.source) is victim]
        else:
            paths = random.sample(paths, min(len(paths), random.randint(1, 3)))
        rule = draw_rule(random)
        for path in paths:
            path.rules = (*path.rules, rule)
        self._world.clock.after(random.expovariate(1 / 0.3), self._end_rule, (paths, rule))
        self._world.coverage["a rule stuck to some links"] += 1

    @staticmethod
    def _end_rule(what: tuple[list[Path], LinkRule]) -> None:
        paths, rule = what
        for path in paths:
            path.rules = tuple(other for other in path.rules if other is not rule)

    def forge(self, random: Random) -> None:
        """Let a frame arrive that no node of the cluster sent (N9)."""
        network = self._world.network
        paths = [path for path in network.paths if path.target.runtime is not None and path.source.sender.cluster_id]
        paths = [path for path in paths if path.target.sender.cluster_id]
        if not paths:
            return
        path = random.choice(paths)
        runtime = path.target.runtime
        assert runtime is not None
        network.deliver(path, network.bad_frames.forged(path.source.sender, path.target.name))
        self._world.coverage["a forged frame arrived"] += 1
