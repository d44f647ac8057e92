"""The client with a real cluster: calls, fail-over, start and close, and misuse that it refuses."""

from __future__ import annotations

import asyncio
import os
import pickle
import time
import warnings
from pathlib import Path

import pytest

import paxospp
from paxospp.client import Client
from paxospp.errors import CallError, CommandError, OutcomeUnknownError, RejectedError, UnavailableError
from tests.client.alone import Alone
from tests.cluster.embedding import Embedded, Notes, embedded, free_addresses, run


def addresses_of(cluster: Embedded) -> list[str]:
    return list(cluster.cluster.values())


def test_the_same_two_verbs_as_a_node_has(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster, paxospp.Client(addresses_of(cluster), timeout=10.0) as client:
            assert await client.execute(Notes.put, "a", "b") is None
            assert await client.execute(Notes.put, key="a", value="c") == "b"
            assert await client.execute(Notes.put, "a", timeout=5.0) == "c"
            assert await client.execute("put", "a", "d", timeout=None) == "nothing"
            assert await client.query(Notes.get, "a") == "d"
            assert await client.query("get", "a", timeout=5.0) == "d"
            assert await client.query(Notes.get, "a", consistency=paxospp.bounded(1)) == "d"
            assert await client.query(Notes.get, "a", consistency="local") == "d"
            with pytest.raises(CommandError, match="not the owner"):
                await client.execute(Notes.raise_permission_error)

    run(main, debug=True)


def test_queries_of_one_breath_are_answered_each_for_itself_whatever_becomes_of_the_others(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster, Client(addresses_of(cluster), timeout=10.0) as client:
            large = {key: key * 700_000 for key in "abc"}  # two of them are more than one message holds
            await asyncio.gather(*(client.execute(Notes.put, key, value) for key, value in large.items()))
            await client.execute(Notes.put, "small", "s")
            found = await asyncio.gather(
                client.query(Notes.get, "small"),
                client.query(Notes.get, "a"),
                client.query("no such query"),
                client.query(Notes.get, "b"),
                client.query(Notes.get, "x" * (2 << 20)),
                client.query(Notes.get, "c"),
                client.query("get", 5),
                client.query(Notes.get, "small"),
                return_exceptions=True,
            )
            answers = [one for one in found if not isinstance(one, BaseException)]
            assert answers == ["s", large["a"], large["b"], large["c"], "s"]
            assert [type(one) for one in found if isinstance(one, BaseException)] == [RejectedError] * 3

    run(main, debug=True)


def test_arguments_and_results_are_copies(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path, count=1) as cluster, Client(addresses_of(cluster)) as client:
            items = [1, 2]
            call = asyncio.ensure_future(client.execute(Notes.keep, items))
            await asyncio.sleep(0)
            items.append(3)
            kept = await call
            kept.append(4)
            assert await client.query(Notes.kept) == [1, 2]

    run(main)


def test_a_closed_leader_is_replaced_and_every_call_takes_effect_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster, Client(addresses_of(cluster), timeout=30.0) as client:
            calls = [asyncio.ensure_future(client.execute(Notes.add, 1)) for _ in range(200)]
            await calls[0]
            leader = await cluster.leader()
            closing = asyncio.ensure_future(cluster.stop(leader.name))
            for _ in range(300):
                calls.append(asyncio.ensure_future(client.execute(Notes.add, 1)))
                await asyncio.sleep(0)
            await closing
            totals = await asyncio.gather(*calls)
            assert sorted(totals) == list(range(1, 501))
            assert await client.query(Notes.sum) == 500

    run(main)


def test_a_client_that_knows_one_node_finds_the_others_when_that_one_is_gone(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            follower = await cluster.follower()
            async with Client([follower.address], timeout=20.0) as client:
                assert await client.execute(Notes.add, 1) == 1
                await cluster.stop(follower.name)
                assert await client.execute(Notes.add, 1) == 2

    run(main)


def test_a_thousand_calls_cancelled_at_random_leave_the_cluster_well(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster, Client(addresses_of(cluster), timeout=20.0) as client:
            calls = []
            for number in range(1000):
                calls.append(asyncio.ensure_future(client.execute(Notes.add, 1)))
                if number % 7 == 0:
                    await asyncio.sleep(0)
                if number % 3 == 0:
                    calls[number // 2].cancel()
            ends = await asyncio.gather(*calls, return_exceptions=True)
            done = [end for end in ends if isinstance(end, int)]
            assert {type(end) for end in ends} <= {int, asyncio.CancelledError}
            assert len(done) == len(set(done))
            assert await client.execute(Notes.put, "a", "b") is None
            assert await client.query(Notes.sum) >= max(done)
            await cluster.agree()

    run(main)


def test_closing_ends_calls_with_the_error_that_is_true_of_each() -> None:
    async def main() -> None:
        async with Alone() as node:
            node.handle = node.lose
            client = Client([node.address])
            await client.start()
            sent = asyncio.ensure_future(client.execute(Notes.add, 1))
            await node.took(1)
            unsent = asyncio.ensure_future(client.execute(Notes.add, 1))
            await asyncio.sleep(0)
            begun = time.monotonic()
            await client.close()
            assert time.monotonic() - begun < 1.0
            with pytest.raises(OutcomeUnknownError, match="closed"):
                await sent
            with pytest.raises(UnavailableError, match="closed"):
                await unsent
            await client.close()
            with pytest.raises(RuntimeError, match="closed"):
                await client.execute(Notes.add, 1)

    run(main)


def test_many_calls_share_a_deadline_and_each_keeps_its_own() -> None:
    async def main() -> None:
        async with Client(free_addresses(1)) as client:
            loop = asyncio.get_running_loop()
            begun = loop.time()

            async def end(timeout: float) -> float:
                with pytest.raises(UnavailableError):
                    await client.execute(Notes.add, 1, timeout=timeout)
                return loop.time() - begun - timeout

            late = await asyncio.gather(*(end(0.01 * (1 + number % 20)) for number in range(400)))
            assert min(late) >= 0
            assert max(late) < 0.3

    run(main)


def test_constructing_does_nothing_and_a_client_starts_once() -> None:
    client = Client(["127.0.0.1:1"])

    async def main() -> None:
        with pytest.raises(RuntimeError, match="not started"):
            await client.execute(Notes.add, 1)
        async with client:
            with pytest.raises(RuntimeError, match="once"):
                await client.start()
        with pytest.raises(RuntimeError, match="once"):
            await client.start()

    run(main)


def test_a_client_lives_in_the_loop_that_started_it() -> None:
    async def main() -> None:
        async with Client(free_addresses(1)) as client:

            async def elsewhere() -> None:
                with pytest.raises(RuntimeError, match=r"paxospp\.sync\.Client"):
                    await client.execute(Notes.add, 1)

            await asyncio.to_thread(asyncio.run, elsewhere())

    run(main)


def test_a_client_started_before_a_fork_is_of_no_use_after_it() -> None:
    def told(client: Client) -> bool:
        try:
            client.execute(Notes.add, 1).send(None)
        except RuntimeError as error:
            return "before a fork" in str(error)
        return False

    async def main() -> int:
        async with Client(free_addresses(1)) as client:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12, and it is right
                child = os.fork()
            if child == 0:
                os._exit(0 if told(client) else 1)
            _, status = await asyncio.to_thread(os.waitpid, child, 0)
            return status

    assert run(main) == 0


def test_errors_pickle() -> None:
    async def main() -> CallError:
        async with Client(free_addresses(1)) as client:
            with pytest.raises(UnavailableError) as raised:
                await client.execute(Notes.add, 1, timeout=0.01)
            return raised.value

    error = run(main)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
