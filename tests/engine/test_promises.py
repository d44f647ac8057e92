"""What a candidate may conclude from promises: "Paxos Made Simple", 2.2, phase 2a."""

from __future__ import annotations

import sys
from dataclasses import replace

from paxospp.engine.promises import Promises
from paxospp.messages import Promise
from paxospp.model import Kind, NodeId, Slot

from .words import N1, N2, N3, ballot, entry, life, majority, promise

MINE = ballot(9)


def promises(**reports: Promise) -> Promises:
    it = Promises(MINE)
    for node, report in reports.items():
        assert it.add(NodeId(node), life(NodeId(node)), report)
    return it


def test_the_value_of_the_highest_numbered_proposal_among_the_answers_is_proposed() -> None:
    it = promises(n1=promise(MINE, entry(1, ballot(2), b"old")), n2=promise(MINE, entry(1, ballot(3, N2), b"new")))

    assert it.choose(Slot(1), majority()) == entry(1, MINE, b"new")


def test_a_noop_is_proposed_where_a_quorum_reported_nothing() -> None:
    it = promises(n1=promise(MINE, entry(2, ballot(2))), n2=promise(MINE, entry(3, ballot(2))))

    assert it.choose(Slot(1), majority()) == entry(1, MINE, b"", Kind.NOOP)


def test_a_slot_stays_open_without_a_quorum_of_answers() -> None:
    assert promises(n1=promise(MINE)).choose(Slot(1), majority()) is None


def test_two_answers_of_one_node_are_one_answer() -> None:
    it = promises(n1=promise(MINE))
    it.add(N1, life(N1), promise(MINE))

    assert it.choose(Slot(1), majority()) is None


def test_a_faulty_slot_is_no_answer() -> None:
    """Protocol-Aware Recovery: a faulty entry is not an absent one."""
    it = promises(n1=promise(MINE, faulty=(range(1, 2),)), n2=promise(MINE))

    assert it.choose(Slot(1), majority()) is None
    it.add(N3, life(N3), promise(MINE))
    assert it.choose(Slot(1), majority()) == entry(1, MINE, b"", Kind.NOOP)


def test_a_decided_slot_is_no_answer_and_nothing_is_proposed_over_it() -> None:
    it = promises(n1=promise(MINE), n2=promise(MINE, decided=3))

    assert it.choose(Slot(3), majority()) is None
    assert it.choose(Slot(4), majority()) == entry(4, MINE, b"", Kind.NOOP)
    assert it.decided_up_to == 3


def test_below_first_the_answer_is_decided_and_not_none() -> None:
    """B12: a compacted acceptor does not answer "empty"."""
    it = promises(n1=promise(MINE, decided=5, first=4), n2=promise(MINE, decided=5, first=4))

    assert [it.choose(Slot(slot), majority()) for slot in range(1, 6)] == [None] * 5


def test_a_faulty_tail_without_end_keeps_new_values_out() -> None:
    it = promises(n1=promise(MINE), n2=promise(MINE, faulty=(range(1, sys.maxsize),)))

    assert it.recovered_up_to == 0
    assert not it.is_clean(Slot(1), majority())


def test_an_accepted_value_is_found_even_if_only_one_acceptor_of_the_quorum_has_it() -> None:
    it = promises(n1=promise(MINE), n4=promise(MINE), n5=promise(MINE, entry(1, ballot(1), b"x")))

    assert it.choose(Slot(1), majority(5)) == entry(1, MINE, b"x")


def test_a_promise_counts_when_all_its_parts_are_in() -> None:
    it = Promises(MINE)
    whole = promise(MINE, entry(1, ballot(1)), entry(2, ballot(1)))
    first, second = (replace(whole, part=number, parts=2, entries=(whole.entries[number],)) for number in (0, 1))

    assert not it.add(N2, life(N2), first)
    assert not it.add(N2, life(N2), first)
    assert it.reports == {}
    assert it.add(N2, life(N2), second)
    assert sorted(it.reports[N2].entries) == [1, 2]


def test_parts_of_two_answers_are_never_mixed() -> None:
    it = Promises(MINE)
    old = replace(promise(MINE, entry(1, ballot(1))), parts=2)
    new = replace(promise(MINE, decided=1), part=1, parts=2)

    assert not it.add(N2, life(N2), old)
    assert not it.add(N2, life(N2), new)


def test_an_answer_of_a_life_without_a_vote_makes_no_slot_clean_and_what_it_holds_is_still_seen() -> None:
    """D12: its disk was wiped since its name accepted something, and whoever founds a cluster asks everybody."""
    it = promises(n1=promise(MINE))
    it.add(N3, 33, promise(MINE, entry(2, ballot(2), b"x")))

    assert it.promised(majority()) == [N1]
    assert it.choose(Slot(1), majority()) is None
    assert not it.is_clean_from(Slot(1), majority())
    it.add(N2, life(N2), promise(MINE))
    assert it.choose(Slot(1), majority()) == entry(1, MINE, b"", Kind.NOOP)
    assert it.choose(Slot(2), majority()) == entry(2, MINE, b"x")


def test_another_life_takes_the_place_of_the_one_that_promised_before() -> None:
    it = promises(n2=promise(MINE, entry(1, ballot(1))))
    whole = promise(MINE)
    parts = [replace(whole, part=number, parts=2) for number in (0, 1)]

    assert not it.add(N2, 22, parts[0])
    assert it.reports == {}
    assert not it.add(N2, life(N2), parts[1])
    assert it.add(N2, life(N2), parts[0])


def test_it_recovers_up_to_the_highest_slot_anybody_reports() -> None:
    it = promises(n1=promise(MINE, entry(7, ballot(1))), n2=promise(MINE, decided=3))

    assert it.recovered_up_to == 7
