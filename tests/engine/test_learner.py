"""Rule 4: which slots are decided, in which order they are applied, and which are missing."""

from __future__ import annotations

import pytest

from paxospp.engine.rules.learner import Learner
from paxospp.engine.rules.log import Log
from paxospp.errors import InvariantViolatedError
from paxospp.model import Slot

from .words import N2, ballot, empty_log, entry


def learner(log: Log, decided: int = 0) -> Learner:
    return Learner(decided=Slot(decided), applied=Slot(decided), log=log)


def test_decided_slots_are_applied_in_slot_order() -> None:
    log = empty_log()
    it = learner(log)
    for slot in (2, 1, 3):
        log.store(entry(slot, ballot(1)))
        it.decide(Slot(slot))
        it.advance()

    assert it.decided == 3
    assert [held.slot for held in it.deliver()] == [1, 2, 3]


def test_a_slot_above_a_gap_is_not_applied() -> None:
    log = empty_log()
    it = learner(log)
    log.store(entry(2, ballot(1)))
    it.decide(Slot(2))

    assert not it.advance()
    assert list(it.deliver()) == []


def test_an_announcement_covers_what_was_accepted_under_its_ballot_or_above() -> None:
    log = empty_log()
    it = learner(log)
    log.store(entry(1, ballot(3)))
    log.store(entry(2, ballot(4, N2)))
    it.announce(ballot(3), Slot(2))

    it.advance()
    assert it.decided == 2


def test_an_announcement_does_not_cover_an_older_acceptance() -> None:
    """The value decided there may be another one."""
    log = empty_log()
    it = learner(log)
    log.store(entry(1, ballot(2)))
    it.announce(ballot(3), Slot(1))

    assert not it.advance()
    assert it.hole() == range(1, 2)


def test_an_entry_that_arrives_after_its_announcement_is_decided_then() -> None:
    log = empty_log()
    it = learner(log)
    it.announce(ballot(3), Slot(1))
    assert it.hole() == range(1, 2)

    log.store(entry(1, ballot(3)))
    assert it.advance()
    assert it.hole() is None


def test_an_announcement_of_an_older_leader_does_not_replace_that_of_a_newer_one() -> None:
    log = empty_log()
    it = learner(log)
    it.announce(ballot(5), Slot(1))
    it.announce(ballot(3), Slot(9))
    log.store(entry(1, ballot(3)))

    assert not it.advance()
    assert it.wanted == 9


def test_a_hole_ends_below_the_next_slot_that_this_replica_knows_decided() -> None:
    log = empty_log()
    it = learner(log)
    it.announce(ballot(3), Slot(9))
    log.store(entry(4, ballot(3)))

    assert it.hole() == range(1, 4)


def test_a_slot_that_a_peer_knows_decided_is_a_hole_here() -> None:
    it = learner(empty_log())
    it.heard_of(Slot(3))

    assert it.hole() == range(1, 4)


def test_a_decided_slot_whose_record_is_damaged_is_fetched() -> None:
    it = Learner(decided=Slot(5), applied=Slot(0), log=empty_log(last=5, memory_from=6, faulty=(range(1, 3),)))

    assert it.hole() == range(1, 3)


def test_delivering_out_of_order_violates_an_invariant() -> None:
    with pytest.raises(InvariantViolatedError, match="slot 3 would be applied after slot 0"):
        learner(empty_log()).hand_out(entry(3, ballot(1)))


def test_a_slot_is_lost_if_it_is_not_applied_and_is_trimmed_or_damaged() -> None:
    log = Log(first=Slot(4), last=Slot(9), memory_from=Slot(9), faulty=[range(6, 7)], bytes_max=1 << 20)
    it = Learner(decided=Slot(8), applied=Slot(2), log=log)

    assert [slot for slot in range(12) if it.is_lost(Slot(slot))] == [3, 6]
    assert it.lost() == range(3, 4) == it.hole()
    it.jump(Slot(5))
    assert [slot for slot in range(12) if it.is_lost(Slot(slot))] == [6]
    assert it.lost() == range(6, 7) == it.hole()
    it.jump(Slot(6))
    assert it.lost() is None
