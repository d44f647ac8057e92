"""Calls of the public API for the type checkers to judge. This file is checked, never run.

mypy --strict with warn_unused_ignores and pyright both read it. A call inside ``assert_type`` must have that
type; a call marked ``type: ignore`` must be an error. The ignores name no error code, because different
versions of mypy report the same error under different codes.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true, reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_type

import paxospp
from paxospp import Calls, SyncCalls, bounded


class KeyValue(paxospp.StateMachine):
    data: dict[str, str]

    def __init__(self) -> None:
        self.data = {}

    @paxospp.command
    def put(self, key: str, value: str) -> None:
        self.data[key] = value

    @paxospp.command
    def add(self, key: str, n: int = 1) -> int:
        return n

    @paxospp.command(name="remove")
    def delete(self, key: str) -> bool:
        return self.data.pop(key, None) is not None

    @paxospp.command
    def clear(self) -> None:
        self.data.clear()

    @paxospp.query
    def get(self, key: str) -> str | None:
        return self.data.get(key)

    @paxospp.query(name="all")
    def keys(self) -> list[str]:
        return list(self.data)


class Audited(KeyValue):
    """A subclass that adds a command; the inherited commands keep their types."""

    count: int = 0

    @paxospp.command
    def audit(self, who: str) -> int:
        self.count += 1
        return self.count


def commands_and_queries_are_plain_methods_of_an_instance() -> None:
    machine = KeyValue()
    assert_type(machine.put("a", "b"), None)
    assert_type(machine.add("a", n=2), int)
    assert_type(machine.delete("a"), bool)
    assert_type(machine.get("a"), str | None)
    assert_type(machine.keys(), list[str])
    assert_type(machine.context, paxospp.Context)
    assert_type(Audited().put("a", "b"), None)
    machine.put("a", 1)  # type: ignore
    machine.put("a")  # type: ignore


async def typed(calls: Calls) -> None:
    assert_type(await calls.execute(KeyValue.put, "boo", "foo"), None)
    assert_type(await calls.execute(KeyValue.put, key="boo", value="foo"), None)
    assert_type(await calls.execute(KeyValue.add, "a"), int)
    assert_type(await calls.execute(KeyValue.add, "a", n=2), int)
    assert_type(await calls.execute(KeyValue.delete, "a"), bool)
    assert_type(await calls.execute(KeyValue.clear), None)
    assert_type(await calls.execute(Audited.audit, "me"), int)
    assert_type(await calls.execute(Audited.put, "boo", "foo"), None)
    assert_type(await calls.query(KeyValue.get, "boo"), str | None)
    assert_type(await calls.query(KeyValue.get, key="boo"), str | None)
    assert_type(await calls.query(KeyValue.keys), list[str])


async def typed_with_options(calls: Calls) -> None:
    assert_type(await calls.execute(KeyValue.put, "boo", "foo", timeout=2.0), None)
    assert_type(await calls.execute(KeyValue.put, "boo", "foo", timeout=None), None)
    assert_type(await calls.execute(KeyValue.add, "a", timeout=2.0), int)
    assert_type(await calls.execute(KeyValue.add, "a", 2, timeout=2.0), int)
    assert_type(await calls.execute(KeyValue.clear, timeout=2.0), None)
    assert_type(await calls.query(KeyValue.get, "boo", timeout=2.0), str | None)
    assert_type(await calls.query(KeyValue.get, "boo", consistency="local"), str | None)
    assert_type(await calls.query(KeyValue.get, "boo", consistency=bounded(2)), str | None)
    assert_type(await calls.query(KeyValue.keys, timeout=1, consistency="linearizable"), list[str])
    assert_type(await calls.query(KeyValue.get, "boo", consistency="lease"), str | None)


async def instances_and_leases(calls: Calls) -> None:
    assert_type(await calls.decide("leader", {"node": "n1"}), Any)
    assert_type(await calls.decide("leader", None, timeout=2.0), Any)
    assert_type(await calls.decided("leader"), paxospp.Decided | None)
    assert_type(await calls.decided("leader", timeout=None, consistency=bounded(2)), paxospp.Decided | None)
    assert_type(await calls.forget("leader", timeout=2.0), bool)
    assert_type(paxospp.Decided(1).value, Any)
    await calls.enable_leases(0.5)
    await calls.disable_leases(timeout=2.0)
    await calls.decide(1, "n1")  # type: ignore
    await calls.decide("leader")  # type: ignore
    await calls.decided("leader", consistency="leased")  # type: ignore
    await calls.enable_leases("0.5")  # type: ignore


async def by_name_and_by_bytes(calls: Calls) -> None:
    assert_type(await calls.execute("put", "boo", "foo", timeout=2.0), Any)
    assert_type(await calls.query("get", "boo", timeout=2.0, consistency="local"), Any)
    assert_type(await calls.execute(b"\x00\x01", timeout=2.0), bytes)
    assert_type(await calls.query(b"\x00\x01"), bytes)


async def wrong(calls: Calls) -> None:
    await calls.execute(KeyValue.put, "boo", 1)  # type: ignore
    await calls.execute(KeyValue.put, "boo", 1, timeout=2.0)  # type: ignore
    await calls.execute(KeyValue.put, "boo")  # type: ignore
    await calls.execute(KeyValue.put, "boo", "foo", "too")  # type: ignore
    await calls.execute(KeyValue.put, "boo", values="foo")  # type: ignore
    await calls.execute(KeyValue.get, "boo")  # type: ignore
    await calls.query(KeyValue.put, "boo", "foo")  # type: ignore
    await calls.execute(KeyValue.put, "boo", "foo", consistency="local")  # type: ignore
    await calls.query(KeyValue.get, "boo", consistency="Local")  # type: ignore
    await calls.query(KeyValue.get, "boo", timeout="2")  # type: ignore
    await calls.execute(KeyValue.putt, "boo", "foo")  # type: ignore
    await calls.execute(b"raw", "boo")  # type: ignore


def blocking(calls: SyncCalls) -> None:
    """The synchronous calls have the same types, without ``await``."""
    assert_type(calls.execute(KeyValue.put, "boo", "foo"), None)
    assert_type(calls.execute(KeyValue.add, "a", n=2), int)
    assert_type(calls.execute(KeyValue.add, "a", timeout=2.0), int)
    assert_type(calls.execute("put", "boo", "foo", timeout=2.0), Any)
    assert_type(calls.execute(b"\x00\x01"), bytes)
    assert_type(calls.query(KeyValue.get, "boo"), str | None)
    assert_type(calls.query(KeyValue.get, "boo", consistency=bounded(2)), str | None)
    assert_type(calls.query("get", "boo"), Any)
    calls.execute(KeyValue.put, "boo", 1)  # type: ignore
    calls.execute(KeyValue.put, "boo", 1, timeout=2.0)  # type: ignore
    calls.query(KeyValue.put, "boo", "foo")  # type: ignore
    calls.query(KeyValue.get, "boo", consistency="Local")  # type: ignore
    assert_type(calls.decide("leader", "n1", timeout=2.0), Any)
    assert_type(calls.decided("leader"), paxospp.Decided | None)
    assert_type(calls.forget("leader"), bool)
    calls.enable_leases(0.5)
    calls.decide("leader")  # type: ignore


async def a_feed(node: paxospp.Node, client: paxospp.Client) -> None:
    async for change in node.watch(1):
        assert_type(change, paxospp.Change)
        assert_type((change.position, change.time, change.name), tuple[int, float, str])
        assert_type(change.arguments, bytes)
    async for change in client.watch():
        assert_type(change.slot, paxospp.Slot)
    slot, chunks = await node.snapshot_stream()
    assert_type(slot, int)
    assert_type([chunk async for chunk in chunks], list[bytes])
    node.watch("1")  # type: ignore


async def a_node(storage: Callable[[], paxospp.Storage]) -> None:
    cluster = {"n1": "127.0.0.1:7001", "n2": "127.0.0.1:7002", "n3": "127.0.0.1:7003"}
    async with paxospp.Node("n1", cluster=cluster, storage="file:./data/n1", machine=KeyValue()) as node:
        assert_type(await node.execute(KeyValue.put, "boo", "foo"), None)
        assert_type(await node.query(KeyValue.get, "boo", timeout=2.0), str | None)
        assert_type(await node.execute("put", "boo", "foo", timeout=2.0), Any)
        await node.execute(KeyValue.put, "boo", 1)  # type: ignore
        await node.wait_ready(10.0)
        assert_type(node.status(), paxospp.NodeStatus)
        assert_type(node.name, str)
        assert_type(node.address, str)
        await node.wait_stopped()
        await node.close()
    paxospp.Node("n1", cluster=cluster, storage=storage, machine=KeyValue, listen="0.0.0.0:7001")
    paxospp.Node("n1", cluster=cluster, storage="memory:", machine="kv", allow_volatile=True, plugins=["mine"])
    paxospp.Node("n1", cluster=cluster, storage="memory:", machine="kv", on_event=print, config=paxospp.NodeConfig())
    paxospp.Node("n1", cluster=cluster, storage="memory:")  # type: ignore
    paxospp.Node("n1", cluster=cluster, storage="memory:", machine=3)  # type: ignore
    paxospp.Nod("n1")  # type: ignore


async def a_client() -> None:
    async with paxospp.Client(["127.0.0.1:7001"], timeout=10.0) as client:
        assert_type(await client.execute(KeyValue.add, "a", timeout=None), int)
        assert_type(await client.query(KeyValue.get, "boo"), str | None)
        await client.query(KeyValue.get, 1)  # type: ignore


def the_sync_client_and_node() -> None:
    with paxospp.sync.Client(["127.0.0.1:7001"], timeout=10.0) as client:
        assert_type(client.execute(KeyValue.add, "a", timeout=None), int)
        assert_type(client.query(KeyValue.get, "boo"), str | None)
        client.query(KeyValue.get, 1)  # type: ignore
        for change in client.watch(1):
            assert_type(change, paxospp.Change)
        slot, chunks = client.snapshot_stream()
        assert_type((slot, list(chunks)), tuple[int, list[bytes]])
    with paxospp.sync.Node("n1", cluster={"n1": "127.0.0.1:0"}, storage="memory:", machine=KeyValue) as node:
        assert_type(node.execute(KeyValue.put, "boo", "foo"), None)
        assert_type(node.query("get", "boo"), Any)
        assert_type(node.status(), paxospp.NodeStatus)
    paxospp.sync.Clint(["127.0.0.1:7001"])  # type: ignore
