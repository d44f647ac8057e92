"""Rule 5, its second half: when a leader keeps the lead and when it steps down."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paxospp.engine.replica import Replica
from paxospp.messages import Accept, Accepted, DecidedEntries, Heartbeat, HeartbeatAnswer, Prepare
from paxospp.model import Ballot, Kind, NodeId, Slot
from paxospp.storage.contract import DurableState
from paxospp.testing.engine_settings import engine_settings

from .words import N2, N3, N4, N5, accept, answer, ballot, entry, founded, incarnation_of, promise, sender, sent

WINDOW_S = engine_settings().election_timeout_s
STEP_S = 0.05


class Leader:
    """n1, elected by n2 (and n3 in a cluster of five); the test says who answers its heartbeats."""

    def __init__(self, size: int = 3, **report: int) -> None:
        self.replica = founded(size=size)
        self.now = 0.0
        self.answers: dict[NodeId, HeartbeatAnswer] = {}
        self.incarnations: dict[NodeId, int] = {}
        output = self.replica.campaign(0.0)
        mine = self.replica.ballot
        assert mine is not None
        self.ballot = mine
        self.replica.on_persisted(output.token, 0.0)
        for peer in (N2, N3)[: size // 2]:
            self.replica.on_message(sender(peer), promise(mine, decided=report.get("decided", 1)), 0.0)
        assert self.replica.leading

    def leads_after(self, seconds: float) -> bool:
        """Let ``seconds`` pass, in which peers answer and writes return; return whether n1 still leads."""
        until = self.now + seconds
        while self.now < until and self.replica.leading:
            self.now += STEP_S
            output = self.replica.on_tick(self.now)
            self.replica.on_persisted(output.token, self.now)
            for beat in sent(output, Heartbeat)[:1]:
                for peer, said in self.answers.items():
                    incarnation = self.incarnations.get(peer, incarnation_of(peer))
                    said = replace(said, round=beat.round, promised=self.ballot, nonce=self.replica.identity.nonce)
                    self.replica.on_message(sender(peer, incarnation=incarnation), said, self.now)
        return self.replica.leading


def test_a_leader_answered_by_voters_with_working_disks_keeps_the_lead() -> None:
    leader = Leader(5)
    leader.answers = {N2: answer(1), N3: answer(1)}
    assert leader.leads_after(5 * WINDOW_S)


def test_a_leader_whose_quorum_needs_a_voter_with_a_hung_disk_steps_down() -> None:
    """Five nodes with the links n1-n2, n1-n3, n2-n4, n2-n5, n4-n5 never decided anything again when n3's disk hung."""
    leader = Leader(5)
    leader.answers = {N2: answer(1), N3: answer(1, disk_answers=False)}
    assert not leader.leads_after(3 * WINDOW_S)


def test_a_leader_whose_quorum_needs_a_wiped_voter_steps_down() -> None:
    leader = Leader(5)
    leader.answers = {N2: answer(1), N3: answer(1)}
    leader.incarnations = {N3: 33}
    assert not leader.leads_after(3 * WINDOW_S)


def test_a_leader_without_a_quorum_of_working_voters_says_so_in_its_heartbeats() -> None:
    leader = Leader(5)
    leader.answers = {N2: answer(1), N3: answer(1, disk_answers=False)}
    assert leader.leads_after(1.5 * WINDOW_S)
    beats: list[Heartbeat] = []
    while not beats:
        leader.now += STEP_S
        beats = sent(leader.replica.on_tick(leader.now), Heartbeat)
    assert not beats[0].quorum_connected


# A leader that cannot decide what its promises reported.


def test_a_leader_that_decides_nothing_of_what_it_recovered_steps_down_after_a_window() -> None:
    leader = Leader(decided=9)
    leader.answers = {N2: answer(1), N3: answer(1)}
    assert leader.leads_after(0.9 * WINDOW_S)
    assert not leader.leads_after(0.3 * WINDOW_S)


def test_it_keeps_the_lead_while_it_makes_progress_and_nobody_has_more_decided() -> None:
    leader = Leader(decided=9)
    leader.answers = {N2: answer(1, decided=1), N3: answer(1, decided=1)}
    for slot in range(2, 9):
        missed = DecidedEntries(entries=(entry(slot, ballot(1)),), decided=Slot(1), first=Slot(1))
        leader.replica.on_message(sender(N2), missed, leader.now)
        assert leader.leads_after(0.7 * WINDOW_S), slot
    assert leader.replica.decided == 8


def test_it_steps_down_for_a_working_voter_that_has_more_decided_however_fast_it_catches_up() -> None:
    leader = Leader(decided=9)
    leader.answers = {N2: answer(1, decided=9), N3: answer(1)}
    for slot in (2, 3):
        missed = DecidedEntries(entries=(entry(slot, ballot(1)),), decided=Slot(9), first=Slot(1))
        leader.replica.on_message(sender(N2), missed, leader.now)
        leads = leader.leads_after(0.6 * WINDOW_S)
    assert not leads


def test_a_leader_that_has_decided_what_it_recovered_keeps_the_lead() -> None:
    leader = Leader(decided=3)
    leader.answers = {N2: answer(1, decided=9), N3: answer(1)}
    missed = tuple(entry(slot, ballot(1)) for slot in (2, 3))
    leader.replica.on_message(sender(N2), DecidedEntries(entries=missed, decided=Slot(3), first=Slot(1)), 0.0)
    assert leader.leads_after(5 * WINDOW_S)


def test_a_leader_that_stepped_down_so_does_not_campaign_while_a_peer_has_more_decided() -> None:
    leader = Leader(decided=9)
    leader.answers = {N2: answer(1, decided=9), N3: answer(1)}
    assert not leader.leads_after(1.5 * WINDOW_S)
    for _ in range(100):
        leader.now += STEP_S
        for beat in sent(leader.replica.on_tick(leader.now), Heartbeat)[:1]:
            said = replace(leader.answers[N2], round=beat.round, nonce=leader.replica.identity.nonce)
            leader.replica.on_message(sender(N2), said, leader.now)
    assert leader.replica.role_name == "follower"


# The candidate's own promise.


def campaigning(replica: Replica) -> tuple[Ballot, int]:
    """Start a campaign; return its ballot and the token of the write of its own promise."""
    output = replica.campaign(0.0)
    assert replica.ballot is not None
    return replica.ballot, output.token


def test_the_write_of_an_older_campaign_does_not_confirm_a_newer_promise() -> None:
    """The cluster has five nodes, so that the promises of two peers are not enough without n1's own."""
    replica = founded(size=5)
    _, older = campaigning(replica)
    newest, newer = campaigning(replica)
    for peer in (N2, N3):
        replica.on_message(sender(peer), promise(newest, decided=1), 0.0)

    replica.on_persisted(older, 0.0)
    assert not replica.leading
    replica.on_persisted(newer, 0.0)
    assert replica.leading


def test_its_own_promise_may_come_late_and_is_then_treated_like_any_late_promise() -> None:
    """n1 leads with the promises of n2, n3 and n4. Its own disk is slow, and its log holds a value perhaps chosen."""
    replica = founded(size=5)
    replica.on_message(sender(N5), accept(3, ballot(1, N5), b"chosen, perhaps"), 0.0)
    mine, token = campaigning(replica)
    no_end = (range(2, 1 << 40),)
    for peer in (N2, N3):
        replica.on_message(sender(peer), promise(mine, decided=1), 0.0)
    replica.on_message(sender(N4), promise(mine, decided=1, faulty=no_end), 0.0)
    assert replica.leading
    assert replica.proposable == 0, "n1's own log does not count before its promise is on disk"

    output = replica.on_persisted(token, 0.0)
    assert output.persist is not None
    assert output.persist.accepted == (entry(2, mine, b"", Kind.NOOP), entry(3, mine, b"chosen, perhaps"))
    assert replica.proposable == 2, "slots 4 and 5"


def test_a_leader_that_lost_a_slot_only_it_knows_decided_asks_until_enough_peers_answered() -> None:
    """Its own promise reports slot 2 as *decided*; n2 holds the chosen value, and n3 reports *none*."""
    state = DurableState(promised=ballot(1), decided=Slot(3), first=Slot(2), last=Slot(3), faulty=[range(2, 3)])
    replica = founded(state=state)
    mine, token = campaigning(replica)
    replica.on_persisted(token, 0.0)
    held = entry(2, ballot(1), b"chosen")
    replica.on_message(sender(N2), promise(mine, held, decided=1), 0.0)
    assert replica.leading

    asked = [message for tick in range(1, 11) for message in sent(replica.on_tick(0.05 * tick), Prepare)]
    assert asked, "slot 2 needs two clean answers, and n1's own is not clean"
    replica.on_message(sender(N3), promise(mine, decided=1), 0.5)
    again = sent(replica.on_tick(0.55), Accept)
    assert accept(2, mine, b"chosen", decided_up_to=3) in again


@pytest.mark.parametrize("accepted", [ballot(1), ballot(3, N2)])
def test_an_acceptance_under_another_ballot_than_its_current_one_does_not_count(accepted: Ballot) -> None:
    leader = Leader()
    leader.replica.propose(b"v", 0.0)
    for peer in (N2, N3):
        leader.replica.on_message(sender(peer), Accepted(ballot=accepted, slot=Slot(2)), 0.0)
    assert leader.replica.decided == 1
