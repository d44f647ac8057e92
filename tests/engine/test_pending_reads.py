"""Rule 6: a read is confirmed by a round of heartbeats begun after it (Ongaro's thesis, 6.4)."""

from __future__ import annotations

from paxospp.engine.rules.pending_reads import ForwardedReads, PendingReads, Read, ReadRequester
from paxospp.model import Slot

from .words import N1, N2, N3, majority


def read(ticket: int) -> Read:
    return Read(ReadRequester(None, 0, ticket), Slot(5))


def test_a_read_is_confirmed_by_a_quorum_of_answers_to_a_round_begun_after_it() -> None:
    reading = PendingReads()
    reading.add(read(1))
    assert reading.wants_round
    reading.begin(7, N1)

    assert list(reading.confirmed(majority())) == []
    reading.on_answer(N2, 7)
    assert list(reading.confirmed(majority())) == [read(1)]


def test_answers_to_an_older_round_confirm_nothing() -> None:
    """Bug B32 of ``tests/BUGS.md``."""
    reading = PendingReads()
    reading.add(read(1))
    reading.begin(7, N1)
    reading.on_answer(N2, 6)
    reading.on_answer(N3, 6)

    assert list(reading.confirmed(majority())) == []


def test_a_read_that_arrives_during_a_round_waits_for_the_next_one() -> None:
    reading = PendingReads()
    reading.add(read(1))
    reading.begin(7, N1)
    reading.add(read(2))
    assert not reading.wants_round
    reading.on_answer(N2, 7)

    assert list(reading.confirmed(majority())) == [read(1)]
    assert reading.wants_round
    reading.begin(8, N1)
    reading.on_answer(N3, 8)
    assert list(reading.confirmed(majority())) == [read(2)]


def test_repeated_answers_of_one_node_count_once() -> None:
    """Bug B7 of ``tests/BUGS.md``."""
    reading = PendingReads()
    reading.add(read(1))
    reading.begin(7, N1)
    for _ in range(3):
        reading.on_answer(N2, 7)

    assert list(reading.confirmed(majority(5))) == []


def test_one_confirmation_serves_every_read_that_waited() -> None:
    reading = PendingReads()
    for ticket in range(100):
        reading.add(read(ticket))
    reading.begin(7, N1)
    reading.on_answer(N3, 9)

    assert len(list(reading.confirmed(majority()))) == 100


def test_a_leader_that_steps_down_abandons_its_pending_reads() -> None:
    reading = PendingReads()
    reading.add(read(1))
    reading.begin(7, N1)
    reading.add(read(2))

    assert [requester.number for requester in reading.abandon()] == [1, 2]
    reading.on_answer(N2, 7)
    assert list(reading.confirmed(majority())) == []


def test_a_forwarded_read_is_answered_once_or_times_out() -> None:
    reads = ForwardedReads()
    counter = reads.ask(5, until=1.0)
    other = reads.ask(6, until=2.0)

    assert reads.take(counter) == 5
    assert reads.take(counter) is None
    assert reads.give_up(1.5) == []
    assert reads.give_up(2.0) == [6]
    assert reads.take(other) is None
