"""Rule 5: when a replica campaigns and when it waits."""

from __future__ import annotations

from random import Random

import pytest

from paxospp.engine.rules.election import Election, ElectionStep
from paxospp.engine.rules.heartbeat_rounds import HeartbeatRounds
from paxospp.messages import HeartbeatAnswer
from paxospp.model import NodeId, Slot

from .words import N1, N2, N3, answer, ballot, majority, sender

WINDOW_S = 1.0


class Waiting:
    """Follower n1 of three, whose election window ran out at time 10; it has begun a probing heartbeat round."""

    def __init__(self) -> None:
        self.is_stuck = False
        self.election = Election(WINDOW_S, Random(1))
        self.heartbeats = HeartbeatRounds(0.1)
        assert self.decide(10.0) is ElectionStep.PROBE
        self.round = self.heartbeats.begin(10.0)
        self.election.probing(self.round, ends_at=10.1)

    def decide(self, now: float, decided: int = 1) -> ElectionStep:
        return self.election.decide(
            now,
            self.heartbeats,
            me=N1,
            voters=majority(),
            decided=Slot(decided),
            far_ahead_slots=10,
            is_stuck=self.is_stuck,
        )

    def hears(self, peer: NodeId, *, at: float = 10.05, **fields: object) -> None:
        self.heartbeats.on_answer(sender(peer), answer(self.round, **fields), at)  # type: ignore[arg-type]


def test_it_campaigns_when_a_quorum_answered_the_probe_and_nobody_hears_a_leader() -> None:
    it = Waiting()
    assert it.decide(10.05) is ElectionStep.WAIT
    it.hears(N2)

    assert it.decide(10.05) is ElectionStep.CAMPAIGN


def test_answers_to_an_older_round_do_not_count() -> None:
    it = Waiting()
    it.heartbeats.on_answer(sender(N2), answer(it.round - 1), 10.05)

    assert it.decide(10.2) is ElectionStep.WAIT


def test_it_waits_for_peers_that_answered_recently_before_it_judges_the_round() -> None:
    it = Waiting()
    it.heartbeats.on_answer(sender(N3), answer(it.round - 1), 9.9)
    it.hears(N2)

    assert it.decide(10.05) is ElectionStep.WAIT
    assert it.decide(10.11) is ElectionStep.CAMPAIGN


def test_a_replica_whose_peer_hears_a_leader_does_not_campaign() -> None:
    """Bug B45 (iii) of ``tests/BUGS.md``: nodes connected in a chain."""
    it = Waiting()
    it.hears(N2, quorum_connected=True)

    assert it.decide(10.2) is ElectionStep.WAIT
    assert it.decide(10.9) is ElectionStep.WAIT


def test_a_peer_whose_disk_does_not_answer_does_not_count_towards_the_quorum() -> None:
    it = Waiting()
    it.hears(N2, disk_answers=False)

    assert it.decide(10.2) is ElectionStep.WAIT


def test_an_answer_of_an_incarnation_without_a_vote_counts_neither_for_nor_against_a_campaign() -> None:
    """n2's disk was wiped, so it has no vote, even though n2 used to have one."""
    it = Waiting()
    it.heartbeats.on_answer(sender(N2, incarnation=22), answer(it.round), 10.05)
    assert it.decide(10.2) is ElectionStep.WAIT

    it.heartbeats.on_answer(sender(N2, incarnation=22), answer(it.round, quorum_connected=True), 10.05)
    it.hears(N3)
    assert it.decide(10.2) is ElectionStep.CAMPAIGN


def test_a_stuck_replica_leaves_the_campaign_to_a_working_voter_with_more_decided() -> None:
    it = Waiting()
    it.is_stuck = True
    it.hears(N2, decided=2)
    assert it.decide(10.2) is ElectionStep.WAIT


@pytest.mark.parametrize("peer", [answer(1, decided=1), answer(1, decided=2, disk_answers=False)])
def test_a_stuck_replica_campaigns_if_no_working_voter_has_more_decided(peer: HeartbeatAnswer) -> None:
    it = Waiting()
    it.is_stuck = True
    it.hears(N3)
    it.heartbeats.on_answer(sender(N2), peer, 10.05)
    assert it.decide(10.2) is ElectionStep.CAMPAIGN


def test_it_waits_exactly_one_more_window_when_a_peer_is_far_ahead() -> None:
    it = Waiting()
    it.hears(N2, decided=100)
    assert it.decide(10.2) is ElectionStep.WAIT
    assert it.decide(11.1) is ElectionStep.WAIT

    assert it.decide(11.3) is ElectionStep.PROBE
    it.round = it.heartbeats.begin(11.3)
    it.election.probing(it.round, ends_at=11.4)
    it.hears(N2, at=11.35, decided=100)
    assert it.decide(11.5) is ElectionStep.CAMPAIGN


def test_answers_from_different_times_do_not_form_a_quorum() -> None:
    """A probe that found no quorum stays open, so an answer to it may be a minute old."""
    it = Waiting()
    it.heartbeats.on_answer(sender(N2), answer(it.round), 10.05)  # type: ignore[arg-type]

    assert it.decide(70.0) is ElectionStep.WAIT
    it.hears(N2, at=70.0)
    assert it.decide(70.0) is ElectionStep.CAMPAIGN


def test_a_stuck_replica_campaigns_after_it_has_waited_for_the_others_long_enough() -> None:
    it = Waiting()
    it.is_stuck = True
    now, verdicts = 10.05, []
    while len(verdicts) < 6:
        it.hears(N2, at=now, decided=2)
        verdict = it.decide(now)
        if verdict is ElectionStep.PROBE:
            it.round = it.heartbeats.begin(now)
            it.election.probing(it.round, ends_at=now + 0.1)
        else:
            verdicts.append(verdict)
            now += 2 * WINDOW_S

    assert verdicts[:4] == [ElectionStep.WAIT] * 4
    assert verdicts[4] is ElectionStep.CAMPAIGN


def test_any_message_of_a_leader_with_a_quorum_counts_as_its_heartbeat() -> None:
    election = Election(WINDOW_S, Random(1))
    election.on_leader_heartbeat(ballot(2, N2), True, 5.0)
    election.on_leader_message(ballot(2, N2), 6.0)

    assert election.hears_quorum_connected_leader(6.9)
    assert not election.hears_quorum_connected_leader(7.1)


def test_a_leader_without_a_quorum_is_heard_but_does_not_prevent_a_campaign() -> None:
    """Bug B45 (i) of ``tests/BUGS.md``: the leader loses its quorum."""
    election = Election(WINDOW_S, Random(1))
    election.on_leader_heartbeat(ballot(2, N2), False, 5.0)
    election.on_leader_message(ballot(2, N2), 5.5)

    assert election.leader == ballot(2, N2)
    assert not election.hears_quorum_connected_leader(5.6)


@pytest.mark.parametrize("seed", range(20))
def test_every_window_has_new_jitter_of_at_most_half_a_window(seed: int) -> None:
    election = Election(WINDOW_S, Random(seed))
    election.restart(0.0)
    first = election.next_at
    election.restart(0.0)

    assert 1.0 <= first <= 1.5
    assert election.next_at != first
