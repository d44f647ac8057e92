"""Long runs: disk and memory stay bounded, and nodes start and catch up quickly. These tests take minutes."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from paxospp_file import FileStorage

from paxospp import Client, Entry, Kind, Slot, WriteBatch
from paxospp.machines import KeyValue
from paxospp.rpc.unary_calls import fetch_status
from paxospp.sessions.runs import Run, encode_commands, encode_run
from tests.cluster.embedding import run
from tests.cluster.serving import Serving

pytestmark = pytest.mark.long

MIB = 1 << 20
WRITES = 2_000_000
SLOTS = 1_000_000


class Stored(Serving):
    """A cluster of ``serve`` processes on a given kind of storage."""

    scheme = "file"

    def arguments(self, name: str) -> list[str]:
        given = super().arguments(name)
        return [argument.replace("file:", f"{self.scheme}:", 1) for argument in given]


def directory_bytes(path: Path) -> int:
    """Return the disk space that a directory takes, ignoring files that are deleted meanwhile."""
    size = 0
    for root, _, files in os.walk(path):
        for file in files:
            try:
                size += os.lstat(os.path.join(root, file)).st_blocks * 512
            except FileNotFoundError:
                continue
    return size


def memory_bytes(process_id: int) -> int:
    """Return the largest amount of memory that the process has had."""
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    (peak,) = [line.split() for line in lines if line.startswith("VmHWM:")]
    return int(peak[1]) * 1024


async def wait_for(address: str, slot: int, within_s: float) -> float:
    """Wait until the node at ``address`` has a leader and has applied ``slot``; return the seconds it took."""
    began = time.monotonic()
    async with asyncio.timeout(within_s):
        while True:
            status = await fetch_status(address)
            if status is not None and status["leader"] and status["applied"] >= slot:
                return time.monotonic() - began
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("scheme", ["file", "rocksdb"])
def test_after_two_million_writes_disk_and_memory_are_small_and_a_start_is_fast(tmp_path: Path, scheme: str) -> None:
    async def write(serving: Stored) -> int:
        left = iter(range(WRITES))
        value = "x" * 100
        peak = 0

        async def work(numbers: Iterator[int], client: Client) -> None:
            nonlocal peak
            for number in numbers:
                await client.execute(KeyValue.put, f"key{number % 1000}", value)
                if number % 20_000 == 0:
                    peak = max(peak, *(directory_bytes(tmp_path / name) for name in serving.nodes))

        async with Client(serving.addresses, timeout=60.0) as client:
            await asyncio.gather(*(work(left, client) for _ in range(1024)))
        return peak

    async def start_again(serving: Stored) -> float:
        status = await fetch_status(serving.addresses[0])
        assert status is not None
        slot = status["decided"]
        for name in serving.nodes:
            serving.stop(name)
        began = time.monotonic()
        serving.start()
        await asyncio.gather(*(wait_for(address, slot, 30.0) for address in serving.addresses))
        return time.monotonic() - began

    with Stored(tmp_path) as serving:
        serving.scheme = scheme
        serving.start()
        serving.wait_founded()
        peak = run(lambda: write(serving))
        sizes = {name: directory_bytes(tmp_path / name) / MIB for name in serving.nodes}
        memory = {name: memory_bytes(process.pid) / MIB for name, process in serving.processes.items()}
        seconds = run(lambda: start_again(serving))
        print(f"{scheme}: {sizes} MiB, at most {peak / MIB:.0f}; memory {memory} MiB; all started in {seconds:.1f} s")
        assert max(sizes.values()) < 64
        assert max(memory.values()) < 200
        assert seconds < 10  # three processes at once, including their imports


def fill(path: Path) -> None:
    """Extend a log that holds one slot, as if many writes of one command each had followed."""
    storage = FileStorage(str(path))
    state = storage.load()
    (last,) = storage.read(state.last, Slot(state.last + 1), MIB)
    slot, number = int(state.last), 0
    while slot < SLOTS:
        entries = []
        for _ in range(min(2000, SLOTS - slot)):
            slot, number = slot + 1, number + 1
            payload = KeyValue.put.encode((f"key{number % 1000}", "x" * 100))
            value = encode_commands(
                10_000_000 + number, number, [encode_run(Run(1, b"x" * 16, number, number - 1, [payload]))]
            )
            entries.append(Entry(Slot(slot), last.ballot, Kind.COMMANDS, value))
        storage.persist(WriteBatch(accepted=entries, promised=state.promised, decided=Slot(slot), sync=False))
    storage.close()


@asynccontextmanager
async def writing(addresses: list[str]) -> AsyncIterator[list[float]]:
    """Make writes continually; yield the list of the times at which they were answered."""
    answered: list[float] = []
    async with Client(addresses, timeout=30.0) as client:

        async def work(key: str) -> None:
            while True:
                await client.execute(KeyValue.put, key, "x" * 100)
                answered.append(time.monotonic())

        tasks = [asyncio.create_task(work(f"writer{number}")) for number in range(16)]
        try:
            yield answered
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def test_a_node_that_missed_a_million_slots_catches_up_in_a_minute_and_starts_in_seconds(tmp_path: Path) -> None:
    async def main() -> None:
        with Serving(tmp_path) as serving:
            serving.start()
            serving.wait_founded()
            async with Client(serving.addresses, timeout=30.0) as client:
                await client.execute(KeyValue.put, "a", "b")
            for address in serving.addresses:
                await wait_for(address, 2, 30.0)
            for name in serving.nodes:
                serving.stop(name)
            for name in ("n1", "n2"):
                await asyncio.to_thread(fill, tmp_path / name)
            serving.start("n1", "n2")
            for address in serving.addresses[:2]:
                await wait_for(address, SLOTS, 300.0)
            async with writing(serving.addresses[:2]) as answered:
                await asyncio.sleep(3)
                began = time.monotonic()
                serving.start("n3")
                back = await wait_for(serving.addresses[2], SLOTS, 60.0)
                gaps = [later - sooner for sooner, later in pairwise(answered) if later > began]
            status = await fetch_status(serving.addresses[2])
            assert status is not None
            serving.stop("n3")
            started = time.monotonic()
            serving.start("n3")
            await wait_for(serving.addresses[2], status["applied"], 30.0)
            seconds = time.monotonic() - started
            print(f"back in {back:.1f} s, writes stood still for {max(gaps):.2f} s at most, started in {seconds:.1f} s")
            assert max(gaps) < 5
            assert seconds < 3 + 2  # including its process and imports, on a shared machine

    run(main)
