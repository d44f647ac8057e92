"""Who runs the nodes of a test cluster: this process, or a process each. What both can do stands here."""

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
    """A node ended that nobody had killed; the text is what it said last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What every node of a cluster is started with."""

    directory: Path
    machine: Callable[[], StateMachine] | str
    storage: Mapping[str, str] | Callable[[str], Storage]
    """Node → URL, or what opens a node's storage in this process."""
    addresses: Mapping[str, str]
    """Node → where it listens, and where clients reach it."""
    seen_by: Callable[[str], Mapping[str, str]]
    """Node → the addresses it is given."""
    config: NodeConfig
    plugins: Sequence[object]

    def storage_of(self, name: str) -> str | Callable[[], Storage]:
        return partial(self.storage, name) if callable(self.storage) else self.storage[name]


class Host(Protocol):
    """Runs nodes. The verbs act at once; what they give is awaited to know that it is done."""

    @property
    def nodes(self) -> Mapping[str, Any]:
        """What there is of each node that was ever started."""
        ...

    def is_running(self, name: str) -> bool: ...
    def start(self, name: str) -> Awaitable[None]: ...
    def kill(self, name: str) -> Awaitable[None]: ...
    def stop(self, name: str) -> Awaitable[None]: ...

    async def status(self, name: str) -> dict[str, Any] | None:
        """What the node says of itself, as ``paxospp status --json`` has it; None if it does not answer."""
        ...

    async def close(self) -> None: ...
