"""What a measurement looks like on a terminal: a table, the latencies as bars, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator

from paxospp.cli import loop
from paxospp.cli.bench.case import Result
from paxospp.cli.showing import print_table, say

NO_DISK_MS = 0.01
"""No disk that keeps what it says it keeps is faster."""


def show(result: Result, etcd: Result | None) -> None:
    print_table(("measured", ""), list(_figures(result)))
    say("")
    for line in result.latencies.draw():
        say(line.rstrip())
    say("")
    if etcd is not None:
        ratio = f", ours are {result.ops_per_s / etcd.ops_per_s:.1f} ×" if etcd.ops else ""
        say(
            f"etcd: {etcd.ops_per_s:,.0f} writes/s, p50 {etcd.p50_ms:.3f} ms, p99 {etcd.p99_ms:.3f} ms, "
            f"{etcd.errors.total():,} errors, {etcd.cpu_us_per_op:.1f} µs of its callers' CPU{ratio}"
        )
    if result.case.durable and result.floor is not None and result.floor.fdatasync_ms < NO_DISK_MS:
        say("fdatasync takes next to nothing here: if TMPDIR is not on a disk, nothing of this survives a power cut")
    say_differences(result)


def say_differences(result: Result) -> None:
    for difference in result.differences:
        say(f"DIFFERENT: {difference}")
    if not result.differences:
        say(f"every acknowledged write was read back, and the digests of all {result.nodes} nodes agree")


def _figures(result: Result) -> Iterator[tuple[str, str]]:
    case = result.case
    calls = "linearizable reads" if case.reads else "writes"
    yield "mode", f"{case.mode}, {calls}"
    yield "in flight", f"{case.in_flight:,}" + (f" × {case.clients} clients" if case.clients > 1 else "")
    yield "value", f"{case.value_bytes:,} bytes"
    yield "storage", f"{case.storage or 'as that cluster has it'}, {result.nodes} nodes"
    yield "ops", f"{result.ops:,} in {case.seconds:g} s"
    yield "ops/s", f"{result.ops_per_s:,.0f}"
    if case.value_bytes >= 1024 and not case.reads:
        yield "MB/s of values", f"{result.ops_per_s * case.value_bytes / 1e6:,.1f}"
    yield "p50", f"{result.p50_ms:.3f} ms"
    yield "p99", f"{result.p99_ms:.3f} ms"
    yield "errors", ", ".join(f"{count:,} {name}" for name, count in result.errors.items()) or "0"
    if result.floor is not None:
        yield "floor", f"{result.floor.total_ms:.3f} ms = {result.floor}"
        yield "with nothing to agree on", f"{result.floor.alone_per_s:,.0f} ops/s in one loop"
        yield "p50 / floor", f"{result.p50_ms / result.floor.total_ms:.2f}"
    whose = "the leader's" if case.embedded else "the callers'"
    yield f"{whose} CPU per call", f"{result.cpu_us_per_op:.1f} µs, on {loop.name()}"
    if result.elections:
        yield "elections meanwhile", str(result.elections)
