"""The room of queries: who is counted as open is held in it, and nobody else is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path

import pytest

import paxospp
from paxospp.calls import Consistency
from paxospp.engine.output import ReadReady
from paxospp.errors import OverloadedError, UnavailableError
from paxospp.execution.executor import Executor
from paxospp.model import Slot
from paxospp.node.pacing import Pacing
from paxospp.node.queries import OPEN_MAX, Queries
from tests.cluster.alone import Log
from tests.cluster.embedding import Notes, embedded, run
from tests.cluster.weather import Weather

REQUEST = Notes.sum.encode(())
MODES: list[Consistency] = ["linearizable", "lease"]
UNCUT = Pacing(apply_slice_s=60.0)
"""All that may be served is served in one turn, however slow the machine is."""


class Asked:
    """Somebody whose stream stays open: hears what comes, and waits until told to ``stop``."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.waits = True

    def answer(self, results: Sequence[bytes | Exception]) -> None:
        self.told.append("answered")

    def fail(self, error: Exception) -> None:
        self.told.append(str(error))


class Room:
    """Queries before an executor, with a replica that does what the test says."""

    def __init__(self, executor: Executor, pacing: Pacing) -> None:
        self.loop = asyncio.get_running_loop()
        self.tickets: list[tuple[int, bool]] = []
        self.turns_wanted = 0
        self.queries = Queries(
            executor,
            bytes_max=1 << 26,
            loop=self.loop,
            boot_time=self.loop.time,
            decided=lambda: Slot(1),
            read=lambda ticket, lease: self.tickets.append((ticket, lease)),
            want_turn=self._want_turn,
            why_not=lambda: "nobody leads",
            pacing=pacing,
        )

    def _want_turn(self) -> None:
        self.turns_wanted += 1

    def ask(self, count: int, timeout_s: float | None, consistency: Consistency = "linearizable") -> list[Asked]:
        askers = [Asked() for _ in range(count)]
        for asker in askers:
            self.queries.ask_all((REQUEST, REQUEST), timeout_s, consistency, asker)
        return askers

    def hear(self, slot: Slot | None) -> None:
        """The tickets that are out come back."""
        tickets, self.tickets = self.tickets, []
        for ticket, _ in tickets:
            self.queries.on_readable(ReadReady(ticket=ticket, slot=slot))

    def check(self, count: int) -> None:
        queries = self.queries
        assert (queries.counted, queries.held, queries._bytes) == (count, count, count * len(REQUEST))
        assert sum(len(questions.requests) for questions in queries._deadlines.open) == count


def in_room(main: Callable[[Room], Coroutine[None, None, None]], pacing: Pacing = UNCUT) -> None:
    async def enter() -> None:
        await main(Room(Log().executor, pacing))

    run(enter)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ticket", ["none", "out", "put back", "confirmed"])
def test_whoever_is_cancelled_leaves_at_once_and_once_wherever_it_waits(mode: Consistency, ticket: str) -> None:
    async def main(room: Room) -> None:
        queries = room.queries
        futures = [queries.ask(REQUEST, None, mode) for _ in range(5)]
        if ticket != "none":
            queries.on_turn()
            room.check(5)
        if ticket == "put back":
            room.hear(None)
        elif ticket == "confirmed":
            room.hear(Slot(2))  # not applied yet
            queries.on_turn()
        room.check(5)
        for future in futures[1:4]:
            future.cancel()
        await asyncio.sleep(0)
        room.check(2)
        late = queries.ask(REQUEST, None, mode)
        if ticket == "confirmed":
            queries._confirmed = [unserved._replace(slot=Slot(1)) for unserved in queries._confirmed]
        elif ticket == "out":
            room.hear(Slot(1))
        else:
            await asyncio.sleep(0.03)
        queries.on_turn()
        room.hear(Slot(1))
        queries.on_turn()
        room.check(0)
        assert all(future.done() for future in (*futures, late))
        assert [future.cancelled() for future in futures] == [False, True, True, True, False]
        await asyncio.sleep(0)
        room.check(0)

    in_room(main)


def test_those_who_wait_no_more_are_off_the_count_when_a_ticket_is_drawn() -> None:
    async def main(room: Room) -> None:
        askers = room.ask(10, None)
        room.check(20)
        for asker in askers[:7]:
            asker.waits = False
        room.queries.on_turn()
        room.check(6)
        room.hear(Slot(1))
        room.queries.on_turn()
        room.check(0)
        assert [asker.told for asker in askers] == [[]] * 7 + [["answered"]] * 3

    in_room(main)


def test_those_who_go_away_take_up_no_room() -> None:
    async def main(room: Room) -> None:
        for _ in range(3):
            futures = [room.queries.ask(REQUEST, None) for _ in range(OPEN_MAX // 2)]
            for future in futures:
                future.cancel()
            room.queries.on_turn()
            await asyncio.sleep(0)
            room.check(0)
            room.hear(None)
            await asyncio.sleep(0.03)
        assert not room.queries.ask(REQUEST, None).done()

    in_room(main)


def test_what_timed_out_is_held_nowhere_and_never_run() -> None:
    async def main(room: Room) -> None:
        waiting: list[Asked] = []
        for consistency in (*MODES, *MODES):  # the first of a mode share a ticket that is not answered
            waiting += room.ask(100, 0.01, consistency)
            room.queries.on_turn()
        kept = room.ask(1, None)
        await asyncio.sleep(0.06)
        room.check(2)
        assert all(asker.told == ["no answer in time: nobody leads"] for asker in waiting)
        room.hear(Slot(1))
        for _ in range(2):
            room.queries.on_turn()
            room.hear(Slot(1))
        room.queries.on_turn()
        room.check(0)
        assert kept[0].told == ["answered"]
        assert all(len(asker.told) == 1 for asker in waiting)

    in_room(main)


def test_those_who_share_a_ticket_that_is_given_up_share_the_next_with_later_ones() -> None:
    async def main(room: Room) -> None:
        for early, late in ((3, 2), (2, 3)):
            askers = room.ask(early, None)
            room.queries.on_turn()
            askers += room.ask(late, None)
            askers[1].waits = False
            await asyncio.sleep(0.03)
            room.check(10)
            room.tickets.clear()
            room.queries.on_turn()  # another ticket for all
            room.check(8)
            room.hear(Slot(1))
            room.queries.on_turn()
            room.check(0)
            assert [len(asker.told) for asker in askers] == [1, 0, 1, 1, 1]

    in_room(main, Pacing(apply_slice_s=60.0, ticket_age_max_s=0.02))


def test_confirmed_queries_are_served_in_slices() -> None:
    async def main(room: Room) -> None:
        askers = room.ask(3, None)
        room.queries.on_turn()
        room.hear(Slot(1))
        for served in range(1, 4):
            room.turns_wanted = 0
            room.queries.on_turn()
            assert [len(asker.told) for asker in askers] == [1] * served + [0] * (3 - served)
            assert room.turns_wanted == (served < 3)
            room.check(6 - 2 * served)

    in_room(main, Pacing(apply_slice_s=0.0))


def test_the_end_fails_whoever_waits_once() -> None:
    async def main(room: Room) -> None:
        askers = room.ask(3, None)
        room.queries.on_turn()
        askers += room.ask(3, 5.0)
        future = room.queries.ask(REQUEST, None)
        room.queries.end(lambda: UnavailableError("ended"))
        room.check(0)
        assert all(asker.told == ["ended"] for asker in askers)
        with pytest.raises(UnavailableError, match="ended"):
            await future

    in_room(main)


def test_clients_that_time_out_or_go_away_leave_a_node_without_a_quorum(tmp_path: Path) -> None:
    async def main() -> None:
        async with embedded(tmp_path) as cluster:
            leader = await cluster.leader()
            assert leader._parts is not None
            queries, remote = leader._parts.queries, leader._parts.remote
            weather = Weather(cluster)
            weather.isolate(leader.name, others=set(cluster.nodes) - {leader.name})
            async with paxospp.Client([cluster.cluster[leader.name]], follow_leader=False) as client:
                for consistency in MODES:
                    with pytest.raises((UnavailableError, OverloadedError)):
                        await client.query(Notes.sum, timeout=0.1, consistency=consistency)
                await cluster.until(lambda: queries.counted == queries.held == 0)
                assert not any(remote._asking.values())
                leader._parts.driver.hold()  # as while a snapshot is installed: no ticket is drawn
                waiting = [asyncio.ensure_future(client.query(Notes.sum, timeout=None)) for _ in range(100)]
                await cluster.until(lambda: queries.counted == queries.held == 100)
            await asyncio.gather(*waiting, return_exceptions=True)
            await cluster.until(lambda: queries.counted == queries.held == 0)
            assert queries._bytes == 0
            assert not remote._asking

    run(main)
