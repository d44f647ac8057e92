"""Every claim is true with the facts it relies on, and false with others."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest

from paxospp.model import Ballot, Kind, NodeId, Slot
from paxospp.testing.exploration.claims import (
    Announced,
    Applied,
    ChosenBefore,
    Claim,
    Closed,
    CountedAcceptance,
    CountedAnswer,
    Fact,
    FactHistory,
    GivenAnswer,
    Held,
    Learned,
    Proposed,
    ReportedNone,
    Votes,
    Vouched,
    verdict_of,
)

N1, N2, N3 = NodeId("n1"), NodeId("n2"), NodeId("n3")
LOW, MIDDLE, HIGH = Ballot(2, N2, 1), Ballot(3, N1, 1), Ballot(4, N3, 1)


def history(*facts: Fact) -> FactHistory:
    held = frozenset(fact for fact in facts if not isinstance(fact, GivenAnswer))
    return FactHistory(Votes(held, 2), frozenset(fact for fact in facts if isinstance(fact, GivenAnswer)), 2)


def held(node: NodeId, slot: int, ballot: Ballot = LOW, value: bytes = b"a") -> Held:
    return Held(node, Slot(slot), ballot, Kind.COMMANDS, value)


def both(slot: int, ballot: Ballot = LOW, value: bytes = b"a") -> Sequence[Held]:
    """Return the facts that a quorum of three nodes held this entry."""
    return held(N2, slot, ballot, value), held(N3, slot, ballot, value)


def answer(
    node: NodeId, *accepted: tuple[int, Ballot], number: int = 1, decided: int = 1, faulty: tuple[range, ...] = ()
) -> GivenAnswer:
    slots = frozenset((Slot(slot), ballot) for slot, ballot in accepted)
    return GivenAnswer(node, 1, number, MIDDLE, Slot(decided), Slot(1), faulty, slots)


PROPOSED = Proposed(N1, MIDDLE, Slot(2), Kind.COMMANDS, b"b", has_clean=True)
OPEN_END = (range(2, sys.maxsize),)


@pytest.mark.parametrize(
    ("claim", "right", "wrong"),
    [
        (Announced(N1, MIDDLE, Slot(2)), both(2), [held(N2, 2)]),
        (Announced(N1, MIDDLE, Slot(2)), both(2), both(2, HIGH)),
        (Announced(N1, MIDDLE, Slot(3)), [*both(2), *both(3)], both(3)),
        (Announced(N1, MIDDLE, Slot(1)), [], None),
        (Learned(N1, Slot(2), MIDDLE), both(2), both(2, HIGH)),
        (Learned(N1, Slot(2), MIDDLE), [ChosenBefore(Slot(2), LOW, Kind.COMMANDS, b"a")], []),
        (Applied(N1, Slot(2), Kind.COMMANDS, b"a"), both(2), both(2, value=b"b")),
        (CountedAcceptance(N1, LOW, Slot(2), N2), [held(N2, 2)], [held(N2, 2, HIGH), held(N3, 2)]),
        (CountedAnswer(N1, answer(N2, (2, LOW))), [answer(N2, (2, LOW))], [answer(N2, (2, LOW), (3, LOW))]),
        (CountedAnswer(N1, answer(N2)), [answer(N2)], [answer(N2, number=2)]),
        (ReportedNone(N2, answer(N2, (2, LOW))), [held(N2, 2)], [held(N2, 2), held(N2, 3)]),
        (ReportedNone(N2, answer(N2, decided=2)), [held(N2, 2)], [held(N2, 3)]),
        (ReportedNone(N2, answer(N2, faulty=OPEN_END)), [held(N2, 2), held(N2, 9)], None),
        (PROPOSED, [answer(N2)], both(2)),
        (PROPOSED, [answer(N2), *both(2, HIGH)], [answer(N2, faulty=OPEN_END)]),
        (PROPOSED, [answer(N3)], [answer(N3, decided=2)]),
        (Vouched(N1, MIDDLE, Slot(3)), [held(N2, 3), held(N2, 4, HIGH)], [held(N2, 4)]),
        (Closed(N2, Slot(3), Slot(1), frozenset({Slot(4)})), [held(N2, 3), held(N3, 4)], [held(N2, 4)]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Claim) else "",
)
def test_a_claim_is_judged_by_facts(claim: Claim, right: Sequence[Fact], wrong: Sequence[Fact] | None) -> None:
    assert claim.judge(history(*right)) is None
    if wrong is not None:
        assert claim.judge(history(*wrong)) is not None


@pytest.mark.parametrize("claim", [Announced(N1, MIDDLE, Slot(2)), Learned(N1, Slot(2), MIDDLE)])
def test_a_lasting_claim_stays_true_when_facts_are_added(claim: Claim) -> None:
    """A value that is chosen again under a higher ballot stays chosen under the lower one."""
    assert claim.is_lasting
    assert claim.judge(history(*both(2), *both(2, HIGH), *both(3, HIGH))) is None


def test_two_values_chosen_in_one_slot_contradict_agreement() -> None:
    broken = history(*both(2), *both(2, HIGH, b"b"))

    assert verdict_of([], broken) is not None
    assert "agreement" in str(verdict_of([], broken))


def test_two_values_under_one_ballot_break_rule_1() -> None:
    assert "rule 1" in str(verdict_of([], history(held(N1, 2), held(N2, 2, value=b"b"))))
