"""Run the nodes of a test cluster as ``paxospp serve`` processes, which can be killed and paused.

Each process is ended through its own handle. The output of each node goes to a file.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any

from paxospp.errors import ConfigError
from paxospp.rpc.unary_calls import fetch_status
from paxospp.testing.cluster.node_runner import ClusterPlan, NodeEndedError
from paxospp.testing.cluster.provisioning import machine_spec

START_S = 30.0
STOP_S = 10.0
_LOOK_S = 0.005


class NodeProcess:
    """One node, with its current or last process."""

    def __init__(self, name: str, address: str, log: Path, command: list[str]) -> None:
        self.name = name
        self.address = address
        self.log = log
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._meant_to_run = False

    @property
    def running(self) -> bool:
        """Whether the node was started and not killed or stopped since; it may have ended by itself."""
        return self._meant_to_run

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code of the last process: None while it runs, negative if a signal ended it."""
        return None if self._process is None else self._process.poll()

    def said(self) -> str:
        """Return everything that the processes of this node printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def check(self) -> None:
        """Raise NodeEndedError if the process ended without being killed or stopped."""
        if self._meant_to_run and self.exit_code is not None:
            lines = self.said().strip().splitlines()
            raise NodeEndedError(f"{self.name} ended with exit code {self.exit_code}: {lines[-1] if lines else ''}")

    def spawn(self) -> None:
        """Start a process."""
        with self.log.open("ab") as log:
            # A session of its own, so that Ctrl-C reaches only the test, which then ends the nodes.
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={"GRPC_VERBOSITY": "NONE", **os.environ},
            )
        self._meant_to_run = True

    def signal(self, number: signal.Signals, *, ends: bool = False) -> None:
        """Send a signal, if the process runs; ``ends``: the signal is meant to end it."""
        if self._process is None or self._process.poll() is not None:
            self._meant_to_run = False
            return
        if ends:
            self._meant_to_run = False
        self._process.send_signal(number)

    async def ended(self, timeout: float = STOP_S) -> int | None:
        """Wait until the process has ended, and return its exit code."""
        async with asyncio.timeout(timeout):
            while self._process is not None and self._process.poll() is None:  # noqa: ASYNC110 - no event for it
                await asyncio.sleep(_LOOK_S)
        return self.exit_code

    async def listens(self) -> None:
        """Wait until the node accepts connections. Raise NodeEndedError if it ends before."""
        host, _, port = self.address.rpartition(":")
        async with asyncio.timeout(START_S):
            while self._meant_to_run:
                self.check()
                try:
                    _, writer = await asyncio.open_connection(host, int(port))
                except OSError:
                    await asyncio.sleep(2 * _LOOK_S)
                else:
                    writer.transport.abort()
                    return


class ServedNodes:
    """Runs each node in a process of its own."""

    def __init__(self, plan: ClusterPlan) -> None:
        if callable(plan.storage):
            raise ConfigError("a node in its own process needs a storage URL, not a function: pass text")
        if not all(isinstance(plugin, str) for plugin in plan.plugins):
            raise ConfigError("a node in its own process loads its plug-ins by name: pass module names or FILE.py")
        self._plan = plan
        config = plan.directory / "cluster.toml"
        config.write_text(
            "".join(f"{f.name} = {getattr(plan.config, f.name)!r}\n" for f in dataclasses.fields(plan.config))
        )
        machine = machine_spec(plan.machine)
        self._nodes = {
            name: NodeProcess(name, address, plan.directory / f"{name}.log", self._command(name, config, machine))
            for name, address in plan.addresses.items()
        }

    def _command(self, name: str, config: Path, machine: str) -> list[str]:
        plan = self._plan
        cluster = ",".join(f"{peer}={address}" for peer, address in plan.seen_by(name).items())
        command = [sys.executable, "-m", "paxospp.testing.cluster.node_main", str(os.getpid()), "serve", "--name", name]
        command += ["--cluster", cluster, "--listen", plan.addresses[name], "--machine", machine]
        command += ["--storage", str(plan.storage_of(name)), "--config", str(config), "--allow-volatile"]
        for plugin in plan.plugins:
            command += ["--plugin", str(plugin)]
        return command

    @property
    def nodes(self) -> Mapping[str, NodeProcess]:
        return self._nodes

    def is_running(self, name: str) -> bool:
        return self._nodes[name].running

    def start(self, name: str) -> Awaitable[None]:
        if self.is_running(name) and self._nodes[name].exit_code is None:
            raise ConfigError(f"{name} is running: kill or stop it first")
        return self._start(self._nodes[name])

    async def _start(self, node: NodeProcess) -> None:
        await node.ended()
        node.spawn()
        await node.listens()

    def kill(self, name: str) -> Awaitable[None]:
        self._nodes[name].signal(signal.SIGKILL, ends=True)
        return self._ended(name)

    def stop(self, name: str) -> Awaitable[None]:
        self._nodes[name].signal(signal.SIGTERM, ends=True)
        return self._ended(name)

    async def _ended(self, name: str) -> None:
        await self._nodes[name].ended()

    def pause(self, name: str) -> None:
        self._nodes[name].signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        self._nodes[name].signal(signal.SIGCONT)

    async def status(self, name: str) -> dict[str, Any] | None:
        node = self._nodes[name]
        return await fetch_status(node.address) if node.running and node.exit_code is None else None

    async def close(self) -> None:
        for node in self._nodes.values():
            node.signal(signal.SIGKILL, ends=True)
        await asyncio.gather(*(node.ended() for node in self._nodes.values()))
