"""The world of a scenario: its hosts, its network, and a clock that only commands advance."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from random import Random

from paxospp.engine.settings import Settings
from paxospp.model import Ballot, Member, Membership, NodeId, Slot
from paxospp.testing.scenario.disk import ScenarioDisk, founding_write
from paxospp.testing.scenario.host import ScenarioHost
from paxospp.testing.scenario.language import ScenarioError, nearest, parse_settings
from paxospp.testing.scenario.network import ScenarioNetwork
from paxospp.testing.scenario.selecting import Envelope

_STEP_S = 0.05
_QUIET_ROUNDS_MAX = 1000


class ScenarioWorld:
    """The hosts, the network and the time of one scenario, and the lines that say what happened."""

    def __init__(self, settings: Settings) -> None:
        self.hosts: dict[NodeId, ScenarioHost] = {}
        self.network = ScenarioNetwork()
        self.now = 0.0
        self.story: list[str] = []
        self.shows_heartbeats = False
        self._settings = settings
        self._own_settings: dict[str, list[str]] = {}
        self._random = Random(0)

    def tell(self, line: str) -> None:
        """Add a line to the story."""
        self.story.append(line)

    # Hosts.

    def configure(self, words: Sequence[str], name: str | None = None) -> None:
        """Set fields of ``Settings`` for all nodes, or for the node ``name``, from their next start on.

        Raises:
            ScenarioError: a field is unknown, or its value is not valid.
        """
        if name is None:
            self._settings = parse_settings(words, self._settings)
        else:
            parse_settings(words, self._settings)
            self._own_settings.setdefault(name, []).extend(words)

    def make_cluster(self, size: int, *, founded: bool) -> None:
        """Make n1 to n``size`` and start them, in place of an earlier cluster; ``founded``: slot 1 is decided."""
        self.hosts.clear()
        self.network = ScenarioNetwork()
        for number in range(1, size + 1):
            name = NodeId(f"n{number}")
            self.hosts[name] = ScenarioHost(
                name, ScenarioDisk(incarnation=number), post=self.network.post, tell=self.tell
            )
        if unknown := sorted(set(self._own_settings) - set(self.hosts)):
            raise ScenarioError(f"settings: {unknown[0]!r} is not a node; {nearest(unknown[0], self.hosts)}")
        if founded:
            members = tuple(Member(name, f"{name}:1", host.disk.incarnation) for name, host in self.hosts.items())
            founding = Membership(
                cluster_id=bytes(16),
                group=0,
                alpha=self._settings.alpha,
                session_expiry_s=self._settings.session_expiry_s,
                replaces=Slot(0),
                members=members,
            )
            for host in self.hosts.values():
                host.disk.write(founding_write(Ballot(1, NodeId("n1"), 1), founding))
        for host in self.hosts.values():
            self.start(host)
        self.story = []

    @property
    def nodes(self) -> Collection[NodeId]:
        """The names of all hosts.

        Raises:
            ScenarioError: no cluster was made yet.
        """
        if not self.hosts:
            raise ScenarioError("no cluster was made yet: begin with a line such as 'cluster 3'")
        return self.hosts

    def host(self, name: str) -> ScenarioHost:
        """Return the host of that name.

        Raises:
            ScenarioError: no host has that name.
        """
        if name not in self.nodes:
            raise ScenarioError(f"{name!r} is not a node; {nearest(name, self.hosts)}")
        return self.hosts[NodeId(name)]

    def names(self, words: Sequence[str]) -> list[NodeId]:
        """Return the nodes that ``words`` name, in their order; all nodes if ``words`` is empty."""
        return [self.host(word).name for word in words] if words else list(self.nodes)

    def start(self, host: ScenarioHost) -> None:
        """Start ``host``; if it is running, it ends first."""
        settings = parse_settings(self._own_settings.get(host.name, ()), self._settings)
        cluster = {name: f"{name}:1" for name in self.hosts}
        host.start(cluster, settings, self._random.getrandbits(60), self.now)

    # Messages.

    def is_shown(self, envelope: Envelope) -> bool:
        """Whether the story mentions ``envelope``."""
        return self.shows_heartbeats or not envelope.is_heartbeat

    def arrive(self, envelope: Envelope) -> None:
        """Let ``envelope`` arrive, unless its link is cut or its receiver is down."""
        host = self.hosts[envelope.target]
        if self.network.is_cut(envelope) or host.replica is None:
            self.lose(envelope)
            return
        is_shown = self.is_shown(envelope)
        if is_shown:
            self.tell(str(envelope))
        host.receive(envelope, self.now, is_shown=is_shown)

    def lose(self, envelope: Envelope) -> None:
        """Tell that ``envelope`` is lost."""
        if self.is_shown(envelope):
            self.tell(f"lost {envelope}")

    # Running.

    def stabilize(self, among: Collection[NodeId]) -> None:
        """Let writes of these hosts return and messages among them arrive, until nothing more happens."""
        for _ in range(_QUIET_ROUNDS_MAX):
            if not self._settle_once(among):
                return
        raise ScenarioError(f"messages and writes still follow each other after {_QUIET_ROUNDS_MAX} rounds")

    def pass_time(self, seconds: float, among: Collection[NodeId], *, settle: bool) -> None:
        """Let time pass for these hosts in steps; with ``settle``, run ``stabilize`` after each step."""
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now = min(self.now + _STEP_S, end)
            self.tick(sorted(among))
            if settle:
                self.stabilize(among)

    def tick(self, names: Sequence[NodeId]) -> None:
        """Let the running ones of these hosts do what is due now."""
        for name in names:
            host = self.hosts[name]
            if host.replica is not None:
                host.honour(host.replica.on_tick(self.now), self.now)

    def _settle_once(self, among: Collection[NodeId]) -> bool:
        moved = False
        for name in sorted(among):
            host = self.hosts[name]
            if not host.hangs:
                moved |= host.persist(self.now)
        arriving = self.network.take(
            lambda envelope: (
                envelope.source in among and envelope.target in among and not self.network.is_held(envelope)
            )
        )
        for envelope in arriving:
            if self.network.lets_arrive(envelope):
                self.arrive(envelope)
            else:
                self.lose(envelope)
        return moved or bool(arriving)
