"""Up to where damage at the end of the log may have hidden what was accepted."""

from __future__ import annotations

from paxospp.engine.damaged_end import DamagedEnd
from paxospp.engine.log import Log
from paxospp.messages import Heartbeat, HeartbeatAnswer
from paxospp.model import Ballot, NodeId, Slot

ALPHA = 4
LEADER, OTHER = NodeId("n1"), NodeId("n2")
BOOTED_WITH = Ballot(3, LEADER, 7)


def damaged() -> Log:
    return Log(first=Slot(1), last=Slot(9), memory_from=Slot(10), faulty=[range(10, 1 << 40)], bytes_max=1 << 20)


def heartbeat(ballot: Ballot, decided_up_to: int, recovered_up_to: int = 1) -> Heartbeat:
    return Heartbeat(
        round=5,
        leading=ballot,
        served=True,
        decided_up_to=Slot(decided_up_to),
        recovered_up_to=Slot(recovered_up_to),
        promised=ballot,
        remembered=Slot(0),
        booted_with=None,
    )


def answer(promised: Ballot, decided: int, leader: NodeId | None = LEADER) -> HeartbeatAnswer:
    return HeartbeatAnswer(
        nonce=1,
        round=2,
        promised=promised,
        decided=Slot(decided),
        disk_answers=True,
        served=True,
        leader=leader,
        remembered=Slot(0),
        booted_with=None,
    )


def test_a_leader_elected_since_says_it_with_any_heartbeat() -> None:
    log, ballot = damaged(), Ballot(4, OTHER, 8)
    DamagedEnd(log, BOOTED_WITH).on_leader(ballot, heartbeat(ballot, 20), ALPHA)
    assert log.faulty == [range(10, 25)]


def test_not_before_it_has_decided_what_it_found() -> None:
    log, ballot = damaged(), Ballot(4, OTHER, 8)
    DamagedEnd(log, BOOTED_WITH).on_leader(ballot, heartbeat(ballot, 20, recovered_up_to=21), ALPHA)
    assert log.is_faulty(Slot(1_000))


def test_a_heartbeat_of_the_leader_it_accepted_from_may_be_older_than_what_it_accepted() -> None:
    """Simulator, seed 504533: slot 542 was accepted, and a late heartbeat said that 533 was decided."""
    log = damaged()
    end = DamagedEnd(log, BOOTED_WITH)
    end.on_leader(BOOTED_WITH, heartbeat(BOOTED_WITH, 6), ALPHA)
    assert log.is_faulty(Slot(1_000))

    end.on_answer(OTHER, answer(BOOTED_WITH, 30), ALPHA)
    end.on_answer(LEADER, answer(BOOTED_WITH, 30, leader=None), ALPHA)
    end.on_answer(LEADER, answer(Ballot(5, LEADER, 7), 30), ALPHA)
    assert log.is_faulty(Slot(1_000)), "only who leads under that ballot knows"

    end.on_answer(LEADER, answer(BOOTED_WITH, 30), ALPHA)
    assert log.faulty == [range(10, 35)]
