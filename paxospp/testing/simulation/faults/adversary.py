"""The actions of the adversary: make nodes campaign, starve them, and set what passes on each link.

The adversary tries to produce the worst schedule of messages. ``contested_elections`` (its rounds), ``attacks`` (rounds
of several steps) and ``targeted_damage`` (damage) decide when it acts, and in which order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random

from paxospp.messages import Accept, DecidedEntries, SnapshotChunk
from paxospp.testing.simulation.faults.injector_base import InjectorBase
from paxospp.testing.simulation.faults.link_rules import EVERYTHING, HEARTBEATS, Kinds, LinkRule
from paxospp.testing.simulation.world.host import SimulatedHost
from paxospp.testing.simulation.world.path import Path

STARVING = LinkRule(frozenset({Accept, DecidedEntries, SnapshotChunk}), loss=1.0)
"""A starved node hears who leads, and nothing of what is decided."""
CHUNKS_AGAIN = (
    LinkRule(frozenset({SnapshotChunk}), copies=0.3),
    LinkRule(frozenset({SnapshotChunk}), copies=0.5, delay_s=0.005),
)
"""Chunks of snapshots arrive a second time, soon or after the leader has changed."""


class Adversary:
    """Looks at the cluster, never at the code under test, and acts on nodes and links."""

    def __init__(self, injector: InjectorBase) -> None:
        self.injector = injector
        self.world = injector.world
        self.faults = injector.faults
        self.random = Random(f"{self.world.seed} N12 duels")
        self.losses = Random(f"{self.world.seed} D18 strikes")
        self.starved: frozenset[SimulatedHost] = frozenset()
        """The nodes that hear who leads, and nothing of what is decided."""
        self.candidate: SimulatedHost | None = None
        """The latest candidate."""

    # Nodes.

    @property
    def up(self) -> list[SimulatedHost]:
        """Return the nodes that run."""
        return [host for host in self.world.hosts if host.runtime is not None and not host.asleep]

    def starve(self) -> None:
        """Choose the node to starve from now on; none, in a third of all cases."""
        hosts = self.world.hosts
        starves = len(hosts) > 2 and self.random.random() < 0.67
        self.starved = frozenset({self.random.choice(hosts)}) if starves else frozenset()

    def laggard(self, among: Iterable[SimulatedHost]) -> SimulatedHost:
        """Return the node that knows the fewest decided slots; of several, a starved one, or one that does not lead."""
        leaders = self.world.leaders
        return min(among, key=lambda host: (host.decided, host not in self.starved, host in leaders))

    def ask(self, candidate: SimulatedHost, first: SimulatedHost | None = None) -> list[SimulatedHost]:
        """Return the nodes that ``candidate`` reaches: all before the founding, else just enough or one more."""
        others = [host for host in self.world.hosts if host is not candidate]
        self.random.shuffle(others)
        if self.world.invariants.chosen.membership is None:
            return others
        if first in others:
            others.remove(first)
            others.insert(0, first)
        return others[: self.enough + (self.random.random() < 0.2)]

    @property
    def enough(self) -> int:
        """Return how many other nodes make a quorum with one node."""
        return len(self.world.hosts) // 2

    # Actions.

    def campaign(self, host: SimulatedHost) -> None:
        """Make ``host`` campaign at once, if it runs."""
        if self.injector.is_on and host.runtime is not None and host.loop is not None and not host.asleep:
            self.world.coverage["a node was made to campaign"] += 1
            host.take(host.loop, host.campaign_at_once, ())

    def campaign_unless_leading(self, host: SimulatedHost) -> None:
        """Make ``host`` campaign at once, if it runs and does not lead."""
        if host.runtime is not None and not host.runtime.replica.leading:
            self.campaign(host)

    def call(self, host: SimulatedHost, count: int) -> None:
        """Make clients call ``host``, so that it has something to propose once it leads."""
        if self.world.clients is not None and self.injector.is_on:
            self.world.clients.call_at_once(host, count, writes=True)

    def take_snapshots(self, hosts: Iterable[SimulatedHost]) -> None:
        """Make these nodes take a snapshot each, behind which they trim their logs."""
        for host in hosts:
            if host.runtime is not None and host.loop is not None and not host.asleep:
                host.take(host.loop, host.runtime.snapshots.take, ())

    def after(self, delay_s: float, step: Callable[[], object]) -> None:
        """Call ``step`` after this time, if faults are still injected by then."""
        self.world.clock.after(delay_s, self._step, step)

    def _step(self, step: Callable[[], object]) -> None:
        if self.injector.is_on:
            step()

    # Links.

    def set_rules(self, rules_of: Callable[[Path], tuple[LinkRule, ...]]) -> None:
        """Set the rules of every link; starved nodes stay starved."""
        for path in self.world.network.paths:
            starving = (STARVING,) if path.target in self.starved else ()
            path.rules = (*rules_of(path), *starving)

    def stopping(self, kinds: Kinds) -> LinkRule:
        """Return a rule that loses these kinds, or holds them back."""
        if self.random.random() < 0.25:
            return LinkRule(kinds - HEARTBEATS, hold=0.5, loss=0.5)
        return LinkRule(kinds, loss=1.0)


def all_but(passing: Kinds) -> LinkRule:
    """Return a rule that loses everything but these kinds."""
    return LinkRule(EVERYTHING - passing, loss=1.0)
