"""How a damaged acceptor learns up to where the damaged end of its log may hide acceptances.

This is premise 3 of ``DamagedEnd`` in ``paxospp/engine/rules/log.py``. What a leader may vouch for (premises 1, 2 and
6) is tested in ``test_leader.py``.
"""

from __future__ import annotations

from paxospp.engine.rules.log import DamagedEnd, Log
from paxospp.messages import Heartbeat, HeartbeatAnswer
from paxospp.model import Ballot, NodeId, Slot

LEADER, OTHER = NodeId("n1"), NodeId("n2")
BOOTED_WITH = Ballot(3, LEADER, 7)
SINCE = Ballot(4, OTHER, 8)
"""A leader elected since this boot began."""


def damaged() -> Log:
    return Log(first=Slot(1), last=Slot(9), memory_from=Slot(10), faulty=[range(10, 1 << 40)], bytes_max=1 << 20)


def heartbeat(ballot: Ballot, vouched_up_to: int, decided_up_to: int = 20) -> Heartbeat:
    return Heartbeat(
        round=5,
        leading=ballot,
        quorum_connected=True,
        decided_up_to=Slot(decided_up_to),
        promised=ballot,
        remembered=Slot(0),
        booted_with=None,
        vouched_up_to=Slot(vouched_up_to),
    )


def answer(promised: Ballot | None, vouched_up_to: int, leader: NodeId | None = LEADER) -> HeartbeatAnswer:
    return HeartbeatAnswer(
        nonce=1,
        round=2,
        promised=promised,
        decided=Slot(30),
        disk_answers=True,
        quorum_connected=True,
        leader=leader,
        remembered=Slot(0),
        booted_with=None,
        vouched_up_to=Slot(vouched_up_to),
    )


def test_any_heartbeat_of_a_leader_elected_since_this_boot_ends_the_damage() -> None:
    log = damaged()
    DamagedEnd(log, BOOTED_WITH).on_leader(SINCE, heartbeat(SINCE, 24))
    assert log.faulty == [range(10, 25)]


def test_a_leader_that_vouches_for_nothing_ends_no_damage_however_much_it_has_decided() -> None:
    log = damaged()
    end = DamagedEnd(log, BOOTED_WITH)
    end.on_leader(SINCE, heartbeat(SINCE, 0))
    end.on_answer(OTHER, answer(SINCE, 0, leader=OTHER))
    assert log.is_faulty(Slot(1_000))


def test_a_heartbeat_of_the_leader_it_accepted_from_may_be_older_than_what_it_accepted() -> None:
    """Simulator, seed 504533: slot 542 was accepted, and a late heartbeat said that 533 was decided."""
    log = damaged()
    DamagedEnd(log, BOOTED_WITH).on_leader(BOOTED_WITH, heartbeat(BOOTED_WITH, 10))
    assert log.is_faulty(Slot(1_000))


def test_the_leader_it_accepted_from_is_believed_when_it_answers_a_round_of_this_boot() -> None:
    log = damaged()
    DamagedEnd(log, BOOTED_WITH).on_answer(LEADER, answer(BOOTED_WITH, 34))
    assert log.faulty == [range(10, 35)]


def test_followers_and_leaders_of_older_ballots_are_not_believed() -> None:
    log = damaged()
    end = DamagedEnd(log, BOOTED_WITH)
    end.on_answer(OTHER, answer(BOOTED_WITH, 34))
    end.on_answer(LEADER, answer(BOOTED_WITH, 34, leader=None))
    end.on_answer(LEADER, answer(Ballot(2, LEADER, 7), 34))
    end.on_answer(LEADER, answer(None, 34))
    assert log.is_faulty(Slot(1_000))


def test_damage_in_the_middle_of_the_log_is_left_alone() -> None:
    log = Log(first=Slot(1), last=Slot(9), memory_from=Slot(10), faulty=[range(3, 5)], bytes_max=1 << 20)
    DamagedEnd(log, BOOTED_WITH).on_leader(SINCE, heartbeat(SINCE, 24))
    assert log.faulty == [range(3, 5)]
