"""The gap that a caller sees when the leader is killed: the longest time without an acknowledgement.

One client with one write under way; the leader's process gets SIGKILL, is started again when writes
go on, and once it follows and has caught up the next one is killed. Everything is at its default.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from paxospp.cli.bench.case import Case
from paxospp.cli.bench.load import CALL_TIMEOUT_S, REST_S
from paxospp.cli.bench.machine import PUT
from paxospp.cli.bench.meter import Meter
from paxospp.cli.local_cluster import (
    addresses_of,
    all_follow_one_leader,
    applied_by,
    leader_of,
    local_plan,
    start,
    until,
)
from paxospp.cli.status import Row
from paxospp.client import Client
from paxospp.errors import CallError
from paxospp.testing.cluster.processes import ServedNodes

SETTLE_WRITES = 20
"""How many writes are acknowledged before the next leader is killed."""


async def measure_gaps(case: Case, directory: Path, meter: Meter, kills: int) -> list[float]:
    """The gap in seconds at each of ``kills`` kills of the leader."""
    assert case.storage is not None, "somebody else's nodes are not killed"
    meter.at(f"starting {case.nodes} nodes")
    nodes = ServedNodes(local_plan(directory, case.nodes, storage=case.storage, plugins=case.plugins))
    try:
        await start(nodes, nodes.nodes)
        async with Client(addresses_of(nodes), timeout=CALL_TIMEOUT_S) as client:
            writing = _Writing(client, case)
            task = asyncio.ensure_future(writing.run())
            try:
                return [await _kill(nodes, writing, meter, f"{kill} of {kills}") for kill in range(1, kills + 1)]
            finally:
                task.cancel()
                await asyncio.wait([task])
    finally:
        await nodes.close()


async def _kill(nodes: ServedNodes, writing: _Writing, meter: Meter, which: str) -> float:
    await writing.acknowledged(SETTLE_WRITES)
    rows = await until(nodes, "a leader that all follow", all_follow_one_leader)
    leader = leader_of(rows)
    meter.at(f"kill {which}")
    writing.begin_gap()
    await nodes.kill(leader)
    await writing.resumed.wait()
    gap_s = writing.gap_s
    await start(nodes, [leader])
    goal = applied_by(rows)

    def caught_up(rows: Sequence[Row]) -> bool:
        return all_follow_one_leader(rows) and applied_by(row for row in rows if row["name"] == leader) >= goal

    await until(nodes, f"{leader} to catch up", caught_up)
    return gap_s


class _Writing:
    """One write after another, without end."""

    def __init__(self, client: Client, case: Case) -> None:
        self._client = client
        self._work = case.works()[0]
        self._count = 0
        self._wanted = 0
        self._have = asyncio.Event()
        self._acknowledged_at = time.monotonic()
        self._killed_at: float | None = None
        self.gap_s = 0.0
        self.resumed = asyncio.Event()
        """A write that began after the kill is acknowledged."""

    async def run(self) -> None:
        while True:
            begun = time.monotonic()
            try:
                await self._client.execute(PUT, self._work.key(0), self._work.value(self._count))
            except CallError:
                await asyncio.sleep(REST_S)
                continue
            now = time.monotonic()
            if self._killed_at is not None:
                self.gap_s = max(self.gap_s, now - self._acknowledged_at)
                if begun > self._killed_at:
                    self._killed_at = None
                    self.resumed.set()
            self._acknowledged_at = now
            self._count += 1
            if self._count >= self._wanted:
                self._have.set()

    async def acknowledged(self, more: int) -> None:
        """Wait until so many more are."""
        self._wanted = self._count + more
        self._have.clear()
        await self._have.wait()

    def begin_gap(self) -> None:
        """The leader is killed now."""
        self._killed_at = time.monotonic()
        self.gap_s = 0.0
        self.resumed.clear()
