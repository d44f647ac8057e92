"""The interface of the classes that run the nodes of a cluster, and the settings of these nodes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from paxospp.config import NodeConfig
from paxospp.errors import PaxosppError
from paxospp.state_machine import StateMachine
from paxospp.storage.contract import Storage


class NodeEndedError(PaxosppError):
    """A node ended without being killed or stopped; the text has its exit code and last line of output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPlan:
    """The settings with which the nodes of a cluster are started."""

    directory: Path
    machine: Callable[[], StateMachine] | str
    storage: Mapping[str, str] | Callable[[str], Storage]
    """The storage URL of each node; or a function that opens the storage of a node in this process."""
    addresses: Mapping[str, str]
    """The address at which each node listens and clients reach it."""
    seen_by: Callable[[str], Mapping[str, str]]
    """Returns the addresses that a node is given for the nodes of the cluster."""
    config: NodeConfig
    plugins: Sequence[object]

    def storage_of(self, name: str) -> str | Callable[[], Storage]:
        return partial(self.storage, name) if callable(self.storage) else self.storage[name]


class NodeRunner(Protocol):
    """Runs nodes. ``start``, ``kill`` and ``stop`` act at once; await their results to wait until they are done."""

    @property
    def nodes(self) -> Mapping[str, Any]:
        """The nodes that were ever started, by name."""
        ...

    def is_running(self, name: str) -> bool: ...
    def start(self, name: str) -> Awaitable[None]: ...
    def kill(self, name: str) -> Awaitable[None]: ...
    def stop(self, name: str) -> Awaitable[None]: ...

    async def status(self, name: str) -> dict[str, Any] | None:
        """Return the status of a node, as in ``paxospp status --json``; None if it does not answer."""
        ...

    async def close(self) -> None: ...
