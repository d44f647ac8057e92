"""A run before it runs: everything that a seed decides, and what of it was overridden.

``Plan.draw`` gives every decision a random stream of its own, so that overriding one (fewer
faults, fewer nodes, a shorter run) leaves the others as they were.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from paxospp.config import NodeConfig
from paxospp.state_machine import StateMachine
from paxospp.testing.simulation.faults import Faults, draw_faults, draws_churn
from paxospp.testing.simulation.machines import Ledger

SIZES = (1, 2, 3, 3, 3, 4, 5, 5, 7)

Workload = Callable[[Random], tuple[Any, ...]]
Invariant = Callable[[Any], None]
"""Called with a machine of the class under test, as its author annotates it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What is not as the seed says; None: as it says. These are the options of ``paxospp simulate``."""

    families: tuple[str, ...] | None = None
    nodes: int | None = None
    seconds: float | None = None

    def options(self) -> list[str]:
        """As they are typed."""
        options: list[str] = []
        if self.nodes is not None:
            options += ["--nodes", str(self.nodes)]
        if self.seconds is not None:
            options += ["--seconds", f"{self.seconds:g}"]
        if self.families is not None:
            options += ["--faults", ",".join(self.families) or "none"]
        return options


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run."""

    seed: int
    machine: Callable[[], StateMachine]
    workload: Workload
    invariant: Invariant | None
    nodes: int
    faults: Faults
    config: NodeConfig
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
    cold_start: bool
    """Whether all nodes are stopped at the end and have to come up the same."""

    @classmethod
    def draw(
        cls,
        seed: int,
        *,
        machine: Callable[[], StateMachine],
        workload: Workload,
        invariant: Invariant | None = None,
        overrides: Overrides = Overrides(),
    ) -> Plan:
        faults = draw_faults(seed)
        if overrides.families is not None:
            faults = faults.only(overrides.families)

        def stream(name: str) -> Random:
            return Random(f"{seed} {name}")

        nodes = overrides.nodes or stream("nodes").choice(SIZES)
        churns = draws_churn(seed)
        is_ours = machine is Ledger
        rolls_back = nodes >= 3 and stream("rollback").random() < 0.02
        if rolls_back:
            faults = Faults()
        return cls(
            seed=seed,
            machine=machine,
            workload=workload,
            invariant=invariant,
            nodes=nodes,
            faults=faults,
            config=_draw_config(stream("config")),
            # Traffic grows with the square of the nodes; a run is to stay small.
            safety_s=overrides.seconds or stream("seconds").choice((2.0, 4.0, 8.0, 16.0)) * min(1.0, 3 / nodes),
            write_s=stream("write_s").choice((0.0003, 0.002, 0.01)),
            founds_first=rolls_back or stream("founds_first").random() < 0.8,
            clients=stream("clients").randint(5 if churns else 1, 8 if churns else 6),
            pace_s=0.01 if churns else stream("pace").choice((0.02, 0.1, 0.3)),
            damages_all=stream("double fault").random() < 0.1,
            rebirth=stream("rebirth").choice((0.0, 0.02, 0.2)),
            rolls_back=rolls_back,
            # Most outlast an election's window: a lease that is over before anybody campaigns proves nothing.
            lease_us=stream("lease").choice((0, 0, 100_000, 1_000_000, 1_500_000)) if is_ours else 0,
            own_calls=stream("own calls").choice((0.0, 0.0, 0.1)) if is_ours else 0.0,
            weak_reads=stream("weak reads").choice((0.0, 0.3, 0.6)),
            watchers=stream("watchers").choice((0, 0, 1, 2)),
            cold_start=stream("cold start").random() < 0.25,
        )


def _draw_config(random: Random) -> NodeConfig:
    return NodeConfig(
        heartbeat_interval_s=random.choice((0.05, 0.1)),
        election_timeout_s=random.choice((0.4, 0.6)),
        alpha=random.choice((1, 4, 16, 256, 256)),
        chunk_bytes_max=random.choice((1 << 10, 1 << 20)),
        tail_bytes_max=random.choice((1 << 10, 4 << 10, 32 << 20)),
        batch_bytes_max=random.choice((1 << 10, 4 << 20)),
        inbox_calls_max=random.choice((4, 16_384)),
        value_bytes_max=1 << 10,
        inbox_bytes_max=1 << 20,
        peer_queue_bytes_max=64 << 20,
        snapshot_log_slots_max=random.choice((4, 16, 64, 100_000)),
        snapshot_log_bytes_max=random.choice((1 << 10, 8 << 20)),
        kept_log_slots_max=random.choice((1, 8, 100_000)),
        snapshot_interval_s=random.choice((0.5, 5.0, 3600.0)),
        session_expiry_s=random.choice((1, 3, 3600, 3600)),
    )
