"""Digests of replicas at one slot: a difference is reported once, and only a majority outvotes a replica."""

from __future__ import annotations

import pytest

from paxospp.engine.rules.digests import Digests
from paxospp.messages import Checkpoint
from paxospp.model import NodeId, Slot

from .words import majority

SLOT = Slot(256)


def compared(*digests: bytes) -> Digests:
    """Return what n1 knows after n1, n2, … reported these digests, each in the incarnation that votes."""
    known = Digests(NodeId("n1"))
    for number, digest in enumerate(digests, 1):
        known.add(NodeId(f"n{number}"), number, Checkpoint(SLOT, digest))
    return known


@pytest.mark.parametrize(
    ("digests", "outvoted"),
    [
        ((b"x", b"y", b"y"), True),
        ((b"x", b"y"), False),
        ((b"x", b"y", b"z"), False),
        ((b"x", b"x", b"y"), False),
    ],
)
def test_only_a_majority_that_shares_another_digest_outvotes(digests: tuple[bytes, ...], outvoted: bool) -> None:
    assert compared(*digests).is_outvoted(SLOT, majority()) is outvoted


def test_the_digest_of_an_incarnation_without_a_vote_does_not_count() -> None:
    known = compared(b"x", b"y")
    known.add(NodeId("n3"), 33, Checkpoint(SLOT, b"y"))
    assert not known.is_outvoted(SLOT, majority())


def test_a_difference_is_reported_once_with_the_digests_of_all_nodes() -> None:
    known = compared(b"x", b"y")
    assert known.difference(SLOT) == {"n1": b"x", "n2": b"y"}
    assert known.difference(SLOT) is None
    assert compared(b"x", b"x").difference(SLOT) is None
