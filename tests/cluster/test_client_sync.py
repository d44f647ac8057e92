"""The blocking Client and Node: shared by threads, refused in an event loop, no thread left after close."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

import paxospp.sync
from paxospp.errors import ConfigError, OutcomeUnknownError, RejectedError, UnavailableError
from tests.cluster.embedding import Notes, addresses, free_addresses


@contextmanager
def nothing_left() -> Iterator[None]:
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("paxospp")]


@contextmanager
def one_node(path: Path) -> Iterator[paxospp.sync.Node]:
    cluster = addresses(1)
    with paxospp.sync.Node("n1", cluster=cluster, storage=f"file:{path / 'n1'}", machine=Notes) as node:
        node.wait_ready(15)
        yield node


def test_the_same_calls_without_async(tmp_path: Path) -> None:
    with nothing_left(), one_node(tmp_path) as node, paxospp.sync.Client([node.address]) as client:
        assert node.execute(Notes.put, "a", "b") is None
        assert client.execute(Notes.put, key="a", value="c") == "b"
        assert client.execute("put", "a", "d", timeout=5.0) == "c"
        assert node.query(Notes.get, "a") == client.query("get", "a", consistency="local") == "d"
        assert node.status().role == "leader"
        assert node.name == "n1"
        with pytest.raises(RejectedError):
            client.execute("nothing")


def test_three_nodes_in_one_thread_of_ours_and_each_in_one_of_its_own(tmp_path: Path) -> None:
    cluster = addresses(3)
    nodes = [
        paxospp.sync.Node(name, cluster=cluster, storage=f"file:{tmp_path / name}", machine=Notes()) for name in cluster
    ]
    with nothing_left(), nodes[0], nodes[1], nodes[2]:
        assert [node.execute(Notes.add, 1) for node in nodes] == [1, 2, 3]


def test_many_threads_share_one_client(tmp_path: Path) -> None:
    with nothing_left(), one_node(tmp_path) as node, paxospp.sync.Client([node.address]) as client:
        with ThreadPoolExecutor(16) as threads:
            totals = list(threads.map(lambda _: client.execute(Notes.add, 1), range(400)))
        assert sorted(totals) == list(range(1, 401))


def test_a_running_loop_is_no_place_for_them(tmp_path: Path) -> None:
    with one_node(tmp_path) as node, paxospp.sync.Client([node.address]) as client:

        async def main() -> None:
            with pytest.raises(RuntimeError, match=r"paxospp\.Node"):
                node.execute(Notes.add, 1)
            with pytest.raises(RuntimeError, match=r"paxospp\.Client"):
                client.query(Notes.sum)
            with pytest.raises(RuntimeError, match=r"paxospp\.Client"):
                paxospp.sync.Client(["127.0.0.1:1"]).start()

        asyncio.run(main())


def test_closing_ends_the_calls_of_other_threads(tmp_path: Path) -> None:
    client = paxospp.sync.Client(free_addresses(1), timeout=None)
    client.start()
    with nothing_left(), ThreadPoolExecutor(1) as threads:
        call = threads.submit(client.execute, Notes.add, 1)
        while not client._wrapped._started._deadlines.open:  # type: ignore[union-attr]  # there is no other way to see it wait
            time.sleep(0.001)
        client.close()
        with pytest.raises((UnavailableError, OutcomeUnknownError), match="closed"):
            call.result(5)
        client.close()
        with pytest.raises(RuntimeError, match="closed"):
            client.execute(Notes.add, 1)


def test_a_node_that_cannot_start_leaves_no_thread(tmp_path: Path) -> None:
    with nothing_left():
        node = paxospp.sync.Node("n1", cluster=addresses(1), storage="memory:", machine="nothing")
        with pytest.raises(paxospp.PaxosppError, match="nothing"):
            node.start()
        node.close()
        with pytest.raises(ConfigError):
            paxospp.sync.Node("n2", cluster=addresses(1), storage="memory:", machine=Notes)


def test_what_was_not_started_says_so() -> None:
    with pytest.raises(RuntimeError, match="not started"):
        paxospp.sync.Client(["127.0.0.1:1"]).execute(Notes.add, 1)


def test_after_a_fork_they_say_so_instead_of_waiting_for_a_thread_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with nothing_left(), paxospp.sync.Client(free_addresses(1)) as client, monkeypatch.context() as forked:
        forked.setattr("os.getpid", lambda: 1)
        with pytest.raises(RuntimeError, match="fork"):
            client.execute(Notes.add, 1)


def test_waiting_for_the_end_of_a_node_returns_when_it_is_closed(tmp_path: Path) -> None:
    with one_node(tmp_path) as node, ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(node.wait_stopped)
        node.close()
        assert waiting.result(5) is None
