"""Load from several client processes: each has its own Client and its share of the calls in flight."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict

from paxospp.bench.child_process import ChildProcess, messages_of_parent, send_to_parent, started
from paxospp.bench.load_generator import CALL_TIMEOUT_S, LoadGenerator, LoadResult, LoadSpec
from paxospp.client import Client


async def generate_load() -> None:
    """Run the load of one client process: prepare, wait for the start time, make the calls, and send the result."""
    messages = await messages_of_parent()
    task = json.loads(await messages.readline())
    async with Client(task["addresses"], timeout=CALL_TIMEOUT_S) as client:
        generator = LoadGenerator.for_calls(client, LoadSpec(**task["spec"]))
        await generator.prepare()
        send_to_parent("ready")
        times = json.loads(await messages.readline())
        result = await generator.run(times["measured_from"], times["until"])
    send_to_parent(result.to_json())


class ClientProcesses:
    """The client processes, as their parent sees them; all start and stop their load at the same times."""

    def __init__(self, children: Sequence[ChildProcess]) -> None:
        self._children = children

    @classmethod
    @contextlib.asynccontextmanager
    async def started(cls, addresses: Sequence[str], specs: Sequence[LoadSpec]) -> AsyncIterator[ClientProcesses]:
        """Start a process for each of ``specs`` and wait until all are prepared."""
        async with contextlib.AsyncExitStack() as stack:
            children = [await stack.enter_async_context(started("load")) for _ in specs]
            for child, spec in zip(children, specs, strict=True):
                child.send({"addresses": list(addresses), "spec": asdict(spec)})
            for child in children:
                await child.receive()
            yield cls(children)

    async def run(self, measured_from: float, until: float) -> list[LoadResult]:
        """Generate load until the time ``until``, as ``LoadGenerator.run`` does; return the result of each process."""
        for child in self._children:
            child.send({"measured_from": measured_from, "until": until})
        return [LoadResult.from_json(await child.receive()) for child in self._children]
