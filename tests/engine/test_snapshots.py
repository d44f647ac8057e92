"""Snapshots of peers. A snapshot says what is decided, so its ballot counts like that of any message (rules 1, 4)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paxospp.engine.replica import Replica
from paxospp.engine.rules.covered import Covered
from paxospp.messages import Accept, CatchUp, DecidedEntries, Heartbeat, Prepare
from paxospp.model import Ballot, Slot, SnapshotMeta
from paxospp.storage.contract import DurableState, WriteBatch
from paxospp.testing.engine_settings import engine_settings

from .words import N1, N2, N3, accept, answer, ballot, covered, entry, founded, lead, promise, sender, sent


def leader() -> tuple[Replica, Ballot]:
    """Return n1, which leads a cluster of three with the promise of n2, and its ballot."""
    replica = founded()
    return replica, lead(replica)


def announced(replica: Replica, now: float) -> list[tuple[Ballot | None, Slot]]:
    """Return the ballot and decided slot that the heartbeats of the next tick announce."""
    output = replica.on_tick(now)
    return [(beat.leading, beat.decided_up_to) for beat in sent(output, Heartbeat)]


def test_a_leader_that_installs_a_snapshot_of_a_higher_ballot_steps_down_and_announces_nothing() -> None:
    replica, _ = leader()
    output = replica.install_snapshot(covered(20, ballot(7, N3)), 0.0)

    assert not replica.leading
    assert replica.decided == 20
    assert output.persist is not None
    assert output.persist.promised == ballot(7, N3), "in the batch that makes the snapshot current"
    assert {leading for leading, _ in announced(replica, 0.2)} == {None}


def test_a_candidate_that_installs_a_snapshot_of_a_higher_ballot_gives_up_its_campaign() -> None:
    replica = founded()
    output = replica.campaign(0.0)
    mine = replica.ballot
    assert mine is not None
    replica.on_persisted(output.token, 0.0)
    replica.install_snapshot(covered(20, ballot(7, N3)), 0.0)

    assert replica.role_name == "follower"
    replica.on_message(sender(N2), promise(mine, decided=1), 0.0)
    assert not replica.leading


def test_the_first_chunk_of_a_snapshot_of_a_higher_ballot_deposes_the_leader() -> None:
    replica, mine = leader()
    replica.meet_snapshot(mine, 0.0)
    assert replica.leading
    replica.meet_snapshot(ballot(7, N3), 0.0)
    assert not replica.leading
    assert replica.campaign(0.0).persist == WriteBatch(promised=ballot(8, N1))


def test_a_snapshot_of_an_earlier_ballot_does_not_depose_the_leader() -> None:
    replica, mine = leader()
    output = replica.install_snapshot(covered(20, ballot(1)), 0.0)

    assert replica.leading
    assert output.persist is not None
    assert output.persist.promised is None
    assert (mine, 20) in announced(replica, 0.2)


def test_it_accepts_nothing_below_the_ballot_of_the_snapshot_that_it_installed() -> None:
    replica = founded(N2)
    replica.install_snapshot(covered(20, ballot(7, N3)), 0.0)

    assert not sent(replica.on_message(sender(N1), accept(21, ballot(6)), 0.0), Accept)
    output = replica.on_message(sender(N1), accept(21, ballot(6)), 0.0)
    assert output.persist is None


def test_the_description_of_a_snapshot_requires_its_ballot() -> None:
    assert {"ballot"} <= set(Covered.__dataclass_fields__)
    assert Covered.__dataclass_fields__["ballot"].type == "Ballot"


# A slot that is damaged at a replica that has applied it.


@pytest.mark.parametrize("faulty", [[range(3, 4)], []], ids=["damaged", "gone without a trace"])
def test_a_damaged_slot_that_was_applied_is_answered_like_a_trimmed_one(faulty: list[range]) -> None:
    """n2 has applied slots 2 to 4 and evicted them from memory. Slot 3, read for n3, is damaged or missing."""
    replica = founded(N2, settings=engine_settings(alpha=4, tail_bytes_max=1))
    entries = tuple(entry(slot, ballot(1)) for slot in (2, 3, 4))
    replica.on_message(sender(N1), DecidedEntries(entries=entries, decided=Slot(4), first=Slot(2)), 0.0)
    assert replica.delivered == 4
    catch_up = CatchUp(start=Slot(3), stop=Slot(5))
    (wanted,) = replica.on_message(sender(N3), catch_up, 0.0).log_reads

    for output in (
        replica.on_log_read(wanted.token, [], 0.0, faulty=faulty),
        replica.on_message(sender(N3), catch_up, 0.0),
    ):
        assert sent(output, DecidedEntries) == [DecidedEntries(entries=(), decided=Slot(4), first=Slot(4))]


def test_damage_below_the_snapshot_that_another_reader_finds_is_trimmed() -> None:
    """A watcher read slot 3, which the current snapshot covers; after the trim it is told where the log begins."""
    replica = founded(N2, settings=engine_settings(alpha=4, tail_bytes_max=1))
    entries = tuple(entry(slot, ballot(1)) for slot in (2, 3, 4))
    replica.on_message(sender(N1), DecidedEntries(entries=entries, decided=Slot(4), first=Slot(2)), 0.0)
    replica.publish_snapshot(SnapshotMeta(Slot(4), "one"), Slot(2), 0.0)

    output = replica.on_damage([range(3, 4)], 0.0)

    assert output.persist is not None
    assert output.persist.trim == replica.first == 4


def test_a_damaged_slot_that_was_not_applied_is_not_offered_as_a_snapshot() -> None:
    state = DurableState(promised=ballot(1), decided=Slot(4), first=Slot(2), last=Slot(4), faulty=(range(3, 4),))
    replica = founded(N2, state=state)
    output = replica.on_message(sender(N3), CatchUp(start=Slot(3), stop=Slot(5)), 0.0)

    assert sent(output, DecidedEntries) == [DecidedEntries(entries=(), decided=Slot(4), first=Slot(2))]


def test_a_replica_that_learns_that_its_missing_slots_are_trimmed_asks_for_a_snapshot() -> None:
    replica = founded(N3)
    replica.on_message(sender(N1), accept(5, ballot(2), decided_up_to=4), 0.0)
    output = replica.on_message(sender(N2), DecidedEntries(entries=(), decided=Slot(4), first=Slot(4)), 0.0)

    assert output.snapshot_from == N2


# A replica that waits for a snapshot cannot decide anything until it has it, so it leaves the lead to others.


def needing_a_snapshot() -> Replica:
    replica = founded(N3)
    output = replica.on_message(sender(N2), DecidedEntries(entries=(), decided=Slot(40), first=Slot(30)), 0.0)
    assert output.snapshot_from == N2
    return replica


def campaigns(replica: Replica, *, decided: int, until: float = 3.0) -> bool:
    """Return whether ``replica`` campaigns while nobody leads and n2 answers that it has decided up to ``decided``."""
    now = 0.0
    while now < until:
        now += 0.05
        for beat in sent(replica.on_tick(now), Heartbeat):
            said = replace(answer(beat.round, decided=decided), nonce=replica.identity.nonce)
            replica.on_message(sender(N2), said, now)
        if replica.role_name == "candidate":
            return True
    return False


def test_a_replica_that_needs_a_snapshot_does_not_campaign_while_a_working_voter_has_more_decided() -> None:
    assert not campaigns(needing_a_snapshot(), decided=40)


def test_a_replica_that_needs_a_snapshot_campaigns_if_no_voter_that_answers_has_more_decided() -> None:
    assert campaigns(needing_a_snapshot(), decided=1)


def test_it_campaigns_once_it_has_the_snapshot_or_the_missing_entries() -> None:
    replica = needing_a_snapshot()
    output = replica.install_snapshot(covered(39, ballot(1)), 0.0)
    replica.on_persisted(output.token, 0.0)
    assert campaigns(replica, decided=40)

    replica = needing_a_snapshot()
    catch_up = DecidedEntries(entries=(entry(2, ballot(1)),), decided=Slot(40), first=Slot(2))
    output = replica.on_message(sender(N1), catch_up, 0.0)
    replica.on_persisted(output.token, 0.0)
    assert campaigns(replica, decided=40)


def test_a_prepare_asks_only_for_slots_above_the_snapshot() -> None:
    replica = founded()
    replica.install_snapshot(covered(20, ballot(7, N3)), 0.0)
    output = replica.campaign(0.0)

    assert {prepare.start for prepare in sent(output, Prepare)} == {21}
