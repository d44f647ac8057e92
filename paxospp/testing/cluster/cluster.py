"""``Cluster``: a real cluster for tests, and the faults that can be injected into it.

It has real nodes, gRPC and files, on the loopback interface: in this process, or in one ``paxospp serve`` process per
node. Between every two nodes there is a ``FaultProxy`` for each direction, so that links can be cut, slowed down, reset
and left half-open. Processes can be killed and paused, and their disks can fail.

Methods such as ``kill`` act at once, even if the awaitable that they return is not awaited. Await it to wait until the
effect is complete.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from paxospp.config import NodeConfig
from paxospp.errors import ConfigError
from paxospp.node import Node
from paxospp.state_machine import StateMachine
from paxospp.storage.contract import Storage
from paxospp.testing.cluster.cluster_client import ClusterClient
from paxospp.testing.cluster.disks import SYNCS, DiskFault, DiskFaultsUnavailableError, why_no_disk_faults
from paxospp.testing.cluster.embedded import EmbeddedNodes
from paxospp.testing.cluster.links import ClusterNetwork
from paxospp.testing.cluster.node_runner import ClusterPlan, NodeRunner
from paxospp.testing.cluster.provisioning import free_ports, storage_urls
from paxospp.testing.cluster.served import NodeProcess, ServedNodes

READY_S = 30.0
_LOOK_S = 0.02


class NotAgreedError(AssertionError):
    """Replicas that should be equal differ, or no node leads; the text has the status of each node."""


class Cluster:
    """A cluster of the nodes ``n1`` to ``n<size>``, which runs and has a leader within ``async with``.

    ::

        async with Cluster(3, machine=KeyValue) as cluster:
            client = cluster.client()
            await client.execute(KeyValue.put, "boo", "foo")
            await cluster.kill(await cluster.leader())
            assert await client.query(KeyValue.get, "boo") == "foo"

    Args:
        size: the number of nodes.
        machine: the class of the state machine or a function that makes one, or text as for ``serve --machine``.
        storage: a URL for all nodes, with ``{tmp}`` for a directory and ``{name}`` for the name of the node; without
            ``processes`` also a function from the name of a node to its storage.
        processes: run each node in a process of its own, which SIGKILL, ``pause`` and ``fail_disk`` need.
        directory: the directory of ``{tmp}`` and of the logs; None: a temporary one, which is removed at the end.
        config, plugins: as for ``Node``.

    Raises:
        ConfigError: an argument is not valid, or several nodes would share one storage. Methods raise it for an
            unknown node, and for actions that need ``processes``.
    """

    def __init__(
        self,
        size: int = 3,
        *,
        machine: Callable[[], StateMachine] | str,
        storage: str | Callable[[str], Storage] = "file:{tmp}/{name}",
        processes: bool = False,
        directory: Path | str | None = None,
        config: NodeConfig | None = None,
        plugins: Iterable[object] = (),
    ) -> None:
        if size < 1:
            raise ConfigError(f"a cluster cannot have {size} nodes: use 1 or more")
        self.names = tuple(f"n{number}" for number in range(1, size + 1))
        self._machine = machine
        self._storage = storage
        self._in_processes = processes
        self._directory = None if directory is None else Path(directory)
        self._config = NodeConfig() if config is None else config
        self._plugins = tuple(plugins)
        self._stack = AsyncExitStack()
        self._clients: list[ClusterClient] = []
        self._under_way: set[asyncio.Future[None]] = set()
        self._disk_faults: dict[str, DiskFault] = {}
        self._runner: NodeRunner | None = None

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            if self._directory is None:
                self._directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="paxospp cluster ")))
            ports = free_ports(len(self.names))
            self.addresses = {name: f"127.0.0.1:{port}" for name, port in zip(self.names, ports, strict=True)}
            self.network = ClusterNetwork(self.addresses)
            stack.push_async_callback(self.network.close)
            await self.network.start()
            plan = ClusterPlan(
                directory=self._directory,
                machine=self._machine,
                storage=self._storages(self._directory),
                addresses=self.addresses,
                seen_by=self.network.seen_by,
                config=self._config,
                plugins=self._plugins,
            )
            self._runner = ServedNodes(plan) if self._in_processes else EmbeddedNodes(plan)
            stack.push_async_callback(self._runner.close)
            stack.push_async_callback(self._finish)
            await asyncio.gather(*(self.start(name) for name in self.names))
            await self.ready()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def _storages(self, directory: Path) -> Mapping[str, str] | Callable[[str], Storage]:
        if callable(self._storage):
            return self._storage
        return storage_urls(self._storage, self.names, directory, self._plugins)

    async def _finish(self) -> None:
        await asyncio.gather(*(fault.end() for fault in self._disk_faults.values()))
        await asyncio.gather(*(client.close() for client in self._clients))
        await asyncio.gather(*self._under_way, return_exceptions=True)

    # Callers.

    def client(self, *names: str, timeout: float | None = 10.0) -> ClusterClient:
        """Return a client of the cluster; with ``names`` it calls only these nodes.

        The client starts with its first call, and the cluster closes it. It reaches the nodes directly, so faults of
        links do not affect it. ``timeout`` is the time that each call may take, in seconds; None: no limit.
        """
        asked = [f"{name}={self.addresses[name]}" for name in names or self.names]
        client = ClusterClient(asked, timeout, follow_leader=not names)
        self._clients.append(client)
        return client

    # State.

    @property
    def nodes(self) -> Mapping[str, Node | NodeProcess]:
        """The latest ``Node`` of each name, running or not; with ``processes`` the ``NodeProcess``."""
        return self._node_runner.nodes

    def node(self, name: str) -> Node:
        """Return the ``Node`` of that name, which must run in this process."""
        node = self.nodes[self._known(name)]
        if not isinstance(node, Node):
            raise ConfigError(f"{name} runs in its own process: use client(), or Cluster(…) without processes=True")
        return node

    def process(self, name: str) -> NodeProcess:
        """Return the process of that node, with its ``pid``, ``exit_code`` and what it ``said()``."""
        return self._processes("process").nodes[self._known(name)]

    @property
    def running(self) -> tuple[str, ...]:
        """The nodes that were started, and neither killed nor stopped since."""
        return tuple(name for name in self.names if self._node_runner.is_running(name))

    async def status(self, name: str) -> dict[str, Any] | None:
        """Return the status of a node, as in ``paxospp status --json``; None if it does not answer."""
        return await self._node_runner.status(self._known(name))

    async def statuses(self) -> dict[str, dict[str, Any]]:
        """Return the status of every running node that answers."""
        names = self.running
        found = await asyncio.gather(*(self.status(name) for name in names))
        return {name: status for name, status in zip(names, found, strict=True) if status is not None}

    async def leader(self, timeout: float = READY_S) -> str:
        """Wait until a majority of the cluster follows one leader, and return its name.

        Raises:
            NotAgreedError: that did not happen within ``timeout`` seconds.
        """
        name: str = await self._until(self._leader, "no leader of a majority", timeout)
        return name

    async def ready(self, timeout: float = READY_S) -> None:
        """Wait until all running nodes follow one leader and have applied everything that they know decided.

        Raises:
            NotAgreedError: that did not happen within ``timeout`` seconds.
        """

        def is_ready(statuses: Mapping[str, Mapping[str, Any]]) -> bool:
            leader = self._leader(statuses)
            return (
                leader is not None
                and len(statuses) == len(self.running)
                and all(s["leader"] == leader and s["applied"] == s["decided"] > 0 for s in statuses.values())
            )

        await self._until(lambda statuses: is_ready(statuses) or None, "not every node follows one leader", timeout)

    async def agree(self, timeout: float = READY_S) -> None:
        """Wait until all running nodes have applied the same slots.

        Raises:
            NotAgreedError: their states differ, or they did not get there within ``timeout`` seconds.
        """

        def agreed(statuses: Mapping[str, Mapping[str, Any]]) -> bool | None:
            places = {(s["applied"], s["decided"]) for s in statuses.values()}
            if len(statuses) < len(self.running) or len(places) > 1 or any(a != d for a, d in places):
                return None
            if len({s["digest"] for s in statuses.values()}) > 1:
                raise NotAgreedError(f"replicas differ: {_told(statuses)}")
            return True

        await self._until(agreed, "not every node has applied the same", timeout)

    def _leader(self, statuses: Mapping[str, Mapping[str, Any]]) -> str | None:
        leading = [s for s in statuses.values() if s["role"] == "leader"]
        if not leading:
            return None
        name: str = max(leading, key=lambda s: s["ballot"] or [0, ""])["name"]
        followed = sum(s["leader"] == name for s in statuses.values())
        return name if followed > len(self.names) // 2 else None

    async def _until(self, look: Callable[[Mapping[str, Mapping[str, Any]]], Any], why: str, timeout: float) -> Any:
        """Poll the statuses until ``look`` returns something other than None, and return that."""
        deadline = time.monotonic() + timeout
        while True:
            for node in self.nodes.values():
                if isinstance(node, NodeProcess):
                    node.check()
            statuses = await self.statuses()
            if (found := look(statuses)) is not None:
                return found
            if time.monotonic() > deadline:
                raise NotAgreedError(f"{why} after {timeout:g} s: {_told(statuses)}")
            await asyncio.sleep(_LOOK_S)

    # Nodes.

    def kill(self, name: str) -> Awaitable[None]:
        """Kill a node with SIGKILL; in this process, close it, which ends its calls at once. End a disk fault of it."""
        return self._do(self._let_go(self._node_runner.kill(self._known(name)), name))

    def stop(self, name: str) -> Awaitable[None]:
        """Stop a node in an orderly way. End a disk fault of it."""
        return self._do(self._let_go(self._node_runner.stop(self._known(name)), name))

    async def _let_go(self, ended: Awaitable[None], name: str) -> None:
        # The kernel reports the end of a process to its tracer first. End strace, or this process never learns of it.
        fault = self._disk_faults.pop(name, None)
        if fault is not None:
            await fault.end()
        await ended

    def start(self, name: str) -> Awaitable[None]:
        """Start a killed or stopped node again on its data; complete when it listens."""
        return self._do(self._node_runner.start(self._known(name)))

    def pause(self, name: str) -> Awaitable[None]:
        """Pause a node with SIGSTOP, which it cannot notice, until ``resume``."""
        self._processes("pause").pause(self._known(name))
        return self._done()

    def resume(self, name: str) -> Awaitable[None]:
        """Continue a paused node with SIGCONT."""
        self._processes("resume").resume(self._known(name))
        return self._done()

    # Links.

    def cut(self, a: str, b: str, *, one_way: bool = False, refuse: bool = False) -> Awaitable[None]:
        """Cut the links between ``a`` and ``b``, or with ``one_way`` from ``a`` to ``b``; see ``FaultProxy.cut``."""
        for proxy in self.network.between(a, b, one_way=one_way):
            proxy.cut(refuse=refuse)
        return self._done()

    def isolate(self, name: str, *, refuse: bool = False) -> Awaitable[None]:
        """Cut the links between ``name`` and all other nodes."""
        return self.partition([other for other in self.names if other != self._known(name)], refuse=refuse)

    def partition(self, *groups: Iterable[str], refuse: bool = False) -> Awaitable[None]:
        """Cut every link except those within a group. Groups may overlap; a node in no group is isolated."""
        for proxy in self.network.across([tuple(group) for group in groups]):
            proxy.cut(refuse=refuse)
        return self._done()

    def delay(self, a: str, b: str, seconds: float, *, jitter_s: float = 0.0, one_way: bool = False) -> Awaitable[None]:
        """Delay everything between ``a`` and ``b`` by ``seconds`` plus up to ``jitter_s`` drawn at random."""
        for proxy in self.network.between(a, b, one_way=one_way):
            proxy.delay(seconds, jitter_s)
        return self._done()

    def throttle(self, a: str, b: str, bytes_per_s: float, *, one_way: bool = False) -> Awaitable[None]:
        """Limit each connection between ``a`` and ``b`` to ``bytes_per_s`` in each direction."""
        for proxy in self.network.between(a, b, one_way=one_way):
            proxy.throttle(bytes_per_s)
        return self._done()

    def reset(self, a: str, b: str) -> Awaitable[None]:
        """Reset the connections between ``a`` and ``b``, which may connect again."""
        for proxy in self.network.between(a, b):
            proxy.reset()
        return self._done()

    def half_open(self, a: str, b: str, *, one_way: bool = False) -> Awaitable[None]:
        """Make the connections between ``a`` and ``b`` silent for ever; new connections work."""
        for proxy in self.network.between(a, b, one_way=one_way):
            proxy.half_open()
        return self._done()

    def heal(self) -> Awaitable[None]:
        """End all faults of links and disks; killed and paused nodes stay as they are."""
        self.network.heal()
        faults, self._disk_faults = list(self._disk_faults.values()), {}
        return self._do(_all(fault.end() for fault in faults)) if faults else self._done()

    # Disks.

    def fail_disk(
        self, name: str, *, calls: str = SYNCS, error: str | None = "EIO", delay_s: float = 0.0, when: str = "1+"
    ) -> Awaitable[None]:
        """Make system calls of a node's process fail with ``error``, or take ``delay_s`` longer, until ``heal``.

        Args:
            name: the node.
            calls: names of system calls, separated by commas, as for strace.
            error: the name of an errno; None: the calls succeed.
            delay_s: seconds by which the calls are delayed.
            when: which of the calls, as for strace: ``1+`` all, ``3`` the third, ``2..5``, ``1+2`` every other.

        Raises:
            DiskFaultsUnavailableError: this system does not allow it; see ``why_no_disk_faults``.
        """
        process = self._processes("fail_disk").nodes[self._known(name)]
        if (why := why_no_disk_faults()) is not None:
            raise DiskFaultsUnavailableError(why)
        if name in self._disk_faults:
            raise ConfigError(f"the disk of {name} already has a fault: call heal() first")
        assert self._directory is not None
        log = self._directory / f"{name}.strace"
        fault = DiskFault(process.pid, log, calls=calls, error=error, delay_s=delay_s, when=when)
        self._disk_faults[name] = fault
        return self._do(fault.attached())

    # Helpers.

    @property
    def _node_runner(self) -> NodeRunner:
        if self._runner is None:
            raise RuntimeError("the cluster was not started: write `async with Cluster(…) as cluster:`")
        return self._runner

    def _processes(self, verb: str) -> ServedNodes:
        if not isinstance(self._node_runner, ServedNodes):
            raise ConfigError(f"{verb} needs a process per node: Cluster(…, processes=True)")
        return self._node_runner

    def _known(self, name: str) -> str:
        if name not in self.names:
            raise ConfigError(f"{name!r} is not a node: use one of {', '.join(self.names)}")
        return name

    def _do(self, doing: Awaitable[None]) -> Awaitable[None]:
        future = asyncio.ensure_future(doing)
        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        return future

    @staticmethod
    def _done() -> Awaitable[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future


async def _all(doing: Iterable[Coroutine[Any, Any, None]]) -> None:
    await asyncio.gather(*doing)


def _told(statuses: Mapping[str, Mapping[str, Any]]) -> str:
    shown = ("role", "ballot", "leader", "decided", "applied", "digest", "notes", "connected")
    return "; ".join(f"{name}: " + ", ".join(f"{key}={s[key]}" for key in shown) for name, s in statuses.items())
