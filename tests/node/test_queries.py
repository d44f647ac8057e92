"""The queries of a node: exactly those that are counted as open are held."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence

import pytest

from paxospp.calls import Consistency
from paxospp.engine.output import SettledRead
from paxospp.errors import UnavailableError
from paxospp.execution.executor import Executor
from paxospp.model import Slot
from paxospp.node.pacing import Pacing
from paxospp.node.queries import Queries
from tests.client.alone import Log
from tests.cluster.embedding import Notes, run

REQUEST = Notes.sum.encode(())
MODES: list[Consistency] = ["linearizable", "lease"]
UNCUT = Pacing(apply_slice_s=60.0)
"""Serve all queries that are ready in one turn of the event loop, however slow the machine is."""


class Asked:
    """A caller that records its answers and waits until ``waits`` is set to False."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.waits = True

    def answer(self, results: Sequence[bytes | Exception]) -> None:
        self.told.append("answered")

    def fail(self, error: Exception) -> None:
        self.told.append(str(error))


class Bench:
    """Queries over an executor; stands in for the driver, and does what the test says."""

    def __init__(self, executor: Executor, pacing: Pacing) -> None:
        self.loop = asyncio.get_running_loop()
        self.tickets: list[tuple[int, bool]] = []
        self.advances_wanted = 0
        self.queries = Queries(
            executor,
            self,
            bytes_max=1 << 26,
            loop=self.loop,
            boot_time=self.loop.time,
            why_unavailable=lambda: "nobody leads",
            pacing=pacing,
        )

    decided = Slot(1)

    def read(self, ticket: int, lease: bool) -> None:
        self.tickets.append((ticket, lease))

    def advance_soon(self) -> None:
        self.advances_wanted += 1

    def ask(self, count: int, timeout_s: float | None, consistency: Consistency = "linearizable") -> list[Asked]:
        requesters = [Asked() for _ in range(count)]
        for requester in requesters:
            self.queries.ask_all((REQUEST, REQUEST), timeout_s, consistency, requester)
        return requesters

    def hear(self, slot: Slot | None) -> None:
        """Answer all outstanding tickets with ``slot``."""
        tickets, self.tickets = self.tickets, []
        for ticket, _ in tickets:
            self.queries.on_read_settled(SettledRead(ticket=ticket, slot=slot))

    def check(self, count: int) -> None:
        queries = self.queries
        assert (queries.counted, queries.held, queries._bytes) == (count, count, count * len(REQUEST))
        assert sum(len(batch.requests) for batch in queries._deadlines.open) == count


def on_bench(main: Callable[[Bench], Coroutine[None, None, None]], pacing: Pacing = UNCUT) -> None:
    async def enter() -> None:
        await main(Bench(Log().executor, pacing))

    run(enter)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ticket", ["none", "out", "put back", "confirmed"])
def test_a_cancelled_query_is_removed_at_once_and_once_wherever_it_waits(mode: Consistency, ticket: str) -> None:
    async def main(bench: Bench) -> None:
        queries = bench.queries
        futures = [queries.ask(REQUEST, None, mode) for _ in range(5)]
        if ticket != "none":
            queries.advance()
            bench.check(5)
        if ticket == "put back":
            bench.hear(None)
        elif ticket == "confirmed":
            bench.hear(Slot(2))  # not applied yet
            queries.advance()
        bench.check(5)
        for future in futures[1:4]:
            future.cancel()
        await asyncio.sleep(0)
        bench.check(2)
        late = queries.ask(REQUEST, None, mode)
        if ticket == "confirmed":
            queries._confirmed = [unserved._replace(slot=Slot(1)) for unserved in queries._confirmed]
        elif ticket == "out":
            bench.hear(Slot(1))
        else:
            await asyncio.sleep(0.03)
        queries.advance()
        bench.hear(Slot(1))
        queries.advance()
        bench.check(0)
        assert all(future.done() for future in (*futures, late))
        assert [future.cancelled() for future in futures] == [False, True, True, True, False]
        await asyncio.sleep(0)
        bench.check(0)

    on_bench(main)


def test_queries_that_no_longer_wait_are_not_counted_when_a_ticket_is_drawn() -> None:
    async def main(bench: Bench) -> None:
        requesters = bench.ask(10, None)
        bench.check(20)
        for requester in requesters[:7]:
            requester.waits = False
        bench.queries.advance()
        bench.check(6)
        bench.hear(Slot(1))
        bench.queries.advance()
        bench.check(0)
        assert [requester.told for requester in requesters] == [[]] * 7 + [["answered"]] * 3

    on_bench(main)


def test_cancelled_queries_do_not_count_towards_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paxospp.node.queries.OPEN_MAX", few := 1_000)

    async def main(bench: Bench) -> None:
        for _ in range(3):
            futures = [bench.queries.ask(REQUEST, None) for _ in range(few // 2)]
            for future in futures:
                future.cancel()
            bench.queries.advance()
            await asyncio.sleep(0)
            bench.check(0)
            bench.hear(None)
            await asyncio.sleep(0.03)
        assert not bench.queries.ask(REQUEST, None).done()

    on_bench(main)


def test_a_query_that_timed_out_is_never_run_and_held_nowhere() -> None:
    async def main(bench: Bench) -> None:
        waiting: list[Asked] = []
        for consistency in (*MODES, *MODES):  # the first queries of a mode share a ticket that is never answered
            waiting += bench.ask(100, 0.01, consistency)
            bench.queries.advance()
        kept = bench.ask(1, None)
        await asyncio.sleep(0.06)
        bench.check(2)
        assert all(requester.told == ["no answer in time: nobody leads"] for requester in waiting)
        bench.hear(Slot(1))
        for _ in range(2):
            bench.queries.advance()
            bench.hear(Slot(1))
        bench.queries.advance()
        bench.check(0)
        assert kept[0].told == ["answered"]
        assert all(len(requester.told) == 1 for requester in waiting)

    on_bench(main)


def test_queries_whose_shared_ticket_is_abandoned_share_the_next_one_with_later_queries() -> None:
    async def main(bench: Bench) -> None:
        for early, late in ((3, 2), (2, 3)):
            requesters = bench.ask(early, None)
            bench.queries.advance()
            requesters += bench.ask(late, None)
            requesters[1].waits = False
            await asyncio.sleep(0.03)
            bench.check(10)
            bench.tickets.clear()
            bench.queries.advance()  # another ticket for all
            bench.check(8)
            bench.hear(Slot(1))
            bench.queries.advance()
            bench.check(0)
            assert [len(requester.told) for requester in requesters] == [1, 0, 1, 1, 1]

    on_bench(main, Pacing(apply_slice_s=60.0, ticket_age_max_s=0.02))


def test_confirmed_queries_are_answered_in_slices() -> None:
    async def main(bench: Bench) -> None:
        requesters = bench.ask(3, None)
        bench.queries.advance()
        bench.hear(Slot(1))
        for served in range(1, 4):
            bench.advances_wanted = 0
            bench.queries.advance()
            assert [len(requester.told) for requester in requesters] == [1] * served + [0] * (3 - served)
            assert bench.advances_wanted == (served < 3)
            bench.check(6 - 2 * served)

    on_bench(main, Pacing(apply_slice_s=0.0))


def test_closing_fails_each_waiting_query_once() -> None:
    async def main(bench: Bench) -> None:
        requesters = bench.ask(3, None)
        bench.queries.advance()
        requesters += bench.ask(3, 5.0)
        future = bench.queries.ask(REQUEST, None)
        bench.queries.end(lambda: UnavailableError("ended"))
        bench.check(0)
        assert all(requester.told == ["ended"] for requester in requesters)
        with pytest.raises(UnavailableError, match="ended"):
            await future

    on_bench(main)
