"""A cluster inside one program: calls on every node, starting, closing, and what is left behind."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

import paxospp
from paxospp.errors import OutcomeUnknownError, UnavailableError
from paxospp.events import LeaderChanged, MembershipChanged, NodeStarted, NodeStopped
from paxospp.node import Node
from tests.cluster.embedding import Embedded, Notes, addresses, embedded, free_addresses, run


def test_three_nodes_entered_one_after_another_answer_calls_made_on_any_of_them(tmp_path: Path) -> None:
    async def main() -> None:
        cluster = addresses(3)
        async with AsyncExitStack() as stack:
            nodes = [
                await stack.enter_async_context(
                    Node(name, cluster=cluster, storage=f"file:{tmp_path / name}", machine=Notes())
                )
                for name in cluster
            ]
            for number, node in enumerate(nodes):
                assert await node.execute(Notes.put, f"key{number}", "value") is None
            for node in nodes:
                for number in range(3):
                    assert await node.query(Notes.get, f"key{number}") == "value"

    run(main, debug=True)


def test_a_call_made_before_an_election_waits_for_a_leader(tmp_path: Path) -> None:
    async def main() -> None:
        cluster = Embedded(tmp_path)
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(cluster.make("n1"))
            call = asyncio.create_task(first.execute(Notes.put, "a", "b"))
            await asyncio.sleep(0)
            assert set(first.status().notes) >= {"not bootstrapped yet, waiting for n2, n3"}
            for name in ("n2", "n3"):
                await stack.enter_async_context(cluster.make(name))
            assert await call is None
            assert await first.query(Notes.get, "a") == "b"

    run(main)


def test_calls_accept_keywords_defaults_names_options_and_bytes(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path, count=1) as cluster:
            node = cluster.nodes["n1"]
            assert await node.execute(Notes.put, key="a", value="b") is None
            assert await node.execute(Notes.put, "a") == "b"
            assert await node.execute(Notes.put, "a", "c", timeout=2.0) == "nothing"
            assert await node.execute("put", "a", "d", timeout=None) == "c"
            assert await node.query("get", "a", timeout=2.0) == "d"
            assert await node.query(Notes.get, "a", timeout=2.0) == "d"

    run(main)


def test_a_machine_in_full_control_takes_and_returns_bytes(tmp_path: Path) -> None:
    class Tape(paxospp.StateMachine):
        tape: bytes

        def __init__(self) -> None:
            self.tape = b""

        def apply(self, command: bytes, context: paxospp.Context) -> bytes:
            self.tape += command
            return self.tape

        def answer(self, request: bytes) -> bytes:
            return request + self.tape

        def snapshot(self):  # type: ignore[no-untyped-def]
            return [self.tape]

        def restore(self, chunks) -> None:  # type: ignore[no-untyped-def]
            self.tape = b"".join(chunks)

    async def main() -> None:
        async with embedded(tmp_path, count=1, machines={"n1": Tape}) as cluster:
            node = cluster.nodes["n1"]
            assert await node.execute(b"ab") == b"ab"
            assert await node.execute(b"") == b"ab"
            assert await node.query(b"? ") == b"? ab"
            with pytest.raises(paxospp.RejectedError):
                await node.execute("put", "a")

    run(main)


def test_closing_with_calls_in_flight_ends_them_within_two_seconds(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            node = await cluster.follower()
            others = [name for name, other in cluster.nodes.items() if other is not node]
            for name in others:
                await cluster.stop(name)
            calls = [asyncio.create_task(node.execute(Notes.put, f"k{i}", "v", timeout=None)) for i in range(100)]
            calls += [asyncio.create_task(node.query(Notes.get, "k", timeout=None)) for _ in range(100)]
            await asyncio.sleep(0.05)
            began = time.monotonic()
            await node.close()
            assert time.monotonic() - began < 2.0
            ended = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(error) for error in ended} <= {OutcomeUnknownError, UnavailableError}
            assert all(type(error) is UnavailableError for error in ended[100:])
            await node.close()

    run(main)


def test_nodes_that_start_and_close_leave_nothing_behind(tmp_path: Path) -> None:
    before = {thread.name for thread in threading.enumerate()}

    async def main() -> None:
        for _ in range(2):
            async with embedded(tmp_path) as cluster:
                await cluster.nodes["n2"].execute(Notes.add, 1)

    run(main, debug=True)
    after = {thread.name for thread in threading.enumerate()}
    assert not {name for name in after - before if name.startswith("paxospp")}


def test_a_node_may_be_built_outside_the_loop_and_starts_once(tmp_path: Path) -> None:
    cluster = Embedded(tmp_path, count=1)
    node = cluster.make("n1")
    assert not (tmp_path / "n1").exists()
    with pytest.raises(RuntimeError, match="was not started"):
        node.status()

    async def main() -> None:
        async with node:
            assert await node.execute(Notes.add, 2) == 2
        with pytest.raises(UnavailableError, match="closed"):
            await node.execute(Notes.add, 2)
        with pytest.raises(UnavailableError, match="closed"):
            await node.query(Notes.sum)
        await node.wait_stopped()
        with pytest.raises(RuntimeError, match="starts once"):
            await node.start()

    run(main)


def test_using_a_node_from_another_thread_or_loop_raises_an_error_that_says_how_to(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path, count=1) as cluster:
            node = cluster.nodes["n1"]

            def from_a_thread() -> None:
                with pytest.raises(RuntimeError, match=r"sync\.Node"):
                    asyncio.run(node.execute(Notes.add, 1))
                with pytest.raises(RuntimeError, match=r"sync\.Node"):
                    node.status()

            await asyncio.to_thread(from_a_thread)

    run(main)


def test_writes_go_on_when_the_leader_is_closed_and_it_catches_up_from_its_disk(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            leader = await cluster.leader()
            name = leader.name
            assert await leader.execute(Notes.add, 1) == 1
            await cluster.stop(name)
            other = next(iter(cluster.nodes.values()))
            assert await other.execute(Notes.add, 1) == 2
            for number in range(50):
                await other.execute(Notes.put, f"key{number}", "value")
            back = await cluster.start(name)
            assert await back.query(Notes.sum) == 2
            assert await back.query(Notes.get, "key49") == "value"
            await cluster.agree()

    run(main)


def test_all_acknowledged_writes_survive_a_restart_of_all_nodes(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            node = cluster.nodes["n2"]
            await asyncio.gather(*(node.execute(Notes.put, f"key{i}", str(i)) for i in range(500)))
            for name in list(cluster.nodes):
                await cluster.stop(name)
            for name in cluster.cluster:
                await cluster.start(name)
            for number in (0, 250, 499):
                assert await cluster.nodes["n3"].query(Notes.get, f"key{number}") == str(number)
            await cluster.agree()

    run(main)


def test_every_call_in_flight_is_applied_once_when_the_leader_closes(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            leader = await cluster.leader()
            node = await cluster.follower()

            async def count(times: int) -> None:
                for _ in range(times):
                    await node.execute(Notes.add, 1, timeout=30.0)

            counting = [asyncio.create_task(count(20)) for _ in range(50)]
            await cluster.until(lambda: node.status().applied > 10)
            await cluster.stop(leader.name)
            await asyncio.gather(*counting)
            assert await node.query(Notes.sum) == 1000

    run(main)


def test_the_observer_receives_events_and_its_exceptions_do_no_harm(tmp_path: Path) -> None:
    heard: list[type] = []

    def observe(event: object) -> None:
        heard.append(type(event))
        raise ValueError("an observer of mine")

    async def main() -> None:
        node = Embedded(tmp_path, count=1).make("n1", on_event=observe)
        async with node:
            assert await node.execute(Notes.add, 1) == 1

    run(main)
    assert heard[0] is NodeStarted
    assert heard[-1] is NodeStopped
    assert {MembershipChanged, LeaderChanged} <= set(heard)


def test_a_cluster_of_one_may_listen_on_port_0_and_its_address_tells_the_port(tmp_path: Path) -> None:
    async def main() -> None:
        node = Node("n1", cluster={"n1": "127.0.0.1:0"}, storage=f"file:{tmp_path / 'n1'}", machine=Notes)
        async with node:
            assert not node.address.endswith(":0")
            assert node.status().members == {"n1": node.address}
            assert await node.execute(Notes.add, 3) == 3

    run(main)


def test_a_node_listens_on_its_listen_address_instead_of_the_advertised_one(tmp_path: Path) -> None:
    async def main() -> None:
        advertised, bound = free_addresses(2)
        node = Node("n1", cluster={"n1": advertised}, listen=bound, storage=f"file:{tmp_path / 'n1'}", machine=Notes)
        async with node:
            assert node.address == advertised
            host, port = bound.split(":")
            _, writer = await asyncio.open_connection(host, int(port))
            writer.close()
            await writer.wait_closed()

    run(main)
