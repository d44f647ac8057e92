"""What a real disk or report is in the model: damage is told in one way only, and nothing else passes for it."""

from __future__ import annotations

import sys
from dataclasses import replace

from paxospp.testing.simulation.validation.projecting import faulty_of, in_one_way
from paxospp.testing.specification.damage import is_left_of
from paxospp.testing.specification.messages import Report
from paxospp.testing.specification.state import Acceptor
from paxospp.testing.specification.values import Ballot, Map, Pvalue

BALLOT = Ballot(3, "n1", 1)
HELD = Map((slot, Pvalue(BALLOT, f"value {slot}")) for slot in (2, 3, 4))
WRITTEN = Acceptor(promised=BALLOT, entries=HELD, first=2)


def test_a_range_without_an_end_is_where_damage_is_open() -> None:
    assert faulty_of([range(2, 4), range(6, sys.maxsize)]) == (frozenset({2, 3}), 6)


def test_an_open_end_that_begins_below_what_is_held_is_the_same_as_one_above() -> None:
    below = Report(1, 1, 2, HELD, frozenset(), 2)
    above = Report(1, 1, 2, HELD, frozenset(), 5)
    assert in_one_way(below) == in_one_way(above)


def test_an_open_end_above_an_empty_slot_is_another_one() -> None:
    assert in_one_way(Report(1, 1, 2, HELD, frozenset(), 6)) != in_one_way(Report(1, 1, 2, HELD, frozenset(), 5))


def test_a_damaged_slot_is_left_of_what_was_written() -> None:
    found = replace(WRITTEN, entries=HELD.without([3]), faulty=frozenset({3}))
    assert is_left_of(found, WRITTEN)


def test_an_end_in_doubt_is_left_of_what_was_written() -> None:
    assert is_left_of(replace(WRITTEN, entries=HELD.without([3, 4]), open_from=3), WRITTEN)


def test_a_slot_that_is_gone_without_a_trace_is_not_left_by_damage() -> None:
    assert not is_left_of(replace(WRITTEN, entries=HELD.without([3])), WRITTEN)


def test_an_older_promise_is_not_left_by_damage() -> None:
    assert not is_left_of(replace(WRITTEN, promised=Ballot(2, "n1", 1)), WRITTEN)


def test_another_value_is_not_left_by_damage() -> None:
    found = replace(WRITTEN, entries=HELD.set(3, Pvalue(BALLOT, "another")))
    assert not is_left_of(found, WRITTEN)


def test_a_damaged_slot_does_not_come_back() -> None:
    damaged = replace(WRITTEN, entries=HELD.without([3]), faulty=frozenset({3}))
    assert not is_left_of(WRITTEN, damaged)


def test_damage_that_was_known_does_not_end_by_itself() -> None:
    lost = replace(WRITTEN, entries=HELD.without([4]), open_from=4)
    assert not is_left_of(replace(lost, open_from=0), lost)
