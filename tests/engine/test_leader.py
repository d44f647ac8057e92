"""Phase 2 at the leader (rule 3): "Paxos Made Moderately Complex", commanders and WINDOW."""

from __future__ import annotations

import sys
from dataclasses import replace

from paxospp.engine.rules.leader import Leading
from paxospp.engine.rules.promises import Promises
from paxospp.messages import Promise
from paxospp.model import Kind, NodeId, Slot
from paxospp.testing.engine_settings import engine_settings

from .words import N1, N2, N3, ballot, entry, majority, promise, sender

MINE = ballot(9)


def leading(*reports: Promise, decided: int = 0, alpha: int = 4) -> Leading:
    promises = Promises(MINE)
    for number, report in enumerate(reports, 1):
        promises.add(sender(NodeId(f"n{number}")), report)
    return Leading(
        promises,
        Slot(decided),
        engine_settings(tail_bytes_max=1 << 20, resend_interval_s=1.0, resend_interval_max_s=4.0),
        since=0.0,
        alpha=alpha,
    )


def test_it_proposes_recovered_values_again_and_noops_only_in_the_gaps() -> None:
    it = leading(promise(MINE, entry(1, ballot(2), b"a"), entry(3, ballot(2), b"c")), promise(MINE))

    assert list(it.recover(Slot(0), majority())) == [
        entry(1, MINE, b"a"),
        entry(2, MINE, b"", Kind.NOOP),
        entry(3, MINE, b"c"),
    ]
    assert it.next_slot == 4


def test_each_recovered_slot_is_proposed_once() -> None:
    it = leading(promise(MINE, entry(1, ballot(2))), promise(MINE))

    assert len(list(it.recover(Slot(0), majority()))) == 1
    assert list(it.recover(Slot(0), majority())) == []


def test_a_slot_without_clean_answers_of_a_quorum_is_proposed_only_after_another_promise() -> None:
    it = leading(promise(MINE, faulty=(range(1, 2),)), promise(MINE, entry(2, ballot(1), b"b")))

    assert [held.slot for held in it.recover(Slot(0), majority())] == [2]
    assert it.is_waiting(Slot(0), None, majority())
    it.promises.add(sender(N3), promise(MINE, entry(1, ballot(1), b"a")))
    assert list(it.recover(Slot(0), majority())) == [entry(1, MINE, b"a")]
    assert not it.is_waiting(Slot(0), None, majority())


def test_a_slot_learned_as_decided_is_no_longer_waited_for() -> None:
    it = leading(promise(MINE), promise(MINE, decided=1))
    assert list(it.recover(Slot(0), majority())) == []

    assert it.is_waiting(Slot(0), None, majority())
    assert not it.is_waiting(Slot(1), None, majority())


def test_nothing_is_proposed_above_decided_plus_alpha() -> None:
    it = leading(promise(MINE), promise(MINE))

    assert it.proposable(Slot(0), majority()) == 4
    for _ in range(4):
        it.next_entry(Kind.COMMANDS, b"")
    assert it.proposable(Slot(0), majority()) == 0
    assert it.proposable(Slot(1), majority()) == 1


def test_recovered_slots_respect_the_window_too() -> None:
    far = tuple(entry(slot, ballot(1)) for slot in range(1, 8))
    it = leading(promise(MINE, *far), promise(MINE))

    assert [held.slot for held in it.recover(Slot(0), majority())] == [1, 2, 3, 4]
    assert it.proposable(Slot(0), majority()) == 0
    assert [held.slot for held in it.recover(Slot(2), majority())] == [5, 6]


def test_a_slot_is_chosen_by_a_quorum_and_two_answers_of_one_node_are_one() -> None:
    it = leading(promise(MINE), promise(MINE))
    it.open(it.next_entry(Kind.COMMANDS, b"v"), now=0.0)

    assert not it.on_accepted(Slot(1), N2, majority())
    assert not it.on_accepted(Slot(1), N2, majority())
    assert it.on_accepted(Slot(1), N1, majority())
    assert not it.on_accepted(Slot(1), N3, majority())


def test_slots_are_decided_each_on_its_own() -> None:
    it = leading(promise(MINE), promise(MINE))
    for value in (b"a", b"b"):
        it.open(it.next_entry(Kind.COMMANDS, value), now=0.0)

    it.on_accepted(Slot(2), N1, majority())
    assert it.on_accepted(Slot(2), N2, majority())
    assert set(it.proposals) == {1}


def test_an_unanswered_accept_is_sent_again_with_back_off_to_silent_nodes() -> None:
    it = leading(promise(MINE), promise(MINE))
    it.open(it.next_entry(Kind.COMMANDS, b"v"), now=0.0)
    it.on_accepted(Slot(1), N1, majority())

    assert list(it.resend(0.5, Slot(0), 100)) == []
    ((accept, answered),) = it.resend(1.0, Slot(0), 100)
    assert (accept.slot, answered) == (1, {N1})
    assert list(it.resend(2.5, Slot(0), 100)) == []
    assert len(list(it.resend(3.0, Slot(0), 100))) == 1


def test_resending_is_bounded_in_bytes() -> None:
    it = leading(promise(MINE), promise(MINE))
    for _ in range(4):
        it.open(it.next_entry(Kind.COMMANDS, b"x" * 60), now=0.0)

    assert [accept.slot for accept, _ in it.resend(1.0, Slot(0), 100)] == [1, 2]
    assert [accept.slot for accept, _ in it.resend(1.0, Slot(0), 100)] == [3, 4]


def test_a_slot_that_turns_out_decided_is_no_longer_proposed() -> None:
    it = leading(promise(MINE), promise(MINE))
    it.open(it.next_entry(Kind.COMMANDS, b"v"), now=0.0)
    it.settle(Slot(1), 0.0)

    assert it.proposals == {}


def test_the_window_is_bounded_in_bytes_and_chosen_values_above_a_hole_still_count() -> None:
    """Back-pressure: 256 slots of a megabyte each are too much to hold in memory."""
    it = leading(promise(MINE), promise(MINE), alpha=8)
    for slot in (1, 2, 3):
        it.open(it.next_entry(Kind.COMMANDS, bytes(512 << 10)), 0.0)
        assert it.proposable(Slot(0), majority()) == (7 if slot == 1 else 0)

    for node in (N1, N2):
        it.on_accepted(Slot(3), node, majority())
        it.on_accepted(Slot(2), node, majority())
    it.settle(Slot(0), 0.0)
    assert it.proposable(Slot(0), majority()) == 0, "slot 1 is a hole, so slots 2 and 3 stay in memory"

    it.on_accepted(Slot(1), N1, majority())
    it.on_accepted(Slot(1), N2, majority())
    it.settle(Slot(3), 0.0)
    assert it.proposable(Slot(3), majority()) == 8


# What a leader vouches for: the premises of ``damaged_end``.

NO_END = (range(3, sys.maxsize),)


def test_with_clean_promises_of_a_quorum_to_the_end_it_vouches_up_to_alpha_above_decided() -> None:
    it = leading(promise(MINE, entry(2, ballot(1))), promise(MINE))

    assert it.vouched_up_to(Slot(1), majority()) == 0, "slot 2 was reported, and is not decided yet (premise 1)"
    assert it.vouched_up_to(Slot(2), majority()) == 6
    assert it.vouched_up_to(Slot(9), majority()) == 13


def test_without_clean_promises_of_a_quorum_to_the_end_it_vouches_for_nothing() -> None:
    """Premise 2: even a leader that decided every slot it was told of may not have seen where the log ends."""
    it = leading(promise(MINE, faulty=NO_END), promise(MINE))

    assert it.sees_the_end(majority()), "the next slot is clean"
    assert it.vouched_up_to(Slot(5), majority()) == 0
    it.promises.add(sender(N3), promise(MINE))
    assert it.vouched_up_to(Slot(5), majority()) == 9


def test_after_a_late_promise_that_reports_more_it_vouches_only_once_that_is_decided() -> None:
    it = leading(promise(MINE, faulty=NO_END), promise(MINE))
    it.promises.add(sender(N3), promise(MINE, entry(7, ballot(1))))
    it.on_late_promise(N3, majority())

    assert it.vouched_up_to(Slot(5), majority()) == 0
    assert it.vouched_up_to(Slot(7), majority()) == 11


def test_if_only_the_next_slot_is_clean_it_may_propose_one_value() -> None:
    """Premise 6: above what it recovered, it proposes only in slots for which a quorum answered *none*."""
    it = leading(promise(MINE, faulty=NO_END), promise(MINE))

    for slot in (1, 2):
        assert it.proposable(Slot(0), majority()) == 1, slot
        assert it.next_entry(Kind.COMMANDS, b"").slot == slot
    assert it.proposable(Slot(0), majority()) == 0, "a value may have been chosen in slot 3"


def test_a_leader_that_lost_decided_slots_has_its_peers_accept_them_again() -> None:
    """The leader lost a snapshot up to slot 5. n1 knows slot 2 decided, n3 slot 3; both hold acceptances above."""
    held = [entry(slot, ballot(2), f"{slot}".encode()) for slot in (3, 4, 5)]
    it = leading(promise(MINE, *held, decided=2), promise(MINE, decided=5), promise(MINE, *held[1:], decided=3))

    asked = [*it.restore(lambda slot: slot < 6, Slot(5), majority(), 1 << 20)]

    assert [(accept.ballot, accept.slot, accept.value) for accept in asked] == [(MINE, 4, b"4"), (MINE, 5, b"5")]
    assert it.is_waiting(Slot(5), range(1, 6), majority())


def test_restoring_lost_slots_is_bounded_in_slots_and_in_bytes() -> None:
    held = [entry(slot, ballot(2), b"12345") for slot in range(1, 9)]
    it = leading(promise(MINE, *held), promise(MINE, decided=8), promise(MINE, *held), alpha=4)

    assert [accept.slot for accept in it.restore(lambda slot: slot > 2, Slot(8), majority(), 1 << 20)] == [3, 4, 5, 6]
    assert [accept.slot for accept in it.restore(lambda slot: slot > 2, Slot(8), majority(), 8)] == [3, 4]


def test_a_restore_that_makes_progress_asks_for_the_next_slots_soon_and_one_that_does_not_backs_off() -> None:
    held = [entry(slot, ballot(2), b"a") for slot in range(1, 9)]
    it = leading(promise(MINE, *held), promise(MINE, decided=8), promise(MINE, *held), alpha=2)

    def restored() -> list[int]:
        return [accept.slot for accept in it.restore(lambda slot: True, Slot(8), majority(), 1 << 20)]

    now, asked = 0.0, []
    while now < 100:
        assert restored() == [1, 2]
        if it.prepare_is_due(now):
            asked.append(now)
        now += 0.01
    assert asked[-1] - asked[-2] > 1.9 * (asked[1] - asked[0]), "without progress it asks less and less often"

    for node in (N1, N3):
        it.promises.add(sender(node), replace(promise(MINE, *held[2:], decided=2), answer=2))
    assert restored() == [3, 4]
    assert not it.prepare_is_due(now)
    assert it.prepare_is_due(now + asked[0] + 0.01)


def test_a_lost_slot_is_not_restored_without_answers_of_a_quorum() -> None:
    it = leading(promise(MINE, decided=8), promise(MINE, entry(8, ballot(2), b"a")))

    assert [*it.restore(lambda slot: True, Slot(8), majority(), 1 << 20)] == []


def test_the_alpha_of_the_founding_value_overrides_the_founders_setting() -> None:
    it = leading(promise(MINE), promise(MINE), alpha=256)
    it.bootstrap(Slot(1), alpha=2)

    assert it.next_slot == 2
    assert it.proposable(Slot(1), majority()) == 2
    assert it.vouched_up_to(Slot(1), majority()) == 3
