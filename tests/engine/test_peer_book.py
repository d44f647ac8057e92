"""Which life of which node may speak (rule 8)."""

from __future__ import annotations

from dataclasses import replace

from paxospp.engine.rules.admission import PeerBook, why_refused
from paxospp.messages import Accepted, CatchUp, Heartbeat, Prepare, Promise
from paxospp.model import Ballot, Slot

from .words import N1, N2, N3, ballot, majority, promise, sender

HELLO = Heartbeat(
    round=1,
    leading=None,
    quorum_connected=False,
    decided_up_to=Slot(0),
    promised=None,
    remembered=Slot(0),
    booted_with=None,
)


def hello(booted_with: Ballot | None, remembered: int) -> Heartbeat:
    return replace(HELLO, booted_with=booted_with, remembered=Slot(remembered))


def test_a_lower_boot_is_not_heard() -> None:
    book = PeerBook()
    assert book.admit(sender(N2, boot=2), HELLO) is None

    assert book.admit(sender(N2, boot=1), HELLO) == "older boot"


def test_the_same_boot_with_another_nonce_is_a_clone() -> None:
    book = PeerBook()
    assert book.admit(sender(N2, nonce=7), HELLO) is None

    reason = book.admit(sender(N2, nonce=8), HELLO)
    assert reason is not None
    assert reason.startswith("a clone")
    assert book.admit(sender(N2, nonce=7), HELLO) is None


def test_a_new_boot_is_introduced_by_a_heartbeat_before_it_is_counted() -> None:
    book = PeerBook()
    book.admit(sender(N2), promise(ballot(3, N2)))

    assert book.admit(sender(N2, boot=2), promise(ballot(4, N2))) == "not introduced yet"
    assert book.admit(sender(N2, boot=2), hello(ballot(3, N2), 0)) is None
    assert book.admit(sender(N2, boot=2), promise(ballot(4, N2))) is None


def test_a_boot_that_forgot_a_promise_was_rolled_back_and_is_not_heard_again() -> None:
    """B17, D13."""
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


def test_another_life_of_the_same_name_is_judged_by_itself() -> None:
    book = PeerBook()
    book.admit(sender(N2, boot=9), promise(ballot(5)))

    assert book.admit(sender(N2, boot=1, incarnation=99), HELLO) is None


def test_another_cluster_and_another_group_are_refused() -> None:
    """B19."""
    me, voters = sender(N1), majority()
    other = sender(N2)._replace(cluster_id=b"z" * 16)

    assert str(why_refused(other, HELLO, me, voters)).startswith("another cluster")
    assert str(why_refused(sender(N2)._replace(group=4), HELLO, me, voters)).startswith("another group")
    assert why_refused(sender(N2)._replace(cluster_id=b""), HELLO, me, voters) is None


def test_a_life_outside_the_membership_may_learn_and_not_vote() -> None:
    """B16: amnesia."""
    me, voters, wiped = sender(N1), majority(), sender(N2, incarnation=99)

    mine = Ballot(4, N2, 99)
    assert why_refused(wiped, promise(mine), me, voters) == "not a voter"
    assert why_refused(wiped, Accepted(ballot=mine, slot=Slot(1)), me, voters) == "not a voter"
    assert why_refused(wiped, Prepare(ballot=mine, start=Slot(1)), me, voters) == "not a voter"
    assert why_refused(wiped, CatchUp(start=Slot(1), stop=Slot(2)), me, voters) is None
    assert why_refused(wiped, HELLO, me, voters) is None


def test_nobody_speaks_for_another_ballot_than_its_own() -> None:
    refused = why_refused(sender(N2), Prepare(ballot=ballot(4, N3), start=Slot(1)), sender(N1), majority())

    assert refused == "a ballot of somebody else"


def test_a_promise_to_somebody_else_is_no_claim() -> None:
    message: Promise = promise(ballot(4, N1))

    assert why_refused(sender(N2), message, sender(N1), majority()) is None
