"""Rules that take a whole replica to test; those that take several replicas are in ``scenarios/``."""

from __future__ import annotations

from random import Random

from paxospp.engine.replica import Replica
from paxospp.engine.rules.clock import ActiveClock
from paxospp.messages import Accept, Accepted, HeartbeatAnswer, Nack, Prepare, Promise
from paxospp.model import Slot
from paxospp.storage.contract import DurableState
from paxospp.testing.engine_settings import engine_settings

from .words import (
    N1,
    N2,
    N3,
    accept,
    answer,
    ballot,
    entry,
    founded,
    heartbeat,
    identity,
    lead,
    membership,
    promise,
    sender,
    sent,
)


def test_it_campaigns_above_every_ballot_it_has_seen_or_promised() -> None:
    replica = founded(promised=ballot(4, N2))
    replica.on_message(sender(N3), Nack(refused=ballot(1), promised=ballot(9, N3)), 0.0)
    replica.campaign(0.0)

    assert replica.ballot == ballot(10, N1)


def test_its_prepare_waits_until_its_ballot_is_on_disk() -> None:
    output = founded().campaign(0.0)

    assert output.persist is not None
    assert output.persist.promised == ballot(2)
    assert [send.message for send in output.send_now if isinstance(send.message, Prepare)] == []
    assert len(sent(output, Prepare)) == 2


def test_its_own_promise_counts_only_once_it_is_on_disk() -> None:
    replica = founded()
    output = replica.campaign(0.0)
    replica.on_message(sender(N2), promise(ballot(2), decided=1), 0.0)
    assert not replica.leading

    replica.on_persisted(output.token, 0.0)
    assert replica.leading


def test_the_accept_leaves_before_the_leaders_own_write_returned() -> None:
    replica = founded()
    lead(replica)
    output = replica.propose(b"v", 0.0)

    assert [type(send.message) for send in output.send_now] == [Accept, Accept]
    assert output.persist is not None
    assert output.persist.accepted == (entry(2, ballot(2), b"v"),)


def test_the_leaders_own_acceptance_counts_only_once_it_is_on_disk() -> None:
    """Bug B2 of ``tests/BUGS.md``."""
    replica = founded()
    mine = lead(replica)
    output = replica.propose(b"v", 0.0)
    assert replica.on_message(sender(N2), Accepted(ballot=mine, slot=Slot(2)), 0.0).decided == []

    assert replica.on_persisted(output.token, 0.0).decided == [entry(2, mine, b"v")]


def test_a_decision_does_not_wait_for_the_leaders_disk_when_the_others_are_a_quorum() -> None:
    replica = founded()
    mine = lead(replica)
    replica.propose(b"v", 0.0)
    replica.on_message(sender(N2), Accepted(ballot=mine, slot=Slot(2)), 0.0)

    assert replica.on_message(sender(N3), Accepted(ballot=mine, slot=Slot(2)), 0.0).decided == [entry(2, mine, b"v")]


def test_an_acceptance_under_an_older_ballot_is_not_counted() -> None:
    """Bug B9 of ``tests/BUGS.md``."""
    replica = founded()
    lead(replica)
    replica.propose(b"v", 0.0)
    for peer in (N2, N3):
        replica.on_message(sender(peer), Accepted(ballot=ballot(1), slot=Slot(2)), 0.0)

    assert replica.decided == 1


def test_the_same_accept_twice_is_not_answered_before_the_first_write_returned() -> None:
    """Bug B2 of ``tests/BUGS.md``: the second output writes nothing and still waits."""
    replica = founded(N2)
    first = replica.on_message(sender(N1), accept(2, ballot(2)), 0.0)
    second = replica.on_message(sender(N1), accept(2, ballot(2)), 0.0)

    assert second.persist is None
    assert second.token == first.token > 0
    assert sent(second, Accepted) == [send.message for send in second.send_after_persist]


def test_it_stops_leading_when_it_meets_a_higher_ballot_in_any_message() -> None:
    replica = founded()
    lead(replica)
    replica.on_message(sender(N2), answer(1, promised=ballot(7, N3)), 0.0)

    assert not replica.leading
    assert replica.proposable == 0


def test_a_leader_that_no_quorum_answers_for_two_windows_steps_down() -> None:
    replica = founded()
    lead(replica)
    now = 0.0
    while now < 0.75:
        now += 0.05
        replica.on_tick(now)
        assert replica.leading
    while now < 1.0:
        now += 0.05
        replica.on_tick(now)
    assert not replica.leading


def test_a_pause_of_the_leader_does_not_count_as_silence_of_its_peers() -> None:
    """Time in which the replica was not called does not count."""
    replica = founded()
    lead(replica)
    replica.on_tick(0.05)
    replica.on_tick(60.0)

    assert replica.leading


def test_active_time_counts_at_most_one_step_between_two_calls() -> None:
    clock = ActiveClock(step_max_s=0.25)

    assert [clock.advance(now) for now in (5.0, 5.125, 65.0, 65.125, 64.0)] == [0.0, 0.125, 0.375, 0.5, 0.5]
    assert clock.when(1.5) == 65.0


def test_it_says_that_its_disk_does_not_answer_when_a_write_takes_longer_than_a_window() -> None:
    replica = founded(N2)
    replica.on_message(sender(N1), accept(2, ballot(2)), 0.0)
    now = 0.0
    while now < 0.6:
        now += 0.05
        replica.on_tick(now)
    beat = heartbeat(3, remembered=1, booted_with=ballot(1))
    (reply,) = sent(replica.on_message(sender(N1), beat, now), HeartbeatAnswer)

    assert isinstance(reply, HeartbeatAnswer)
    assert not reply.disk_answers
    assert reply.promised == ballot(2)


def test_messages_of_unknown_senders_are_counted_and_dropped() -> None:
    replica = founded()
    stranger = sender(N1)._replace(node="n9")  # type: ignore[arg-type]
    output = replica.on_message(stranger, Prepare(ballot=ballot(9), start=Slot(1)), 0.0)

    assert (output.persist, output.send_after_persist) == (None, [])
    assert replica.dropped == {"unknown sender": 1}


def test_messages_are_dropped_until_the_log_is_loaded() -> None:
    replica = Replica(
        identity(), DurableState(promised=ballot(3), decided=Slot(1), last=Slot(2)), engine_settings(), Random(1)
    )
    output = replica.start(0.0)
    assert [(wanted.start, wanted.stop) for wanted in output.log_reads] == [(1, 2), (2, 3)]

    replica.on_message(sender(N2), Prepare(ballot=ballot(9, N2), start=Slot(1)), 0.0)
    assert replica.dropped == {"still loading": 1}


def test_a_read_that_finds_damage_while_loading_makes_the_slot_faulty_and_not_empty() -> None:
    replica = Replica(
        identity(),
        DurableState(promised=ballot(3), decided=Slot(1), last=Slot(2)),
        engine_settings(),
        Random(1),
        memberships=[(Slot(1), membership())],
    )
    (tail,) = replica.start(0.0).log_reads
    replica.on_log_read(tail.token, [], 0.0, faulty=[range(2, 3)])
    output = replica.on_message(sender(N2), Prepare(ballot=ballot(9, N2), start=Slot(2)), 0.0)

    (reply,) = output.send_after_persist
    assert isinstance(reply.message, Promise)
    assert reply.message.faulty == (range(2, 3),)


def test_entries_held_back_from_a_busy_state_machine_are_delivered_later_in_order() -> None:
    """Back-pressure: with a slow state machine, the log must not be in memory twice."""
    replica = founded(N2)
    replica.hold_delivery(True, 0.0)
    for slot in (2, 3):
        output = replica.on_message(sender(N1), accept(slot, ballot(5), b"%d" % slot, decided_up_to=slot - 1), 0.1)
        replica.on_persisted(output.token, 0.1)
        assert output.decided == []
    assert replica.on_message(sender(N1), accept(4, ballot(5), b"4", decided_up_to=3), 0.2).decided == []
    assert replica.decided == 3
    assert replica.holds_delivery

    released = replica.hold_delivery(False, 0.3)
    assert [entry.slot for entry in released.decided] == [2, 3]
