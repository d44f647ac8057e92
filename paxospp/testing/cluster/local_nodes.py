"""A cluster of ``paxospp serve`` processes on loopback, as ``paxospp demo`` and ``paxospp bench`` use it.

The nodes run the state machine ``kv``, listen on free ports and keep their data below one directory. There are no
proxies between them. Where the system supports it, a node process ends by itself when its parent process has gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from paxospp.client.cluster_status import NodeRow, gather_status
from paxospp.config import NodeConfig
from paxospp.errors import ConfigError, UnavailableError
from paxospp.plugins import PluginRegistry
from paxospp.storage.url import TMP, expand_url, parse_url
from paxospp.testing.cluster.node_runner import ClusterPlan
from paxospp.testing.cluster.provisioning import free_ports, storage_urls
from paxospp.testing.cluster.served import ServedNodes

START_TIMEOUT_S = 30.0
LOOK_INTERVAL_S = 0.05


def check_storage(url: str, plugins: Sequence[str], directory: Path) -> bool:
    """Return whether the storage at ``url`` is durable, having opened one below ``directory``.

    Call it before starting any node, so that a mistake in the URL is reported once and not by each of the processes.

    Raises:
        ConfigError: all nodes would share one place, or the place would outlive the cluster.
        PluginError: the storage cannot be opened.
    """
    registry = PluginRegistry(plugins)
    first, _ = storage_urls(url, ("n1", "n2"), Path(TMP), plugins).values()
    place = expand_url(first, tmp=str(directory / "checked"))
    if TMP not in first and parse_url(place, registry.schemes).path:
        raise ConfigError(
            f"storage {url!r} is outside the temporary directory and may hold other data: use {{tmp}}, which stands "
            "for a fresh directory, and set the environment variable TMPDIR to choose the disk"
        )
    with contextlib.closing(registry.storage(place)()) as storage:
        return storage.durable


def local_plan(
    directory: Path, count: int, *, storage: str, plugins: Sequence[str], config: NodeConfig | None = None
) -> ClusterPlan:
    """Return the plan for ``ServedNodes`` of the nodes ``n1`` to ``n<count>``; their logs go to ``directory``."""
    names = [f"n{number}" for number in range(1, count + 1)]
    addresses = {name: f"127.0.0.1:{port}" for name, port in zip(names, free_ports(count), strict=True)}
    return ClusterPlan(
        directory=directory,
        machine="kv",
        storage=storage_urls(storage, names, directory, plugins),
        addresses=addresses,
        seen_by=lambda name: addresses,
        config=NodeConfig() if config is None else config,
        plugins=plugins,
    )


def addresses_of(nodes: ServedNodes) -> list[str]:
    """Return the addresses at which the nodes listen."""
    return [node.address for node in nodes.nodes.values()]


async def start(nodes: ServedNodes, names: Iterable[str]) -> None:
    """Start the processes of ``names`` and wait until they listen.

    Raises:
        NodeEndedError: a process ended.
        UnavailableError: a process did not listen in time.
    """
    try:
        await asyncio.gather(*(nodes.start(name) for name in names))
    except TimeoutError:
        raise UnavailableError(
            f"{', '.join(names)}: at least one node is not listening after {START_TIMEOUT_S:.0f} s"
        ) from None


def check_all(nodes: ServedNodes) -> None:
    """Raise NodeEndedError if a process ended that was not killed on purpose."""
    for node in nodes.nodes.values():
        node.check()


async def until(
    nodes: ServedNodes, what: str, holds: Callable[[Sequence[NodeRow]], bool], timeout_s: float = START_TIMEOUT_S
) -> list[NodeRow]:
    """Poll the status of all nodes until ``holds`` accepts the rows, and return these rows.

    Raises:
        NodeEndedError: a node process ended.
        UnavailableError: ``holds`` accepted nothing within ``timeout_s``; the message calls the condition ``what``.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        check_all(nodes)
        rows, _ = await gather_status(addresses_of(nodes))
        if holds(rows):
            return rows
        if time.monotonic() > deadline:
            raise UnavailableError(f"waited {timeout_s:.0f} s for {what}")
        await asyncio.sleep(LOOK_INTERVAL_S)


def all_follow_one_leader(rows: Sequence[NodeRow]) -> bool:
    """Return whether all nodes name the same leader, and a node leads."""
    leaders = {row["leader"] for row in rows}
    return len(leaders) == 1 and None not in leaders and has_leader(rows)


def has_leader(rows: Sequence[NodeRow]) -> bool:
    """Return whether a node leads."""
    return any(row["role"] == "leader" for row in rows)


def all_applied_the_same(rows: Sequence[NodeRow]) -> bool:
    """Return whether all nodes answer and have applied the same slots."""
    return all(row["reachable"] for row in rows) and len({row["applied"] for row in rows}) == 1


def applied_by(rows: Iterable[NodeRow]) -> int:
    """Return the highest slot that a node of ``rows`` has applied."""
    return max((row["applied"] or 0 for row in rows), default=0)


def leader_of(rows: Sequence[NodeRow]) -> str:
    """Return the name of the leader: if several nodes claim to lead, the one with the highest ballot."""
    leading = [row for row in rows if row["role"] == "leader"]
    return str(max(leading, key=lambda row: row["ballot"])["name"])
