"""One case, from the start of its cluster to the last comparison.

Remote, the load is a ``Client``, in this process or in several; embedded, this process is the node
``n1``, the others are ``serve`` processes, and the load calls ``Node.execute``. The others of an
embedded cluster wait five seconds before they campaign, so that it is n1 that leads.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from paxospp.calls import Calls
from paxospp.cli.bench.alone import calls_per_s
from paxospp.cli.bench.case import Case, Result
from paxospp.cli.bench.checking import compare_digests, differences, forget, read_back
from paxospp.cli.bench.child import started
from paxospp.cli.bench.clients import ClientProcesses
from paxospp.cli.bench.echo import Echo
from paxospp.cli.bench.floor import Floor
from paxospp.cli.bench.histogram import Histogram
from paxospp.cli.bench.load import CALL_TIMEOUT_S, Load, Tally
from paxospp.cli.bench.machine import GET, MACHINE
from paxospp.cli.bench.meter import Meter
from paxospp.cli.local_cluster import (
    addresses_of,
    all_follow_one_leader,
    check_all,
    leader_of,
    local_plan,
    start,
    until,
)
from paxospp.cli.status import gather
from paxospp.client import Client
from paxospp.config import NodeConfig
from paxospp.errors import UnavailableError
from paxospp.node import Node
from paxospp.testing.cluster.hosting import Plan
from paxospp.testing.cluster.processes import ServedNodes

PATIENT = NodeConfig(election_timeout_s=5.0)
"""For those that are not meant to lead."""
ELECTIONS_MAX = 10
BEGIN_S = 0.1
"""From when the times of a measurement are told until it begins, so that all have heard them."""


async def measure(case: Case, directory: Path, meter: Meter) -> Result:
    """Raises PaxosppError if it could not be measured; what is wrong with the answers stands in the result."""
    syncs = 1 if case.durable and not case.reads else 0
    floor = Floor(directory, case.value_bytes, round_trips=1 if case.embedded else 2, syncs=syncs)
    async with started("echo") as child:
        echo = Echo(child)
        meter.at("measuring the floor")
        await floor.sample(echo)
        floor.alone_per_s = await calls_per_s(case)
        async with _cluster(case, directory, meter) as target:
            driven = await _drive(case, target, meter)
        await floor.sample(echo)
    return Result(
        case=case,
        nodes=len(target.addresses),
        latencies=_merged(driven.tallies),
        errors=sum((tally.errors for tally in driven.tallies), Counter[str]()),
        differences=driven.differences,
        floor=floor,
        cpu_s=sum(tally.cpu_s for tally in driven.tallies),
        elections=driven.elections,
    )


class _Target:
    """A cluster that takes calls."""

    def __init__(self, addresses: Sequence[str], look: Callable[[], None], node: Node | None = None) -> None:
        self.addresses = addresses
        self.look = look
        """Raises if a node of it ended."""
        self.node = node
        """The one in this process, if there is one."""

    @contextlib.asynccontextmanager
    async def calls(self) -> AsyncIterator[Calls]:
        if self.node is not None:
            yield self.node
            return
        async with Client(self.addresses, timeout=CALL_TIMEOUT_S) as client:
            yield client


@contextlib.asynccontextmanager
async def _cluster(case: Case, directory: Path, meter: Meter) -> AsyncIterator[_Target]:
    if case.storage is None:
        yield _Target(await _members(case.addresses), lambda: None)
        return
    meter.at(f"starting {case.nodes} nodes")
    config = PATIENT if case.embedded else None
    plan = local_plan(directory, case.nodes, storage=case.storage, plugins=case.plugins, config=config)
    nodes = ServedNodes(plan)
    try:
        if case.embedded:
            async with _leading_node(nodes, plan) as node:
                yield _Target(addresses_of(nodes), lambda: check_all(nodes), node)
        else:
            await start(nodes, nodes.nodes)
            await until(nodes, "the cluster to be founded", all_follow_one_leader)
            yield _Target(addresses_of(nodes), lambda: check_all(nodes))
    finally:
        await nodes.close()


@contextlib.asynccontextmanager
async def _leading_node(nodes: ServedNodes, plan: Plan) -> AsyncIterator[Node]:
    """The first of ``nodes`` in this process, leading; the others run."""
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
            rows = await until(nodes, "the cluster to be founded", all_follow_one_leader)
            leader = leader_of(rows)
            if leader == name:
                yield node
                return
            await nodes.kill(leader)
            await start(nodes, [leader])
        raise UnavailableError(
            f"{name}, in which the load runs, was not elected in {ELECTIONS_MAX} elections: try again"
        )


async def _members(addresses: Sequence[str]) -> list[str]:
    rows, _ = await gather(addresses)
    found = [str(row["address"]) for row in rows]
    if silent := [str(row["address"]) for row in rows if not row["reachable"]]:
        raise UnavailableError(
            f"{', '.join(silent)} does not answer: all nodes are compared at the end, so start it or correct --cluster"
        )
    return found


class _Driven(NamedTuple):
    """What came of the calls, what of it is not in the cluster, and how many elections there were meanwhile."""

    tallies: list[Tally]
    differences: list[str]
    elections: int


async def _drive(case: Case, target: _Target, meter: Meter) -> _Driven:
    works = case.works()
    async with target.calls() as calls:
        await calls.query(GET, f"{works[0].prefix}0", timeout=CALL_TIMEOUT_S)  # connected, and somebody leads
        led = await _round(target)
        if case.clients > 1:
            meter.at(f"starting {case.clients} clients")
            async with ClientProcesses.of(target.addresses, works) as clients:
                tallies = await timed(case, clients.run, meter)
        else:
            load = Load.of(calls, works[0])
            await load.prepare()
            tallies = await timed(case, load.run_alone, meter)
        target.look()  # before anything that would only say that nobody answers
        elections = await _round(target) - led
        meter.at("reading back")
        wrong: list[str] = []
        for work, tally in zip(works, tallies, strict=True):
            wrong += differences(work, tally, await read_back(calls, work))
        meter.at("comparing the nodes")
        wrong += await compare_digests(target.addresses, target.look)
        if case.storage is None:
            for work in works:
                await forget(calls, work)
    return _Driven(tallies, wrong, elections)


async def _round(target: _Target) -> int:
    """Of the highest ballot; the same twice means that nobody campaigned in between."""
    rows, _ = await gather(target.addresses)
    return max((int(row["ballot"][0]) for row in rows if row["ballot"]), default=0)


async def timed(
    case: Case, run: Callable[[float, float], Coroutine[Any, Any, list[Tally]]], meter: Meter
) -> list[Tally]:
    """``run`` from now on, measured once it is warm, for as long as the case says.

    Raises:
        UnavailableError: nothing was answered meanwhile.
    """
    measured_from = time.monotonic() + BEGIN_S + case.warm_up_s
    ticking = asyncio.ensure_future(meter.tick("measuring", measured_from, case.seconds))
    try:
        tallies = await run(measured_from, measured_from + case.seconds)
    finally:
        ticking.cancel()
    if not any(tally.latencies.total for tally in tallies):
        raise UnavailableError(f"not one call was answered in {case.seconds:g} s: give it more with --seconds")
    return tallies


def _merged(tallies: Sequence[Tally]) -> Histogram:
    merged = Histogram()
    for tally in tallies:
        merged.merge(tally.latencies.pairs())
    return merged
