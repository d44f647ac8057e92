"""A run before it runs: everything that a seed decides, and what of it was overridden.

``RunPlan.draw`` gives every decision a random stream of its own, so that overriding one (fewer
faults, fewer nodes, a shorter run) leaves the others as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from random import Random
from typing import Any

from paxospp.config import NodeConfig
from paxospp.node.pacing import Pacing
from paxospp.state_machine import StateMachine
from paxospp.testing.simulation.faults.families import Faults, draw_faults, draws_churn, draws_contests
from paxospp.testing.simulation.faults.profiles import PROFILES, ROLLED_BACK, Profile
from paxospp.testing.simulation.faults.scripted_profiles import SCRIPTED_PROFILES
from paxospp.testing.simulation.faults.targeted_profiles import TARGETED_PROFILES
from paxospp.testing.simulation.machines import Ledger
from paxospp.testing.simulation.node_settings import UncheckedConfig, draw_configs, draw_pacing

SIZES = (1, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 7)

_SAFETY_S = (1.0, 2.0, 4.0, 8.0)
_CONTEST_S = (2.0, 3.0, 4.0)
"""For how long, among three nodes, everything may go wrong."""

_LEASES = (0, 0, 100_000, 1_000_000, 1_500_000)
_CONTEST_LEASES = (0, 0, 0, 50_000, 300_000)
"""How long leases are, in microseconds."""

_VALIDATED = 0.2
"""The share of runs that are held against the executable specification, which take nearly twice as long."""

_PROFILE_SETS = (PROFILES, TARGETED_PROFILES, SCRIPTED_PROFILES)
_PROFILES = {name: profile for known in _PROFILE_SETS for name, profile in known.profiles.items()}

Workload = Callable[[Random], tuple[Any, ...]]
Invariant = Callable[[Any], None]
"""Called with a machine of the class under test, as its author annotates it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What is not as the seed says; None: as it says. These are the options of ``paxospp simulate``."""

    families: tuple[str, ...] | None = None
    nodes: int | None = None
    seconds: float | None = None
    validates: bool = False
    """Whether every run is held against the executable specification, and not only the share that is by itself."""

    def options(self) -> list[str]:
        """As they are typed."""
        options: list[str] = []
        if self.nodes is not None:
            options += ["--nodes", str(self.nodes)]
        if self.seconds is not None:
            options += ["--seconds", f"{self.seconds:g}"]
        if self.families is not None:
            options += ["--faults", ",".join(self.families) or "none"]
        if self.validates:
            options.append("--validate")
        return options


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """One run."""

    seed: int
    machine: Callable[[], StateMachine]
    workload: Workload
    invariant: Invariant | None
    nodes: int
    faults: Faults
    config: NodeConfig
    """The settings of every node that ``differing`` does not name."""
    differing: Mapping[int, NodeConfig]
    """The settings of those that differ from it, by their place among the nodes."""
    pacing: Pacing
    profile: str
    """The name of the drill that this is; empty where it is none."""
    targeted_state: str
    """The state in which nodes are struck; empty where none is waited for."""
    older: frozenset[int]
    """Places of nodes of a version whose snapshot chunks do not name the ballot."""
    safety_s: float
    """How long everything may go wrong."""
    write_s: float
    """Mean time of a write to disk."""
    founds_first: bool
    """Whether the cluster is founded before anything goes wrong."""
    clients: int
    pace_s: float
    """Mean time a client rests between two calls."""
    damages_all: bool
    """A double-fault run: slots of every disk may be damaged, so that waiting may be right."""
    rebirth: float
    """Chance per applied slot that a replica's state passes through a snapshot."""
    rolls_back: bool
    """Whether this run does nothing but put an older disk back; see ``rollback``."""
    lease_us: int
    """How long leases are when clients switch them on; 0 where nobody does."""
    own_calls: float
    """Chance that a call is one of the instances beside the machine."""
    weak_reads: float
    """Chance that a read may be of an older state, or by lease."""
    watchers: int
    validates: bool
    """Whether every step is held against the executable specification; what happens is the same."""
    cold_start: bool
    """Whether all nodes are stopped at the end and have to come up the same."""

    def config_of(self, index: int) -> NodeConfig:
        """The settings of one node."""
        return self.differing.get(index, self.config)

    @property
    def election_timeout_s(self) -> float:
        """The longest window of any node."""
        return max(config.election_timeout_s for config in (self.config, *self.differing.values()))

    @classmethod
    def draw(
        cls,
        seed: int,
        *,
        machine: Callable[[], StateMachine],
        workload: Workload,
        invariant: Invariant | None = None,
        overrides: Overrides = Overrides(),
    ) -> RunPlan:
        rolls_back = Random(f"{seed} rollback").random() < 0.02
        name = "" if rolls_back else next(filter(None, (known.draw(seed) for known in _PROFILE_SETS)), "")
        profile = _PROFILES.get(name, Profile())
        faults = draw_faults(seed)
        if name:
            faults = profile.faults_of(seed, faults)
        if overrides.families is not None:
            faults = faults.only(overrides.families)

        def stream(name: str) -> Random:
            return Random(f"{seed} {name}")

        replaced = profile.plan_of(seed)
        nodes = replaced.pop("nodes", None) or stream("nodes").choice(SIZES)
        nodes = overrides.nodes or nodes
        churns, contests = draws_churn(seed), draws_contests(seed)
        drawn = enumerate(draw_configs(seed, nodes))
        configs = tuple(_over(config, profile.settings_of(seed, index)) for index, config in drawn)
        is_ours = machine is Ledger
        rolls_back = rolls_back and nodes >= 3
        if rolls_back:
            faults = Faults()
        plan = cls(
            seed=seed,
            machine=machine,
            workload=workload,
            invariant=invariant,
            nodes=nodes,
            faults=faults,
            config=configs[0],
            differing={index: config for index, config in enumerate(configs) if config != configs[0]},
            pacing=replace(draw_pacing(seed), **profile.pacing_of(seed)),
            profile=ROLLED_BACK if rolls_back else name,
            targeted_state="",
            older=frozenset(index for index in range(nodes) if stream(f"version of {index}").random() < 0.1),
            # Traffic grows with the square of the nodes; a run is to stay small.
            safety_s=overrides.seconds
            or stream("seconds").choice(_CONTEST_S if contests else _SAFETY_S) * min(1.0, 3 / nodes),
            write_s=stream("write_s").choice((0.0003, 0.002) if contests else (0.0003, 0.002, 0.01)),
            founds_first=rolls_back or stream("founds_first").random() < (0.7 if contests else 0.8),
            clients=stream("clients").randint(5 if churns else 1, 8 if churns else 6),
            pace_s=0.01 if churns else 0.05 if contests else stream("pace").choice((0.02, 0.1, 0.3)),
            damages_all=stream("double fault").random() < 0.1,
            rebirth=stream("rebirth").choice((0.0, 0.02, 0.2)),
            rolls_back=rolls_back,
            # Most outlast an election's window: a lease that is over before anybody campaigns proves nothing.
            # Where somebody campaigns all the time, they would only stop that.
            lease_us=stream("lease").choice(_CONTEST_LEASES if contests else _LEASES) if is_ours else 0,
            own_calls=stream("own calls").choice((0.0, 0.0, 0.1)) if is_ours else 0.0,
            weak_reads=stream("weak reads").choice((0.0, 0.3, 0.6)),
            watchers=stream("watchers").choice((0, 0, 1, 2)),
            validates=not rolls_back and (overrides.validates or stream("validates").random() < _VALIDATED),
            cold_start=stream("cold start").random() < 0.25,
        )
        if overrides.seconds is not None:
            replaced.pop("safety_s", None)
        return replace(plan, **replaced)


def _over(config: NodeConfig, settings: Mapping[str, Any]) -> NodeConfig:
    """``config`` with these settings instead, which may lie past the limits."""
    if not settings:
        return config
    drawn = {field.name: getattr(config, field.name) for field in fields(config)}
    return UncheckedConfig(**{**drawn, **settings})
