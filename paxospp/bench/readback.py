"""The check at the end of a benchmark: every acknowledged write is there, and all nodes have the same state.

The calls of a worker are ordered, so a key must hold the number that was acknowledged last, or a later number that was
sent and not acknowledged. Anything else is reported, key by key.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from paxospp.bench.kv_calls import DELETE, GET
from paxospp.bench.load_generator import CALL_TIMEOUT_S, LoadResult, LoadSpec, gather_or_raise_first
from paxospp.calls import Calls
from paxospp.client.cluster_status import NodeRow, gather_status
from paxospp.testing.cluster.local_nodes import all_applied_the_same

IN_FLIGHT = 256
AGREE_TIMEOUT_S = 60.0
LOOK_INTERVAL_S = 0.05
SHOWN = 5
"""How many differing keys are listed."""


async def read_back(calls: Calls, spec: LoadSpec) -> list[object]:
    """Return the value that the cluster now has for each key of ``spec``."""
    values: list[object] = [None] * spec.keys

    async def read(index: int) -> None:
        values[index] = await calls.query(GET, spec.key(index), timeout=CALL_TIMEOUT_S)

    await _for_each_key(spec, read)
    return values


async def delete_keys(calls: Calls, spec: LoadSpec) -> None:
    """Delete every key of ``spec``."""

    async def delete(index: int) -> None:
        await calls.execute(DELETE, spec.key(index), timeout=CALL_TIMEOUT_S)

    await _for_each_key(spec, delete)


async def _for_each_key(spec: LoadSpec, call: Callable[[int], Awaitable[None]]) -> None:
    indices = iter(range(spec.keys))

    async def one_after_another() -> None:
        for index in indices:
            await call(index)

    await gather_or_raise_first(one_after_another() for _ in range(min(spec.keys, IN_FLIGHT)))


def differences(spec: LoadSpec, result: LoadResult, values: Sequence[object]) -> list[str]:
    """Compare ``values``, read back, with what was acknowledged; return a line for each of the first differing keys."""
    found = [f"a read of {key!r} returned another value than was written" for key in dict.fromkeys(result.wrong)]
    for index, value in enumerate(values):
        sent, acknowledged = result.sent[index], result.acknowledged[index]
        if not _is_possible(spec, value, acknowledged, sent):
            found.append(
                f"{spec.key(index)!r} holds {_shortened(value)}, but the last write acknowledged was number "
                f"{acknowledged} and the last one sent was number {sent}"
            )
    return found if len(found) <= SHOWN else [*found[:SHOWN], f"and {len(found) - SHOWN} more"]


def _is_possible(spec: LoadSpec, value: object, acknowledged: int, sent: int) -> bool:
    if value is None:
        return acknowledged == 0
    if not isinstance(value, str) or not value.isdecimal():
        return False
    digits = value.lstrip("0")
    if len(digits) > len(str(sent)):
        return False
    number = int(digits or "0")  # without the leading zeros, because int() refuses more than 4,300 digits
    # A worker writes its keys one after another, so the numbers written to one key are keys_per_worker apart.
    belongs_here = (sent - number) % spec.keys_per_worker == 0
    return max(1, acknowledged) <= number <= sent and belongs_here and value == spec.value(number)


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


async def compare_digests(addresses: Iterable[str], check_nodes: Callable[[], None]) -> list[str]:
    """Wait until all nodes have applied the same slot; return in what they differ then, or that they never got there.

    ``check_nodes`` is called between two looks and raises if a node has ended.
    """
    deadline = time.monotonic() + AGREE_TIMEOUT_S
    while True:
        check_nodes()
        rows, _ = await gather_status(addresses)
        if all_applied_the_same(rows):
            return digest_differences(rows)
        if time.monotonic() > deadline:
            states = ", ".join(f"{row['name'] or row['address']} {_applied(row)}" for row in rows)
            what = "the nodes have not all applied the same slot (is another client writing?)"
            return [f"after {AGREE_TIMEOUT_S:.0f} s {what}: {states}"]
        await asyncio.sleep(LOOK_INTERVAL_S)


def digest_differences(rows: Sequence[NodeRow]) -> list[str]:
    """Compare the digests of nodes that have applied the same slot."""
    digests: Mapping[str, object] = {str(row["name"]): row["digest"] for row in rows}
    if len(set(digests.values())) == 1:
        return []
    listed = ", ".join(f"{name} {digest}" for name, digest in digests.items())
    return [f"the digests of the nodes at slot {rows[0]['applied']}: {listed}"]


def _applied(row: NodeRow) -> str:
    return f"at slot {row['applied']}" if row["reachable"] else "does not answer"
