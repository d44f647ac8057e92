"""Free ports, storage URLs and machines for the nodes of a cluster."""

from __future__ import annotations

import contextlib
import inspect
import random
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from paxospp.errors import ConfigError
from paxospp.plugins import PluginRegistry
from paxospp.state_machine import StateMachine
from paxospp.storage.url import complete_url, expand_url

_LOWEST_PORT = 10_240
_LINUX_FIRST_EPHEMERAL_PORT = 32_768


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback interface on which no process listens now.

    They are below the range of ephemeral ports. Otherwise a peer that keeps dialling a killed node could get the node's
    port for its own end of a connection, and the node could not start again.
    """
    highest = _first_ephemeral_port()
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        while len(ports) < count:
            listener = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                listener.bind(("127.0.0.1", random.randrange(_LOWEST_PORT, highest)))
                ports.append(listener.getsockname()[1])
    return ports


def _first_ephemeral_port() -> int:
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _LINUX_FIRST_EPHEMERAL_PORT
    return first if first > _LOWEST_PORT + 1000 else _LINUX_FIRST_EPHEMERAL_PORT


def storage_urls(url: str, names: Sequence[str], tmp: Path, plugins: Sequence[object]) -> dict[str, str]:
    """Return the storage URL of each node: ``url`` with ``{tmp}`` and ``{name}`` replaced.

    Raises:
        ConfigError: several nodes would share one storage.
    """
    complete = complete_url(url, PluginRegistry(plugins).schemes)
    urls = {name: expand_url(complete, tmp=str(tmp), name=name) for name in names}
    path = complete.partition("?")[0].partition(":")[2]
    if len(set(urls.values())) < len(urls) and path:
        raise ConfigError(f"{len(urls)} nodes cannot share the storage {url!r}: put {{name}} into its path")
    return urls


def machine_spec(machine: Callable[[], StateMachine] | str) -> str:
    """Return ``machine`` as text for ``serve --machine``.

    Raises:
        ConfigError: another process cannot load it.
    """
    if isinstance(machine, str):
        return machine
    name = getattr(machine, "__qualname__", "")
    module = getattr(machine, "__module__", "")
    if not name.isidentifier():
        raise ConfigError(
            f"another process cannot load machine={machine!r}: pass a class or function at the top level of a module, "
            "or text as for --machine"
        )
    if module.partition(".")[0] == "paxospp":
        return f"{module}:{name}"
    return f"{Path(inspect.getfile(machine)).resolve()}:{name}"
