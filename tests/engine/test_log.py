"""The log in memory: all undecided entries, a bounded tail of decided ones, and the faulty slots."""

from __future__ import annotations

import sys

from paxospp.engine.rules.log import Log
from paxospp.model import Slot

from .words import ballot, empty_log, entry


def small_log(bytes_max: int) -> Log:
    return Log(first=Slot(1), last=Slot(0), memory_from=Slot(1), faulty=(), bytes_max=bytes_max)


def test_damage_that_is_reported_again_is_recorded_once() -> None:
    log = empty_log(last=9, faulty=(range(2, 6),))
    for _ in range(3):
        log.mark_faulty([range(3, 5), range(7, 8)])
    assert log.faulty == [range(2, 6), range(7, 8)]


def test_storing_a_slot_again_replaces_its_entry_and_its_bytes() -> None:
    log = empty_log()
    log.store(entry(1, ballot(1), b"12345"))
    log.store(entry(1, ballot(2), b"1"))

    assert log.get(Slot(1)) == entry(1, ballot(2), b"1")
    assert log.bytes == 1


def test_it_evicts_only_decided_entries_and_the_oldest_first() -> None:
    log = small_log(bytes_max=25)
    for slot in range(1, 6):
        log.store(entry(slot, ballot(1), b"0123456789"))
    log.evict(Slot(2))

    assert log.memory_from == 3
    assert [held.slot for held in log.above(Slot(0))] == [3, 4, 5]
    log.evict(Slot(5))
    assert log.bytes <= 25


def test_a_chunk_is_limited_in_bytes_but_holds_at_least_one_entry() -> None:
    log = empty_log()
    for slot in range(1, 5):
        log.store(entry(slot, ballot(1), b"0123456789"))

    assert [held.slot for held in log.between(Slot(1), Slot(5), 25)] == [1, 2]
    assert [held.slot for held in log.between(Slot(2), Slot(5), 1)] == [2]
    assert log.between(Slot(9), Slot(12), 100) == ()


def test_a_chunk_ends_at_a_gap() -> None:
    log = empty_log()
    log.store(entry(1, ballot(1)))
    log.store(entry(3, ballot(1)))

    assert [held.slot for held in log.between(Slot(1), Slot(5), 100)] == [1]


def test_damage_found_by_a_read_does_not_cover_entries_held_in_memory() -> None:
    log = empty_log(last=9)
    log.store(entry(4, ballot(1)))
    log.mark_faulty([range(2, 7), range(8, sys.maxsize)])

    assert log.faulty == [range(2, 4), range(5, 7), range(8, 10)]


def test_storing_a_faulty_slot_repairs_it_and_splits_the_range() -> None:
    log = empty_log(last=9, faulty=(range(2, 6),))
    log.store(entry(3, ballot(1)))

    assert log.faulty == [range(2, 3), range(4, 6)]
    assert log.end_of_faulty(Slot(4)) == 6


def test_damage_without_an_end_can_be_closed_at_a_slot() -> None:
    log = empty_log(last=3, faulty=(range(2, 3), range(4, sys.maxsize)))
    log.close_faulty_end(Slot(6))

    assert log.faulty == [range(2, 3), range(4, 7)]
    log.close_faulty_end(Slot(3))
    assert log.faulty == [range(2, 3)]


def test_damage_below_first_is_ignored() -> None:
    assert empty_log(first=5, faulty=(range(1, 4), range(3, 7))).faulty == [range(5, 7)]
