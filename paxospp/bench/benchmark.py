"""A benchmark describes what to measure; a measurement is the result of running it once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from paxospp import process_setup
from paxospp.bench.floor import Floor
from paxospp.bench.histogram import Histogram
from paxospp.bench.load_generator import LoadSpec, keys_per_worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """The description of one measurement: cluster, load and duration."""

    in_flight: int
    """Calls in flight per client."""
    seconds: float
    value_bytes: int
    clients: int = 1
    embedded: bool = False
    reads: bool = False
    nodes: int = 3
    storage: str | None
    """Storage URL of the cluster to start; None to measure the running cluster at ``addresses``."""
    durable: bool = True
    """Whether the storage syncs writes to a disk."""
    addresses: Sequence[str] = ()
    """Addresses of a running cluster; empty if the benchmark starts its own."""
    plugins: Sequence[str] = ()
    prefix: str = "b"
    """Prefix of every key that the benchmark writes."""

    @property
    def mode(self) -> str:
        return "embedded" if self.embedded else "remote"

    @property
    def warm_up_s(self) -> float:
        """Seconds of load before the measurement, in which connections, sessions and caches are set up."""
        return min(1.0, self.seconds / 2)

    def load_specs(self) -> list[LoadSpec]:
        """Return the load of each client."""
        keys = keys_per_worker(self.in_flight * self.clients, self.value_bytes)
        return [
            LoadSpec(
                in_flight=self.in_flight,
                value_bytes=self.value_bytes,
                reads=self.reads,
                prefix=f"{self.prefix}{client}.",
                keys_per_worker=keys,
            )
            for client in range(self.clients)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The result of one run of a benchmark."""

    benchmark: Benchmark
    nodes: int
    latencies: Histogram
    errors: Counter[str]
    differences: Sequence[str]
    """Acknowledged writes that are missing or altered, and nodes that disagree; empty unless something is broken."""
    floor: Floor
    cpu_s: float
    """Processor time of the processes that made the calls."""
    elections: int = 0
    """How far the highest ballot rose during the measurement; 0 if no node campaigned."""

    @property
    def ops(self) -> int:
        return self.latencies.total

    @property
    def ops_per_s(self) -> float:
        return self.ops / self.benchmark.seconds

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
        benchmark = self.benchmark
        return {
            "ops": self.ops,
            "seconds": benchmark.seconds,
            "ops_per_s": round(self.ops_per_s, 1),
            "p50_ms": round(self.p50_ms, 4),
            "p99_ms": round(self.p99_ms, 4),
            "errors": self.errors.total(),
            "mode": benchmark.mode,
            "reads": benchmark.reads,
            "in_flight": benchmark.in_flight,
            "clients": benchmark.clients,
            "value_bytes": benchmark.value_bytes,
            "storage": benchmark.storage,
            "nodes": self.nodes,
            "floor": self.floor.to_json(),
            "elections": self.elections,
            "loop": process_setup.loop_name(),
            "load_cpu_us_per_op": round(self.cpu_us_per_op, 2),
            "differences": list(self.differences),
        }
