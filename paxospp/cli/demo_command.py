"""``paxospp demo``: a cluster on this machine that survives the death of its leader.

It starts a cluster of ``paxospp serve`` processes, writes real text, kills the leader with SIGKILL while writes are in
flight, shows how long writes were interrupted, starts the killed node again, and waits until it has caught up. Then it
reads every value back from every node and compares it with what was written, and the digests of the nodes with each
other. A difference ends in exit code 1. No process and no file is left behind.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from paxospp import process_setup
from paxospp.cli.arguments import EXIT_FAILED
from paxospp.cli.demo.input_pairs import Value, from_file, own_source
from paxospp.cli.demo.timed_writes import TimedWrites, percentile, read_differences
from paxospp.cli.terminal import Advance, print_table, progress, say
from paxospp.client import Client
from paxospp.client.cluster_status import NodeRow
from paxospp.plugins import PluginRegistry
from paxospp.storage.url import complete_url, expand_url
from paxospp.testing.cluster.local_nodes import (
    addresses_of,
    all_applied_the_same,
    all_follow_one_leader,
    applied_by,
    has_leader,
    leader_of,
    local_plan,
    start,
    until,
)
from paxospp.testing.cluster.served import ServedNodes

WRITES_MIN = 5_000
CATCH_UP_TIMEOUT_S = 60.0
CALL_TIMEOUT_S = 30.0


def run(options: argparse.Namespace) -> int:
    """Run the demo; return 0 if every value on every node is what was written, else 1."""
    pairs = own_source() if options.input is None else from_file(options.input)
    plugins: Sequence[str] = options.plugin or ()
    registry = PluginRegistry(plugins)
    storage = complete_url(options.storage, registry.schemes)
    with tempfile.TemporaryDirectory(prefix="paxospp-demo-") as directory:
        # Report a mistake in the URL once, here, instead of in each of the processes.
        registry.storage(expand_url(storage, tmp=directory, name="n1"))
        plan = local_plan(Path(directory), options.nodes, storage=storage, plugins=plugins)
        return process_setup.run(_run(ServedNodes(plan), pairs))


async def _run(processes: ServedNodes, pairs: Mapping[str, Value]) -> int:
    try:
        return await _Demo(processes, pairs).run()
    finally:
        await processes.close()


class _Demo:
    """The demo, step by step."""

    def __init__(self, processes: ServedNodes, pairs: Mapping[str, Value]) -> None:
        self._processes = processes
        self._addresses = addresses_of(processes)
        self._pairs = pairs
        self._repeats = -(-WRITES_MIN // len(pairs))

    async def run(self) -> int:
        names = list(self._processes.nodes)
        say(f"starting {', '.join(names)} on {', '.join(self._addresses)}")
        await start(self._processes, names)
        rows = await until(self._processes, "the nodes to elect a leader", all_follow_one_leader)
        say(f"{leader_of(rows)} is the leader")
        async with Client(self._addresses, timeout=CALL_TIMEOUT_S) as client:
            writes, catch_up_s = await self._write(client)
        differences = await self._compare()
        before_kill = sorted(writes.latencies_s[: writes.before_kill])
        figures = (
            ("writes/s, including the gap", f"{len(writes.latencies_s) / writes.seconds:,.0f}"),
            ("p50 before the kill", f"{percentile(before_kill, 0.50) * 1000:.1f} ms"),
            ("p99 before the kill", f"{percentile(before_kill, 0.99) * 1000:.1f} ms"),
            ("gap at fail-over", f"{writes.gap_s * 1000:.0f} ms"),
            ("restart and catch-up", f"{catch_up_s:.2f} s"),
        )
        print_table(("measured by the client", ""), figures)
        for difference in differences:
            say(f"DIFFERENT: {difference}")
        if not differences:
            where = "the node" if len(names) == 1 else f"each of the {len(names)} nodes"
            say(f"all {len(self._pairs):,} values were read back from {where}, as written")
        return EXIT_FAILED if differences else 0

    async def _write(self, client: Client) -> tuple[TimedWrites, float]:
        """Write everything while the leader is killed and started again; return also the seconds until it caught up."""
        total = len(self._pairs) * self._repeats
        with progress("writing", total) as advance:
            writes = TimedWrites(client, self._pairs, self._repeats, _every(64, total, advance))
            writing = asyncio.ensure_future(writes.run())
            killing = asyncio.ensure_future(self._kill_and_restart(writes))
            try:
                done, _ = await asyncio.wait((writing, killing), return_when=asyncio.FIRST_EXCEPTION)
                for task in done:
                    task.result()
            finally:
                for task in (writing, killing):
                    task.cancel()
                await asyncio.gather(writing, killing, return_exceptions=True)
        return writes, killing.result()

    async def _kill_and_restart(self, writes: TimedWrites) -> float:
        """Kill the leader and start it again; return the seconds from its start until it had caught up."""
        await writes.may_kill.wait()
        rows = await until(self._processes, "a leader", has_leader)
        leader = leader_of(rows)
        goal = applied_by(rows)
        in_flight = writes.leader_is_killed()
        await self._processes.kill(leader)
        say(f"killed {leader}, the leader, with SIGKILL and {in_flight} writes in flight")
        if len(self._addresses) >= 3:  # with fewer nodes, writes resume only when it is back
            await writes.resumed.wait()
            say(f"writes were interrupted for {writes.gap_s * 1000:.0f} ms")
        begun = time.monotonic()
        await start(self._processes, [leader])

        def caught_up(rows: Sequence[NodeRow]) -> bool:
            nonlocal goal
            # Compare with what the others had applied at the previous look, because they go on applying.
            done = applied_by(row for row in rows if row["name"] == leader) >= goal
            goal = max(goal, applied_by(rows))
            return done

        await until(self._processes, f"{leader} to catch up", caught_up, CATCH_UP_TIMEOUT_S)
        seconds = time.monotonic() - begun
        say(f"{leader} was started again and caught up after {seconds:.2f} s")
        return seconds

    async def _compare(self) -> list[str]:
        """Return in what the nodes differ from the input and from each other."""
        rows = await until(
            self._processes, "all nodes to apply the same slot", all_applied_the_same, CATCH_UP_TIMEOUT_S
        )
        digests = {row["digest"] for row in rows}
        differences = [] if len(digests) == 1 else [f"the digests of the nodes: {', '.join(sorted(digests))}"]
        total = len(self._pairs) * len(rows)
        with progress("reading back", total) as advance:
            done = 0
            for name, node in self._processes.nodes.items():
                counted = _every(64, len(self._pairs), lambda read, before=done: advance(before + read))
                # Ask this node only: it answers from its own state, once the leader has confirmed that it is current.
                async with Client([node.address], timeout=CALL_TIMEOUT_S, follow_leader=False) as client:
                    keys = await read_differences(client, self._pairs, counted)
                differences += [f"{key!r} on {name}" for key in keys]
                done += len(self._pairs)
        return differences


def _every(step: int, total: int, advance: Advance) -> Advance:
    """Return a function that calls ``advance`` at every ``step``-th call only: drawing costs more than a write."""

    def advance_sometimes(done: int) -> None:
        if done % step == 0 or done == total:
            advance(done)

    return advance_sometimes
