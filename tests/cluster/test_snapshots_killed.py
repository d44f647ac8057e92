"""Processes killed at each step of taking, fetching and installing a snapshot: none of the kills does harm.

Faults D17 and P4, bug B27. Two nodes run in the process of the test; the third runs in a process that kills itself.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from paxospp.config import NodeConfig
from paxospp.rpc.unary_calls import fetch_status
from tests.cluster import dying_storage
from tests.cluster.embedding import READY_S, Embedded, Notes, run
from tests.cluster.test_snapshots import write

OFTEN = NodeConfig(snapshot_log_slots_max=40, kept_log_slots_max=8)
ROOT = Path(__file__).resolve().parents[2]
QUICK = ("after publishing",)
STEPS = [
    pytest.param(step, marks=() if step in QUICK else pytest.mark.long, id=step.replace(" ", "-"))
    for step in dying_storage.STEPS
]


class Third:
    """n3, which runs in a process of its own."""

    def __init__(self, path: Path, cluster: dict[str, str]) -> None:
        self._path = path
        self._cluster = ",".join(f"{name}={address}" for name, address in cluster.items())
        self.address = cluster["n3"]
        self._config = path / "n3.toml"
        self._config.write_text("snapshot_log_slots_max = 40\nkept_log_slots_max = 8\n")
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, at: str = "") -> None:
        storage = f"{dying_storage.__file__}:Dying:{self._path / 'n3'}" + (f"?at={at}" if at else "")
        arguments = ["--name", "n3", "--cluster", self._cluster, "--storage", storage]
        arguments += ["--machine", "tests.cluster.embedding:Notes", "--config", str(self._config)]
        with (self._path / "n3.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "paxospp", "serve", *arguments), cwd=ROOT, stdout=log, stderr=log
            )

    async def dies(self) -> None:
        assert self.process is not None
        async with asyncio.timeout(30):
            assert await self.process.wait() == -signal.SIGKILL, self.said()

    async def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()

    async def applied(self, slot: int) -> None:
        async with asyncio.timeout(30):
            while True:
                status = await fetch_status(self.address)
                if status is not None and status["applied"] >= slot:
                    return
                await asyncio.sleep(0.05)

    def said(self) -> str:
        return (self._path / "n3.log").read_text()


@asynccontextmanager
async def two_and_one(path: Path) -> AsyncIterator[tuple[Embedded, Third]]:
    cluster = Embedded(path, config=OFTEN)
    third = Third(path, cluster.cluster)
    try:
        await third.start()
        for name in ("n1", "n2"):
            await cluster.start(name)
        await asyncio.gather(*(node.wait_ready(2 * READY_S) for node in cluster.nodes.values()))
        await third.applied(1)
        yield cluster, third
    finally:
        await third.stop()
        await asyncio.gather(*(node.close() for node in cluster.nodes.values()))


async def same_everywhere(cluster: Embedded, third: Third) -> None:
    """Check that n3 has the same state as the others and that its vote counts."""
    await cluster.agree()
    slot = cluster.nodes["n1"].status().applied
    await third.applied(slot)
    await cluster.stop("n2")
    node = cluster.nodes["n1"]
    assert await node.execute(Notes.add, 1, timeout=30.0) == 8
    await third.applied(node.status().applied)
    status = await fetch_status(third.address)
    assert status is not None
    assert status["digest"] == node.status().digest


@pytest.mark.parametrize("step", [step for step in STEPS if step.values[0] != "read"])
def test_a_node_killed_while_it_takes_a_snapshot_starts_again(tmp_path: Path, step: str) -> None:
    async def main() -> None:
        async with two_and_one(tmp_path) as (cluster, third):
            node = cluster.nodes["n1"]
            await node.execute(Notes.add, 7)
            await third.stop()
            await third.start(at=step)
            await third.applied(node.status().applied)
            writing = asyncio.create_task(write(node, 60))
            await third.dies()
            await writing
            await third.start()
            await same_everywhere(cluster, third)

    run(main)


@pytest.mark.long
@pytest.mark.parametrize("step", STEPS)
def test_a_node_killed_while_it_fetches_or_installs_a_snapshot_starts_again(tmp_path: Path, step: str) -> None:
    async def main() -> None:
        async with two_and_one(tmp_path) as (cluster, third):
            node = cluster.nodes["n1"]
            await node.execute(Notes.add, 7)
            await third.applied(node.status().applied)
            await third.stop()
            slot = node.status().applied
            while not all(other.status().first > slot + 1 for other in cluster.nodes.values()):
                await write(node, 20)
            await cluster.nothing_waits("n3")
            await third.start(at=step)
            await third.dies()
            await third.start()
            await same_everywhere(cluster, third)

    run(main)
