"""Rule 7: which membership governs which slots, as applied entries say."""

from __future__ import annotations

import pytest

from paxospp.errors import CorruptedError, InvariantViolatedError
from paxospp.execution.memberships import Memberships
from paxospp.model import Member, Membership, NodeId, Slot


def membership(replaces: int = 0, *names: str, cluster_id: bytes = b"c" * 16) -> Membership:
    members = tuple(Member(NodeId(name), f"{name}:1", 1) for name in names or ("n1", "n2", "n3"))
    return Membership(
        cluster_id=cluster_id, group=0, alpha=10, session_expiry_s=60, replaces=Slot(replaces), members=members
    )


def test_the_founding_membership_is_in_slot_one_and_replaces_none() -> None:
    memberships = Memberships()
    assert memberships.latest is None

    for slot, value in ((2, membership()), (1, membership(1))):
        with pytest.raises(InvariantViolatedError):
            memberships.apply(Slot(slot), value)

    assert memberships.apply(Slot(1), membership())
    assert memberships.latest == membership()


def test_a_membership_that_does_not_replace_the_latest_is_a_no_op() -> None:
    memberships = Memberships()
    memberships.apply(Slot(1), membership())

    assert memberships.apply(Slot(5), membership(1, "n1", "n2"))
    assert not memberships.apply(Slot(6), membership(1, "n3"))
    assert memberships.latest == membership(1, "n1", "n2")


def test_an_older_membership_is_kept_while_it_governs_slots_that_are_not_applied() -> None:
    memberships = Memberships()
    memberships.apply(Slot(1), membership())
    memberships.apply(Slot(5), membership(1, "n1"))

    assert [slot for slot, _ in memberships.governing(Slot(13))] == [1, 5]
    assert [slot for slot, _ in memberships.governing(Slot(14))] == [5]


def test_a_later_membership_cannot_change_what_the_founding_one_fixed() -> None:
    memberships = Memberships()
    memberships.apply(Slot(1), membership())

    with pytest.raises(CorruptedError, match="another cluster"):
        memberships.apply(Slot(5), membership(1, cluster_id=b"x" * 16))
