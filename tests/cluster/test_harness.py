"""``Cluster`` does what it says, with any machine and any storage, in one process or several."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import pytest

import paxospp
from paxospp.errors import ConfigError, UnavailableError
from paxospp.machines import KeyValue
from paxospp.node import Node
from paxospp.testing.checkers import History, check_linearizable
from paxospp.testing.cluster import (
    Cluster,
    Nemesis,
    NodeEndedError,
    NodeProcess,
    NotAgreedError,
    Recorded,
    driven,
)
from tests.cluster.embedding import run, threads_end
from tests.rpc.ends import until

ROOT = Path(__file__).parents[2]
SQLITE = f"{ROOT / 'examples/storage_plugin/paxospp_sqlite/__init__.py'}:SqliteStorage"

MODES = pytest.mark.parametrize("processes", [False, True], ids=["embedded", "processes"])
PATIENCE_S = 20.0
LONG = pytest.mark.long


class Bank(paxospp.StateMachine):
    """Accounts whose sum is always 100."""

    accounts: dict[str, int]

    def __init__(self) -> None:
        self.accounts = {"a": 50, "b": 50}

    @paxospp.command
    def transfer(self, source: str, target: str, amount: int) -> tuple[int, int]:
        if self.accounts[source] < amount:
            raise ValueError("not enough")
        self.accounts[source] -= amount
        self.accounts[target] += amount
        return self.accounts[source], self.accounts[target]

    @paxospp.query
    def balances(self) -> tuple[int, int]:
        return self.accounts["a"], self.accounts["b"]


def transfers(random: Random) -> tuple[Any, ...]:
    if random.random() < 0.3:
        return (Bank.balances,)
    source, target = random.sample("ab", 2)
    return Bank.transfer, source, target, random.randint(1, 40)


class Drifting(paxospp.StateMachine):
    """A machine that differs between nodes: it returns the number of its instance."""

    number: int
    made: ClassVar[int] = 0

    def __init__(self) -> None:
        Drifting.made += 1
        self.number = Drifting.made

    @paxospp.command
    def who(self) -> int:
        return self.number


class Raw(paxospp.StateMachine):
    """A machine in full control that appends every command to its state."""

    def __init__(self) -> None:
        self.log = b""

    def apply(self, command: bytes, context: paxospp.Context) -> bytes:
        self.log += command
        return self.log

    def answer(self, request: bytes) -> bytes:
        return self.log

    def snapshot(self) -> list[bytes]:
        return [self.log]

    def restore(self, chunks: Any) -> None:
        self.log = b"".join(chunks)


@pytest.mark.parametrize(
    ("storage", "processes"),
    [
        ("file:{tmp}/{name}", False),
        pytest.param("rocksdb", False, marks=LONG),
        pytest.param("memory:", False, marks=LONG),
        pytest.param(f"{SQLITE}:{{tmp}}/{{name}}", False, marks=LONG),
        pytest.param("file:{tmp}/{name}", True, marks=LONG),
        pytest.param("rocksdb", True, marks=LONG),
        pytest.param(SQLITE, True, marks=LONG),
    ],
)
def test_any_machine_on_any_storage_stays_linearizable_when_its_leader_is_killed(storage: str, processes: bool) -> None:
    """The search checks the history against the machine itself."""
    if storage == "rocksdb":
        pytest.importorskip("rocksdict")

    async def main() -> None:
        history = History()
        async with Cluster(3, machine=Bank, storage=storage, processes=processes) as cluster:
            async with driven(cluster, history, transfers, Random(1), clients=3, pause_s=0.02):
                await until(lambda: history.answered > 12, PATIENCE_S)
                leader = await cluster.leader()
                await cluster.kill(leader)
                killed_at = history.answered
                if storage != "memory:":  # what forgets comes back as another one
                    await cluster.start(leader)
                await until(lambda: history.answered > killed_at + 12, PATIENCE_S)
            assert sum(await cluster.client().query(Bank.balances)) == 100
            await cluster.agree()
        check_linearizable(history, Bank).expect()
        if not processes:
            await threads_end()

    run(main)


@MODES
def test_a_machine_in_full_control_runs_too(processes: bool) -> None:
    async def main() -> None:
        async with Cluster(1, machine=Raw, processes=processes) as cluster:
            assert await cluster.client().execute(b"a") == b"a"
            await cluster.kill("n1")
            await cluster.start("n1")
            assert await cluster.client().execute(b"b") == b"ab"

    run(main)


@pytest.mark.parametrize("processes", [False, pytest.param(True, marks=LONG)], ids=["embedded", "processes"])
def test_verbs_act_at_once_and_can_be_awaited(processes: bool) -> None:
    async def main() -> None:
        async with Cluster(3, machine=KeyValue, processes=processes) as cluster:
            client = cluster.client()
            await client.execute(KeyValue.put, "boo", "foo")
            assert list(cluster.nodes) == ["n1", "n2", "n3"]
            assert {type(node) for node in cluster.nodes.values()} == {NodeProcess if processes else Node}
            leader = await cluster.leader()
            cluster.kill(leader)
            assert leader not in cluster.running
            other = await cluster.leader()
            assert other != leader
            assert await client.query(KeyValue.get, "boo") == "foo"
            with pytest.raises(ConfigError, match="is running"):
                await cluster.start(other)
            cluster.start(leader)
            await cluster.agree()
            await cluster.stop(other)
            assert await client.query(KeyValue.get, "boo") == "foo"
            with pytest.raises(ConfigError, match="'n9' is not a node"):
                cluster.kill("n9")

    run(main)


def test_a_client_of_the_cluster_may_call_one_node_only() -> None:
    async def main() -> None:
        async with Cluster(3, machine=KeyValue) as cluster:
            async with cluster.client() as client:
                await client.execute(KeyValue.put, "a", 1)
            leader = await cluster.leader()
            other = next(name for name in cluster.names if name != leader)
            alone = cluster.client(other)
            assert await alone.query(KeyValue.get, "a") == 1
            await cluster.kill(other)
            with pytest.raises(UnavailableError):
                await alone.query(KeyValue.get, "a", timeout=0.5)
            assert await cluster.client().query(KeyValue.get, "a") == 1

    run(main)


def test_invalid_arguments_are_refused_before_anything_starts() -> None:
    class Inside(KeyValue):
        """A machine that another process cannot load."""

    async def refused(match: str, *sizes: int, **options: Any) -> None:
        with pytest.raises(ConfigError, match=match):
            async with Cluster(*sizes, **{"machine": KeyValue, **options}):
                pass

    async def main() -> None:
        await refused("use 1 or more", 0)
        await refused("3 nodes cannot share the storage", storage="file:{tmp}/same")
        await refused("another process cannot load machine=", machine=Inside, processes=True)
        await refused("needs a storage URL", storage=lambda name: None, processes=True)
        async with Cluster(1, machine=KeyValue) as cluster:
            assert await cluster.node("n1").execute(KeyValue.delete, "x") is False
            for verb in (cluster.pause, cluster.resume, cluster.fail_disk, cluster.process):
                with pytest.raises(ConfigError, match="processes=True"):
                    verb("n1")
            with pytest.raises(ConfigError, match="have no link"):
                cluster.cut("n1", "n2")

    run(main)


def test_a_node_that_ends_by_itself_is_reported_with_its_last_output() -> None:
    async def main() -> None:
        async with Cluster(1, machine=KeyValue, processes=True) as cluster:
            node = cluster.process("n1")
            os.kill(node.pid, 15)
            await node.ended()
            with pytest.raises(NodeEndedError, match="n1 ended with exit code"):
                await cluster.leader()
            with pytest.raises(ConfigError, match="runs in its own process"):
                cluster.node("n1")

    run(main)


def test_replicas_that_differ_are_found() -> None:
    async def main() -> None:
        async with Cluster(2, machine=Drifting) as cluster:
            await cluster.client().execute(Drifting.who)
            with pytest.raises(NotAgreedError, match="replicas differ"):
                await cluster.agree()

    run(main)


# Red: what the harness is for has to be found by it.


def test_a_stale_read_of_a_real_cluster_is_found() -> None:
    """A ``local`` query may be stale, which is a violation of linearizability."""

    async def main() -> None:
        history = History()
        async with Cluster(3, machine=KeyValue) as cluster:
            writer = Recorded(cluster.client(), history, "writer")
            await writer.execute(KeyValue.put, "x", 1)
            await cluster.agree()
            leader = await cluster.leader()
            behind = next(name for name in cluster.names if name != leader)
            reader = Recorded(cluster.node(behind), history, "reader")
            assert await reader.query(KeyValue.get, "x") == 1
            await cluster.isolate(behind)
            await writer.execute(KeyValue.put, "x", 2)
            assert await reader.query(KeyValue.get, "x", consistency="local") == 1
        verdict = check_linearizable(history)
        assert verdict.violated
        assert {operation.process for operation in verdict.operations} == {"writer", "reader"}

    run(main)


def test_writes_lost_by_a_real_cluster_are_found() -> None:
    """Nodes with volatile storage bootstrap a new cluster after all of them have ended."""

    async def main() -> None:
        history = History()
        async with Cluster(3, machine=KeyValue, storage="memory:") as cluster:
            before = Recorded(cluster.client(), history, "before")
            await before.execute(KeyValue.put, "x", 1)
            await asyncio.gather(*(cluster.kill(name) for name in cluster.names))
            await asyncio.gather(*(cluster.start(name) for name in cluster.names))
            await cluster.ready()
            # Who talked to the cluster that was lost is told so; who comes now takes it for the same.
            with pytest.raises(UnavailableError, match="different cluster"):
                await before.query(KeyValue.get, "x")
            after = Recorded(cluster.client(), history, "after")
            assert await after.query(KeyValue.get, "x") is None
        assert check_linearizable(history).violated

    run(main)


def test_the_nemesis_leaves_a_cluster_that_works() -> None:
    async def main() -> None:
        async with Cluster(3, machine=KeyValue) as cluster:
            nemesis = Nemesis(cluster, Random(1), [*Nemesis.KILLS, *Nemesis.NETWORK], hold_s=0.05)
            for family in (*Nemesis.KILLS, *Nemesis.NETWORK):
                await nemesis.strike(family)
            await cluster.agree()
            await cluster.client().execute(KeyValue.put, "x", 1)
            assert set(nemesis.counts) == {*Nemesis.KILLS, *Nemesis.NETWORK, "SIGKILL"}

    run(main)
