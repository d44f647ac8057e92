"""Digests at one slot: who differs is told once, and only a majority with one other digest outvotes a replica."""

from __future__ import annotations

import pytest

from paxospp.engine.rules.digests import Digests
from paxospp.engine.rules.voters import Majority
from paxospp.messages import Checkpoint
from paxospp.model import Member, Membership, NodeId, Slot

SLOT = Slot(256)


def voters(count: int) -> Majority:
    members = tuple(Member(NodeId(f"n{number}"), f"h{number}:1", number) for number in range(1, count + 1))
    return Majority(
        Membership(cluster_id=b"c" * 16, group=0, alpha=8, session_expiry_s=60, replaces=Slot(0), members=members)
    )


def compared(*digests: bytes) -> Digests:
    """What n1 knows once n1, n2, … told these digests; each in the incarnation that votes."""
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
def test_a_majority_with_one_other_digest_outvotes(digests: tuple[bytes, ...], outvoted: bool) -> None:
    assert compared(*digests).is_outvoted(SLOT, voters(3)) is outvoted


def test_an_incarnation_without_a_vote_outvotes_nobody() -> None:
    known = compared(b"x", b"y")
    known.add(NodeId("n3"), 33, Checkpoint(SLOT, b"y"))
    assert not known.is_outvoted(SLOT, voters(3))


def test_a_difference_is_told_once_and_names_everybody() -> None:
    known = compared(b"x", b"y")
    assert known.difference(SLOT) == {"n1": b"x", "n2": b"y"}
    assert known.difference(SLOT) is None
    assert compared(b"x", b"x").difference(SLOT) is None
