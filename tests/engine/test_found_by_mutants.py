"""Regression tests for faults of the engine that were found while its mutants were written."""

from __future__ import annotations

from paxospp.messages import DecidedEntries
from paxospp.model import Slot

from .words import N2, ballot, covered, entry, founded, lead, sender


def test_a_leader_that_learns_more_than_alpha_slots_at_once_can_propose_again() -> None:
    """It was ten slots behind with alpha = 4, and one message brought all ten; afterwards it never proposed again."""
    leader = founded()
    lead(leader, decided=10)
    assert leader.proposable == 0

    missed = tuple(entry(slot, ballot(1)) for slot in range(2, 11))
    leader.on_message(sender(N2), DecidedEntries(entries=missed, decided=Slot(10), first=Slot(1)), 0.0)

    assert leader.decided == 10
    assert leader.proposable == 4


def test_a_leader_that_installs_a_snapshot_beyond_all_it_recovered_proposes_above_it() -> None:
    """A previous leader decided these slots; proposing in a trimmed slot used to stop the node."""
    leader = founded()
    mine = lead(leader, decided=10)

    leader.install_snapshot(covered(20, ballot(1)), 0.0)
    assert leader.decided == 20
    assert leader.proposable == 4
    output = leader.propose(b"v", 0.0)

    assert output.persist is not None
    assert output.persist.accepted == (entry(21, mine, b"v"),)
