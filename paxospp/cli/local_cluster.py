"""Nodes on loopback for ``demo`` and ``bench``: a ``serve`` process each, and the end of them.

``paxospp.testing`` knows how to start, kill and watch such processes; here they get free ports,
places below one directory, and links without anything in between. A process whose parent is gone
ends by itself where the system can tell it so.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from paxospp.cli.status import Row, gather
from paxospp.config import NodeConfig
from paxospp.errors import ConfigError, UnavailableError
from paxospp.plugins import PluginRegistry
from paxospp.storage.url import TMP, expand_url, parse_url
from paxospp.testing.cluster.hosting import Plan
from paxospp.testing.cluster.places import free_ports, storage_urls
from paxospp.testing.cluster.processes import ServedNodes

START_TIMEOUT_S = 30.0
LOOK_INTERVAL_S = 0.05


def check_storage(url: str, plugins: Sequence[str], directory: Path) -> bool:
    """Find out before anything is started, in one line and not in three, that ``url`` cannot be; whether it is durable.

    Raises:
        ConfigError: it names one place for all, or one that outlives the cluster. PluginError: it cannot be opened.
    """
    registry = PluginRegistry(plugins)
    first, _ = storage_urls(url, ("n1", "n2"), Path(TMP), plugins).values()
    place = expand_url(first, tmp=str(directory / "checked"))
    if TMP not in first and parse_url(place, registry.schemes).path:
        raise ConfigError(
            f"storage {url!r} names a place of its own, which may hold other data: write {{tmp}}, which stands for a "
            "fresh directory; the environment's TMPDIR says on which disk"
        )
    with contextlib.closing(registry.storage(place)()) as storage:
        return storage.durable


def local_plan(
    directory: Path, count: int, *, storage: str, plugins: Sequence[str], config: NodeConfig | None = None
) -> Plan:
    """``n1`` to ``n<count>`` with the machine ``kv``, for ``ServedNodes``; their logs go to ``directory``."""
    names = [f"n{number}" for number in range(1, count + 1)]
    addresses = {name: f"127.0.0.1:{port}" for name, port in zip(names, free_ports(count), strict=True)}
    return Plan(
        directory=directory,
        machine="kv",
        storage=storage_urls(storage, names, directory, plugins),
        addresses=addresses,
        seen_by=lambda name: addresses,
        config=NodeConfig() if config is None else config,
        plugins=plugins,
    )


def addresses_of(nodes: ServedNodes) -> list[str]:
    return [node.address for node in nodes.nodes.values()]


async def start(nodes: ServedNodes, names: Iterable[str]) -> None:
    """Start the processes of ``names`` and wait until they listen.

    Raises:
        NodeEndedError: one ended. UnavailableError: one does not come to it.
    """
    try:
        await asyncio.gather(*(nodes.start(name) for name in names))
    except TimeoutError:
        raise UnavailableError(f"{', '.join(names)}: not all of them listen after {START_TIMEOUT_S:.0f} s") from None


def check_all(nodes: ServedNodes) -> None:
    """Raise NodeEndedError if a process ended that nobody killed."""
    for node in nodes.nodes.values():
        node.check()


async def until(
    nodes: ServedNodes, what: str, holds: Callable[[Sequence[Row]], bool], timeout_s: float = START_TIMEOUT_S
) -> list[Row]:
    """What the nodes say of themselves at the first look at which ``holds``.

    Raises:
        NodeEndedError: one ended. UnavailableError: not within ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        check_all(nodes)
        rows, _ = await gather(addresses_of(nodes))
        if holds(rows):
            return rows
        if time.monotonic() > deadline:
            raise UnavailableError(f"waited {timeout_s:.0f} s for {what}")
        await asyncio.sleep(LOOK_INTERVAL_S)


def all_follow_one_leader(rows: Sequence[Row]) -> bool:
    leaders = {row["leader"] for row in rows}
    return len(leaders) == 1 and None not in leaders and somebody_leads(rows)


def somebody_leads(rows: Sequence[Row]) -> bool:
    return any(row["role"] == "leader" for row in rows)


def all_applied_the_same(rows: Sequence[Row]) -> bool:
    return all(row["reachable"] for row in rows) and len({row["applied"] for row in rows}) == 1


def applied_by(rows: Iterable[Row]) -> int:
    """The highest slot that any of them applied."""
    return max((row["applied"] or 0 for row in rows), default=0)


def leader_of(rows: Sequence[Row]) -> str:
    """Who says that it leads; of several the one with the highest ballot, for the others do not know yet."""
    leading = [row for row in rows if row["role"] == "leader"]
    return str(max(leading, key=lambda row: row["ballot"])["name"])
