"""The context: what a command knows about its place in the log."""

from __future__ import annotations

from random import Random

import pytest

from paxospp.state_machine import Context, StateMachine, command, query, set_context
from paxospp.testing.machine_context import context


class Lottery(StateMachine):
    drawn: list[float]

    def __init__(self) -> None:
        self.drawn = []

    @command
    def draw(self) -> float:
        self.drawn.append(self.context.random.random())
        return self.drawn[-1]

    @command
    def where(self) -> tuple[int, int, float]:
        return self.context.slot, self.context.position, self.context.time

    @query
    def when(self) -> tuple[int, float]:
        return self.context.slot, self.context.time

    @query
    def guess(self) -> float:
        return self.context.random.random()


def test_a_command_sees_slot_position_and_time() -> None:
    result = Lottery().apply(Lottery.where.encode(), Context(5, 3, 1.5, b"cluster"))

    assert Lottery.where.decode_result(result) == (5, 3, 1.5)


def test_random_is_seeded_from_cluster_slot_and_position() -> None:
    def drawn(slot: int, position: int, cluster_id: bytes) -> float:
        return Context(slot, position, 0.0, cluster_id).random.random()

    assert drawn(1, 2, b"c") == drawn(1, 2, b"c")
    assert len({drawn(1, 2, b"c"), drawn(2, 2, b"c"), drawn(1, 3, b"c"), drawn(1, 2, b"d"), drawn(1, 2, b"")}) == 5


def test_random_is_the_same_in_every_version_of_python() -> None:
    """If the seed changed, replicas that run two versions would diverge."""
    random = Context(7, 1, 0.0, b"0123456789abcdef").random

    assert isinstance(random, Random)
    assert random.getrandbits(64) == 8817325921265298177


def test_one_command_draws_from_one_random() -> None:
    here = Context(1, 0, 0.0)

    assert here.random is here.random


def test_next_moves_to_the_next_command_of_the_slot() -> None:
    here = Context(4, 0, 2.0, b"c")
    first = here.random.random()

    here.next()

    assert (here.slot, here.position, here.time) == (4, 1, 2.0)
    assert here.random.random() == Context(4, 1, 2.0, b"c").random.random() != first


def test_a_query_sees_slot_and_time_and_nothing_else() -> None:
    machine = Lottery()
    set_context(machine, Context.of_query(9, 3.5))

    assert Lottery.when.decode_result(machine.answer(Lottery.when.encode())) == (9, 3.5)
    with pytest.raises(RuntimeError, match="a query has no position"):
        machine.answer(Lottery.guess.encode())
    assert repr(machine.context) == "Context(slot=9, position=None, time=3.5)"


def test_outside_of_a_command_there_is_no_context() -> None:
    with pytest.raises(RuntimeError, match=r"paxospp\.testing\.context\(machine\)"):
        Lottery().draw()


def test_a_unit_test_may_give_one() -> None:
    machine = Lottery()

    with context(machine, slot=7, time=12.5) as inside:
        assert machine.where() == (7, 0, 12.5)
        first = machine.draw()
        inside.next()
        assert machine.where() == (7, 1, 12.5)
    with context(machine, slot=7):
        assert machine.draw() == first
        with context(machine):
            assert machine.where() == (1, 0, 0.0)
        assert machine.where() == (7, 0, 0.0)

    with pytest.raises(RuntimeError):
        machine.draw()


def test_the_context_is_no_part_of_the_state() -> None:
    machine = Lottery()
    machine.apply(Lottery.draw.encode(), Context(1, 0, 0.0))
    copy = Lottery()

    copy.restore(machine.snapshot())

    assert vars(copy) == vars(machine) == {"drawn": machine.drawn}
