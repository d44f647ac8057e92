"""Founding while one of the founders loses its disk: rule 9, bug B16."""

from __future__ import annotations

from random import Random

from msgspec import structs

from paxospp.engine.replica import Replica
from paxospp.messages import Accepted, Heartbeat, Prepare, Sender
from paxospp.model import Ballot, Kind, Member, NodeId, Slot
from paxospp.storage.contract import DurableState
from paxospp.testing.engine_settings import engine_settings

from .words import CLUSTER_ID, N1, N2, N3, ballot, entry, identity, membership, promise

SUCCESSOR = 33
"""The incarnation of whoever took the place of n3."""


def speaker(node: NodeId, incarnation: int | None = None) -> Sender:
    return Sender(b"", 0, node, int(node[1:]) if incarnation is None else incarnation, 1, 7)


def hello(promised: Ballot | None = None) -> Heartbeat:
    """What a new boot begins with."""
    return Heartbeat(
        round=1,
        leading=None,
        quorum_connected=False,
        decided_up_to=Slot(0),
        promised=promised,
        remembered=Slot(0),
        booted_with=None,
    )


def candidate() -> Replica:
    """n1, which asks everybody for slot 1 under a ballot above 1.n2."""
    replica = Replica(identity(N1), DurableState(), engine_settings(alpha=4), Random(1))
    replica.start(0.0)
    for other in (N2, N3):
        replica.on_message(speaker(other), hello(ballot(1, N2)), 0.1)
    replica.on_persisted(replica.campaign(0.2).token, 0.2)
    return replica


def test_a_founder_gives_way_to_the_new_life_of_one_that_promised_it() -> None:
    """Seed 21558: it promised a higher ballot and went on to lead under its own."""
    replica = candidate()
    for other in (N2, N3):
        replica.on_message(speaker(other), promise(ballot(2)), 0.3)
    assert replica.leading

    higher = Ballot(2, N3, SUCCESSOR)
    replica.on_message(speaker(N3, SUCCESSOR), hello(higher), 0.4)
    replica.on_message(speaker(N3, SUCCESSOR), Prepare(ballot=higher, start=Slot(1)), 0.4)

    assert not replica.leading


def test_who_founds_a_cluster_in_which_it_has_no_vote_leads_it_no_further() -> None:
    """Seed 23935: it was told a founding that lists its predecessor, and had to bring it to its end."""
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
