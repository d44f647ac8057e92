"""The table of ``paxospp bench --sweep``: its rows, its goals, and the killed leader."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from paxospp.bench.benchmark import Benchmark, Measurement
from paxospp.bench.fail_over import measure_gaps
from paxospp.bench.floor import Floor
from paxospp.bench.histogram import Histogram
from paxospp.bench.progress_line import ProgressLine
from paxospp.bench.sweep_goals import GOALS, goal_outcomes
from paxospp.bench.sweep_rows import SweepRow, sweep_rows
from tests.cluster.embedding import run
from tests.cluster.serving import paxospp

BENCHMARK = Benchmark(in_flight=1, seconds=0.5, value_bytes=16, storage="file:{tmp}/{name}")


def measured(ops: int, ms: float) -> Measurement:
    latencies = Histogram()
    for _ in range(ops):
        latencies.add(ms / 1000)
    return Measurement(
        benchmark=BENCHMARK,
        nodes=3,
        latencies=latencies,
        errors=Counter(),
        differences=(),
        floor=floor(),
        cpu_s=ops * 5e-6,
    )


def floor() -> Floor:
    """A floor of 2 ms, which was not measured."""
    return cast("Floor", SimpleNamespace(total_ms=2.0, to_json=dict))


def test_every_goal_belongs_to_a_row_of_the_table() -> None:
    names = [row.name for row in sweep_rows(BENCHMARK, rocksdb=True)]
    assert len(set(names)) == len(names)
    assert {goal.row for goal in GOALS} <= set(names)


def test_a_row_is_the_median_of_its_repeats_and_a_goal_the_ratio_of_two_medians() -> None:
    reads, writes = SweepRow("reads 1024", BENCHMARK), SweepRow("remote 1024", BENCHMARK)
    reads.measurements = [measured(ops, ms) for ops, ms in ((100, 3.0), (900, 1.0), (500, 2.0))]
    writes.measurements = [measured(ops, 8.0) for ops in (100, 90, 1000)]

    told = reads.to_json()
    assert (told["ops"], told["ops_per_s"], told["repeats"]) == (1500, 1000.0, [200.0, 1800.0, 1000.0])
    assert told["p50_ms"] == pytest.approx(2.0, rel=0.01)

    assert reads.medians is not None
    assert writes.medians is not None
    outcomes = goal_outcomes({"reads 1024": reads.medians, "remote 1024": writes.medians})
    (outcome,) = [outcome for outcome in outcomes if outcome.goal.row == "reads 1024"]
    assert outcome.value == 5.0
    assert outcome.to_json() == {"goal": "× writes", "at_least": 2.0, "value": 5.0, "met": True}


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_sweep_measures_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    ended = paxospp("bench", "--sweep", "--repeats", "1", "--seconds", "0.5", "--json", timeout=600)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    rows = json.loads(ended.stdout)
    expected = [row.name for row in sweep_rows(BENCHMARK, rocksdb=True)]
    assert [row["row"] for row in rows] == [name for name in expected if name in {row["row"] for row in rows}]
    assert len(rows) >= len(expected) - 1  # rocksdb is an extra
    for row in rows:
        assert row["failures"] == []
        assert row["gap_ms"] > 0 if row["row"] == "fail-over" else row["ops"] > 0
    assert not list(tmp_path.iterdir())


def test_a_row_that_could_not_be_measured_has_no_goals() -> None:
    row = SweepRow("remote 64", BENCHMARK, failures=["waited 30 s for a leader"])
    assert row.medians is None
    assert row.to_json() == {"row": "remote 64", "failures": ["waited 30 s for a leader"]}
    assert goal_outcomes({}) == []


@pytest.mark.long
def test_a_client_measures_the_gap_when_the_leader_is_killed(tmp_path: Path) -> None:
    async def main() -> None:
        (gap_s,) = await measure_gaps(BENCHMARK, tmp_path, ProgressLine(io.StringIO()), kills=1)
        assert 0.05 < gap_s < 10

    run(main)
