"""Run one benchmark, from the start of its cluster to the comparison of its nodes.

A remote benchmark uses a ``Client`` in this process, or several in client processes. In an embedded benchmark this
process is the node ``n1``, the other nodes are ``paxospp serve`` processes, and the load calls ``Node.execute``. Those
other nodes wait five seconds before they campaign, so that n1 becomes the leader.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from paxospp.bench.benchmark import Benchmark, Measurement
from paxospp.bench.child_process import started
from paxospp.bench.client_processes import ClientProcesses
from paxospp.bench.echo import EchoClient
from paxospp.bench.floor import Floor
from paxospp.bench.histogram import Histogram
from paxospp.bench.kv_calls import GET, MACHINE
from paxospp.bench.load_generator import CALL_TIMEOUT_S, LoadGenerator, LoadResult
from paxospp.bench.progress_line import ProgressLine
from paxospp.bench.readback import compare_digests, delete_keys, differences, read_back
from paxospp.bench.unreplicated import calls_per_s
from paxospp.calls import Calls
from paxospp.client import Client
from paxospp.client.cluster_status import gather_status
from paxospp.config import NodeConfig
from paxospp.errors import UnavailableError
from paxospp.node import Node
from paxospp.testing.cluster.local_nodes import (
    addresses_of,
    all_follow_one_leader,
    check_all,
    leader_of,
    local_plan,
    start,
    until,
)
from paxospp.testing.cluster.node_runner import ClusterPlan
from paxospp.testing.cluster.served import ServedNodes

FOLLOWER_CONFIG = NodeConfig(election_timeout_s=5.0)
"""Settings of the nodes that should not become leader."""
ELECTIONS_MAX = 10
BEGIN_S = 0.1
"""How far ahead the start is scheduled, so that all client processes hear of it in time."""

T = TypeVar("T")


async def measure(benchmark: Benchmark, directory: Path, progress: ProgressLine) -> Measurement:
    """Run ``benchmark`` once, with everything it stores below ``directory``.

    Lost or altered writes do not raise: they are in ``Measurement.differences``.

    Raises:
        PaxosppError: it could not be measured.
    """
    syncs = 1 if benchmark.durable and not benchmark.reads else 0
    floor = Floor(directory, benchmark.value_bytes, round_trips=1 if benchmark.embedded else 2, syncs=syncs)
    async with started("echo") as child:
        echo = EchoClient(child)
        progress.show("measuring the floor")
        await floor.sample(echo)
        floor.alone_per_s = await calls_per_s(benchmark.load_specs()[0])
        async with _cluster(benchmark, directory, progress) as cluster:
            outcome = await _run_load(benchmark, cluster, progress)
        await floor.sample(echo)
    return Measurement(
        benchmark=benchmark,
        nodes=len(cluster.addresses),
        latencies=_merged(outcome.results),
        errors=sum((result.errors for result in outcome.results), Counter[str]()),
        differences=outcome.differences,
        floor=floor,
        cpu_s=sum(result.cpu_s for result in outcome.results),
        elections=outcome.elections,
    )


class _ClusterUnderLoad:
    """A running cluster: how to call it, and how to see whether its nodes are still running."""

    def __init__(self, addresses: Sequence[str], check_nodes: Callable[[], None], node: Node | None = None) -> None:
        self.addresses = addresses
        self.check_nodes = check_nodes
        """Raises if one of its processes has ended; does nothing for a cluster that was running before."""
        self.node = node
        """The node that runs in this process, in an embedded benchmark."""

    @contextlib.asynccontextmanager
    async def calls(self) -> AsyncIterator[Calls]:
        if self.node is not None:
            yield self.node
            return
        async with Client(self.addresses, timeout=CALL_TIMEOUT_S) as client:
            yield client


@contextlib.asynccontextmanager
async def _cluster(benchmark: Benchmark, directory: Path, progress: ProgressLine) -> AsyncIterator[_ClusterUnderLoad]:
    if benchmark.storage is None:
        yield _ClusterUnderLoad(await _members(benchmark.addresses), lambda: None)
        return
    progress.show(f"starting {benchmark.nodes} nodes")
    config = FOLLOWER_CONFIG if benchmark.embedded else None
    plan = local_plan(directory, benchmark.nodes, storage=benchmark.storage, plugins=benchmark.plugins, config=config)
    nodes = ServedNodes(plan)
    try:
        if benchmark.embedded:
            async with _leading_node(nodes, plan) as node:
                yield _ClusterUnderLoad(addresses_of(nodes), lambda: check_all(nodes), node)
        else:
            await start(nodes, nodes.nodes)
            await until(nodes, "the nodes to elect a leader", all_follow_one_leader)
            yield _ClusterUnderLoad(addresses_of(nodes), lambda: check_all(nodes))
    finally:
        await nodes.close()


@contextlib.asynccontextmanager
async def _leading_node(nodes: ServedNodes, plan: ClusterPlan) -> AsyncIterator[Node]:
    """Run the first of ``nodes`` in this process, the others as processes, and wait until the first one leads."""
    name, *others = nodes.nodes
    node = Node(
        name,
        cluster=plan.addresses,
        storage=plan.storage_of(name),
        machine=MACHINE,
        allow_volatile=True,
        plugins=plan.plugins,
    )
    async with node:
        await start(nodes, others)
        for _ in range(ELECTIONS_MAX):
            rows = await until(nodes, "the nodes to elect a leader", all_follow_one_leader)
            leader = leader_of(rows)
            if leader == name:
                yield node
                return
            await nodes.kill(leader)
            await start(nodes, [leader])
        raise UnavailableError(
            f"{name}, the node in the benchmark's own process, did not become leader in {ELECTIONS_MAX} elections: "
            "run the benchmark again"
        )


async def _members(addresses: Sequence[str]) -> list[str]:
    rows, _ = await gather_status(addresses)
    if silent := [str(row["address"]) for row in rows if not row["reachable"]]:
        raise UnavailableError(
            f"no answer from {', '.join(silent)}: all nodes are compared at the end, so start it or correct --cluster"
        )
    return [str(row["address"]) for row in rows]


class _LoadOutcome(NamedTuple):
    """The results of the load, and what was found wrong afterwards."""

    results: list[LoadResult]
    differences: list[str]
    elections: int


async def _run_load(benchmark: Benchmark, cluster: _ClusterUnderLoad, progress: ProgressLine) -> _LoadOutcome:
    specs = benchmark.load_specs()
    async with cluster.calls() as calls:
        # A first query returns when the client is connected and there is a leader.
        await calls.query(GET, f"{specs[0].prefix}0", timeout=CALL_TIMEOUT_S)
        round_before = await _highest_round(cluster)
        if benchmark.clients > 1:
            progress.show(f"starting {benchmark.clients} clients")
            async with ClientProcesses.started(cluster.addresses, specs) as clients:
                results = await run_timed(benchmark, clients.run, progress)
        else:
            generator = LoadGenerator.for_calls(calls, specs[0])
            await generator.prepare()
            results = [await run_timed(benchmark, generator.run, progress)]
        cluster.check_nodes()  # first, because with an ended node what follows would only say that nobody answers
        if not any(result.latencies.total for result in results):
            raise UnavailableError(f"no call was answered within {benchmark.seconds:g} s: allow more with --seconds")
        elections = await _highest_round(cluster) - round_before
        progress.show("reading back")
        wrong: list[str] = []
        for spec, result in zip(specs, results, strict=True):
            wrong += differences(spec, result, await read_back(calls, spec))
        progress.show("comparing the nodes")
        wrong += await compare_digests(cluster.addresses, cluster.check_nodes)
        if benchmark.storage is None:
            for spec in specs:
                await delete_keys(calls, spec)
    return _LoadOutcome(results, wrong, elections)


async def _highest_round(cluster: _ClusterUnderLoad) -> int:
    """Return the round of the highest ballot. If it is the same later, no node campaigned in between."""
    rows, _ = await gather_status(cluster.addresses)
    return max((int(row["ballot"][0]) for row in rows if row["ballot"]), default=0)


async def run_timed(benchmark: Benchmark, run: Callable[[float, float], Awaitable[T]], progress: ProgressLine) -> T:
    """Call ``run`` with the times between which it measures: after the warm-up, for as long as ``benchmark`` says."""
    measured_from = time.monotonic() + BEGIN_S + benchmark.warm_up_s
    ticking = asyncio.ensure_future(progress.tick("measuring", measured_from, benchmark.seconds))
    try:
        return await run(measured_from, measured_from + benchmark.seconds)
    finally:
        ticking.cancel()


def _merged(results: Sequence[LoadResult]) -> Histogram:
    merged = Histogram()
    for result in results:
        merged.merge(result.latencies.pairs())
    return merged
