"""Rule 8: which boot and incarnation of a peer is heard."""

from __future__ import annotations

from paxospp.engine.rules.admission import PeerBook, why_refused
from paxospp.messages import Accepted, CatchUp, Heartbeat, Prepare, Promise
from paxospp.model import Ballot, Slot

from .words import N1, N2, N3, ballot, heartbeat, majority, promise, sender

HELLO = heartbeat()
"""The first heartbeat of a new storage, which has promised nothing."""


def hello(booted_with: Ballot, remembered: int) -> Heartbeat:
    """Return the first heartbeat of a boot that declares what its disk remembers."""
    return heartbeat(booted_with=booted_with, remembered=remembered)


def test_messages_of_an_older_boot_are_refused() -> None:
    book = PeerBook()
    assert book.admit(sender(N2, boot=2), HELLO) is None

    assert book.admit(sender(N2, boot=1), HELLO) == "older boot"


def test_the_same_boot_with_another_nonce_is_refused_as_a_clone() -> None:
    book = PeerBook()
    assert book.admit(sender(N2, nonce=7), HELLO) is None

    reason = book.admit(sender(N2, nonce=8), HELLO)
    assert reason is not None
    assert reason.startswith("a clone")
    assert book.admit(sender(N2, nonce=7), HELLO) is None


def test_a_new_boot_is_heard_only_after_its_first_heartbeat() -> None:
    book = PeerBook()
    book.admit(sender(N2), promise(ballot(3, N2)))

    assert book.admit(sender(N2, boot=2), promise(ballot(4, N2))) == "not introduced yet"
    assert book.admit(sender(N2, boot=2), hello(ballot(3, N2), 0)) is None
    assert book.admit(sender(N2, boot=2), promise(ballot(4, N2))) is None


def test_a_boot_that_forgot_a_promise_was_rolled_back_and_is_not_heard_again() -> None:
    """Bug B17 of ``tests/BUGS.md``."""
    book = PeerBook()
    book.admit(sender(N2), promise(ballot(5)))

    reason = book.admit(sender(N2, boot=2), hello(ballot(4), 0))
    assert reason is not None
    assert reason.startswith("rolled back")
    assert book.admit(sender(N2, boot=3), hello(ballot(9), 9)) == reason


def test_a_boot_that_forgot_an_accepted_slot_was_rolled_back() -> None:
    book = PeerBook()
    book.admit(sender(N2), Accepted(ballot=ballot(1), slot=Slot(7)))

    assert book.admit(sender(N2, boot=2), hello(ballot(1), 7)) is None
    reason = book.admit(sender(N2, boot=3), hello(ballot(1), 6))
    assert reason is not None
    assert "slot 7" in reason


def test_each_incarnation_of_a_node_has_its_own_boots() -> None:
    book = PeerBook()
    book.admit(sender(N2, boot=9), promise(ballot(5)))

    assert book.admit(sender(N2, boot=1, incarnation=99), HELLO) is None


def test_another_cluster_and_another_group_are_refused() -> None:
    """Bug B19 of ``tests/BUGS.md``."""
    me, voters = sender(N1), majority()
    other = sender(N2)._replace(cluster_id=b"z" * 16)

    assert str(why_refused(other, HELLO, me, voters)).startswith("another cluster")
    assert str(why_refused(sender(N2)._replace(group=4), HELLO, me, voters)).startswith("another group")
    assert why_refused(sender(N2)._replace(cluster_id=b""), HELLO, me, voters) is None


def test_an_incarnation_outside_the_membership_may_learn_but_not_vote() -> None:
    """A node whose disk was wiped has forgotten its promises: Bug B16 of ``tests/BUGS.md``."""
    me, voters, wiped = sender(N1), majority(), sender(N2, incarnation=99)

    mine = Ballot(4, N2, 99)
    assert why_refused(wiped, promise(mine), me, voters) == "not a voter"
    assert why_refused(wiped, Accepted(ballot=mine, slot=Slot(1)), me, voters) == "not a voter"
    assert why_refused(wiped, Prepare(ballot=mine, start=Slot(1)), me, voters) == "not a voter"
    assert why_refused(wiped, CatchUp(start=Slot(1), stop=Slot(2)), me, voters) is None
    assert why_refused(wiped, HELLO, me, voters) is None


def test_a_prepare_with_the_ballot_of_another_node_is_refused() -> None:
    refused = why_refused(sender(N2), Prepare(ballot=ballot(4, N3), start=Slot(1)), sender(N1), majority())

    assert refused == "a ballot of somebody else"


def test_a_promise_may_carry_the_ballot_of_another_node() -> None:
    message: Promise = promise(ballot(4, N1))

    assert why_refused(sender(N2), message, sender(N1), majority()) is None
