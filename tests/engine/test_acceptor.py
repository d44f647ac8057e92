"""The acceptor: phases 1b and 2b of "Paxos Made Simple", section 2.2, and rules 1, 2 and 4."""

from __future__ import annotations

import pytest

from paxospp.engine.rules.acceptor import Acceptor
from paxospp.engine.rules.log import NOTHING, Log
from paxospp.engine.rules.writes import Writes
from paxospp.errors import InvariantViolatedError
from paxospp.messages import Accepted, Nack, Prepare, Promise
from paxospp.model import Ballot, Slot
from paxospp.storage.contract import WriteBatch

from .words import N2, N3, accept, ballot, empty_log, entry


def acceptor(promised: Ballot | None = None, log: Log | None = None, chunk_bytes_max: int = 1 << 20) -> Acceptor:
    return Acceptor(promised, log or empty_log(), Writes(1 << 20), chunk_bytes_max=chunk_bytes_max)


def prepare(of: Ballot) -> Prepare:
    return Prepare(ballot=of, start=Slot(1))


def test_it_promises_a_ballot_greater_than_any_it_has_answered_and_persists_the_promise() -> None:
    """Phase 1b: "if n is greater than that of any prepare request to which it has already responded"."""
    reply, batch = acceptor(ballot(3)).on_prepare(prepare(ballot(4, N2)), Slot(0))

    assert isinstance(reply, tuple)
    assert [part.ballot for part in reply] == [ballot(4, N2)]
    assert batch == WriteBatch(promised=ballot(4, N2))


def test_it_refuses_a_prepare_below_its_promise_and_names_the_promise() -> None:
    reply, batch = acceptor(ballot(3, N3)).on_prepare(prepare(ballot(3, N2)), Slot(0))

    assert reply == Nack(refused=ballot(3, N2), promised=ballot(3, N3))
    assert batch is NOTHING


def test_it_answers_an_equal_prepare_again_without_another_write() -> None:
    """The first Promise may have been lost."""
    reply, batch = acceptor(ballot(3)).on_prepare(prepare(ballot(3)), Slot(0))

    assert not isinstance(reply, Nack)
    assert batch is NOTHING


def test_a_promise_reports_the_highest_numbered_proposal_it_has_accepted_per_slot() -> None:
    it = acceptor()
    it.on_accept(accept(2, ballot(1), b"old"))
    it.on_accept(accept(2, ballot(2, N2), b"new"))
    it.on_accept(accept(4, ballot(2, N2), b"four"))

    reply, _ = it.on_prepare(prepare(ballot(5)), Slot(1))

    assert not isinstance(reply, Nack)
    (part,) = reply
    assert part.entries == (entry(2, ballot(2, N2), b"new"), entry(4, ballot(2, N2), b"four"))
    assert part.decided == 1


def test_a_promise_leaves_out_decided_slots_and_says_up_to_where_they_go() -> None:
    it = acceptor()
    it.on_accept(accept(1, ballot(1), b"one"))
    it.on_accept(accept(2, ballot(1), b"two"))

    reply, _ = it.on_prepare(prepare(ballot(2)), Slot(1))

    assert not isinstance(reply, Nack)
    assert [held.slot for part in reply for held in part.entries] == [2]
    assert reply[0].decided == 1


def test_a_promise_too_large_for_one_message_comes_in_parts() -> None:
    it = acceptor(chunk_bytes_max=10)
    for slot in (1, 2, 3):
        it.on_accept(accept(slot, ballot(1), b"12345678"))

    reply, _ = it.on_prepare(prepare(ballot(2)), Slot(0))

    assert not isinstance(reply, Nack)
    assert [(part.part, part.parts, len(part.entries)) for part in reply] == [(0, 3, 1), (1, 3, 1), (2, 3, 1)]


def test_it_accepts_unless_it_has_promised_a_higher_ballot() -> None:
    """Phase 2b."""
    reply, batch = acceptor(ballot(3)).on_accept(accept(1, ballot(3), b"v"))

    assert reply == Accepted(ballot=ballot(3), slot=Slot(1))
    assert batch == WriteBatch(accepted=(entry(1, ballot(3), b"v"),))


def test_it_refuses_an_older_ballot_and_names_the_one_it_promised() -> None:
    """Paxos Made Simple, 2.2: it accepts *unless* it has promised a higher number."""
    reply, batch = acceptor(ballot(3, N2)).on_accept(accept(1, ballot(2)))

    assert reply == Nack(refused=ballot(2), promised=ballot(3, N2))
    assert batch is NOTHING


def test_accepting_above_the_promise_raises_it_in_the_same_batch() -> None:
    """On disk, no entry is ever accepted under a ballot above the promise, wherever a crash falls."""
    _, batch = acceptor(ballot(1)).on_accept(accept(1, ballot(2, N2), b"v"))

    assert batch == WriteBatch(promised=ballot(2, N2), accepted=(entry(1, ballot(2, N2), b"v"),))


def test_the_same_accept_twice_is_answered_twice_and_written_once() -> None:
    it = acceptor()
    it.on_accept(accept(1, ballot(2), b"v"))

    reply, batch = it.on_accept(accept(1, ballot(2), b"v"))

    assert reply == Accepted(ballot=ballot(2), slot=Slot(1))
    assert batch is NOTHING


def test_two_values_under_one_ballot_in_one_slot_violate_an_invariant() -> None:
    it = acceptor()
    it.on_accept(accept(1, ballot(2), b"v"))

    with pytest.raises(InvariantViolatedError, match="slot 1"):
        it.on_accept(accept(1, ballot(2), b"w"))


def test_an_accept_for_a_trimmed_slot_is_ignored() -> None:
    assert acceptor(log=empty_log(first=10)).on_accept(accept(9, ballot(2))) == (None, NOTHING)


def test_it_stops_accepting_when_undecided_entries_fill_its_memory() -> None:
    log = empty_log()
    it = acceptor(log=log)
    large = b"x" * (1 << 20)
    replies = [it.on_accept(accept(slot, ballot(1), large))[0] for slot in range(1, 6)]

    assert replies[0] is not None
    assert replies[-1] is None


def test_lowering_the_promise_violates_an_invariant() -> None:
    with pytest.raises(InvariantViolatedError, match="would drop"):
        acceptor(ballot(3)).promise(ballot(2))


class TestLearning:
    """Rule 4: a learned entry is stored so that answers to later Prepares report it."""

    def test_it_is_stored_under_the_ballot_it_came_with_and_raises_the_promise_to_it(self) -> None:
        it = acceptor(ballot(1))

        assert it.learn(entry(1, ballot(4, N2), b"v")) == WriteBatch(
            promised=ballot(4, N2), accepted=(entry(1, ballot(4, N2), b"v"),)
        )
        assert it.promised == ballot(4, N2)

    def test_it_does_not_lower_a_higher_promise(self) -> None:
        it = acceptor(ballot(9))

        assert it.learn(entry(1, ballot(4), b"v")) == WriteBatch(accepted=(entry(1, ballot(4), b"v"),))
        assert it.promised == ballot(9)

    def test_an_entry_accepted_at_a_higher_ballot_keeps_that_ballot(self) -> None:
        it = acceptor()
        it.on_accept(accept(1, ballot(5), b"v"))

        assert it.learn(entry(1, ballot(4), b"v")) is NOTHING
        held = it.log.get(Slot(1))
        assert held is not None
        assert held.ballot == ballot(5)

    def test_a_different_value_at_or_above_the_deciding_ballot_violates_an_invariant(self) -> None:
        it = acceptor()
        it.on_accept(accept(1, ballot(5), b"w"))

        with pytest.raises(InvariantViolatedError, match="different values"):
            it.learn(entry(1, ballot(4), b"v"))

    def test_it_replaces_what_was_accepted_under_an_older_ballot(self) -> None:
        it = acceptor()
        it.on_accept(accept(1, ballot(2), b"old"))

        assert it.learn(entry(1, ballot(4), b"new")).accepted == (entry(1, ballot(4), b"new"),)


def test_a_promise_reports_faulty_slots_until_a_value_replaces_them() -> None:
    it = acceptor(log=empty_log(last=5, faulty=(range(2, 5),)))
    it.on_accept(accept(3, ballot(1)))

    reply, _ = it.on_prepare(prepare(ballot(2)), Slot(0))

    assert not isinstance(reply, Nack)
    part: Promise = reply[0]
    assert part.faulty == (range(2, 3), range(4, 5))


def test_a_full_log_refuses_the_accepts_of_others_but_takes_its_own_proposals() -> None:
    log = Log(first=Slot(1), last=Slot(0), memory_from=Slot(1), faulty=(), bytes_max=10)
    acceptor = Acceptor(ballot(1), log, Writes(10), chunk_bytes_max=1 << 20)
    acceptor.on_accept(accept(1, ballot(1), bytes(21)))

    assert acceptor.on_accept(accept(2, ballot(1), b"x")) == (None, NOTHING)
    reply, _ = acceptor.on_accept(accept(2, ballot(1), b"x"), own=True)
    assert isinstance(reply, Accepted)
