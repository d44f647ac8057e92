"""Run the nodes of a test cluster in this process, where they start quickly and a test can inspect them.

Such a node cannot be killed: ``kill`` closes it, which ends its calls at once but closes its storage in an orderly way.
SIGKILL, SIGSTOP and failing disks need a process per node.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Mapping
from typing import Any

from paxospp.errors import ConfigError
from paxospp.node import Node
from paxospp.node.status import encode_status
from paxospp.testing.cluster.node_runner import ClusterPlan


class EmbeddedNodes:
    """Runs each node in the current event loop."""

    def __init__(self, plan: ClusterPlan) -> None:
        self._plan = plan
        self._nodes: dict[str, Node] = {}
        self._running: set[str] = set()

    @property
    def nodes(self) -> Mapping[str, Node]:
        return self._nodes

    def is_running(self, name: str) -> bool:
        return name in self._running

    def start(self, name: str) -> Awaitable[None]:
        if self.is_running(name):
            raise ConfigError(f"{name} is running: kill or stop it first")
        former = self._nodes.get(name)
        plan = self._plan
        node = Node(
            name,
            cluster=plan.seen_by(name),
            listen=plan.addresses[name],
            storage=plan.storage_of(name),
            machine=plan.machine,
            allow_volatile=True,
            plugins=plan.plugins,
            config=plan.config,
        )
        self._nodes[name] = node
        self._running.add(name)
        return self._start(name, node, former)

    async def _start(self, name: str, node: Node, former: Node | None) -> None:
        if former is not None:
            await former.close()  # it may still be closing
        try:
            await node.start()
        except BaseException:
            self._running.discard(name)
            raise

    def kill(self, name: str) -> Awaitable[None]:
        self._running.discard(name)
        return self._nodes[name].close()

    stop = kill

    async def status(self, name: str) -> dict[str, Any] | None:
        if not self.is_running(name):
            return None
        node = self._nodes[name]
        try:
            status = node.status()
        except RuntimeError:
            return None  # it is still starting
        found: dict[str, Any] = json.loads(encode_status(status, {}))
        return found

    async def close(self) -> None:
        self._running.clear()
        await asyncio.gather(*(node.close() for node in self._nodes.values()))
