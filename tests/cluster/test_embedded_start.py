"""Bad input at the start of a node: an error of one line that names the value and the remedy, and nothing written."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from paxospp_file import FileStorage
from paxospp_memory import MemoryStorage

import paxospp
from paxospp.errors import (
    ConfigError,
    CorruptedError,
    LockedError,
    PaxosppError,
    ReplicaStoppedError,
    StorageError,
    UnavailableError,
    UnknownBackendError,
)
from paxospp.machines.kv import KeyValue
from paxospp.node import Node
from tests.cluster.embedding import Embedded, Notes, addresses, embedded, run


def refused(node: Node) -> PaxosppError:
    """Start ``node``, which must fail, and return the error, which must have one line."""

    async def main() -> PaxosppError:
        with pytest.raises(PaxosppError) as raised:
            await node.start()
        await node.close()
        return raised.value

    error = run(main)
    assert "\n" not in str(error)
    return error


ONE = {"n1": "127.0.0.1:7001"}


@pytest.mark.parametrize(
    ("name", "cluster", "says"),
    [
        ("n4", {"n1": "127.0.0.1:7001", "n2": "127.0.0.1:7002"}, "'n4' is not in the cluster n1, n2"),
        ("n1", {}, r"'n1' is not in the cluster \(empty\)"),
        ("n1", {"n1": "127.0.0.1:7001", "n2": "127.0.0.1:7001"}, "n1 and n2 have the same address 127.0.0.1:7001"),
        ("a b", ONE, "'a b' is not a valid node name"),
        ("n1", {"n1": "127.0.0.1"}, "'127.0.0.1' is not a valid address"),
        ("n1", {"n1": "127.0.0.1:70000"}, "is not a valid address"),
        ("n1", {"n1": "127.0.0.1:0", "n2": "127.0.0.1:7002"}, "port 0 is for one-node clusters"),
    ],
)
def test_an_invalid_cluster_is_refused_when_the_node_is_made(
    tmp_path: Path, name: str, cluster: Mapping[str, str], says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        Node(name, cluster=cluster, storage=f"file:{tmp_path / 'n1'}", machine=Notes)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("argument", "value", "says"),
    [
        ("name", 1, "the name of a node is a str such as 'n1', not 1"),
        ("cluster", "n1=127.0.0.1:7001", "cluster is a dict of names and addresses, .*not 'n1=127.0.0.1:7001'"),
        ("cluster", ["n1=127.0.0.1:7001"], "cluster is a dict of names and addresses"),
        ("cluster", {1: "127.0.0.1:7001"}, "the name of a node is a str such as 'n1', not 1"),
        ("cluster", {"n1": ("127.0.0.1", 7001)}, "the address of n1 is a str such as '127.0.0.1:7001', not "),
        ("listen", 7001, "listen is an address such as '0.0.0.0:7001', not 7001"),
        ("storage", None, "storage is a URL such as 'file:./data/n1', or a function that opens a storage, not None"),
        ("storage", Path("x"), "storage is a URL .* not PosixPath"),
        ("machine", None, "machine is a subclass of paxospp.StateMachine, a function .* not None"),
        ("machine", 5, "machine is .* not 5"),
        ("config", {"call_timeout_s": 5}, "config is a paxospp.NodeConfig, such as"),
    ],
)
def test_an_argument_of_another_type_is_refused_when_the_node_is_made(argument: str, value: Any, says: str) -> None:
    arguments: dict[str, Any] = {"name": "n1", "cluster": ONE, "storage": "memory:", "machine": Notes}
    with pytest.raises(ConfigError, match=says) as raised:
        Node(**arguments | {argument: value})
    assert "\n" not in str(raised.value)


def test_a_storage_that_is_open_is_refused_with_the_function_to_pass() -> None:
    opened = contextlib.closing(MemoryStorage(""))
    with opened as storage, pytest.raises(ConfigError, match=r"pass a function such as lambda: MemoryStorage\(…\)"):
        Node("n1", cluster=ONE, storage=storage, machine=Notes)  # type: ignore[arg-type]


def test_a_machine_that_needs_arguments_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    class Sized(Notes):
        def __init__(self, size: int) -> None: ...

    error = refused(Embedded(tmp_path, count=1).make("n1", machine=Sized))
    assert isinstance(error, ConfigError)
    assert "needs arguments (size): name a function that makes one without any" in str(error)
    assert not list(tmp_path.iterdir())


def test_an_unknown_scheme_is_refused_with_a_list_of_the_known_ones(tmp_path: Path) -> None:
    error = refused(Embedded(tmp_path, count=1).make("n1", storage=f"flie:{tmp_path / 'n1'}"))
    assert isinstance(error, UnknownBackendError)
    assert "file" in str(error)
    assert "memory" in str(error)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("machine", ["no_such_machine", "no_such_module:Class", Path, dict, lambda: 3])
def test_something_that_is_not_a_machine_is_refused_and_nothing_is_written(tmp_path: Path, machine: Any) -> None:
    refused(Embedded(tmp_path, count=1).make("n1", machine=machine))
    assert not list(tmp_path.iterdir())


def test_a_machine_instance_that_another_node_has_run_is_refused(tmp_path: Path) -> None:
    machine = Notes()

    async def main() -> None:
        async with Embedded(tmp_path / "first", count=1).make("n1", machine=machine) as node:
            await node.execute(Notes.add, 1)

    run(main)
    error = refused(Embedded(tmp_path / "second", count=1).make("n1", machine=machine))
    assert "give each Node a new instance" in str(error)
    assert not (tmp_path / "second").exists()


def test_a_function_that_does_not_return_a_storage_is_refused(tmp_path: Path) -> None:
    assert "dict, which is not a paxospp.Storage" in str(refused(Embedded(tmp_path, count=1).make("n1", storage=dict)))


def test_a_storage_of_another_contract_is_closed_again_and_refused_before_it_is_loaded(tmp_path: Path) -> None:
    class Later(MemoryStorage):
        contract = 99

    opened: list[Later] = []

    def open_later() -> Later:
        opened.append(Later("later"))
        return opened[-1]

    cluster = Embedded(tmp_path, count=1)
    assert "storage contract 99" in str(refused(cluster.make("n1", storage=open_later)))
    MemoryStorage("later").close()  # closed: its place is free again


def test_a_start_that_is_cancelled_leaves_nothing_behind(tmp_path: Path) -> None:
    async def main() -> None:
        cluster = Embedded(tmp_path, count=1)
        for rounds in range(0, 60, 3):
            node = cluster.make("n1")
            starting = asyncio.create_task(node.start())
            for _ in range(rounds):
                await asyncio.sleep(0)
            starting.cancel()
            await asyncio.wait([starting])
            await node.close()
        async with cluster.make("n1") as node:
            assert await node.execute(Notes.add, 1) == 1

    run(main)


def test_a_machine_with_an_attribute_that_a_snapshot_would_miss_is_refused(tmp_path: Path) -> None:
    class Forgetful(paxospp.StateMachine):
        def __init__(self) -> None:
            self.count = 0

    error = refused(Embedded(tmp_path, count=1).make("n1", machine=Forgetful))
    assert "count: int" in str(error)
    assert not list(tmp_path.iterdir())


def test_a_port_in_use_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        error = refused(Node("n1", cluster={"n1": address}, storage=f"file:{tmp_path / 'n1'}", machine=Notes))
        assert isinstance(error, ConfigError)
        assert address in str(error)
    assert not list(tmp_path.iterdir())


def test_memory_storage_is_refused_in_a_cluster_of_several_unless_it_is_allowed(tmp_path: Path) -> None:
    error = refused(Embedded(tmp_path).make("n1", storage="memory:"))
    assert isinstance(error, ConfigError)
    assert "allow_volatile=True" in str(error)

    async def main() -> None:
        async with Embedded(tmp_path, count=1).make("n1", storage="memory:") as alone:
            assert await alone.execute(Notes.add, 1) == 1
        cluster = Embedded(tmp_path)
        for name in cluster.cluster:
            await cluster.start(name, storage="memory:", allow_volatile=True)
        try:
            assert await cluster.nodes["n1"].execute(Notes.add, 1) == 1
        finally:
            for name in cluster.cluster:
                await cluster.stop(name)

    run(main)


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_a_directory_of_another_node_is_refused_and_left_unchanged(tmp_path: Path) -> None:
    async def main() -> Embedded:
        async with embedded(tmp_path) as cluster:
            await cluster.nodes["n1"].execute(Notes.add, 1)
        return cluster

    cluster = run(main)
    shutil.rmtree(tmp_path / "n2")
    (tmp_path / "n1").rename(tmp_path / "n2")
    before = contents(tmp_path / "n2")
    error = refused(cluster.make("n2"))
    assert isinstance(error, ConfigError)
    assert "node 'n1', not of 'n2'" in str(error)
    assert contents(tmp_path / "n2").keys() == before.keys()


@pytest.mark.parametrize("founded", [True, False])
def test_a_cluster_of_other_names_than_the_directory_knows_is_refused(tmp_path: Path, *, founded: bool) -> None:
    async def main() -> Embedded:
        if founded:
            async with embedded(tmp_path) as cluster:
                await cluster.nodes["n1"].execute(Notes.add, 1)
            return cluster
        cluster = Embedded(tmp_path)
        async with cluster.make("n1"):
            pass
        return cluster

    cluster = run(main)
    cluster.cluster["n4"] = addresses(1)["n1"]
    error = refused(cluster.make("n1"))
    assert isinstance(error, ConfigError)
    assert "n1, n2, n3" in str(error)
    assert "n1, n2, n3, n4" in str(error)


def test_a_founded_node_may_move_to_another_address(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            assert await cluster.nodes["n1"].execute(Notes.add, 1) == 1
            for name in list(cluster.nodes):
                await cluster.stop(name)
            cluster.cluster = addresses(3)
            for name in cluster.cluster:
                await cluster.start(name)
            assert await cluster.nodes["n2"].execute(Notes.add, 1) == 2

    run(main)


def test_a_locked_directory_is_refused_with_the_process_that_holds_it(tmp_path: Path) -> None:
    async def main() -> None:
        cluster = Embedded(tmp_path, count=1)
        async with cluster.make("n1"):
            cluster.cluster = addresses(1)
            second = cluster.make("n1")
            with pytest.raises(
                LockedError, match=rf"use by process {os.getpid()} .*/n1/anchor\): stop it, or use another"
            ):
                await second.start()
            await second.close()

    run(main)


@pytest.mark.parametrize("missing", [True, False])
def test_a_directory_without_its_anchor_is_refused_with_what_to_do(tmp_path: Path, *, missing: bool) -> None:
    async def main() -> None:
        async with Embedded(tmp_path, count=1).make("n1") as node:
            await node.execute(Notes.add, 1)

    run(main)
    for copy in (tmp_path / "n1" / "anchor").glob("anchor-*"):
        copy.unlink()
        if not missing:
            copy.touch()
    error = refused(Embedded(tmp_path, count=1).make("n1"))
    assert isinstance(error, CorruptedError)
    assert "put back the files anchor-a and anchor-b" in str(error)
    assert str(error).endswith("or start the node with an empty directory; it then follows without a vote")


def test_a_log_of_another_machine_stops_the_node_with_what_to_do_and_no_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        cluster = Embedded(tmp_path, count=1)
        async with cluster.make("n1") as node:
            await node.execute(Notes.add, 1)
        async with cluster.make("n1", machine=KeyValue) as node:
            with pytest.raises(ReplicaStoppedError, match="KeyValue has no command 'add'") as stopped:
                async with asyncio.timeout(10):
                    await node.wait_stopped()
        assert "holds commands that this state machine does not know" in str(stopped.value)
        assert "start the node with the class that wrote them" in str(stopped.value)

    run(main)
    (record,) = (record for record in caplog.records if record.levelno == logging.CRITICAL)
    assert not record.exc_info


def test_a_lone_node_with_a_damaged_slot_says_why_it_does_not_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        cluster = Embedded(tmp_path, count=1)
        async with cluster.make("n1") as node:
            for key in ("a key that stays", "a key to damage", "a key behind it"):
                await node.execute(Notes.put, key, "x")
        damaged = 0
        for file in (tmp_path / "n1" / "log").iterdir():
            data = file.read_bytes()
            damaged += data.count(b"a key to damage")
            file.write_bytes(data.replace(b"a key to damage", b"a key 2 damaged"))
        assert damaged
        async with cluster.make("n1") as node:
            await cluster.until(lambda: any("damaged" in note for note in node.status().notes))
            assert "slot 3 is damaged in this node's storage and this cluster has no other node" in str(node.status())

    run(main)
    assert "damaged or lost slots, which have to come from another node: 3" in caplog.text


def test_a_node_that_failed_to_start_releases_its_port_and_storage(tmp_path: Path) -> None:
    class Damaged(paxospp.Storage):
        closed = 0

        def load(self) -> paxospp.DurableState:
            raise CorruptedError("both copies of the promise are rotten")

        def persist(self, batch: paxospp.WriteBatch) -> None: ...
        def read(self, start: paxospp.Slot, stop: paxospp.Slot, max_bytes: int) -> list[paxospp.Entry]: ...  # type: ignore[empty-body]
        def create_snapshot(self, meta: paxospp.SnapshotMeta) -> paxospp.SnapshotWriter: ...  # type: ignore[empty-body]
        def open_snapshot(self) -> None: ...
        def close(self) -> None:
            Damaged.closed += 1

    error = refused(Embedded(tmp_path, count=1).make("n1", storage=Damaged))
    assert "rotten" in str(error)
    assert Damaged.closed == 1


def test_a_wiped_node_that_restarts_learns_without_a_vote_and_says_why(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            follower = await cluster.follower()
            name = follower.name
            assert await follower.execute(Notes.add, 1) == 1
            await cluster.stop(name)
            shutil.rmtree(tmp_path / name)
            wiped = await cluster.start(name)
            await wiped.wait_ready(15)
            assert await wiped.query(Notes.sum) == 1
            assert await wiped.execute(Notes.add, 1) == 2
            (note,) = (note for note in wiped.status().notes if note.startswith("does not vote"))
            assert f"this storage of {name} is new" in note
            assert note.endswith("so the cluster now needs 2 of its other 2 nodes")
            await cluster.agree()
            leader = await cluster.leader()
            other = next(name for name in cluster.nodes if name not in (wiped.name, leader.name))
            await cluster.stop(other)
            # One voter of three is left: the wiped node must not make it a majority.
            with pytest.raises(paxospp.CallError):
                await wiped.execute(Notes.add, 1, timeout=1.0)

    run(main)


def test_a_node_with_memory_storage_that_restarts_learns_without_a_vote(tmp_path: Path) -> None:
    async def main() -> None:
        cluster = Embedded(tmp_path)
        options: dict[str, dict[str, Any]] = {"n3": {"storage": "memory:", "allow_volatile": True}}
        for name in cluster.cluster:
            await cluster.start(name, **options.get(name, {}))
        await cluster.ready()
        assert await cluster.nodes["n1"].execute(Notes.add, 1) == 1
        await cluster.stop("n3")
        again = await cluster.start("n3", **options["n3"])
        await again.wait_ready(15)
        assert await again.query(Notes.sum) == 1
        assert any(note.startswith("does not vote") for note in again.status().notes)
        for name in cluster.cluster:
            await cluster.stop(name)

    run(main)


class FailingStorage(FileStorage):
    """A file storage whose writes raise ``fail_with`` once the test has set it."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.fail_with: Exception | None = None

    def persist(self, batch: paxospp.WriteBatch) -> None:
        if self.fail_with is not None:
            raise self.fail_with
        super().persist(batch)


@pytest.mark.parametrize("error", [StorageError("input/output error"), OSError(28, "No space left on device")])
def test_a_storage_that_fails_stops_its_node_with_the_cause_and_the_others_continue(
    tmp_path: Path, error: Exception
) -> None:
    async def main() -> None:
        storages: list[FailingStorage] = []

        def failing() -> FailingStorage:
            storages.append(FailingStorage(tmp_path / "n1"))
            return storages[-1]

        cluster = Embedded(tmp_path)
        await cluster.start("n1", storage=failing)
        for name in ("n2", "n3"):
            await cluster.start(name)
        await cluster.ready()
        node = cluster.nodes.pop("n1")
        try:
            waiting = asyncio.create_task(node.wait_stopped())
            storages[0].fail_with = error
            survivor = cluster.nodes["n2"]
            await survivor.execute(Notes.add, 1)
            with pytest.raises(type(error)) as raised:
                async with asyncio.timeout(10):
                    await waiting
            assert raised.value is error
            with pytest.raises(UnavailableError, match="stopped") as refused:
                await node.execute(Notes.add, 1)
            assert refused.value.__cause__ is error
            assert await survivor.execute(Notes.add, 1) == 2
        finally:
            await node.close()
            for name in list(cluster.nodes):
                await cluster.stop(name)

    run(main)
