"""The state that a query may see: linearizable, lease, bounded and local queries, at leaders and followers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import paxospp
from paxospp import bounded
from paxospp.calls import Consistency
from paxospp.cli.arguments import parser
from paxospp.config import NodeConfig
from paxospp.errors import OverloadedError, RejectedError, UnavailableError
from paxospp.messages import Heartbeat, ReadRequest
from paxospp.node import Node
from tests.cluster.embedding import Embedded, Notes, embedded, run
from tests.cluster.serving import paxospp as command_line
from tests.cluster.weather import Weather

ALL: list[Consistency] = ["linearizable", "lease", bounded(0), bounded(5), "local"]


def runtime(node: Node) -> Any:
    assert node._runtime is not None
    return node._runtime


class Counted:
    """Records the types of the messages that a node sends to its peers."""

    def __init__(self, node: Node) -> None:
        self.kinds: list[type] = []
        self._send: Callable[..., None] = runtime(node).links.send
        runtime(node).links.send = self._sent

    def _sent(self, to: Any, message: Any) -> None:
        # An announcement says what is decided and asks for no answer.
        if not isinstance(message, Heartbeat) or message.round:
            self.kinds.append(type(message))
        self._send(to, message)


async def with_leases(cluster: Embedded, duration_s: float) -> None:
    """Enable leases and wait until the leader holds one."""
    await cluster.nodes["n1"].enable_leases(duration_s)
    leader = await cluster.leader()
    replica = runtime(leader).replica

    def held() -> bool:
        protocol = replica.protocol
        now = runtime(leader).queries._boot_time()
        return bool(protocol.lease.is_held(leader.name, replica.protocol.cluster.voters, now))

    await cluster.until(held)


def test_every_mode_answers_from_every_node_and_from_a_client(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            await cluster.nodes["n1"].execute(Notes.put, "a", "1")
            await cluster.agree()
            addresses = list(cluster.cluster.values())
            for consistency in ALL:
                for node in cluster.nodes.values():
                    assert await node.query(Notes.get, "a", consistency=consistency) == "1"
                for address in addresses:
                    async with paxospp.Client([address], follow_leader=False) as client:
                        assert await client.query(Notes.get, "a", consistency=consistency) == "1"
            with pytest.raises(RejectedError, match="use 'linearizable'"):
                await cluster.nodes["n1"].query("get", "a", consistency="Local")  # type: ignore[call-overload]

    run(main)


@pytest.mark.long
def test_a_query_sees_every_call_that_ended_before_it_whichever_nodes_are_asked(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            nodes = list(cluster.nodes.values())
            modes: list[Consistency] = ["linearizable", "lease", bounded(0)]
            for number in range(180):
                if number == 60:
                    await with_leases(cluster, 2.0)
                await nodes[number % 3].execute(Notes.put, "a", str(number))
                asked = nodes[(number // 3) % 3]
                assert await asked.query(Notes.get, "a", consistency=modes[(number // 9) % 3]) == str(number)

    run(main)


def test_waiting_queries_share_one_round_and_write_nothing_to_the_log(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            leader, follower = await cluster.leader(), await cluster.follower()
            await leader.execute(Notes.put, "a", "1")
            await cluster.agree()
            writes = [runtime(node).executor.applied for node in cluster.nodes.values()]
            counted = Counted(follower)
            for _ in range(5):
                answers = await asyncio.gather(*(follower.query(Notes.get, "a") for _ in range(500)))
                assert set(answers) == {"1"}
            assert counted.kinds.count(ReadRequest) <= 10
            assert [runtime(node).executor.applied for node in cluster.nodes.values()] == writes

    run(main)


def test_a_leader_with_a_lease_answers_reads_without_a_round(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path, config=NodeConfig(heartbeat_interval_s=0.5, election_timeout_s=3.0)) as cluster:
            leader = await cluster.leader()
            await with_leases(cluster, 10.0)
            counted = Counted(leader)
            async with asyncio.timeout(5):
                for _ in range(100):
                    await leader.query(Notes.sum, consistency="lease")
            assert counted.kinds.count(Heartbeat) <= 10, "only the regular heartbeats, no round for reads"
            counted.kinds.clear()
            for _ in range(20):
                await leader.query(Notes.sum)
            assert counted.kinds.count(Heartbeat) >= 40

    run(main)


def test_leases_are_off_until_they_are_enabled_and_after_they_are_disabled(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            leases = [runtime(node).replica.protocol.lease for node in cluster.nodes.values()]
            await asyncio.sleep(0.3)
            assert not any(lease._granted for lease in leases)
            await with_leases(cluster, 0.5)
            await cluster.until(lambda: all(lease.duration_us == 500_000 for lease in leases))
            await cluster.nodes["n2"].disable_leases()
            await cluster.until(lambda: all(lease.duration_us == 0 for lease in leases))
            await cluster.until(lambda: all(lease._durable_us == 0 for lease in leases))
            for wrong in (0, 0.001, 61.0, -1.0):
                with pytest.raises(RejectedError):
                    await cluster.nodes["n1"].enable_leases(wrong)

    run(main)


@pytest.mark.long
def test_a_cut_off_leader_with_a_lease_never_returns_state_older_than_an_acknowledged_write(tmp_path: Path) -> None:
    """Bugs B30, B33: the old leader answers reads while its lease lasts; no other node decides a write until then."""

    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            await with_leases(cluster, 1.5)
            leader = await cluster.leader()
            await leader.execute(Notes.put, "a", "old")
            weather = Weather(cluster)
            others = set(cluster.nodes) - {leader.name}
            weather.isolate(leader.name, others=others)
            written = asyncio.ensure_future(cluster.nodes[others.pop()].execute(Notes.put, "a", "new", timeout=30.0))
            served = 0
            while not written.done():
                call = asyncio.ensure_future(leader.query(Notes.get, "a", timeout=0.05, consistency="lease"))
                before = written.done()
                try:
                    answer = await call
                except UnavailableError:
                    continue
                served += 1
                assert answer == "old"
                assert not before, "the write ended before this read began"
                await asyncio.sleep(0.002)
            assert served > 20, "reads were answered by lease for a while after the cut"
            with pytest.raises(UnavailableError):
                await leader.query(Notes.get, "a", timeout=0.1, consistency="lease")
            weather.clear()
            assert await leader.query(Notes.get, "a", consistency="lease", timeout=10.0) == "new"

    run(main)


def test_a_cut_off_leader_answers_no_linearizable_read(tmp_path: Path) -> None:
    """Bug B30."""

    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            leader = await cluster.leader()
            await leader.execute(Notes.put, "a", "old")
            weather = Weather(cluster)
            others = set(cluster.nodes) - {leader.name}
            weather.isolate(leader.name, others=others)
            modes: list[Consistency] = ["linearizable", "lease", bounded(0)]
            asked = [
                asyncio.ensure_future(leader.query(Notes.get, "a", timeout=1.5, consistency=mode)) for mode in modes
            ]
            await cluster.nodes[others.pop()].execute(Notes.put, "a", "new", timeout=30.0)
            for call in asked:
                with pytest.raises(UnavailableError):
                    await call
            assert await leader.query(Notes.get, "a", consistency="local") == "old"

    run(main)


def test_a_bounded_query_is_never_older_than_its_bound(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            follower = await cluster.follower()
            weather = Weather(cluster)
            clock = runtime(follower).queries
            now = clock._boot_time()
            clock._boot_time = lambda: now
            assert await follower.query(Notes.get, "a", consistency=bounded(5)) is None
            weather.isolate(follower.name, others=set(cluster.nodes) - {follower.name})
            await (await cluster.leader()).execute(Notes.put, "a", "1", timeout=30.0)

            now += 4.9
            assert await follower.query(Notes.get, "a", consistency=bounded(5)) is None, "old, and within the bound"
            for bound in (bounded(4), bounded(0)):
                with pytest.raises(UnavailableError):
                    await follower.query(Notes.get, "a", consistency=bound, timeout=0.2)
            now += 0.2
            with pytest.raises(UnavailableError):
                await follower.query(Notes.get, "a", consistency=bounded(5), timeout=0.2)
            weather.clear()
            assert await follower.query(Notes.get, "a", consistency=bounded(5), timeout=15.0) == "1"

    run(main)


def test_bounded_queries_ask_the_leader_once_per_bound(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            follower = await cluster.follower()
            counted = Counted(follower)
            for _ in range(300):
                await follower.query(Notes.sum, consistency=bounded(30))
            assert counted.kinds.count(ReadRequest) == 1

    run(main)


def test_the_consistency_of_a_query_can_be_chosen_on_the_command_line(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path, count=1) as cluster:
            await cluster.nodes["n1"].execute(Notes.put, "a", "1")
            address = cluster.cluster["n1"]
            query = ("query", "--cluster", address, "get", "a", "--consistency")
            asked = await asyncio.to_thread(command_line, *query, "bounded:2.5")
            assert (asked.returncode, asked.stdout) == (0, '"1"\n'), asked.stderr

    run(main)
    query = ["query", "--cluster", "h:1", "get", "a", "--consistency"]
    for text, meant in {"lease": "lease", "local": "local", "bounded:3": bounded(3)}.items():
        assert parser().parse_args([*query, text]).consistency == meant
    for wrong in ("bounded", "bounded:-1", "Local", "lease:2"):
        with pytest.raises(SystemExit):
            parser().parse_args([*query, wrong])


def test_queries_beyond_the_byte_limit_are_refused_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        config = NodeConfig(inbox_bytes_max=1 << 20, value_bytes_max=1 << 20)
        async with embedded(tmp_path, config=config) as cluster:
            leader = await cluster.leader()
            weather = Weather(cluster)
            weather.isolate(leader.name, others=set(cluster.nodes) - {leader.name})
            large = "x" * 300_000
            waiting = [asyncio.ensure_future(leader.query(Notes.get, large, timeout=0.3)) for _ in range(3)]
            await asyncio.sleep(0)
            with pytest.raises(OverloadedError) as refused:
                await leader.query(Notes.get, large)
            assert refused.value.retry_after > 0
            assert await leader.query(Notes.get, large, consistency="local") is None
            for call in waiting:
                with pytest.raises(UnavailableError):
                    await call
            weather.clear()
            assert await leader.query(Notes.get, large, timeout=10.0) is None
            assert runtime(leader).queries._bytes == 0

    run(main)


def test_clients_that_time_out_or_disconnect_leave_nothing_at_a_node_without_a_quorum(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            leader = await cluster.leader()
            queries, remote = runtime(leader).queries, runtime(leader).remote
            weather = Weather(cluster)
            weather.isolate(leader.name, others=set(cluster.nodes) - {leader.name})
            async with paxospp.Client([cluster.cluster[leader.name]], follow_leader=False) as client:
                for consistency in ("linearizable", "lease"):
                    with pytest.raises((UnavailableError, OverloadedError)):
                        await client.query(Notes.sum, timeout=0.1, consistency=consistency)
                await cluster.until(lambda: queries.counted == queries.held == 0)
                assert not any(remote._unanswered.values())
                runtime(leader).driver.begin_install()  # no ticket is drawn, as while a snapshot is installed
                waiting = [asyncio.ensure_future(client.query(Notes.sum, timeout=None)) for _ in range(100)]
                await cluster.until(lambda: queries.counted == queries.held == 100)
            await asyncio.gather(*waiting, return_exceptions=True)
            await cluster.until(lambda: queries.counted == queries.held == 0)
            assert queries._bytes == 0
            assert not remote._unanswered

    run(main)
