"""Real ``paxospp serve`` processes with file storage, and the command line that talks to them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from paxospp.testing.cluster.provisioning import free_ports

START_S = 30.0


def paxospp(
    *arguments: str, cwd: Path | None = None, input: str | None = None, timeout: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run a command line and return its output and exit code."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "paxospp", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        input=input,
        timeout=timeout,
    )


class Serving:
    """A cluster of ``serve`` processes with files below ``path``; leaving the context kills the processes."""

    def __init__(self, path: Path, *, count: int = 3, machine: str = "kv") -> None:
        self.path = path
        self.machine = machine
        self.nodes = {f"n{number}": f"127.0.0.1:{port}" for number, port in enumerate(free_ports(count), 1)}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._logs = ExitStack()

    @property
    def cluster(self) -> str:
        return ",".join(f"{name}={address}" for name, address in self.nodes.items())

    @property
    def addresses(self) -> list[str]:
        return list(self.nodes.values())

    def arguments(self, name: str) -> list[str]:
        storage = f"file:{self.path / name}"
        return ["--name", name, "--cluster", self.cluster, "--storage", storage, "--machine", self.machine]

    def start(self, *names: str) -> None:
        """Start the nodes ``names``, or all nodes, and wait until each listens."""
        for name in names or self.nodes:
            self.spawn(name, self.arguments(name))
        for name in names or self.nodes:
            self.wait_for(name, "listens on")

    def spawn(self, name: str, arguments: Sequence[str]) -> None:
        command = [sys.executable, "-W", "error", "-m", "paxospp", "serve", *arguments]
        self.processes[name] = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._log(name), stderr=subprocess.STDOUT, cwd=self.path
        )

    def said(self, name: str) -> str:
        return (self.path / f"{name}.log").read_text()

    def wait_for(self, name: str, text: str) -> None:
        """Wait until the process of ``name`` has printed ``text``."""
        self.until(lambda: text in self.said(name) or self.processes[name].poll() is not None)
        assert text in self.said(name), self.said(name)

    def wait_founded(self) -> None:
        for name in self.processes:
            self.wait_for(name, "is bootstrapped")

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_S
        while not holds():
            assert time.monotonic() < deadline, {name: self.said(name) for name in self.processes}
            time.sleep(0.02)

    def stop(self, name: str, number: signal.Signals = signal.SIGTERM) -> int:
        """End one process by a signal and return its exit code."""
        process = self.processes.pop(name)
        process.send_signal(number)
        return process.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()
        self._logs.close()

    def _log(self, name: str) -> IO[bytes]:
        return self._logs.enter_context((self.path / f"{name}.log").open("ab"))
