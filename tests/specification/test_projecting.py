"""How a real disk or report looks in the model: damage has one representation, and nothing else is taken for damage."""

from __future__ import annotations

import sys
from dataclasses import replace

from paxospp.testing.simulation.validation.projecting import faulty_of, in_one_way
from paxospp.testing.specification.damage import may_be_damaged_copy
from paxospp.testing.specification.messages import AcceptorReport
from paxospp.testing.specification.state import ModelAcceptor
from paxospp.testing.specification.values import Map, ModelBallot, Pvalue

BALLOT = ModelBallot(3, "n1", 1)
HELD = Map((slot, Pvalue(BALLOT, f"value {slot}")) for slot in (2, 3, 4))
WRITTEN = ModelAcceptor(promised=BALLOT, entries=HELD, first=2)


def test_a_range_without_an_end_is_an_open_end() -> None:
    assert faulty_of([range(2, 4), range(6, sys.maxsize)]) == (frozenset({2, 3}), 6)


def test_an_open_end_that_begins_below_what_is_held_is_the_same_as_one_above() -> None:
    below = AcceptorReport(1, 1, 2, HELD, frozenset(), 2)
    above = AcceptorReport(1, 1, 2, HELD, frozenset(), 5)
    assert in_one_way(below) == in_one_way(above)


def test_an_open_end_that_leaves_out_an_empty_slot_differs() -> None:
    assert in_one_way(AcceptorReport(1, 1, 2, HELD, frozenset(), 6)) != in_one_way(
        AcceptorReport(1, 1, 2, HELD, frozenset(), 5)
    )


def test_damage_can_make_a_slot_faulty() -> None:
    found = replace(WRITTEN, entries=HELD.without([3]), faulty=frozenset({3}))
    assert may_be_damaged_copy(found, WRITTEN)


def test_damage_can_leave_an_open_end() -> None:
    assert may_be_damaged_copy(replace(WRITTEN, entries=HELD.without([3, 4]), open_from=3), WRITTEN)


def test_damage_does_not_remove_a_slot_unnoticed() -> None:
    assert not may_be_damaged_copy(replace(WRITTEN, entries=HELD.without([3])), WRITTEN)


def test_damage_does_not_restore_an_older_promise() -> None:
    assert not may_be_damaged_copy(replace(WRITTEN, promised=ModelBallot(2, "n1", 1)), WRITTEN)


def test_damage_does_not_change_a_value() -> None:
    found = replace(WRITTEN, entries=HELD.set(3, Pvalue(BALLOT, "another")))
    assert not may_be_damaged_copy(found, WRITTEN)


def test_damage_does_not_restore_a_faulty_slot() -> None:
    damaged = replace(WRITTEN, entries=HELD.without([3]), faulty=frozenset({3}))
    assert not may_be_damaged_copy(WRITTEN, damaged)


def test_damage_does_not_end_known_damage() -> None:
    lost = replace(WRITTEN, entries=HELD.without([4]), open_from=4)
    assert not may_be_damaged_copy(replace(lost, open_from=0), lost)
