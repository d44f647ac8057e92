"""Whether what was measured was true: every acknowledged write is there, and the nodes agree.

A worker's calls have an order, so a key holds the number that was acknowledged last, or a later
one that was sent and whose answer did not come. Anything else is told, key by key.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from paxospp.calls import Calls
from paxospp.cli.bench.load import CALL_TIMEOUT_S, Tally, Work, together
from paxospp.cli.bench.machine import DELETE, GET
from paxospp.cli.local_cluster import all_applied_the_same
from paxospp.cli.status import Row, gather

IN_FLIGHT = 256
AGREE_TIMEOUT_S = 60.0
LOOK_INTERVAL_S = 0.05
SHOWN = 5


async def read_back(calls: Calls, work: Work) -> list[object]:
    """The value of every key of ``work``, as the cluster has it now."""
    values: list[object] = [None] * work.keys

    async def read(place: int) -> None:
        values[place] = await calls.query(GET, work.key(place), timeout=CALL_TIMEOUT_S)

    await _for_each_key(work, read)
    return values


async def forget(calls: Calls, work: Work) -> None:
    """Delete every key of ``work``."""

    async def delete(place: int) -> None:
        await calls.execute(DELETE, work.key(place), timeout=CALL_TIMEOUT_S)

    await _for_each_key(work, delete)


async def _for_each_key(work: Work, call: Callable[[int], Awaitable[None]]) -> None:
    places = iter(range(work.keys))

    async def one_after_another() -> None:
        for place in places:
            await call(place)

    await together(one_after_another() for _ in range(min(work.keys, IN_FLIGHT)))


def differences(work: Work, tally: Tally, values: Sequence[object]) -> list[str]:
    """In what ``values``, read back, is not what was acknowledged: one line per key, the first few in full."""
    found = [f"{key!r} was read with another value than was put" for key in dict.fromkeys(tally.wrong)]
    for place, value in enumerate(values):
        sent, acknowledged = tally.sent[place], tally.acknowledged[place]
        if not _may_be(work, value, acknowledged, sent):
            found.append(
                f"{work.key(place)!r} holds {_shown(value)}, but number {acknowledged} was acknowledged last "
                f"and {sent} was sent last"
            )
    return found if len(found) <= SHOWN else [*found[:SHOWN], f"and {len(found) - SHOWN} more"]


def _may_be(work: Work, value: object, acknowledged: int, sent: int) -> bool:
    if value is None:
        return acknowledged == 0
    if not isinstance(value, str) or not value.isdecimal():
        return False
    digits = value.lstrip("0")
    if len(digits) > len(str(sent)):
        return False
    number = int(digits or "0")  # without the zeros, of which int() takes a few thousand at most
    # Numbers that went to this key are keys_per_worker apart, and each is written in one way only.
    in_turn = (sent - number) % work.keys_per_worker == 0
    return max(1, acknowledged) <= number <= sent and in_turn and value == work.value(number)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


async def compare_digests(addresses: Iterable[str], look: Callable[[], None]) -> list[str]:
    """In what the nodes differ once all have applied the same, or that they do not come to that.

    ``look`` raises if one of them ended.
    """
    deadline = time.monotonic() + AGREE_TIMEOUT_S
    while True:
        look()
        rows, _ = await gather(addresses)
        if all_applied_the_same(rows):
            return digest_differences(rows)
        if time.monotonic() > deadline:
            told = ", ".join(f"{row['name'] or row['address']} {_applied(row)}" for row in rows)
            what = "not all nodes had applied the same (does somebody else write?)"
            return [f"after {AGREE_TIMEOUT_S:.0f} s {what}: {told}"]
        await asyncio.sleep(LOOK_INTERVAL_S)


def digest_differences(rows: Sequence[Row]) -> list[str]:
    """``rows`` are of nodes that have applied the same slot."""
    digests: Mapping[str, object] = {str(row["name"]): row["digest"] for row in rows}
    if len(set(digests.values())) == 1:
        return []
    told = ", ".join(f"{name} {digest}" for name, digest in digests.items())
    return [f"the digests of the nodes at slot {rows[0]['applied']}: {told}"]


def _applied(row: Row) -> str:
    return f"at {row['applied']}" if row["reachable"] else "does not answer"
