"""How a leader announces decisions: with the next Accept, or separately when somebody waits for them."""

from __future__ import annotations

from random import Random

import pytest

from paxospp.engine.output import Output
from paxospp.engine.replica import Replica
from paxospp.messages import Accept, Accepted, Heartbeat, ReadRequest
from paxospp.model import Ballot, Slot
from paxospp.storage.contract import DurableState
from paxospp.testing.engine_settings import engine_settings

from .words import N1, N2, N3, ballot, identity, membership, promise, sender

WAIT_S = 0.002


@pytest.fixture
def leader() -> Replica:
    """Return n1, which leads under ballot 2 and has no slots in flight."""
    replica = Replica(
        identity(N1),
        DurableState(promised=ballot(1), decided=Slot(1), first=Slot(2), last=Slot(1)),
        engine_settings(alpha=4, announce_after_s=WAIT_S),
        Random(1),
        memberships=[(Slot(1), membership())],
        applied=1,
    )
    replica.start(0.0)
    replica.on_persisted(replica.campaign(0.0).token, 0.0)
    replica.on_message(sender(N2), promise(ballot(2), decided=1), 0.0)
    replica.on_tick(0.0)
    assert replica.leading
    return replica


def decide(replica: Replica, slot: int, *, awaited_elsewhere: bool = False) -> Output:
    """Propose a value, let both followers accept it, and return the output of the last answer."""
    replica.propose(b"v", 0.0, awaited_elsewhere=awaited_elsewhere)
    mine = Ballot(2, N1, 1)
    replica.on_message(sender(N2), Accepted(ballot=mine, slot=Slot(slot)), 0.0)
    output = replica.on_message(sender(N3), Accepted(ballot=mine, slot=Slot(slot)), 0.0)
    assert replica.decided == slot
    return output


def told(output: Output) -> list[int]:
    """Return the slots up to which the heartbeats of ``output`` announce decisions."""
    return [send.message.decided_up_to for send in output.send_now if isinstance(send.message, Heartbeat)]


def test_a_decision_that_no_follower_waits_for_is_announced_after_a_delay(leader: Replica) -> None:
    output = decide(leader, 2)

    assert told(output) == []
    assert output.wake_at == WAIT_S
    assert told(leader.on_tick(WAIT_S)) == [2, 2]
    assert told(leader.on_tick(2 * WAIT_S)) == []


def test_the_next_accept_carries_the_decision_and_no_heartbeat_is_sent(leader: Replica) -> None:
    decide(leader, 2)
    output = leader.propose(b"w", 0.0)

    assert [send.message.decided_up_to for send in output.send_now if isinstance(send.message, Accept)] == [2, 2]
    assert told(leader.on_tick(WAIT_S)) == []


def test_a_decision_that_callers_of_a_follower_wait_for_is_announced_at_once(leader: Replica) -> None:
    assert told(decide(leader, 2, awaited_elsewhere=True)) == [2, 2]
    assert told(decide(leader, 3)) == []


def test_a_follower_that_asks_for_a_read_is_told_the_decisions_it_must_apply(leader: Replica) -> None:
    decide(leader, 2)

    assert 2 in told(leader.on_message(sender(N2), ReadRequest(counter=1), 0.0))
