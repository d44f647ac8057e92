"""The gap that callers notice when the leader is killed: the longest time between two acknowledgements.

One client writes, one call at a time, to a cluster with default settings. The leader's process gets SIGKILL. When
writes succeed again, the process is started again, and when its node has caught up, the next leader is killed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from paxospp.bench.benchmark import Benchmark
from paxospp.bench.kv_calls import PUT
from paxospp.bench.load_generator import CALL_TIMEOUT_S, RETRY_AFTER_S
from paxospp.bench.progress_line import ProgressLine
from paxospp.client import Client
from paxospp.client.cluster_status import NodeRow
from paxospp.errors import CallError
from paxospp.testing.cluster.local_nodes import (
    addresses_of,
    all_follow_one_leader,
    applied_by,
    leader_of,
    local_plan,
    start,
    until,
)
from paxospp.testing.cluster.served import ServedNodes

SETTLE_WRITES = 20
"""How many writes have to be acknowledged before the next leader is killed."""


async def measure_gaps(benchmark: Benchmark, directory: Path, progress: ProgressLine, kills: int) -> list[float]:
    """Kill the leader ``kills`` times; return the gap between acknowledgements at each kill, in seconds."""
    assert benchmark.storage is not None, "a cluster that was running before must not lose its leader"
    progress.show(f"starting {benchmark.nodes} nodes")
    plan = local_plan(directory, benchmark.nodes, storage=benchmark.storage, plugins=benchmark.plugins)
    nodes = ServedNodes(plan)
    try:
        await start(nodes, nodes.nodes)
        async with Client(addresses_of(nodes), timeout=CALL_TIMEOUT_S) as client:
            writer = _OneByOneWriter(client, benchmark)
            task = asyncio.ensure_future(writer.run())
            try:
                return [await _kill(nodes, writer, progress, f"{kill} of {kills}") for kill in range(1, kills + 1)]
            finally:
                task.cancel()
                await asyncio.wait([task])
    finally:
        await nodes.close()


async def _kill(nodes: ServedNodes, writer: _OneByOneWriter, progress: ProgressLine, which: str) -> float:
    await writer.acknowledged(SETTLE_WRITES)
    rows = await until(nodes, "all nodes to follow one leader", all_follow_one_leader)
    leader = leader_of(rows)
    progress.show(f"killing the leader, {which}")
    writer.begin_gap()
    await nodes.kill(leader)
    await writer.resumed.wait()
    gap_s = writer.gap_s
    await start(nodes, [leader])
    goal = applied_by(rows)

    def caught_up(rows: Sequence[NodeRow]) -> bool:
        return all_follow_one_leader(rows) and applied_by(row for row in rows if row["name"] == leader) >= goal

    await until(nodes, f"{leader} to catch up", caught_up)
    return gap_s


class _OneByOneWriter:
    """Writes without end, one call at a time."""

    def __init__(self, client: Client, benchmark: Benchmark) -> None:
        self._client = client
        self._spec = benchmark.load_specs()[0]
        self._count = 0
        self._awaited_count = 0
        self._reached = asyncio.Event()
        self._acknowledged_at = time.monotonic()
        self._killed_at: float | None = None
        self.gap_s = 0.0
        self.resumed = asyncio.Event()
        """Set when a write that began after the kill is acknowledged."""

    async def run(self) -> None:
        while True:
            begun = time.monotonic()
            try:
                await self._client.execute(PUT, self._spec.key(0), self._spec.value(self._count))
            except CallError:
                await asyncio.sleep(RETRY_AFTER_S)
                continue
            now = time.monotonic()
            if self._killed_at is not None:
                self.gap_s = max(self.gap_s, now - self._acknowledged_at)
                if begun > self._killed_at:
                    self._killed_at = None
                    self.resumed.set()
            self._acknowledged_at = now
            self._count += 1
            if self._count >= self._awaited_count:
                self._reached.set()

    async def acknowledged(self, more: int) -> None:
        """Wait until ``more`` further writes are acknowledged."""
        self._awaited_count = self._count + more
        self._reached.clear()
        await self._reached.wait()

    def begin_gap(self) -> None:
        """Measure the gap from now on; call it right before the leader is killed."""
        self._killed_at = time.monotonic()
        self.gap_s = 0.0
        self.resumed.clear()
