"""Clusters inside the test's own process, on real loopback sockets and files, in a new directory per test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import paxospp
from paxospp.config import NodeConfig
from paxospp.model import NodeId
from paxospp.node import Node
from paxospp.testing.cluster.provisioning import free_ports

T = TypeVar("T")

READY_S = 15.0


class Notes(paxospp.StateMachine):
    """A small machine with one command for each way in which a command can end."""

    data: dict[str, str]
    total: int
    items: list[int]

    def __init__(self) -> None:
        self.data = {}
        self.total = 0
        self.items = []

    @paxospp.command
    def put(self, key: str, value: str = "nothing") -> str | None:
        former = self.data.get(key)
        self.data[key] = value
        return former

    @paxospp.command
    def add(self, amount: int) -> int:
        self.total += amount
        return self.total

    @paxospp.command
    def keep(self, items: list[int]) -> list[int]:
        self.items = items
        return self.items

    @paxospp.command
    def raise_value_error(self) -> None:
        self.total += 1
        raise ValueError("not this one")

    @paxospp.command
    def raise_permission_error(self) -> None:
        raise PermissionError("not the owner")

    @paxospp.command
    def raise_os_error(self) -> None:
        """Harmless here; see Fragile."""

    @paxospp.command
    def interrupt(self) -> None:
        """Harmless here; see Fragile."""

    @paxospp.command
    def give_too_much(self) -> int:
        return 1 << 80

    @paxospp.query
    def get(self, key: str) -> str | None:
        return self.data.get(key)

    @paxospp.query
    def sum(self) -> int:
        return self.total

    @paxospp.query
    def kept(self) -> list[int]:
        return self.items

    @paxospp.query
    def fail(self) -> None:
        raise LookupError("no such thing")


class Drifting(Notes):
    """A faulty machine that returns sums one too high, so that its replica diverges from the others."""

    @paxospp.command
    def add(self, amount: int) -> int:
        self.total += amount
        return self.total + 1


class Fragile(Notes):
    """The same commands on a computer where some of them fail for local reasons."""

    @paxospp.command
    def raise_os_error(self) -> None:
        raise OSError(28, "No space left on device")

    @paxospp.command
    def interrupt(self) -> None:
        raise KeyboardInterrupt


_given: set[int] = set()


def free_addresses(count: int) -> list[str]:
    """Return loopback addresses on which nobody listens now; never the same address twice."""
    found: list[int] = []
    while len(found) < count:
        found += [port for port in free_ports(count - len(found)) if port not in _given]
        _given.update(found)
    return [f"127.0.0.1:{port}" for port in found]


def addresses(count: int = 3) -> dict[str, str]:
    return {f"n{number}": address for number, address in enumerate(free_addresses(count), 1)}


class Embedded:
    """The nodes of one cluster, with their files below ``path``."""

    def __init__(self, path: Path, *, count: int = 3, config: NodeConfig | None = None) -> None:
        self.path = path
        self.cluster = addresses(count)
        self.config = config
        self.nodes: dict[str, Node] = {}
        self.events: list[Any] = []

    def make(self, name: str, *, machine: Any = Notes, **options: Any) -> Node:
        options.setdefault("storage", f"file:{self.path / name}")
        options.setdefault("config", self.config)
        options.setdefault("on_event", self.events.append)
        return Node(name, cluster=self.cluster, machine=machine, **options)

    async def start(self, name: str, **options: Any) -> Node:
        node = self.make(name, **options)
        await node.start()
        self.nodes[name] = node
        return node

    async def stop(self, name: str) -> None:
        await self.nodes.pop(name).close()

    async def ready(self) -> None:
        await asyncio.gather(*(node.wait_ready(READY_S) for node in self.nodes.values()))

    async def leader(self) -> Node:
        """Wait until all running nodes agree on a leader, and return it."""
        await self.until(lambda: len({node.status().leader for node in self.nodes.values()} - {None}) == 1)
        names = {node.status().leader for node in self.nodes.values()}
        name = names.pop()
        if name not in self.nodes:
            await self.until(lambda: any(node.status().role == "leader" for node in self.nodes.values()))
            return next(node for node in self.nodes.values() if node.status().role == "leader")
        return self.nodes[name]

    async def follower(self) -> Node:
        leader = await self.leader()
        return next(node for node in self.nodes.values() if node is not leader)

    async def until(self, holds: Callable[[], bool], timeout: float = READY_S) -> None:
        async with asyncio.timeout(timeout):
            while not holds():  # noqa: ASYNC110 - a status is polled, there is no event for it
                await asyncio.sleep(0.003)

    async def nothing_waits(self, name: str) -> None:
        """Wait until no node has queued messages for ``name``: a new link would deliver what it missed."""
        peer = NodeId(name)
        links: list[Any] = [self.nodes[other]._runtime.links._links[peer] for other in self.nodes if other != name]  # type: ignore[union-attr]
        await self.until(lambda: not any(len(link._outbox) for link in links))

    async def agree(self) -> None:
        """Wait until all running nodes have applied the same slots."""

        def positions() -> set[tuple[int, int]]:
            found = [node.status() for node in self.nodes.values()]
            return {(status.applied, status.decided) for status in found}

        await self.until(lambda: len(positions()) == 1 and all(a == d for a, d in positions()))
        digests = {node.status().digest for node in self.nodes.values()}
        assert len(digests) == 1, {name: node.status() for name, node in self.nodes.items()}


@asynccontextmanager
async def embedded(
    path: Path, *, count: int = 3, config: NodeConfig | None = None, machines: Mapping[str, Any] | None = None
) -> AsyncIterator[Embedded]:
    """Yield a cluster that runs and is founded."""
    cluster = Embedded(path, count=count, config=config)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(lambda: _close_all(cluster))
        machines = machines or {}
        await asyncio.gather(*(cluster.start(name, machine=machines.get(name, Notes)) for name in cluster.cluster))
        await cluster.ready()
        yield cluster


async def _close_all(cluster: Embedded) -> None:
    await asyncio.gather(*(node.close() for node in cluster.nodes.values()))


async def threads_end() -> None:
    """Wait until no thread of a storage is left."""
    async with asyncio.timeout(5):
        while any(thread.name.startswith("paxospp") for thread in threading.enumerate()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def _runs(task: asyncio.Task[Any]) -> str:
    return getattr(task.get_coro(), "__qualname__", "something")


def run(main: Callable[[], Coroutine[Any, Any, T]], *, debug: bool = False) -> T:
    """Run ``main`` in an event loop of its own, and check that it leaves no task and no thread of paxospp behind."""
    left: set[str] = set()

    async def checked() -> T:
        try:
            return await main()
        finally:
            tasks = {task: _runs(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()}
            # gRPC finishes a call in a task of its own, which may end a moment later on a busy machine.
            of_grpc = [task for task, runs in tasks.items() if runs.startswith("_AioCall.")]
            if of_grpc:
                await asyncio.wait(of_grpc, timeout=5)
            left.update(f"{task.get_name()} in {runs}" for task, runs in tasks.items() if not task.done())

    result = asyncio.run(checked(), debug=debug)
    assert not left, f"tasks are left: {left}"
    threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("paxospp")]
    assert not threads, f"threads are left: {threads}"
    return result
