"""The plan of a run: everything that a seed decides, and what was overridden.

``RunPlan.draw`` gives every decision a random stream of its own, so that overriding one (fewer faults, fewer nodes, a
shorter run) leaves the others as they were.
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
"""Length of the safety phase with contested elections, for three nodes."""

_LEASES = (0, 0, 100_000, 1_000_000, 1_500_000)
_CONTEST_LEASES = (0, 0, 0, 50_000, 300_000)
"""Length of leases with contested elections, in microseconds."""

_VALIDATED = 0.2
"""Share of the runs that are compared with the executable specification, which take nearly twice as long."""

_PROFILE_SETS = (PROFILES, TARGETED_PROFILES, SCRIPTED_PROFILES)
_PROFILES = {name: profile for known in _PROFILE_SETS for name, profile in known.profiles.items()}

Workload = Callable[[Random], tuple[Any, ...]]
Invariant = Callable[[Any], None]
"""Called with a machine of the class under test; annotated as the author of the machine likes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """Decisions of the seed to replace; None: keep it. These are the options of ``paxospp simulate``."""

    families: tuple[str, ...] | None = None
    nodes: int | None = None
    seconds: float | None = None
    validates: bool = False
    """Whether every run is compared with the executable specification, and not only a share of them."""

    def options(self) -> list[str]:
        """Return them as options of the command line."""
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
    """Everything that is decided about one run."""

    seed: int
    machine: Callable[[], StateMachine]
    workload: Workload
    invariant: Invariant | None
    nodes: int
    faults: Faults
    config: NodeConfig
    """The settings of every node that ``differing`` does not name."""
    differing: Mapping[int, NodeConfig]
    """Settings of nodes that differ from ``config``, by the index of the node."""
    pacing: Pacing
    profile: str
    """The name of the profile of faults; empty if there is none."""
    targeted_state: str
    """The state of nodes at which faults are aimed; empty if there is none."""
    older: frozenset[int]
    """Indexes of nodes of an older version, whose snapshot chunks do not name the ballot."""
    safety_s: float
    """Length of the safety phase."""
    write_s: float
    """Mean duration of a write to disk."""
    founds_first: bool
    """Whether the cluster is founded before faults are injected."""
    clients: int
    pace_s: float
    """Mean pause of a client between two calls."""
    damages_all: bool
    """Whether slots of every disk may be damaged, so that the cluster may get stuck."""
    reload_chance: float
    """Chance per applied slot that the state of a replica passes through a snapshot."""
    rolls_back: bool
    """Whether this run only puts an older disk back; see ``faults.rollback``."""
    lease_us: int
    """Length of leases when clients switch them on, in microseconds; 0: nobody does."""
    own_calls: float
    """Chance that a call concerns an instance of ``decide`` instead of the machine."""
    weak_reads: float
    """Chance that a read may see an older state, or uses a lease."""
    watchers: int
    validates: bool
    """Whether every step is compared with the executable specification; the events are the same."""
    cold_start: bool
    """Whether all nodes are stopped at the end and have to come up with the same state."""

    def config_of(self, index: int) -> NodeConfig:
        """Return the settings of one node."""
        return self.differing.get(index, self.config)

    @property
    def election_timeout_s(self) -> float:
        """Return the longest election timeout of any node."""
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
        """Return the plan of ``seed`` for this machine, with ``overrides`` in place of what the seed decides."""
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
            # Traffic grows with the square of the number of nodes, and a run has to stay small.
            safety_s=overrides.seconds
            or stream("seconds").choice(_CONTEST_S if contests else _SAFETY_S) * min(1.0, 3 / nodes),
            write_s=stream("write_s").choice((0.0003, 0.002) if contests else (0.0003, 0.002, 0.01)),
            founds_first=rolls_back or stream("founds_first").random() < (0.7 if contests else 0.8),
            clients=stream("clients").randint(5 if churns else 1, 8 if churns else 6),
            pace_s=0.01 if churns else 0.05 if contests else stream("pace").choice((0.02, 0.1, 0.3)),
            damages_all=stream("double fault").random() < 0.1,
            reload_chance=stream("rebirth").choice((0.0, 0.02, 0.2)),
            rolls_back=rolls_back,
            # Most leases outlast an election timeout: a lease that ends before any node campaigns tests nothing. With
            # contested elections, long leases would only prevent the elections.
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
    """Return ``config`` with these settings instead, which may lie beyond the limits."""
    if not settings:
        return config
    drawn = {field.name: getattr(config, field.name) for field in fields(config)}
    return UncheckedConfig(**{**drawn, **settings})
