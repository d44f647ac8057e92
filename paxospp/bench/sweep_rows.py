"""The rows of the table that ``--sweep`` prints: what each row measures, and the medians of its repeats."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from paxospp.bench.benchmark import Benchmark, Measurement

IN_FLIGHT = (1, 64, 256, 1024, 4096)


@dataclass(slots=True)
class SweepRow:
    """One row: a benchmark, and what its repeats have measured so far."""

    name: str
    benchmark: Benchmark
    kills_leader: bool = False
    """Whether the row measures the gap when the leader is killed, instead of the rate of calls."""
    measurements: list[Measurement] = field(default_factory=list)
    gaps_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """Why repeats could not be measured."""

    @property
    def medians(self) -> Medians | None:
        """The medians of all repeats; None if nothing was measured."""
        if not self.measurements and not self.gaps_s:
            return None
        return Medians(
            ops_per_s=_median([measured.ops_per_s for measured in self.measurements]),
            p50_ms=_median([measured.p50_ms for measured in self.measurements]),
            p99_ms=_median([measured.p99_ms for measured in self.measurements]),
            cpu_us_per_op=_median([measured.cpu_us_per_op for measured in self.measurements]),
            floor_ms=_median([measured.floor.total_ms for measured in self.measurements]),
            gap_s=_median(self.gaps_s),
            value_bytes=self.benchmark.value_bytes,
        )

    @property
    def differences(self) -> list[str]:
        return [difference for measured in self.measurements for difference in measured.differences]

    def to_json(self) -> dict[str, Any]:
        """Return the keys of ``Measurement.to_json``, with medians of the figures and sums of the counts."""
        found: dict[str, Any] = {"row": self.name}
        medians = self.medians
        if self.measurements and medians is not None:
            middle = min(self.measurements, key=lambda measured: abs(measured.ops_per_s - medians.ops_per_s))
            found |= middle.to_json()
            found |= {
                "ops": sum(measured.ops for measured in self.measurements),
                "errors": sum(measured.errors.total() for measured in self.measurements),
                "elections": sum(measured.elections for measured in self.measurements),
                "ops_per_s": round(medians.ops_per_s, 1),
                "p50_ms": round(medians.p50_ms, 4),
                "p99_ms": round(medians.p99_ms, 4),
                "load_cpu_us_per_op": round(medians.cpu_us_per_op, 2),
                "differences": self.differences,
            }
            found["repeats"] = [round(measured.ops_per_s, 1) for measured in self.measurements]
        if self.gaps_s and medians is not None:
            found |= {"gap_ms": round(medians.gap_s * 1000, 1)}
            found |= {"gaps_ms": [round(gap_s * 1000, 1) for gap_s in self.gaps_s]}
        return found | {"failures": self.failures}


@dataclass(frozen=True, slots=True, kw_only=True)
class Medians:
    """Medians over the repeats of one row; a figure that the row does not measure is 0."""

    ops_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us_per_op: float
    floor_ms: float
    gap_s: float
    value_bytes: int


def sweep_rows(base: Benchmark, *, rocksdb: bool) -> list[SweepRow]:
    """Return the rows of the table; each changes a few fields of ``base``."""
    many = replace(base, in_flight=1024)
    rows = [SweepRow(f"remote {n}", replace(base, in_flight=n)) for n in IN_FLIGHT]
    rows += [SweepRow(f"embedded {n}", replace(base, in_flight=n, embedded=True)) for n in IN_FLIGHT]
    if rocksdb:
        rows.append(SweepRow("rocksdb 1024", replace(many, storage="rocksdb:{tmp}/{name}")))
    rows += [
        SweepRow("100 kB 100", replace(base, in_flight=100, value_bytes=100_000)),
        SweepRow("reads 1024", replace(many, reads=True)),
        SweepRow("4 clients 256", replace(base, in_flight=256, clients=4)),
        SweepRow("5 nodes 1024", replace(many, nodes=5)),
        SweepRow("fail-over", replace(base, in_flight=1), kills_leader=True),
    ]
    return rows


def _median(figures: Sequence[float]) -> float:
    return statistics.median(figures) if figures else 0.0
