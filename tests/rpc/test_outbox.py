"""The send queue: items are taken in order and by size, and waiters at both ends are woken."""

from __future__ import annotations

import asyncio

import pytest

from paxospp.rpc.outbox import Outbox


async def turn() -> None:
    """Let the event loop run, so that woken tasks proceed."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def test_items_come_in_order_as_many_as_fit_and_at_least_one() -> None:
    async def main() -> None:
        outbox: Outbox[str] = Outbox()
        for item, size in (("a", 3), ("b", 3), ("c", 9), ("d", 1)):
            outbox.put(item, size)

        assert await outbox.next(6) == ["a", "b"]
        assert (len(outbox), outbox.bytes) == (2, 16)
        outbox.written()
        assert outbox.bytes == 10
        assert await outbox.next(6) == ["c"]
        outbox.written()
        assert await outbox.next(6) == ["d"]
        outbox.written()
        assert (len(outbox), outbox.bytes) == (0, 0)

    asyncio.run(main())


def test_who_waits_for_an_item_gets_all_that_came_in_one_turn() -> None:
    async def main() -> None:
        outbox: Outbox[str] = Outbox()
        taking = asyncio.create_task(outbox.next(100))
        await turn()
        assert not taking.done()

        outbox.put("a", 1)
        outbox.put("b", 1)
        assert await taking == ["a", "b"]

    asyncio.run(main())


@pytest.mark.parametrize("before", [True, False])
def test_waking_lets_a_taker_return_with_nothing_and_only_once(before: bool) -> None:
    async def main() -> None:
        outbox: Outbox[str] = Outbox()
        if before:
            outbox.wake()
        taking = asyncio.create_task(outbox.next(100))
        await turn()
        if not before:
            outbox.wake()
        assert await taking == []

        taking = asyncio.create_task(outbox.next(100))
        await turn()
        assert not taking.done()
        taking.cancel()

    asyncio.run(main())


def test_what_a_cancelled_taker_leaves_the_next_one_gets() -> None:
    async def main() -> None:
        outbox: Outbox[str] = Outbox()
        taking = asyncio.create_task(outbox.next(100))
        await turn()
        taking.cancel()
        await turn()
        outbox.put("a", 1)

        assert await outbox.next(100) == ["a"]

    asyncio.run(main())


def test_it_is_empty_when_what_was_taken_is_written() -> None:
    async def main() -> None:
        outbox: Outbox[str] = Outbox()
        await outbox.emptied()
        outbox.put("a", 1)
        outbox.put("b", 9)
        waiting = [asyncio.create_task(outbox.emptied()) for _ in range(2)]
        for left in ("b", ""):
            await outbox.next(5)
            await turn()
            assert not any(task.done() for task in waiting), left
            outbox.written()
        await asyncio.gather(*waiting)

    asyncio.run(main())


def test_who_waits_until_it_is_empty_is_told_when_it_is_cleared() -> None:
    async def main() -> None:
        outbox: Outbox[str] = Outbox()
        outbox.put("a", 1)
        outbox.put("b", 1)
        await outbox.next(1)
        waiting = asyncio.create_task(outbox.emptied())
        await turn()

        assert outbox.clear() == 1
        await waiting
        assert (len(outbox), outbox.bytes) == (0, 0)

    asyncio.run(main())
