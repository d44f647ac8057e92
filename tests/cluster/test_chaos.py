"""Real clusters under faults, with clients that call, and a check of the history.

Short versions run in every test run; the long ones, with 200 SIGKILLs and more, with ``-m long``. A failure prints the
seed of its run, which repeats the faults but not the timing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random, SystemRandom
from typing import Any

import pytest

from paxospp.config import NodeConfig
from paxospp.machines import KeyValue
from paxospp.testing.checkers import History, check_linearizable
from paxospp.testing.cluster import Cluster, Nemesis, Recorded, driven
from tests.cluster.embedding import run

KILLS_PER_STORAGE = 100
LIVE_S = 20.0
LEASE_S = 0.3

SHORT_LOGS = NodeConfig(snapshot_log_slots_max=200, kept_log_slots_max=50, tail_bytes_max=64 << 10)
"""Snapshots twice a second, and a log so short that a node that was away for a second has to fetch one."""


class Writes:
    """A workload on ``kv`` that every checker can judge.

    Registers with values written once; keys written once, which must all be there in the end;
    and counters moved by ``cas``, each of which is left for the next one before its history grows
    larger than a search can settle.
    """

    def __init__(self, *, registers: int = 4, cas_per_key: int = 40) -> None:
        self._registers = [f"r{number}" for number in range(registers)]
        self._cas_per_key = cas_per_key
        self._last = 0
        self._cas = 0
        self._guess = 0

    def __call__(self, random: Random) -> tuple[Any, ...]:
        drawn = random.random()
        self._last += 1
        if drawn < 0.35:
            return KeyValue.put, random.choice(self._registers), self._last
        if drawn < 0.65:
            return KeyValue.get, random.choice(self._registers)
        if drawn < 0.85:
            return KeyValue.put, f"once-{self._last}", self._last
        self._cas += 1
        key, place = divmod(self._cas, self._cas_per_key)
        self._guess = 0 if place == 0 else self._guess
        if drawn < 0.9:
            return KeyValue.get, f"cas-{key}"
        expected, self._guess = self._guess or None, self._guess + random.choice([0, 1])
        return KeyValue.cas, f"cas-{key}", expected, self._guess


async def read_all(cluster: Cluster, history: History) -> None:
    """Read every key in the history, so that lost acknowledged writes show."""
    reader = Recorded(cluster.client(timeout=20.0), history, "reader")
    for key in sorted({operation.arguments[0] for operation in history}):
        await reader.query(KeyValue.get, key)


def lost(history: History, data: dict[str, Any]) -> list[str]:
    """Return the acknowledged writes of keys written once that are not in ``data``."""
    return [
        operation.arguments[0]
        for operation in history
        if operation.arguments[0].startswith("once-") and operation.kind == "put" and not operation.unknown
        if data.get(operation.arguments[0]) != operation.arguments[1]
    ]


async def judge(cluster: Cluster, history: History) -> None:
    """Check that all nodes reach the same state, no acknowledged write is lost, and the history is linearizable."""
    for name in cluster.names:
        if name not in cluster.running:
            await cluster.start(name)
    await cluster.heal()
    await cluster.ready()
    await cluster.agree()
    client = cluster.client(timeout=20.0)
    once = await client.query(KeyValue.keys, "once-")
    assert lost(history, {key: int(key.removeprefix("once-")) for key in once}) == []
    await read_all(cluster, history)
    check_linearizable(history).expect()


async def chaos(cluster: Cluster, seed: int, families: Sequence[str], seconds: float, *, clients: int = 6) -> Nemesis:
    """A third of the clients read with leases, and a third call only one node, which is usually a follower."""
    random = Random(seed)
    history = History()
    nemesis = Nemesis(cluster, random, families, hold_s=0.6)
    workload = Writes()
    await cluster.client().enable_leases(LEASE_S)
    async with (
        driven(cluster, history, workload, random, clients=clients - 2 * (clients // 3)),
        driven(cluster, history, workload, random, clients=clients // 3, consistency="lease"),
        driven(cluster, history, workload, random, clients=clients // 3, follow_leader=False),
    ):
        await nemesis.strike_for(seconds)
        await more_is_answered(history, 100)
    await judge(cluster, history)
    print(f"seed {seed}: {len(history)} operations, {history.answered} answered, {dict(nemesis.counts)}")
    return nemesis


async def more_is_answered(history: History, count: int) -> None:
    """Check that calls succeed again after the faults have ended."""
    wanted = history.answered + count
    async with asyncio.timeout(LIVE_S):
        while history.answered < wanted:  # noqa: ASYNC110 - they are many, and none of them knows
            await asyncio.sleep(0.01)


@pytest.mark.long
def test_a_history_under_faults_of_the_network_is_linearizable() -> None:
    async def main() -> None:
        async with Cluster(3, machine=KeyValue, config=SHORT_LOGS) as cluster:
            await chaos(cluster, SystemRandom().getrandbits(32), ["kill", *Nemesis.NETWORK], 2.5)

    run(main)


@pytest.mark.parametrize("seconds", [1.0, pytest.param(4.0, marks=pytest.mark.long)])
def test_a_history_under_sigkill_and_pauses_is_linearizable(seconds: float) -> None:
    async def main() -> None:
        async with Cluster(3, machine=KeyValue, processes=True, config=SHORT_LOGS) as cluster:
            await chaos(cluster, SystemRandom().getrandbits(32), ["kill", "kill many", "pause"], seconds)

    run(main)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("storage", ["file:{tmp}/{name}", "rocksdb:{tmp}/{name}"])
def test_no_acknowledged_write_is_lost_in_a_hundred_sigkills(storage: str) -> None:
    """Kill one, two or all three processes at a time, also while they take snapshots."""
    if storage.startswith("rocksdb"):
        pytest.importorskip("rocksdict")
    seed = SystemRandom().getrandbits(32)

    async def main() -> None:
        random = Random(seed)
        history = History()
        async with Cluster(3, machine=KeyValue, storage=storage, processes=True, config=SHORT_LOGS) as cluster:
            nemesis = Nemesis(cluster, random, Nemesis.KILLS, hold_s=0.2)
            async with driven(cluster, history, Writes(registers=16), random, clients=8):
                while nemesis.counts["SIGKILL"] < KILLS_PER_STORAGE:
                    await nemesis.strike()
                    await asyncio.sleep(random.uniform(0.0, 0.8))  # at times before anybody leads again
                await more_is_answered(history, 100)
            await judge(cluster, history)
            assert min(status["first"] for status in (await cluster.statuses()).values()) > 1, "no log was trimmed"
        unknown = sum(operation.unknown for operation in history)
        print(
            f"{storage}, seed {seed}: {dict(nemesis.counts)}, {len(history)} operations, {unknown} unknown, "
            f"{len(history.refused)} refused"
        )

    run(main)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("size", [3, 5])
def test_half_a_minute_of_every_kind_of_fault(size: int) -> None:
    async def main() -> None:
        families = [*Nemesis.KILLS, *Nemesis.NETWORK, *Nemesis.PROCESSES]
        async with Cluster(size, machine=KeyValue, processes=True, config=SHORT_LOGS) as cluster:
            await chaos(cluster, SystemRandom().getrandbits(32), families, 30.0, clients=8)

    run(main)
