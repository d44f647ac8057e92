"""Rule 5: who campaigns, and who keeps still."""

from __future__ import annotations

from random import Random

import pytest

from paxospp.engine.election import Election, Verdict
from paxospp.engine.heartbeats import Heartbeats
from paxospp.model import NodeId, Slot

from .words import N1, N2, N3, answer, ballot, majority

WINDOW_S = 1.0


class Waiting:
    """A follower n1 of three whose window ran out at time 10, with a probe out."""

    def __init__(self) -> None:
        self.election = Election(WINDOW_S, Random(1))
        self.heartbeats = Heartbeats(0.1)
        assert self.decide(10.0) is Verdict.PROBE
        self.round = self.heartbeats.begin(10.0)
        self.election.probing(self.round, ends_at=10.1)

    def decide(self, now: float, decided: int = 1) -> Verdict:
        return self.election.decide(
            now,
            self.heartbeats,
            me=N1,
            voters=majority(),
            others=(N2, N3),
            decided=Slot(decided),
            far_ahead_slots=10,
        )

    def hears(self, peer: NodeId, **fields: object) -> None:
        self.heartbeats.on_answer(peer, answer(self.round, **fields), 10.05)  # type: ignore[arg-type]


def test_it_campaigns_when_a_quorum_answered_a_round_begun_after_its_window_and_nobody_is_served() -> None:
    it = Waiting()
    assert it.decide(10.05) is Verdict.WAIT
    it.hears(N2)

    assert it.decide(10.05) is Verdict.CAMPAIGN


def test_answers_to_an_older_round_do_not_count() -> None:
    it = Waiting()
    it.heartbeats.on_answer(N2, answer(it.round - 1), 10.05)

    assert it.decide(10.2) is Verdict.WAIT


def test_it_waits_for_peers_that_lately_answered_before_it_judges_the_round() -> None:
    it = Waiting()
    it.heartbeats.on_answer(N3, answer(it.round - 1), 9.9)
    it.hears(N2)

    assert it.decide(10.05) is Verdict.WAIT
    assert it.decide(10.11) is Verdict.CAMPAIGN


def test_a_replica_whose_peer_is_served_keeps_still() -> None:
    """B45 (iii), the chain."""
    it = Waiting()
    it.hears(N2, served=True)

    assert it.decide(10.2) is Verdict.WAIT
    assert it.decide(10.9) is Verdict.WAIT


def test_a_peer_whose_disk_does_not_answer_makes_no_quorum() -> None:
    it = Waiting()
    it.hears(N2, disk_answers=False)

    assert it.decide(10.2) is Verdict.WAIT


def test_it_waits_one_window_more_when_a_peer_is_far_ahead_and_then_no_more() -> None:
    it = Waiting()
    it.hears(N2, decided=100)
    assert it.decide(10.2) is Verdict.WAIT
    assert it.decide(11.1) is Verdict.WAIT

    assert it.decide(11.3) is Verdict.PROBE
    it.round = it.heartbeats.begin(11.3)
    it.election.probing(it.round, ends_at=11.4)
    it.hears(N2, decided=100)
    assert it.decide(11.5) is Verdict.CAMPAIGN


def test_any_message_of_a_served_leader_counts_as_its_heartbeat() -> None:
    election = Election(WINDOW_S, Random(1))
    election.on_leader_heartbeat(ballot(2, N2), True, 5.0)
    election.on_leader_message(ballot(2, N2), 6.0)

    assert election.hears_served_leader(6.9)
    assert not election.hears_served_leader(7.1)


def test_a_leader_that_no_quorum_answers_is_heard_and_does_not_hold_back_a_campaign() -> None:
    """B45 (i), quorum loss."""
    election = Election(WINDOW_S, Random(1))
    election.on_leader_heartbeat(ballot(2, N2), False, 5.0)
    election.on_leader_message(ballot(2, N2), 5.5)

    assert election.leader == ballot(2, N2)
    assert not election.hears_served_leader(5.6)


@pytest.mark.parametrize("seed", range(20))
def test_every_window_has_fresh_jitter_within_half_of_itself(seed: int) -> None:
    election = Election(WINDOW_S, Random(seed))
    election.restart(0.0)
    first = election.next_at
    election.restart(0.0)

    assert 1.0 <= first <= 1.5
    assert election.next_at != first
