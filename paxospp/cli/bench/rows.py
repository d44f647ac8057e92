"""The rows of a sweep: what each measures, and the medians of what came of its repeats."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any

from paxospp.cli.bench.case import Case, Result

IN_FLIGHT = (1, 64, 256, 1024, 4096)


class Kind(Enum):
    """How a row is measured."""

    PAXOSPP = auto()
    ETCD = auto()
    FAIL_OVER = auto()


@dataclass(slots=True)
class Row:
    """One line of the table."""

    name: str
    case: Case
    kind: Kind = Kind.PAXOSPP
    results: list[Result] = field(default_factory=list)
    gaps_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """Of repeats that could not be measured, why."""

    @property
    def medians(self) -> Medians | None:
        """None if nothing was measured."""
        if not self.results and not self.gaps_s:
            return None
        floors = [result.floor.total_ms for result in self.results if result.floor is not None]
        return Medians(
            ops_per_s=_median([result.ops_per_s for result in self.results]),
            p50_ms=_median([result.p50_ms for result in self.results]),
            p99_ms=_median([result.p99_ms for result in self.results]),
            cpu_us_per_op=_median([result.cpu_us_per_op for result in self.results]),
            floor_ms=_median(floors),
            gap_s=_median(self.gaps_s),
            value_bytes=self.case.value_bytes,
        )

    @property
    def differences(self) -> list[str]:
        return [difference for result in self.results for difference in result.differences]

    def to_json(self) -> dict[str, Any]:
        """As of a single measurement, with medians in place of figures and sums in place of counts."""
        found: dict[str, Any] = {"row": self.name}
        medians = self.medians
        if self.results and medians is not None:
            middle = min(self.results, key=lambda result: abs(result.ops_per_s - medians.ops_per_s))
            found |= middle.to_json()
            found |= {
                "ops": sum(result.ops for result in self.results),
                "errors": sum(result.errors.total() for result in self.results),
                "elections": sum(result.elections for result in self.results),
                "ops_per_s": round(medians.ops_per_s, 1),
                "p50_ms": round(medians.p50_ms, 4),
                "p99_ms": round(medians.p99_ms, 4),
                "load_cpu_us_per_op": round(medians.cpu_us_per_op, 2),
                "differences": self.differences,
            }
            found["repeats"] = [round(result.ops_per_s, 1) for result in self.results]
        if self.gaps_s and medians is not None:
            found |= {"gap_ms": round(medians.gap_s * 1000, 1)}
            found |= {"gaps_ms": [round(gap_s * 1000, 1) for gap_s in self.gaps_s]}
        return found | {"failures": self.failures}


@dataclass(frozen=True, slots=True, kw_only=True)
class Medians:
    """Of the repeats of one row; 0 for what it does not have."""

    ops_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us_per_op: float
    floor_ms: float
    gap_s: float
    value_bytes: int


def rows_of(base: Case, *, etcd: bool, rocksdb: bool) -> list[Row]:
    """The table, with ``base`` for everything that a row does not change."""
    many = replace(base, in_flight=1024)
    rows = [Row(f"remote {n}", replace(base, in_flight=n)) for n in IN_FLIGHT]
    rows += [Row(f"embedded {n}", replace(base, in_flight=n, embedded=True)) for n in IN_FLIGHT]
    if etcd:
        rows += [Row(f"etcd {n}", replace(base, in_flight=n, storage="etcd"), Kind.ETCD) for n in IN_FLIGHT]
    if rocksdb:
        rows.append(Row("rocksdb 1024", replace(many, storage="rocksdb:{tmp}/{name}")))
    rows += [
        Row("100 kB 100", replace(base, in_flight=100, value_bytes=100_000)),
        Row("reads 1024", replace(many, reads=True)),
        Row("4 clients 256", replace(base, in_flight=256, clients=4)),
        Row("5 nodes 1024", replace(many, nodes=5)),
        Row("fail-over", replace(base, in_flight=1), Kind.FAIL_OVER),
    ]
    return rows


def _median(figures: Sequence[float]) -> float:
    return statistics.median(figures) if figures else 0.0
