"""Bugs of other systems that one replica is enough to show; the others are scenarios.

``tests/BUGS.md`` describes each of them and says where it is tested.
"""

from __future__ import annotations

from random import Random

import pytest

from paxospp.engine.output import Output, merge
from paxospp.engine.replica import Replica
from paxospp.errors import InvariantViolatedError
from paxospp.messages import Accept, Accepted, Decided, Heartbeat, Nack, Prepare, Promise, ProtocolMessage
from paxospp.model import Ballot, Slot
from paxospp.storage.contract import DurableState, WriteBatch
from paxospp.testing.engine_settings import engine_settings

from .words import CLUSTER_ID, N1, N2, N3, accept, ballot, entry, founded, identity, membership, promise, sender


def restarted(state: DurableState) -> Replica:
    """n2, founded, coming up from ``state``, of which slots above 1 are handed to it as if read."""
    replica = Replica(
        identity(N2, boot=2), state, engine_settings(), Random(1), memberships=[(Slot(1), membership())], applied=1
    )
    replica.start(0.0)
    return replica


def said(output: Output) -> list[ProtocolMessage]:
    return [send.message for send in (*output.send_now, *output.send_after_persist)]


def hello(*, booted_with: Ballot, remembered: int = 1) -> Heartbeat:
    return Heartbeat(
        round=1,
        leading=None,
        quorum_connected=False,
        decided_up_to=Slot(1),
        promised=booted_with,
        remembered=Slot(remembered),
        booted_with=booted_with,
    )


def test_B3_whatever_raises_both_writes_both_in_one_batch() -> None:
    """For every message that may change promise and log: after any prefix of the writes accepted <= promised."""
    replica = founded(N2)
    newer, newest = ballot(5, N3), ballot(7, N1)
    batches = [WriteBatch(promised=ballot(1))]
    for peer, message in (
        (N1, accept(2, ballot(2))),
        (N3, Prepare(ballot=ballot(3, N3), start=Slot(2))),
        (N3, Decided(entries=(entry(3, newer),), decided=Slot(1), first=Slot(1))),
        (N1, accept(4, newest)),
        (N1, Decided(entries=(entry(5, ballot(2)),), decided=Slot(1), first=Slot(1))),
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
    # The original goes on.
    (answer,) = said(replica.on_message(original, Prepare(ballot=ballot(2, N3), start=Slot(2)), 0.0))
    assert isinstance(answer, Promise)


@pytest.mark.parametrize(
    "message",
    [
        Prepare(ballot=ballot(99, N3), start=Slot(2)),
        accept(2, ballot(99, N3), decided_up_to=50),
        Decided(entries=(entry(2, ballot(99, N3)),), decided=Slot(2), first=Slot(1)),
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
    # And it left no trace in memory: a ballot far below is promised.
    (answer,) = said(replica.on_message(sender(N3), Prepare(ballot=ballot(2, N3), start=Slot(2)), 0.0))
    assert isinstance(answer, Promise)


def test_B22_what_a_write_that_never_returned_was_to_allow_is_never_said() -> None:
    """The node that drives the replica says nothing more; nothing of what came later waits for less."""
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
    """The write of the acceptance failed with its outcome unknown; either way the next life goes by the disk."""
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
        after.on_read(1, held, 0.0)
    (answer,) = said(after.on_message(sender(N3), Prepare(ballot=ballot(3, N3), start=Slot(2)), 0.0))

    assert isinstance(answer, Promise)
    assert answer.entries == held


def test_B24_an_acceptance_that_is_written_without_the_promise_before_it_brings_its_own() -> None:
    """Two writes are out. Should the second reach the disk alone, it is no less than what it was said under."""
    replica = founded(N2)
    first = replica.on_message(sender(N3), Prepare(ballot=ballot(5, N3), start=Slot(2)), 0.0)
    second = replica.on_message(sender(N3), accept(2, ballot(5, N3)), 0.0)
    third = replica.on_message(sender(N1), accept(2, ballot(6, N1)), 0.0)
    assert first.persist is not None
    assert second.persist is not None
    assert third.persist is not None
    assert first.token < second.token < third.token

    # A write counts as returned with all before it, so nothing of the second may leave before the first returned.
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


def test_B41_answers_of_one_who_lost_its_vote_do_not_keep_a_ballot_from_leading() -> None:
    """n3 has another life now; whatever it promised under its own rising ballots is no concern of a leader."""
    leader = founded()
    output = leader.campaign(0.0)
    mine = leader.ballot
    assert mine is not None
    leader.on_persisted(output.token, 0.0)
    leader.on_message(sender(N2), promise(mine, decided=1), 0.0)
    assert leader.leading

    for round in range(3, 9):
        successor = sender(N3, incarnation=103)
        leader.on_message(successor, hello(booted_with=Ballot(round, N3, 103)), 0.0)
        leader.on_message(successor, Prepare(ballot=Ballot(round, N3, 103), start=Slot(1)), 0.0)
        assert leader.leading
    assert [type(message) for message in said(leader.propose(b"v", 0.0))].count(Accept) == 2
