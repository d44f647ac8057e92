"""``paxospp demo``: the main job on this machine, with its leader killed under load.

Starts a cluster of ``serve`` processes, writes real text, kills the leader with SIGKILL while
writes are in flight, shows how long they stood still, starts it again, waits until it caught up,
and then reads every value back from every node and compares it, and the nodes' digests, with
what was written. Any difference ends in exit code 1. Nothing is left behind: no process, no file.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from paxospp.cli import loop
from paxospp.cli.arguments import EXIT_FAILED
from paxospp.cli.demo.material import Value, from_file, own_source
from paxospp.cli.demo.writing import Writing, percentile, read_differences
from paxospp.cli.local_cluster import (
    addresses_of,
    all_applied_the_same,
    all_follow_one_leader,
    applied_by,
    leader_of,
    local_plan,
    somebody_leads,
    start,
    until,
)
from paxospp.cli.showing import Advance, print_table, progress, say
from paxospp.cli.status import Row
from paxospp.client import Client
from paxospp.plugins import PluginRegistry
from paxospp.storage.url import complete_url, expand_url
from paxospp.testing.cluster.processes import ServedNodes

WRITES_MIN = 5_000
CATCH_UP_TIMEOUT_S = 60.0
CALL_TIMEOUT_S = 30.0


def run(options: argparse.Namespace) -> int:
    """0 if every value on every node is what was written, else 1."""
    material = own_source() if options.input is None else from_file(options.input)
    plugins: Sequence[str] = options.plugin or ()
    registry = PluginRegistry(plugins)
    storage = complete_url(options.storage, registry.schemes)
    with tempfile.TemporaryDirectory(prefix="paxospp-demo-") as directory:
        # A URL that cannot be is found out here, in one line, and not by three processes.
        registry.storage(expand_url(storage, tmp=directory, name="n1"))
        plan = local_plan(Path(directory), options.nodes, storage=storage, plugins=plugins)
        return loop.run(_run(ServedNodes(plan), material))


async def _run(processes: ServedNodes, material: Mapping[str, Value]) -> int:
    try:
        return await _Demo(processes, material).run()
    finally:
        await processes.close()


class _Demo:
    """The story, act by act."""

    def __init__(self, processes: ServedNodes, material: Mapping[str, Value]) -> None:
        self._processes = processes
        self._addresses = addresses_of(processes)
        self._material = material
        self._rounds = -(-WRITES_MIN // len(material))

    async def run(self) -> int:
        names = list(self._processes.nodes)
        say(f"starting {', '.join(names)} on {', '.join(self._addresses)}")
        await start(self._processes, names)
        rows = await until(self._processes, "the cluster to be founded", all_follow_one_leader)
        say(f"{leader_of(rows)} leads")
        async with Client(self._addresses, timeout=CALL_TIMEOUT_S) as client:
            writing, catch_up_s = await self._write(client)
        differences = await self._compare()
        undisturbed = sorted(writing.latencies_s[: writing.before_kill])
        figures = (
            ("writes/s, gap included", f"{len(writing.latencies_s) / writing.seconds:,.0f}"),
            ("p50 before the kill", f"{percentile(undisturbed, 0.50) * 1000:.1f} ms"),
            ("p99 before the kill", f"{percentile(undisturbed, 0.99) * 1000:.1f} ms"),
            ("gap at fail-over", f"{writing.gap_s * 1000:.0f} ms"),
            ("catch-up, start included", f"{catch_up_s:.2f} s"),
        )
        print_table(("seen by the caller", ""), figures)
        for difference in differences:
            say(f"DIFFERENT: {difference}")
        if not differences:
            say(f"all {len(self._material):,} values are on each of {len(names)} nodes as they were written")
        return EXIT_FAILED if differences else 0

    async def _write(self, client: Client) -> tuple[Writing, float]:
        """Every write, and what is done to the leader meanwhile; how long it took to catch up."""
        total = len(self._material) * self._rounds
        with progress("writing", total) as advance:
            writing = Writing(client, self._material, self._rounds, _every(64, total, advance))
            writes = asyncio.ensure_future(writing.run())
            drama = asyncio.ensure_future(self._kill_and_restart(writing))
            try:
                done, _ = await asyncio.wait((writes, drama), return_when=asyncio.FIRST_EXCEPTION)
                for act in done:
                    act.result()
            finally:
                for act in (writes, drama):
                    act.cancel()
                await asyncio.gather(writes, drama, return_exceptions=True)
        return writing, drama.result()

    async def _kill_and_restart(self, writing: Writing) -> float:
        """The seconds from the new start of the killed leader until it had applied what the others had."""
        await writing.may_kill.wait()
        rows = await until(self._processes, "a leader", somebody_leads)
        leader = leader_of(rows)
        goal = applied_by(rows)
        in_flight = writing.leader_is_killed()
        await self._processes.kill(leader)
        say(f"killed {leader}, the leader, with SIGKILL and {in_flight} writes in flight")
        if len(self._addresses) >= 3:  # else nothing goes on without it
            await writing.resumed.wait()
            say(f"writes stood still for {writing.gap_s * 1000:.0f} ms")
        begun = time.monotonic()
        await start(self._processes, [leader])

        def caught_up(rows: Sequence[Row]) -> bool:
            nonlocal goal
            # Measured against where the others were a look ago: they go on meanwhile.
            done = applied_by(row for row in rows if row["name"] == leader) >= goal
            goal = max(goal, applied_by(rows))
            return done

        await until(self._processes, f"{leader} to catch up", caught_up, CATCH_UP_TIMEOUT_S)
        seconds = time.monotonic() - begun
        say(f"{leader} is back, and caught up after {seconds:.2f} s")
        return seconds

    async def _compare(self) -> list[str]:
        """In what the nodes differ from the input, and from each other."""
        rows = await until(self._processes, "all nodes to apply the same", all_applied_the_same, CATCH_UP_TIMEOUT_S)
        digests = {row["digest"] for row in rows}
        differences = [] if len(digests) == 1 else [f"the digests of the nodes: {', '.join(sorted(digests))}"]
        total = len(self._material) * len(rows)
        with progress("reading back", total) as advance:
            done = 0
            for name, node in self._processes.nodes.items():
                counted = _every(64, len(self._material), lambda read, before=done: advance(before + read))
                # To this node and no other: it answers from its own state, once it is known to be the latest.
                async with Client([node.address], timeout=CALL_TIMEOUT_S, follow_leader=False) as client:
                    keys = await read_differences(client, self._material, counted)
                differences += [f"{key!r} on {name}" for key in keys]
                done += len(self._material)
        return differences


def _every(step: int, total: int, advance: Advance) -> Advance:
    """``advance`` called now and then only: drawing a bar costs more than a write."""

    def now_and_then(done: int) -> None:
        if done % step == 0 or done == total:
            advance(done)

    return now_and_then
