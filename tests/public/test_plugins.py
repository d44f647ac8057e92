"""Plug-ins that a user passes to a Node, as modules, objects or files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import paxospp


class Counter(paxospp.StateMachine):
    total: int = 0

    @paxospp.command
    def add(self, n: int) -> int:
        self.total += n
        return self.total


def node(storage: str, machine: str = f"{__file__}:Counter", *plugins: object) -> paxospp.Node:
    return paxospp.Node("n1", cluster={"n1": "127.0.0.1:0"}, storage=storage, machine=machine, plugins=plugins)


def test_a_plug_in_in_a_file_brings_a_storage_and_a_machine(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "import paxospp\n"
        "from paxospp_memory import MemoryStorage\n"
        "class Lines(paxospp.StateMachine):\n"
        "    lines: list[str]\n"
        "    def __init__(self) -> None: self.lines = []\n"
        "    @paxospp.command\n"
        "    def append(self, line: str) -> int:\n"
        "        self.lines.append(line)\n"
        "        return len(self.lines)\n"
        "@paxospp.hookimpl\n"
        "def paxospp_storages():\n"
        "    yield paxospp.StorageBackend('forgetful', MemoryStorage, 'a test')\n"
        "@paxospp.hookimpl\n"
        "def paxospp_state_machines():\n"
        "    yield paxospp.MachineType('lines', Lines, 'a test')\n"
    )

    async def run() -> object:
        async with node("forgetful:", "lines", str(plugin)) as running:
            return await running.execute("append", "one")

    assert asyncio.run(run()) == 1


def test_observers_receive_events_from_start_to_stop_even_if_another_observer_raises() -> None:
    received: list[paxospp.Event] = []

    def fail(event: paxospp.Event) -> None:
        raise ValueError("this observer fails")

    def plugin(observe: Callable[[paxospp.Event], None]) -> object:
        return SimpleNamespace(paxospp_event=paxospp.hookimpl(observe))

    async def run() -> None:
        async with node(
            "memory:", f"{__file__}:Counter", plugin(fail), plugin(lambda event: received.append(event))
        ) as n1:
            assert await n1.execute(Counter.add, 2) == 2

    asyncio.run(run())

    kinds = [type(event) for event in received]
    assert kinds[0] is paxospp.NodeStarted
    assert {paxospp.MembershipChanged, paxospp.LeaderChanged} <= set(kinds)
    assert received[-1] == paxospp.NodeStopped(node=paxospp.NodeId("n1"), cause=None)


@pytest.mark.parametrize(
    ("storage", "machine", "error"),
    [
        ("etcd:x", "kv", paxospp.UnknownBackendError),
        ("memory:", "no-such-machine", paxospp.UnknownBackendError),
        ("file:new?no_such_option=1", "kv", paxospp.ConfigError),
        ("file:new", "absent.py:Counter", paxospp.ConfigError),
    ],
)
def test_a_wrong_storage_or_machine_is_refused_at_start_and_nothing_is_written(
    storage: str,
    machine: str,
    error: type[paxospp.PaxosppError],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)

    async def run() -> None:
        await node(storage, machine).start()

    with pytest.raises(error):
        asyncio.run(run())
    assert list(tmp_path.iterdir()) == []
