"""Wrong, cancelled, lost and too many calls: whatever a caller does, the cluster answers the next one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paxospp.config import NodeConfig
from paxospp.errors import (
    CommandError,
    OutcomeUnknownError,
    OverloadedError,
    RejectedError,
    ReplicaStoppedError,
    UnavailableError,
)
from paxospp.messages import ForwardRuns
from paxospp.node import Node
from tests.cluster.embedding import Embedded, Fragile, Notes, embedded, run


async def answers_a_put(cluster: Embedded) -> None:
    for name, node in cluster.nodes.items():
        await node.execute(Notes.put, "after", name)
        assert await node.query(Notes.get, "after") == name


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("no_such_command", ()),
        ("get", ("a",)),
        ("put", ()),
        ("put", ("a", "b", "c")),
        ("put", ("a", 1)),
        ("add", ("one",)),
        ("", ()),
    ],
)
def test_a_call_with_a_wrong_name_or_wrong_arguments_is_rejected_before_it_is_proposed(
    tmp_path: Path, name: str, arguments: tuple[object, ...]
) -> None:
    async def main() -> None:
        async with embedded(tmp_path, count=1) as cluster:
            node = cluster.nodes["n1"]
            await node.execute(Notes.add, 0)
            applied = node.status().applied
            with pytest.raises(RejectedError):
                await node.execute(name, *arguments)
            assert node.status().applied == applied
            await answers_a_put(cluster)

    run(main)


def test_wrong_arguments_of_a_typed_call_are_rejected(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path, count=1) as cluster:
            node: Any = cluster.nodes["n1"]  # a type checker would refuse each of these
            with pytest.raises(RejectedError):
                await node.execute(Notes.put, 1, "b")
            with pytest.raises(RejectedError):
                await node.execute(Notes.put, "a", "b", "c")
            with pytest.raises(RejectedError):
                await node.execute(Notes.get, "a")
            with pytest.raises(RejectedError):
                await node.query(Notes.put, "a")
            await answers_a_put(cluster)

    run(main)


def test_an_exception_of_a_command_reaches_the_caller_and_leaves_replicas_equal(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            node = await cluster.follower()
            with pytest.raises(CommandError) as raised:
                await node.execute(Notes.raise_value_error)
            assert (raised.value.type, raised.value.message) == ("ValueError", "not this one")
            with pytest.raises(CommandError, match="PermissionError: not the owner"):
                await node.execute(Notes.raise_permission_error)
            with pytest.raises(CommandError):
                await node.execute(Notes.give_too_much)
            with pytest.raises(CommandError, match="LookupError: no such thing"):
                await node.query(Notes.fail)
            assert await node.query(Notes.sum) == 1
            await answers_a_put(cluster)
            await cluster.agree()

    run(main)


@pytest.mark.parametrize("command", [Notes.interrupt, Notes.raise_os_error])
def test_an_error_of_one_machine_alone_stops_its_replica_and_the_others_answer(tmp_path: Path, command: object) -> None:
    async def main() -> None:
        async with embedded(tmp_path, machines={"n2": Fragile}) as cluster:
            fragile = cluster.nodes.pop("n2")
            caller: Any = cluster.nodes["n1"]
            try:
                await caller.execute(command)
                with pytest.raises(ReplicaStoppedError) as stopped:
                    async with asyncio.timeout(10):
                        await fragile.wait_stopped()
                assert f"slot {stopped.value.slot}" in str(stopped.value)
                with pytest.raises(UnavailableError) as ended:
                    await fragile.execute(Notes.add, 1)
                assert ended.value.__cause__ is stopped.value
                assert fragile.status().applied == stopped.value.slot - 1
                await answers_a_put(cluster)
                await cluster.agree()
            finally:
                await fragile.close()

    run(main)


def test_changing_an_argument_or_a_result_afterwards_does_not_change_the_state(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path, count=1) as cluster:
            node = cluster.nodes["n1"]
            mine = [1, 2]
            returned = await node.execute(Notes.keep, mine)
            mine.append(3)
            returned.append(4)
            answered = await node.query(Notes.kept)
            answered.append(5)
            assert await node.query(Notes.kept) == [1, 2]

    run(main)


def test_after_a_thousand_calls_cancelled_at_random_moments_calls_are_answered_and_digests_agree(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        chance = random.Random(7)
        async with embedded(tmp_path) as cluster:
            nodes = list(cluster.nodes.values())
            calls: list[asyncio.Task[int]] = []
            for _ in range(50):
                calls += [asyncio.create_task(chance.choice(nodes).execute(Notes.add, 1)) for _ in range(20)]
                for call in chance.sample(calls, 15):
                    call.cancel()
                await asyncio.sleep(chance.choice((0.0, 0.0, 0.001, 0.003)))
            for call in calls:
                if chance.random() < 0.5:
                    call.cancel()
            ended = await asyncio.gather(*calls, return_exceptions=True)
            answered = [result for result in ended if isinstance(result, int)]
            assert all(isinstance(result, (int, asyncio.CancelledError)) for result in ended)
            assert len(set(answered)) == len(answered)
            await answers_a_put(cluster)
            assert len(answered) <= await nodes[0].query(Notes.sum) <= 1000
            await cluster.agree()

    run(main)


def test_a_call_that_times_out_before_it_was_sent_is_unavailable_and_has_no_effect(tmp_path: Path) -> None:
    async def main() -> None:
        cluster = Embedded(tmp_path)
        async with cluster.make("n1") as lonely:
            with pytest.raises(UnavailableError, match="waiting for n2, n3"):
                await lonely.execute(Notes.add, 1, timeout=0.2)
            with pytest.raises(UnavailableError, match="waiting for n2, n3"):
                await lonely.query(Notes.sum, timeout=0.2)
            with pytest.raises(UnavailableError, match="waiting for n2, n3"):
                await lonely.wait_ready(0.2)
            async with cluster.make("n2"), cluster.make("n3"):
                await lonely.wait_ready(15)
                assert await lonely.execute(Notes.add, 10) == 10

    run(main)


def test_a_call_that_times_out_after_it_was_sent_has_an_unknown_outcome_and_is_applied_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            leader = await cluster.leader()
            assert await leader.execute(Notes.add, 1) == 1
            for name in [name for name in cluster.nodes if name != leader.name]:
                await cluster.stop(name)
            with pytest.raises(OutcomeUnknownError):
                await leader.execute(Notes.add, 1, timeout=0.2)
            for name in cluster.cluster:
                if name != leader.name:
                    await cluster.start(name)
            assert await leader.execute(Notes.add, 1, timeout=20) == 3

    run(main)


def test_a_value_above_the_size_limit_is_rejected_and_one_at_the_limit_is_not(tmp_path: Path) -> None:
    async def main() -> None:
        config = NodeConfig(value_bytes_max=64 * 1024)
        async with embedded(tmp_path, count=1, config=config) as cluster:
            node = cluster.nodes["n1"]
            with pytest.raises(RejectedError, match="value_bytes_max=65536"):
                await node.execute(Notes.put, "a", "x" * 65536)
            await node.execute(Notes.put, "a", "x" * 65000)
            with pytest.raises(RejectedError, match="65536"):
                await node.query(Notes.get, "x" * 65536)
            await answers_a_put(cluster)

    run(main)


def test_too_many_calls_are_refused_at_once_and_the_others_are_answered(tmp_path: Path) -> None:
    async def main() -> None:
        config = NodeConfig(inbox_calls_max=100)
        async with embedded(tmp_path, count=1, config=config) as cluster:
            node = cluster.nodes["n1"]
            ended = await asyncio.gather(*(node.execute(Notes.add, 1) for _ in range(150)), return_exceptions=True)
            refused = [error for error in ended if isinstance(error, OverloadedError)]
            assert len(refused) == 50
            assert all(error.retry_after > 0 for error in refused)
            assert await node.query(Notes.sum) == 100
            await answers_a_put(cluster)

    run(main)


def test_values_larger_than_a_batch_and_many_at_once_all_arrive(tmp_path: Path) -> None:
    async def main() -> None:
        config = NodeConfig(batch_bytes_max=100_000, value_bytes_max=512 * 1024)
        async with embedded(tmp_path, config=config) as cluster:
            node = await cluster.follower()
            sizes = [1, 50_000, 200_000, 400_000, 10, 99_000] * 4
            await asyncio.gather(*(node.execute(Notes.put, f"k{i}", "x" * size) for i, size in enumerate(sizes)))
            for number, size in enumerate(sizes):
                value = await node.query(Notes.get, f"k{number}")
                assert value is not None
                assert len(value) == size
            await cluster.agree()

    run(main)


class OneWay:
    """A follower that receives from its leader, but whose runs are lost on the way there while ``cut``."""

    def __init__(self, node: Node) -> None:
        assert node._runtime is not None
        self.local: Any = node._runtime.local
        self.node = node
        self.cut = False
        self.lost = 0
        self.narrow = False
        """Whether one run of each message arrives, as if the leader's queue were full after it."""
        self._send: Callable[..., None] = node._runtime.links.send
        node._runtime.links.send = self._sent  # type: ignore[method-assign]

    def _sent(self, to: Any, message: Any) -> None:
        if self.cut and isinstance(message, ForwardRuns):
            self.lost += 1
        elif self.narrow and isinstance(message, ForwardRuns):
            self._send(to, ForwardRuns(runs=message.runs[:1]))
        else:
            self._send(to, message)

    async def lose(self, cluster: Embedded, *arguments: Any, count: int) -> None:
        """Send ``count`` calls of ``Notes.put``, which are lost and time out, and wait until no timer watches them."""
        await self.node.execute(Notes.add, 0)
        self.cut = True
        calls: list[Any] = [self.node.execute(Notes.put, *arguments, timeout=0.05) for _ in range(count)]
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(end) for end in ends} == {OutcomeUnknownError}
        await cluster.until(lambda: self.local._silence_timer is None)
        assert self.local._caller.outstanding


SMALL = NodeConfig(value_bytes_max=4 << 10, inbox_bytes_max=10 << 10)


def test_lost_calls_that_timed_out_do_not_use_up_the_byte_limit_for_ever(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path, config=SMALL) as cluster:
            way = OneWay(await cluster.follower())
            await way.lose(cluster, "k", "x" * 3_000, count=3)
            lost = way.lost
            await asyncio.sleep(0.3)
            assert way.lost == lost, "no call needs its place, and yet it was sent again"
            ends = asyncio.get_running_loop().time() + 0.5
            while asyncio.get_running_loop().time() < ends:
                with pytest.raises(OverloadedError):
                    await way.node.execute(Notes.put, "k", "y" * 3_000)
                await asyncio.sleep(0.01)
            assert lost < way.lost <= lost + 3, "it is sent again at once, and then at doubling intervals"
            assert way.local._silence_s > SMALL.resend_interval_s
            way.cut = False
            with pytest.raises(OverloadedError):
                await way.node.execute(Notes.put, "k", "y" * 3_000)
            await cluster.until(lambda: not way.local._caller.outstanding)
            assert way.local._sent_bytes == 0
            assert way.local._silence_s == SMALL.resend_interval_s
            assert await way.node.execute(Notes.put, "k", "y" * 3_000) == "x" * 3_000
            await answers_a_put(cluster)
            await cluster.until(lambda: way.local._silence_timer is None)

    run(main)


def test_timed_out_calls_are_sent_again_only_while_other_calls_need_their_place(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path, config=replace(SMALL, resend_interval_s=0.05)) as cluster:
            way = OneWay(await cluster.follower())
            await way.lose(cluster, "k", "x" * 3_000, count=3)
            lost = way.lost
            with pytest.raises(OverloadedError):
                await way.node.execute(Notes.put, "k", "y" * 3_000)
            await cluster.until(lambda: way.local._silence_timer is None, timeout=5)
            assert lost < way.lost <= lost + 2

    run(main)


def test_once_some_timed_out_calls_are_answered_the_others_are_sent_until_they_are_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paxospp.node.environment.RUN_BYTES_MAX", 3_500)

    async def main() -> None:
        async with embedded(tmp_path, config=replace(SMALL, resend_interval_s=0.05)) as cluster:
            way = OneWay(await cluster.follower())
            await way.lose(cluster, "k", "x" * 2_000, count=5)
            way.cut, way.narrow = False, True
            with pytest.raises(OverloadedError):
                await way.node.execute(Notes.put, "k", "y" * 2_000)
            await cluster.until(lambda: not way.local._caller.outstanding, timeout=5)
            await cluster.until(lambda: way.local._silence_timer is None, timeout=5)

    run(main)


@pytest.mark.parametrize("timeout", [None, 5.0])
def test_lost_calls_that_timed_out_do_not_use_up_the_window_of_numbers_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timeout: float | None
) -> None:
    monkeypatch.setattr("paxospp.sessions.caller.UNACKNOWLEDGED_MAX", 8)

    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            way = OneWay(await cluster.follower())
            await way.lose(cluster, "k", "lost", count=8)
            with pytest.raises(UnavailableError, match="not sent in time"):
                await way.node.execute(Notes.add, 1, timeout=0.05)
            assert way.local._silence_timer is not None
            way.cut = False
            async with asyncio.timeout(5):
                assert await way.node.execute(Notes.add, 1, timeout=timeout) == 1
            assert await way.node.query(Notes.get, "k") == "lost"

    run(main)


def test_lost_calls_that_timed_out_are_sent_again_to_a_new_leader(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            way = OneWay(await cluster.follower())
            await way.lose(cluster, "k", "lost", count=3)
            way.cut = False
            way.local.on_leader_changed()
            await cluster.until(lambda: not way.local._caller.outstanding)
            assert await way.node.query(Notes.get, "k") == "lost"

    run(main)


def test_a_session_that_was_silent_for_long_releases_its_place_to_new_calls(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path, config=SMALL) as cluster:
            way = OneWay(await cluster.follower())
            await way.lose(cluster, "k", "x" * 3_000, count=3)
            way.cut = False
            way.local._heard_at -= 1_000_000
            assert await way.node.execute(Notes.put, "k", "y" * 3_000) is None

    run(main)
