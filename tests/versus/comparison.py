"""Measure paxospp and etcd in turns, and compare the medians."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from paxospp.bench.benchmark import Benchmark
from paxospp.bench.measuring import measure
from paxospp.bench.progress_line import ProgressLine
from tests.versus.etcd import measure_etcd

COLUMNS = (
    "in flight", "paxospp/s", "etcd/s", "writes ratio", "paxospp p50 ms", "etcd p50 ms", "p50 ratio", "goal", "",
)  # fmt: skip


class Figures(NamedTuple):
    """The figures of one measurement, or the medians of several."""

    ops_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us_per_op: float
    """Processor time of the process that made the calls."""


@dataclass(frozen=True)
class RatioGoal:
    """A bound on the ratio of paxospp to etcd: at least so many writes, or at most this p50."""

    writes_at_least: float | None = None
    p50_at_most: float | None = None

    def is_met(self, writes: float, p50: float) -> bool:
        return writes >= (self.writes_at_least or 0.0) and (self.p50_at_most is None or p50 <= self.p50_at_most)

    def __str__(self) -> str:
        return f"writes ≥ {self.writes_at_least:g}" if self.writes_at_least else f"p50 ≤ {self.p50_at_most:g}"


GOALS = {
    1: RatioGoal(p50_at_most=1.0),
    64: RatioGoal(writes_at_least=4.0),
    1024: RatioGoal(writes_at_least=10.0),
}
"""Goals by the number of calls in flight."""


@dataclass
class Comparison:
    """One benchmark, and what was measured of it so far."""

    benchmark: Benchmark
    ours: list[Figures] = field(default_factory=list)
    etcds: list[Figures] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    """Writes that paxospp acknowledged and lost."""

    def cells(self) -> tuple[str, ...]:
        """Return the cells under ``COLUMNS``."""
        ours, etcds = _medians(self.ours), _medians(self.etcds)
        writes, p50 = ours.ops_per_s / etcds.ops_per_s, ours.p50_ms / etcds.p50_ms
        goal = GOALS.get(self.benchmark.in_flight)
        return (
            f"{self.benchmark.in_flight:,}",
            f"{ours.ops_per_s:,.0f}",
            f"{etcds.ops_per_s:,.0f}",
            f"{writes:.2f}",
            f"{ours.p50_ms:.2f}",
            f"{etcds.p50_ms:.2f}",
            f"{p50:.2f}",
            str(goal or "-"),
            "" if goal is None or goal.is_met(writes, p50) else "missed",
        )

    def to_json(self) -> dict[str, Any]:
        ours, etcds = _medians(self.ours), _medians(self.etcds)
        return {
            "in_flight": self.benchmark.in_flight,
            "value_bytes": self.benchmark.value_bytes,
            "paxospp": ours._asdict(),
            "etcd": etcds._asdict(),
            "writes_ratio": ours.ops_per_s / etcds.ops_per_s,
            "p50_ratio": ours.p50_ms / etcds.p50_ms,
            "differences": self.differences,
        }


async def compare(comparisons: Sequence[Comparison], directory: Path, progress: ProgressLine, repeats: int) -> None:
    """Measure paxospp and etcd after each other, ``repeats`` times; every second time etcd goes first."""
    for repeat in range(1, repeats + 1):
        for comparison in comparisons:
            for name in ("paxospp", "etcd") if repeat % 2 else ("etcd", "paxospp"):
                progress.about = f"{name}, {comparison.benchmark.in_flight} in flight, repeat {repeat} of {repeats}"
                with tempfile.TemporaryDirectory(dir=directory) as own:
                    if name == "paxospp":
                        await _measure_ours(comparison, Path(own), progress)
                    else:
                        await _measure_etcd(comparison, Path(own), progress)


async def _measure_ours(comparison: Comparison, directory: Path, progress: ProgressLine) -> None:
    measured = await measure(comparison.benchmark, directory, progress)
    comparison.differences += measured.differences
    comparison.ours.append(Figures(measured.ops_per_s, measured.p50_ms, measured.p99_ms, measured.cpu_us_per_op))


async def _measure_etcd(comparison: Comparison, directory: Path, progress: ProgressLine) -> None:
    result = await measure_etcd(comparison.benchmark, directory, progress)
    latencies = result.latencies
    comparison.etcds.append(
        Figures(
            latencies.total / comparison.benchmark.seconds,
            latencies.percentile(0.50) * 1000,
            latencies.percentile(0.99) * 1000,
            result.cpu_s * 1e6 / latencies.total,
        )
    )


def _medians(figures: Sequence[Figures]) -> Figures:
    return Figures(*(statistics.median(column) for column in zip(*figures, strict=True)))
