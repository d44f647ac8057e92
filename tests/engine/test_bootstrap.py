"""Rule 9: founding a cluster while one of the founders loses its disk."""

from __future__ import annotations

from random import Random

from msgspec import structs

from paxospp.engine.replica import Replica
from paxospp.messages import Accepted, Prepare, Sender
from paxospp.model import Ballot, Kind, Member, NodeId, Slot
from paxospp.storage.contract import DurableState
from paxospp.testing.engine_settings import engine_settings

from .words import CLUSTER_ID, N1, N2, N3, ballot, entry, heartbeat, identity, membership, promise

SUCCESSOR = 33
"""The incarnation of n3 after its disk was replaced."""


def speaker(node: NodeId, incarnation: int | None = None) -> Sender:
    return Sender(b"", 0, node, int(node[1:]) if incarnation is None else incarnation, 1, 7)


def candidate() -> Replica:
    """Return n1 while it campaigns for slot 1 under a ballot above 1.n2."""
    replica = Replica(identity(N1), DurableState(), engine_settings(alpha=4), Random(1))
    replica.start(0.0)
    for other in (N2, N3):
        replica.on_message(speaker(other), heartbeat(promised=ballot(1, N2)), 0.1)
    replica.on_persisted(replica.campaign(0.2).token, 0.2)
    return replica


def test_a_founder_steps_down_when_a_new_incarnation_of_a_voter_campaigns_above_it() -> None:
    """Simulator, seed 21558: the founder promised a higher ballot and went on leading under its own."""
    replica = candidate()
    for other in (N2, N3):
        replica.on_message(speaker(other), promise(ballot(2)), 0.3)
    assert replica.leading

    higher = Ballot(2, N3, SUCCESSOR)
    replica.on_message(speaker(N3, SUCCESSOR), heartbeat(promised=higher), 0.4)
    replica.on_message(speaker(N3, SUCCESSOR), Prepare(ballot=higher, start=Slot(1)), 0.4)

    assert not replica.leading


def test_a_founder_that_has_no_vote_in_the_founding_value_stops_leading_once_it_is_decided() -> None:
    """Simulator, seed 23935: n1 had to complete a founding value that lists the previous incarnation of n1."""
    replica = candidate()
    members = (Member(N1, "n1:1", 111), *membership().members[1:])
    theirs = structs.replace(membership(), members=members).to_bytes()
    for other in (N2, N3):
        accepted = entry(1, ballot(1, N2), theirs, Kind.MEMBERSHIP)
        replica.on_message(speaker(other), promise(ballot(2), accepted), 0.3)
    assert replica.leading

    for other in (N2, N3):
        replica.on_message(speaker(other), Accepted(ballot=ballot(2), slot=Slot(1)), 0.4)

    assert replica.cluster_id == CLUSTER_ID
    assert not replica.votes
    assert not replica.leading
