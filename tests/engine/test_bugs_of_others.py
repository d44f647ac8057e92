"""Known bugs of other consensus implementations that one replica is enough to show; the others are scenarios.

``tests/BUGS.md`` describes each bug under its number (B3, B18, …) and says where it is tested.
"""

from __future__ import annotations

from random import Random

import pytest

from paxospp.engine.output import Output, merge
from paxospp.engine.replica import Replica
from paxospp.errors import InvariantViolatedError
from paxospp.messages import Accept, Accepted, DecidedEntries, Heartbeat, Nack, Prepare, Promise, ProtocolMessage
from paxospp.model import Ballot, Slot
from paxospp.storage.contract import DurableState, WriteBatch
from paxospp.testing.engine_settings import engine_settings

from .words import CLUSTER_ID, N1, N2, N3, accept, ballot, entry, founded, heartbeat, identity, lead, membership, sender


def restarted(state: DurableState) -> Replica:
    """Start n2 from ``state`` in a cluster that is founded; the test answers its reads of the log."""
    replica = Replica(
        identity(N2, boot=2), state, engine_settings(), Random(1), memberships=[(Slot(1), membership())], applied=1
    )
    replica.start(0.0)
    return replica


def said(output: Output) -> list[ProtocolMessage]:
    return [send.message for send in (*output.send_now, *output.send_after_persist)]


def hello(*, booted_with: Ballot, remembered: int = 1) -> Heartbeat:
    """Return the first heartbeat of a boot that promised ``booted_with`` before it started."""
    return heartbeat(decided_up_to=1, promised=booted_with, remembered=remembered, booted_with=booted_with)


def test_B3_a_message_that_raises_promise_and_log_writes_both_in_one_batch() -> None:
    """After any prefix of the writes, no accepted ballot is above the promise, whichever messages caused them."""
    replica = founded(N2)
    newer, newest = ballot(5, N3), ballot(7, N1)
    batches = [WriteBatch(promised=ballot(1))]
    for peer, message in (
        (N1, accept(2, ballot(2))),
        (N3, Prepare(ballot=ballot(3, N3), start=Slot(2))),
        (N3, DecidedEntries(entries=(entry(3, newer),), decided=Slot(1), first=Slot(1))),
        (N1, accept(4, newest)),
        (N1, DecidedEntries(entries=(entry(5, ballot(2)),), decided=Slot(1), first=Slot(1))),
    ):
        output = replica.on_message(sender(peer), message, 0.0)
        if output.persist is not None:
            batches.append(output.persist)
    assert len(batches) == 6

    for prefix in range(1, len(batches) + 1):
        on_disk = merge(batches[:prefix])
        assert on_disk.promised is not None
        assert all(held.ballot <= on_disk.promised for held in on_disk.accepted)


def test_B18_the_same_boot_of_a_disk_under_another_nonce_is_a_clone_and_dropped() -> None:
    replica = founded(N2)
    original, clone = sender(N3, boot=4, nonce=1), sender(N3, boot=4, nonce=2)
    replica.on_message(original, hello(booted_with=ballot(1)), 0.0)

    for message in (
        hello(booted_with=ballot(1)),
        Prepare(ballot=ballot(9, N3), start=Slot(2)),
        accept(2, ballot(9, N3)),
    ):
        output = replica.on_message(clone, message, 0.0)
        assert (output.persist, said(output)) == (None, [])
    assert sum(count for reason, count in replica.dropped.items() if reason.startswith("a clone")) == 3
    # The original is still heard.
    (answer,) = said(replica.on_message(original, Prepare(ballot=ballot(2, N3), start=Slot(2)), 0.0))
    assert isinstance(answer, Promise)


@pytest.mark.parametrize(
    "message",
    [
        Prepare(ballot=ballot(99, N3), start=Slot(2)),
        accept(2, ballot(99, N3), decided_up_to=50),
        DecidedEntries(entries=(entry(2, ballot(99, N3)),), decided=Slot(2), first=Slot(1)),
        Nack(refused=ballot(2), promised=ballot(99, N3)),
        hello(booted_with=ballot(99, N3)),
    ],
    ids=lambda message: type(message).__name__,
)
def test_B19_a_message_of_another_cluster_changes_nothing_and_is_counted(message: ProtocolMessage) -> None:
    replica = founded(N2)
    output = replica.on_message(sender(N3)._replace(cluster_id=CLUSTER_ID[::-1]), message, 0.0)

    assert (output.persist, said(output), output.decided) == (None, [], [])
    assert sum(count for reason, count in replica.dropped.items() if reason.startswith("another cluster")) == 1
    # The message left no trace in memory either: a much lower ballot is promised.
    (answer,) = said(replica.on_message(sender(N3), Prepare(ballot=ballot(2, N3), start=Slot(2)), 0.0))
    assert isinstance(answer, Promise)


def test_B22_messages_that_wait_for_a_failed_write_are_never_sent() -> None:
    """A node whose write failed sends nothing more, so it is enough that every later answer waits as well."""
    replica = founded(N2)
    failed = replica.on_message(sender(N1), accept(2, ballot(2)), 0.0)
    later = [
        replica.on_message(sender(N1), accept(2, ballot(2)), 0.1),
        replica.on_message(sender(N1), accept(3, ballot(2)), 0.1),
        replica.on_message(sender(N3), Prepare(ballot=ballot(3, N3), start=Slot(2)), 0.2),
        replica.on_message(sender(N1), accept(4, ballot(2)), 0.3),
    ]
    for output in (failed, *later):
        assert not any(isinstance(send.message, (Promise, Accepted, Nack)) for send in output.send_now)
        assert output.token >= failed.token > 0


@pytest.mark.parametrize("written", [False, True])
def test_B23_after_a_failed_write_a_restart_reports_what_is_on_disk_and_nothing_else(written: bool) -> None:
    """The write of the acceptance failed and its outcome is unknown; the restarted node reports what it reads."""
    before = founded(N2)
    batch = before.on_message(sender(N1), accept(2, ballot(2), b"v"), 0.0).persist
    assert batch is not None
    held = batch.accepted if written else ()
    disk = merge([WriteBatch(promised=ballot(1)), *([batch] if written else [])])
    after = restarted(
        DurableState(
            promised=disk.promised, decided=Slot(1), first=Slot(2), last=max((e.slot for e in held), default=Slot(1))
        )
    )
    if written:
        after.on_log_read(1, held, 0.0)
    (answer,) = said(after.on_message(sender(N3), Prepare(ballot=ballot(3, N3), start=Slot(2)), 0.0))

    assert isinstance(answer, Promise)
    assert answer.entries == held


def test_B24_an_acceptance_above_the_promise_writes_the_promise_too() -> None:
    """Two writes are outstanding. Even if a later one reached the disk alone, it would carry its own promise."""
    replica = founded(N2)
    first = replica.on_message(sender(N3), Prepare(ballot=ballot(5, N3), start=Slot(2)), 0.0)
    second = replica.on_message(sender(N3), accept(2, ballot(5, N3)), 0.0)
    third = replica.on_message(sender(N1), accept(2, ballot(6, N1)), 0.0)
    assert first.persist is not None
    assert second.persist is not None
    assert third.persist is not None
    assert first.token < second.token < third.token

    # A write counts as returned only with all earlier ones, so answers of the second write wait for the first.
    assert [type(send.message) for send in second.send_after_persist] == [Accepted]
    assert third.persist.promised == ballot(6, N1)
    state = merge([first.persist, second.persist, third.persist])
    assert state.promised == ballot(6, N1)
    assert [held.ballot for held in state.accepted] == [ballot(6, N1)]


def test_B24_a_ballot_that_proposes_two_values_in_one_slot_stops_the_replica() -> None:
    replica = founded(N2)
    replica.on_message(sender(N1), accept(2, ballot(2), b"one"), 0.0)

    with pytest.raises(InvariantViolatedError):
        replica.on_message(sender(N1), accept(2, ballot(2), b"other"), 0.0)


def test_B41_messages_of_an_incarnation_without_a_vote_do_not_depose_a_leader() -> None:
    """n3 has a new incarnation without a vote; its rising ballots do not make the leader step down."""
    leader = founded()
    lead(leader)

    for round in range(3, 9):
        successor = sender(N3, incarnation=103)
        leader.on_message(successor, hello(booted_with=Ballot(round, N3, 103)), 0.0)
        leader.on_message(successor, Prepare(ballot=Ballot(round, N3, 103), start=Slot(1)), 0.0)
        assert leader.leading
    assert [type(message) for message in said(leader.propose(b"v", 0.0))].count(Accept) == 2
