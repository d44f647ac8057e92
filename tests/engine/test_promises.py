"""What a candidate may conclude from promises: "Paxos Made Simple", 2.2, phase 2a."""

from __future__ import annotations

import sys
from dataclasses import replace

from paxospp.engine.rules.promises import Promises
from paxospp.messages import Promise
from paxospp.model import Kind, NodeId, Slot

from .words import N1, N2, N3, ballot, entry, majority, promise, sender

MINE = ballot(9)


def promises(**reports: Promise) -> Promises:
    it = Promises(MINE)
    for node, report in reports.items():
        assert it.add(sender(NodeId(node)), report)
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
    it.add(sender(N1), promise(MINE))

    assert it.choose(Slot(1), majority()) is None


def test_a_faulty_slot_is_no_answer() -> None:
    """Protocol-Aware Recovery: a faulty entry is not an absent one."""
    it = promises(n1=promise(MINE, faulty=(range(1, 2),)), n2=promise(MINE))

    assert it.choose(Slot(1), majority()) is None
    it.add(sender(N3), promise(MINE))
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


def parts_of(whole: Promise, count: int, **head: int) -> list[Promise]:
    """``whole`` as an answer of ``count`` parts, its entries dealt out one by one."""
    entries = [whole.entries[number : number + 1] for number in range(count)]
    return [replace(whole, part=number, parts=count, entries=entries[number], **head) for number in range(count)]  # type: ignore[arg-type]


def test_a_promise_counts_when_all_its_parts_are_in() -> None:
    it = Promises(MINE)
    first, second = parts_of(promise(MINE, entry(1, ballot(1)), entry(2, ballot(1))), 2)

    assert not it.add(sender(N2), first)
    assert not it.add(sender(N2), first)
    assert it.reports == {}
    assert it.add(sender(N2), second)
    assert sorted(it.reports[N2].entries) == [1, 2]


def test_parts_of_two_answers_to_one_prepare_are_never_mixed() -> None:
    """An acceptance between them moved the bounds: part 1 of the first and part 0 of the second leave out slot 3."""
    it = Promises(MINE)
    first = parts_of(promise(MINE, entry(3, ballot(1)), entry(4, ballot(1))), 2, answer=1)
    second = parts_of(promise(MINE, entry(2, MINE), entry(3, ballot(1)), entry(4, ballot(1))), 3, answer=2)
    same_count = parts_of(promise(MINE, entry(2, MINE), entry(3, ballot(1))), 2, answer=3)

    assert not it.add(sender(N2), first[1])
    assert not it.add(sender(N2), second[0])
    assert not it.add(sender(N2), same_count[0])
    assert not it.add(sender(N2), first[0]), "it is part of an answer that was given up"
    assert it.reports == {}
    assert it.add(sender(N2), same_count[1])
    assert sorted(it.reports[N2].entries) == [2, 3]


def test_an_answer_of_a_later_boot_takes_the_place_of_one_that_was_begun_before() -> None:
    it = Promises(MINE)
    before = parts_of(promise(MINE, entry(1, ballot(1)), entry(2, ballot(1))), 2, answer=9)
    after = parts_of(promise(MINE, entry(1, ballot(1)), entry(2, ballot(1))), 2, answer=1)

    assert not it.add(sender(N2, boot=1), before[0])
    assert not it.add(sender(N2, boot=2), after[1])
    assert not it.add(sender(N2, boot=1), before[1])
    assert it.add(sender(N2, boot=2), after[0])


def test_parts_without_a_number_count_only_if_there_is_one() -> None:
    it = Promises(MINE)
    parts = parts_of(promise(MINE, entry(1, ballot(1)), entry(2, ballot(1))), 2, answer=0)

    assert not any(it.add(sender(N2), part) for part in parts)
    assert it.add(sender(N3), replace(promise(MINE), answer=0))


def test_a_part_that_comes_again_after_the_answer_is_complete_changes_nothing() -> None:
    it = Promises(MINE)
    parts = parts_of(promise(MINE, entry(1, ballot(1)), entry(2, ballot(1))), 2)

    assert [it.add(sender(N2), part) for part in (*parts, *parts)] == [False, True, False, False]
    assert sorted(it.reports[N2].entries) == [1, 2]


def test_an_answer_of_a_life_without_a_vote_makes_no_slot_clean_and_what_it_holds_is_still_seen() -> None:
    """D12: its disk was wiped since its name accepted something, and whoever founds a cluster asks everybody."""
    it = promises(n1=promise(MINE))
    it.add(sender(N3, incarnation=33), promise(MINE, entry(2, ballot(2), b"x")))

    assert it.promised(majority()) == [N1]
    assert it.choose(Slot(1), majority()) is None
    assert not it.is_clean_from(Slot(1), majority())
    it.add(sender(N2), promise(MINE))
    assert it.choose(Slot(1), majority()) == entry(1, MINE, b"", Kind.NOOP)
    assert it.choose(Slot(2), majority()) == entry(2, MINE, b"x")


def test_of_two_lives_that_promised_neither_counts() -> None:
    """One of them is gone, and the answer of the one that is may be the slower one."""
    it = promises(n2=promise(MINE, entry(1, ballot(1))))

    assert not it.add(sender(N2, incarnation=22), promise(MINE))
    assert it.reports == {}
    assert not it.add(sender(N2), promise(MINE))
    assert not it.add(sender(N2, boot=2), promise(MINE))
    assert it.reports == {}


def test_parts_of_another_life_drop_what_had_come_of_the_first() -> None:
    it = Promises(MINE)
    parts = parts_of(promise(MINE, entry(1, ballot(1)), entry(2, ballot(1))), 2)

    assert not it.add(sender(N2), parts[0])
    assert not it.add(sender(N2, incarnation=22), parts[1])
    assert not it.is_assembling
    assert not it.add(sender(N2), parts[1])


def test_it_recovers_up_to_the_highest_slot_anybody_reports() -> None:
    it = promises(n1=promise(MINE, entry(7, ballot(1))), n2=promise(MINE, decided=3))

    assert it.recovered_up_to == 7
