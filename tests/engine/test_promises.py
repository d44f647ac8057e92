"""Rule 2: what a candidate may conclude from promises ("Paxos Made Simple", 2.2, phase 2a)."""

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


def test_a_faulty_slot_does_not_count_as_none() -> None:
    """Protocol-Aware Recovery: a faulty entry is not an absent one."""
    it = promises(n1=promise(MINE, faulty=(range(1, 2),)), n2=promise(MINE))

    assert it.choose(Slot(1), majority()) is None
    it.add(sender(N3), promise(MINE))
    assert it.choose(Slot(1), majority()) == entry(1, MINE, b"", Kind.NOOP)


def test_nothing_is_proposed_in_a_slot_that_one_acceptor_knows_decided() -> None:
    it = promises(n1=promise(MINE), n2=promise(MINE, decided=3))

    assert it.choose(Slot(3), majority()) is None
    assert it.choose(Slot(4), majority()) == entry(4, MINE, b"", Kind.NOOP)
    assert it.decided_up_to == 3


def test_slots_below_first_count_as_decided_and_not_as_none() -> None:
    """A trimmed log does not mean that nothing was accepted: Bug B12 of ``tests/BUGS.md``."""
    it = promises(n1=promise(MINE, decided=5, first=4), n2=promise(MINE, decided=5, first=4))

    assert [it.choose(Slot(slot), majority()) for slot in range(1, 6)] == [None] * 5


def test_a_faulty_tail_without_end_makes_no_slot_clean() -> None:
    it = promises(n1=promise(MINE), n2=promise(MINE, faulty=(range(1, sys.maxsize),)))

    assert it.recovered_up_to == 0
    assert not it.is_clean(Slot(1), majority())


def test_an_accepted_value_is_found_even_if_only_one_acceptor_of_the_quorum_has_it() -> None:
    it = promises(n1=promise(MINE), n4=promise(MINE), n5=promise(MINE, entry(1, ballot(1), b"x")))

    assert it.choose(Slot(1), majority(5)) == entry(1, MINE, b"x")


def parts_of(whole: Promise, count: int, **head: int) -> list[Promise]:
    """Split ``whole`` into an answer of ``count`` parts with one entry each."""
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
    """An acceptance between the answers moved the bounds: the first's part 1 and the second's part 0 omit slot 3."""
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


def test_an_answer_of_a_later_boot_replaces_an_unfinished_one_of_the_boot_before() -> None:
    it = Promises(MINE)
    before = parts_of(promise(MINE, entry(1, ballot(1)), entry(2, ballot(1))), 2, answer=9)
    after = parts_of(promise(MINE, entry(1, ballot(1)), entry(2, ballot(1))), 2, answer=1)

    assert not it.add(sender(N2, boot=1), before[0])
    assert not it.add(sender(N2, boot=2), after[1])
    assert not it.add(sender(N2, boot=1), before[1])
    assert it.add(sender(N2, boot=2), after[0])


def test_an_answer_without_a_number_counts_only_if_it_has_one_part() -> None:
    it = Promises(MINE)
    parts = parts_of(promise(MINE, entry(1, ballot(1)), entry(2, ballot(1))), 2, answer=0)

    assert not any(it.add(sender(N2), part) for part in parts)
    assert it.add(sender(N3), replace(promise(MINE), answer=0))


def test_a_part_that_comes_again_after_the_answer_is_complete_changes_nothing() -> None:
    it = Promises(MINE)
    parts = parts_of(promise(MINE, entry(1, ballot(1)), entry(2, ballot(1))), 2)

    assert [it.add(sender(N2), part) for part in (*parts, *parts)] == [False, True, False, False]
    assert sorted(it.reports[N2].entries) == [1, 2]


def test_a_promise_without_a_vote_makes_no_slot_clean_but_its_values_are_found() -> None:
    """n3's disk was wiped, so n3 has no vote; a founder asks every node, with or without a vote."""
    it = promises(n1=promise(MINE))
    it.add(sender(N3, incarnation=33), promise(MINE, entry(2, ballot(2), b"x")))

    assert it.promised(majority()) == [N1]
    assert it.choose(Slot(1), majority()) is None
    assert not it.is_clean_from(Slot(1), majority())
    it.add(sender(N2), promise(MINE))
    assert it.choose(Slot(1), majority()) == entry(1, MINE, b"", Kind.NOOP)
    assert it.choose(Slot(2), majority()) == entry(2, MINE, b"x")


def test_if_two_incarnations_of_a_node_promised_neither_counts() -> None:
    """One of the two no longer exists, and its answer may be the one that came first or the one that came last."""
    it = promises(n2=promise(MINE, entry(1, ballot(1))))

    assert not it.add(sender(N2, incarnation=22), promise(MINE))
    assert it.reports == {}
    assert not it.add(sender(N2), promise(MINE))
    assert not it.add(sender(N2, boot=2), promise(MINE))
    assert it.reports == {}


def test_parts_of_another_incarnation_discard_those_of_the_first() -> None:
    it = Promises(MINE)
    parts = parts_of(promise(MINE, entry(1, ballot(1)), entry(2, ballot(1))), 2)

    assert not it.add(sender(N2), parts[0])
    assert not it.add(sender(N2, incarnation=22), parts[1])
    assert not it.is_assembling
    assert not it.add(sender(N2), parts[1])


def test_it_recovers_up_to_the_highest_slot_that_any_promise_reports() -> None:
    it = promises(n1=promise(MINE, entry(7, ballot(1))), n2=promise(MINE, decided=3))

    assert it.recovered_up_to == 7
