"""What is measured, and what came of it: one case, one result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from paxospp.cli import loop
from paxospp.cli.bench.floor import Floor
from paxospp.cli.bench.histogram import Histogram
from paxospp.cli.bench.load import Work, keys_per_worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One measurement."""

    in_flight: int
    """Per client."""
    seconds: float
    value_bytes: int
    clients: int = 1
    embedded: bool = False
    reads: bool = False
    nodes: int = 3
    storage: str | None
    """None: the cluster is somebody else's."""
    durable: bool = True
    """Whether a write waits for a disk."""
    addresses: Sequence[str] = ()
    """Of somebody else's cluster."""
    plugins: Sequence[str] = ()
    prefix: str = "b"

    @property
    def mode(self) -> str:
        return "embedded" if self.embedded else "remote"

    @property
    def warm_up_s(self) -> float:
        """Not counted: connections, sessions and caches come up meanwhile."""
        return min(1.0, self.seconds / 2)

    def works(self) -> list[Work]:
        """One per client."""
        keys = keys_per_worker(self.in_flight * self.clients, self.value_bytes)
        return [
            Work(
                in_flight=self.in_flight,
                value_bytes=self.value_bytes,
                reads=self.reads,
                prefix=f"{self.prefix}{client}.",
                keys_per_worker=keys,
            )
            for client in range(self.clients)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What was measured of a case."""

    case: Case
    nodes: int
    latencies: Histogram
    errors: Counter[str]
    differences: Sequence[str]
    """Where what was acknowledged is not what is there; empty, or something is broken."""
    floor: Floor | None
    """None for others than us."""
    cpu_s: float
    """What the processes that made the calls spent on it."""
    elections: int = 0
    """How far ballots rose meanwhile; nobody should have campaigned."""

    @property
    def ops(self) -> int:
        return self.latencies.total

    @property
    def ops_per_s(self) -> float:
        return self.ops / self.case.seconds

    @property
    def p50_ms(self) -> float:
        return self.latencies.percentile(0.50) * 1000

    @property
    def p99_ms(self) -> float:
        return self.latencies.percentile(0.99) * 1000

    @property
    def cpu_us_per_op(self) -> float:
        return self.cpu_s * 1e6 / self.ops if self.ops else 0.0

    def to_json(self) -> dict[str, Any]:
        case = self.case
        return {
            "ops": self.ops,
            "seconds": case.seconds,
            "ops_per_s": round(self.ops_per_s, 1),
            "p50_ms": round(self.p50_ms, 4),
            "p99_ms": round(self.p99_ms, 4),
            "errors": self.errors.total(),
            "mode": case.mode,
            "reads": case.reads,
            "in_flight": case.in_flight,
            "clients": case.clients,
            "value_bytes": case.value_bytes,
            "storage": case.storage,
            "nodes": self.nodes,
            "floor": self.floor and self.floor.to_json(),
            "elections": self.elections,
            "loop": loop.name(),
            "load_cpu_us_per_op": round(self.cpu_us_per_op, 2),
            "differences": list(self.differences),
        }
