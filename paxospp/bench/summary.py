"""Measurements as text: cells of tables and lines, which ``paxospp.cli`` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from paxospp import process_setup
from paxospp.bench.benchmark import Measurement
from paxospp.bench.sweep_rows import SweepRow

SWEEP_COLUMNS = ("row", "ops/s", "p50 ms", "p99 ms", "floor ms", "CPU µs", "errors", "elections")
GOAL_COLUMNS = ("row", "figure", "value", "goal", "")
NO_DISK_MS = 0.01
"""A sync faster than this does not reach a disk."""


def figures(measured: Measurement) -> Iterator[tuple[str, str]]:
    """Return names and values of the figures of one measurement."""
    benchmark, floor = measured.benchmark, measured.floor
    calls = "linearizable reads" if benchmark.reads else "writes"
    yield "mode", f"{benchmark.mode}, {calls}"
    clients = f" × {benchmark.clients} clients" if benchmark.clients > 1 else ""
    yield "in flight", f"{benchmark.in_flight:,}{clients}"
    yield "value", f"{benchmark.value_bytes:,} bytes"
    yield "storage", f"{benchmark.storage or 'that of the given cluster'}, {measured.nodes} nodes"
    yield "ops", f"{measured.ops:,} in {benchmark.seconds:g} s"
    yield "ops/s", f"{measured.ops_per_s:,.0f}"
    if benchmark.value_bytes >= 1024 and not benchmark.reads:
        yield "MB/s of values", f"{measured.ops_per_s * benchmark.value_bytes / 1e6:,.1f}"
    yield "p50", f"{measured.p50_ms:.3f} ms"
    yield "p99", f"{measured.p99_ms:.3f} ms"
    yield "errors", ", ".join(f"{count:,} {name}" for name, count in measured.errors.items()) or "0"
    yield "floor", f"{floor.total_ms:.3f} ms = {floor}"
    yield "p50 / floor", f"{measured.p50_ms / floor.total_ms:.2f}"
    yield "not replicated", f"{floor.alone_per_s:,.0f} ops/s in one process"
    whose = "the leader's" if benchmark.embedded else "the callers'"
    yield f"{whose} CPU per call", f"{measured.cpu_us_per_op:.1f} µs, on {process_setup.loop_name()}"
    if measured.elections:
        yield "elections during the run", str(measured.elections)


def verdict_lines(measured: Measurement) -> Iterator[str]:
    """Return whether the cluster has what it acknowledged, and a warning if nothing was synced to a disk."""
    if measured.benchmark.durable and measured.floor.fdatasync_ms < NO_DISK_MS:
        yield (
            "fdatasync takes no time here, so the data did not reach a disk: set the environment variable TMPDIR to a "
            "directory on a disk"
        )
    for difference in measured.differences:
        yield f"DIFFERENT: {difference}"
    if not measured.differences:
        yield f"every acknowledged write was read back, and the digests of all {measured.nodes} nodes agree"


def sweep_cells(row: SweepRow) -> tuple[str, ...]:
    """Return the cells of ``row`` under ``SWEEP_COLUMNS``."""
    medians = row.medians
    if medians is None:
        return (row.name, *["-"] * (len(SWEEP_COLUMNS) - 1))
    return (
        row.name,
        f"{medians.ops_per_s:,.0f}",
        f"{medians.p50_ms:.2f}",
        f"{medians.p99_ms:.2f}",
        f"{medians.floor_ms:.2f}",
        f"{medians.cpu_us_per_op:.1f}",
        f"{sum(measured.errors.total() for measured in row.measurements):,}",
        str(sum(measured.elections for measured in row.measurements)),
    )


def sweep_verdict_lines(rows: Sequence[SweepRow]) -> Iterator[str]:
    """Return what could not be measured and what was lost or altered, or that there is nothing of that kind."""
    for row in rows:
        for failure in row.failures:
            yield f"NOT MEASURED: {row.name}: {failure}"
        for difference in row.differences:
            yield f"DIFFERENT: {row.name}: {difference}"
    if not any(row.differences or row.failures for row in rows):
        yield "in every row, every acknowledged write was read back, and the digests of the nodes agree"
