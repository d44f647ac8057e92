"""The bugs of ``tests/BUGS.md`` that show in whole systems, by their numbers; and some faults."""

from __future__ import annotations

import asyncio
import time

import pytest

from paxospp.config import NodeConfig
from paxospp.errors import OutcomeUnknownError, UnavailableError
from paxospp.machines import KeyValue
from paxospp.testing.checkers import History, check_linearizable
from paxospp.testing.cluster import Cluster, Recorded, why_no_disk_faults
from tests.cluster.embedding import run

WINDOW_S = NodeConfig().election_timeout_s
LONG = pytest.mark.long
pytestmark = LONG  # real faults, and seconds of real waiting each


@pytest.mark.parametrize("processes", [False, pytest.param(True, marks=LONG)], ids=["embedded", "processes"])
def test_b30_a_deposed_leader_answers_no_stale_read(processes: bool) -> None:
    """B30: n1 and a caller are cut off from the others, which write 2; a read at n1 gets an error, never 1."""

    async def main() -> None:
        async with Cluster(3, machine=KeyValue, processes=processes) as cluster:
            await cluster.client().execute(KeyValue.put, "x", 1)
            former = await cluster.leader()
            others = [name for name in cluster.names if name != former]
            here, there = cluster.client(former, timeout=1.0), cluster.client(*others)
            assert await here.query(KeyValue.get, "x") == 1
            await cluster.isolate(former)
            stale = [asyncio.ensure_future(here.query(KeyValue.get, "x", timeout=2.0))]
            await there.execute(KeyValue.put, "x", 2)
            stale.append(asyncio.ensure_future(here.query(KeyValue.get, "x")))
            for read in await asyncio.gather(*stale[1:], return_exceptions=True):
                assert isinstance(read, UnavailableError), read
            with pytest.raises((OutcomeUnknownError, UnavailableError)):
                await here.execute(KeyValue.put, "x", 3, timeout=0.5)
            await cluster.heal()
            # A read begun before the write may have either value; one begun after it must have the new one.
            await asyncio.gather(*stale[:1], return_exceptions=True)
            await cluster.agree()
            assert await here.query(KeyValue.get, "x") in (2, 3)

    run(main)


@pytest.mark.parametrize(
    "links",
    [
        pytest.param("quorum loss: all see n1 alone", marks=LONG),
        "constrained: the leader is cut off, the rest see n1 alone",
        "a chain: two of three do not see each other",
        pytest.param("half cut off: n4 sees n2 alone, n5 sees n3 alone", marks=LONG),
    ],
)
def test_b45_partial_connectivity_is_live(links: str) -> None:
    """B45: an operation completes within 10 election time-outs."""

    async def main() -> None:
        async with Cluster(3 if "chain" in links else 5, machine=KeyValue) as cluster:
            client = cluster.client(timeout=10 * WINDOW_S)
            await client.execute(KeyValue.put, "x", 1)
            leader = await cluster.leader()
            first, *rest = [name for name in cluster.names if name != leader]
            match links.partition(":")[0]:
                case "quorum loss":
                    await cluster.partition(*([first, other] for other in [leader, *rest]))
                case "constrained":
                    await cluster.partition(*([first, other] for other in rest))
                case "a chain":
                    await cluster.cut(leader, rest[0])
                case _:
                    second, third, fourth = rest
                    await cluster.partition([leader, first, second], [third, first], [fourth, second])
            began = time.monotonic()
            await client.execute(KeyValue.put, "x", 2)
            assert time.monotonic() - began < 10 * WINDOW_S
            assert await client.query(KeyValue.get, "x") == 2
            await cluster.heal()
            await cluster.agree()

    run(main)


@pytest.mark.long
def test_b47_writes_go_on_when_the_leaders_disk_hangs() -> None:
    """B47: fsync hangs in a real process; another leader takes over writes within 5 time-outs."""
    if (why := why_no_disk_faults()) is not None:
        pytest.skip(why)

    async def main() -> None:
        async with Cluster(3, machine=KeyValue, processes=True) as cluster:
            client = cluster.client()
            await client.execute(KeyValue.put, "x", 1)
            leader = await cluster.leader()
            await cluster.fail_disk(leader, error=None, delay_s=60.0)
            began = time.monotonic()
            await client.execute(KeyValue.put, "x", 2)
            assert time.monotonic() - began < 5 * WINDOW_S
            async with asyncio.timeout(10):  # the others accept its values as long as it leads
                while await cluster.leader() == leader:
                    await client.execute(KeyValue.put, "x", 3)
            await cluster.kill(leader)
            await cluster.heal()
            await cluster.start(leader)
            await cluster.agree()

    run(main)


@pytest.mark.parametrize("error", ["EIO", pytest.param("ENOSPC", marks=LONG)])
def test_a_node_whose_disk_fails_ends_and_what_was_acknowledged_stays(error: str) -> None:
    """B22: it sends nothing more, exits with 1, and works again after a restart."""
    if (why := why_no_disk_faults()) is not None:
        pytest.skip(why)

    async def main() -> None:
        history = History()
        async with Cluster(3, machine=KeyValue, processes=True) as cluster:
            client = Recorded(cluster.client(), history)
            await client.execute(KeyValue.put, "x", 1)
            leader = await cluster.leader()
            node = cluster.process(leader)
            await cluster.fail_disk(leader, error=error, when="1")
            for value in range(2, 12):
                await client.execute(KeyValue.put, "x", value)
            assert await node.ended() == 1, node.said()
            await cluster.kill(leader)
            await cluster.heal()
            await cluster.start(leader)
            await cluster.agree()
            await client.query(KeyValue.get, "x")
        check_linearizable(history).expect()
        assert history.operations[-1].result == 11

    run(main)


def test_b50_nodes_that_take_each_other_for_the_leader_do_not_pass_a_command_to_and_fro() -> None:
    """B50: two followers that lost their leader may still name it, or each other; a command ends all the same."""

    async def main() -> None:
        async with Cluster(3, machine=KeyValue) as cluster:
            await cluster.client().execute(KeyValue.put, "x", 1)
            leader = await cluster.leader()
            others = [name for name in cluster.names if name != leader]
            await cluster.partition()  # every node is alone
            calls = [cluster.client(name, timeout=0.5).execute(KeyValue.put, "x", name) for name in others]
            for end in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(end, (OutcomeUnknownError, UnavailableError)), end
            carried = sum(proxy.counts["bytes forward"] for proxy in cluster.network.proxies.values())
            await asyncio.sleep(0.3)
            assert carried == sum(proxy.counts["bytes forward"] for proxy in cluster.network.proxies.values())
            await cluster.heal()
            assert await cluster.client().execute(KeyValue.cas, "x", "nobody", 2) is False
            await cluster.agree()

    run(main)


@LONG
def test_b52_traffic_goes_on_within_ten_seconds_after_a_peer_came_back_behind_a_half_open_link() -> None:
    """B52: a peer is killed, its reset is lost, and it restarts behind the same address."""

    async def main() -> None:
        async with Cluster(3, machine=KeyValue, processes=True) as cluster:
            client = cluster.client()
            await client.execute(KeyValue.put, "x", 1)
            leader = await cluster.leader()
            lost, kept = [name for name in cluster.names if name != leader]
            for other in (leader, kept):
                await cluster.half_open(other, lost, one_way=True)
            await cluster.kill(lost)
            await client.execute(KeyValue.put, "x", 2)
            await cluster.start(lost)
            began = time.monotonic()
            await cluster.agree(timeout=10.0)
            # Now the node that came back is needed for a quorum.
            await cluster.kill(kept)
            await client.execute(KeyValue.put, "x", 3, timeout=10.0)
            assert time.monotonic() - began < 10.0

    run(main)


def test_b53_a_peer_that_cannot_be_reached_is_to_be_seen() -> None:
    """B53: an operator can see it before one more node fails."""

    async def main() -> None:
        async with Cluster(3, machine=KeyValue) as cluster:
            await cluster.client().execute(KeyValue.put, "x", 1)
            leader = await cluster.leader()
            gone = next(name for name in cluster.names if name != leader)
            await cluster.kill(gone)

            async with asyncio.timeout(30):
                while gone in ((await cluster.status(leader)) or {})["connected"]:  # noqa: ASYNC110 - it is polled
                    await asyncio.sleep(0.05)

    run(main)


def test_a_paused_leader_wakes_up_as_nobody() -> None:
    """B32: it was paused while another leader was elected, and the first message it receives is a read."""

    async def main() -> None:
        async with Cluster(3, machine=KeyValue, processes=True) as cluster:
            await cluster.client().execute(KeyValue.put, "x", 1)
            former = await cluster.leader()
            others = [name for name in cluster.names if name != former]
            here, there = cluster.client(former), cluster.client(*others)
            assert await here.query(KeyValue.get, "x") == 1
            await cluster.pause(former)
            await there.execute(KeyValue.put, "x", 2)
            reads = [asyncio.ensure_future(here.query(KeyValue.get, "x")) for _ in range(5)]
            await asyncio.sleep(0.05)
            await cluster.resume(former)
            assert set(await asyncio.gather(*reads)) == {2}
            await cluster.agree()

    run(main)
