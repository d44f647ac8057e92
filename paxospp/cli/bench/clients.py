"""Load from client processes of their own: each has a Client, and its share of the calls in flight."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict

from paxospp.cli.bench.child import Child, answer, orders, started
from paxospp.cli.bench.load import CALL_TIMEOUT_S, Load, Tally, Work
from paxospp.client import Client


async def load() -> None:
    """In the child: prepare, wait for the times of the measurement, call, and tell what came of it."""
    lines = await orders()
    order = json.loads(await lines.readline())
    async with Client(order["addresses"], timeout=CALL_TIMEOUT_S) as client:
        part = Load.of(client, Work(**order["work"]))
        await part.prepare()
        answer("ready")
        times = json.loads(await lines.readline())
        tally = await part.run(times["measured_from"], times["until"])
    answer(tally.to_json())


class ClientProcesses:
    """The parent's end: one process per piece of work, which all begin and end at the same times."""

    def __init__(self, children: Sequence[Child]) -> None:
        self._children = children

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, addresses: Sequence[str], works: Sequence[Work]) -> AsyncIterator[ClientProcesses]:
        """Processes that are ready to begin."""
        async with contextlib.AsyncExitStack() as stack:
            children = [await stack.enter_async_context(started("load")) for _ in works]
            for child, work in zip(children, works, strict=True):
                child.tell({"addresses": list(addresses), "work": asdict(work)})
            for child in children:
                await child.hear()
            yield cls(children)

    async def run(self, measured_from: float, until: float) -> list[Tally]:
        for child in self._children:
            child.tell({"measured_from": measured_from, "until": until})
        return [Tally.from_json(await child.hear()) for child in self._children]
