"""Faults of ours that came to light while mutants were hunted; each stays here as a test."""

from __future__ import annotations

from paxospp.messages import Decided
from paxospp.model import Slot

from .words import N2, ballot, covered, entry, founded, promise, sender


def test_a_leader_that_catches_up_by_more_than_alpha_at_once_proposes_again() -> None:
    """It was ten slots behind, alpha is four, and one message brought them all: there was never room again."""
    leader = founded()
    output = leader.campaign(0.0)
    mine = leader.ballot
    assert mine is not None
    leader.on_persisted(output.token, 0.0)
    leader.on_message(sender(N2), promise(mine, decided=10), 0.0)
    assert leader.leading
    assert leader.proposable == 0

    missed = tuple(entry(slot, ballot(1)) for slot in range(2, 11))
    leader.on_message(sender(N2), Decided(entries=missed, decided=Slot(10), first=Slot(1)), 0.0)

    assert leader.decided == 10
    assert leader.proposable == 4


def test_a_leader_that_installs_a_snapshot_beyond_all_it_recovered_proposes_above_it() -> None:
    """Its predecessor decided them; proposing in a slot that its log has forgotten ended the node."""
    leader = founded()
    output = leader.campaign(0.0)
    mine = leader.ballot
    assert mine is not None
    leader.on_persisted(output.token, 0.0)
    leader.on_message(sender(N2), promise(mine, decided=10), 0.0)

    leader.install_snapshot(covered(20, ballot(1)), 0.0)
    assert leader.decided == 20
    assert leader.proposable == 4
    output = leader.propose(b"v", 0.0)

    assert output.persist is not None
    assert output.persist.accepted == (entry(21, mine, b"v"),)
