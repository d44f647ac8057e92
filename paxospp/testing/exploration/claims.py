"""Facts about a run, and the claims of replicas that these facts judge.

Every step of a replica adds *facts*, which stay true: a disk held an entry, a node answered a Prepare. And it makes
*claims*, which are judged by all facts so far, those of the step included: that a slot is decided, that an acceptor
accepted a value, that nothing was accepted above a slot. The rules are those of ``paxospp/engine/README.md``;
``paxospp/testing/simulation/judges/step_rules.py`` judges the same steps in random runs.

A claim is *lasting* if later facts cannot make it false. The other claims (``is_lasting`` is False) say that something
has not happened.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from paxospp.model import Ballot, Kind, NodeId, Slot


class Held(NamedTuple):
    """A fact: the disk of ``node`` has held this entry."""

    node: NodeId
    slot: Slot
    ballot: Ballot
    kind: Kind
    value: bytes


class GivenAnswer(NamedTuple):
    """A fact: ``node`` gave this answer to a Prepare; its node, boot, number and ballot identify it."""

    node: NodeId
    boot: int
    number: int
    ballot: Ballot
    decided: Slot
    first: Slot
    faulty: tuple[range, ...]
    accepted: frozenset[tuple[Slot, Ballot]]

    def is_clean(self, slot: Slot) -> bool:
        """Whether the answer reports *accepted* or *none* for ``slot``."""
        return slot > self.decided and slot >= self.first and not any(slot in slots for slots in self.faulty)


class ChosenBefore(NamedTuple):
    """A fact: this value was chosen in ``slot`` before the exploration began, first under ``under``."""

    slot: Slot
    under: Ballot
    kind: Kind
    value: bytes


Fact = Held | GivenAnswer | ChosenBefore


class ChosenValue(NamedTuple):
    """The value that is chosen in a slot."""

    under: Ballot
    """The lowest ballot under which a quorum accepted it."""
    kind: Kind
    value: bytes


class Votes:
    """Everything that was ever on a disk, and the values that are therefore chosen."""

    def __init__(self, facts: frozenset[Held | ChosenBefore], quorum: int) -> None:
        self.facts = facts
        self._under: dict[Slot, Ballot | None] = {}
        self.held: Mapping[NodeId, Sequence[Held]]
        self.chosen: dict[Slot, ChosenValue] = {}
        self.broken: str | None = None
        """How these facts contradict agreement; None if they do not."""
        by_node: defaultdict[NodeId, list[Held]] = defaultdict(list)
        holders: defaultdict[tuple[Slot, Ballot], list[Held]] = defaultdict(list)
        for fact in facts:
            if isinstance(fact, ChosenBefore):
                self._choose(fact.slot, ChosenValue(fact.under, fact.kind, fact.value))
            else:
                by_node[fact.node].append(fact)
                holders[fact.slot, fact.ballot].append(fact)
        self.held = by_node
        for (slot, ballot), entries in sorted(holders.items()):
            values = {(entry.kind, entry.value) for entry in entries}
            if len(values) > 1:
                self.broken = f"rule 1: under {ballot} slot {slot} has two values"
            elif len(entries) >= quorum:
                self._choose(slot, ChosenValue(ballot, *values.pop()))

    def _choose(self, slot: Slot, choice: ChosenValue) -> None:
        former = self.chosen.setdefault(slot, choice)
        if choice.under < former.under:
            self.chosen[slot] = choice
        if former[1:] != choice[1:]:
            self.broken = (
                f"agreement: slot {slot} was chosen as {_named(*former[1:])} under {former.under} "
                f"and as {_named(*choice[1:])} under {choice.under}"
            )

    def under(self, slot: Slot) -> Ballot | None:
        """Return the highest ballot under which one of the slots 2 to ``slot`` was first chosen; None if any is not."""
        if slot not in self._under:
            self._under[slot] = self._find_under(slot)
        return self._under[slot]

    def _find_under(self, slot: Slot) -> Ballot | None:
        highest = Ballot(0, NodeId(""), 0)
        for number in range(2, slot + 1):
            choice = self.chosen.get(Slot(number))
            if choice is None:
                return None
            highest = max(highest, choice.under)
        return highest


class FactHistory:
    """All facts of one run so far."""

    def __init__(self, votes: Votes, answers: frozenset[GivenAnswer], quorum: int) -> None:
        self.quorum = quorum
        self.votes = votes
        self.answers = answers

    def given(self, answer: GivenAnswer) -> GivenAnswer | None:
        """Return the answer that was really given with the identity of ``answer``; None: none was."""
        return next((given for given in self.answers if given[:4] == answer[:4]), None)


def _named(kind: Kind, value: bytes) -> str:
    return "a no-op" if kind is Kind.NOOP else value.decode(errors="backslashreplace")


@dataclass(slots=True, frozen=True)
class Claim:
    """Something that a step of ``node`` relies on or tells others."""

    is_lasting: ClassVar[bool] = True
    node: NodeId

    def judge(self, history: FactHistory) -> str | None:
        """Return which rule the claim breaks and how; None if the claim is true."""
        raise NotImplementedError


@dataclass(slots=True, frozen=True)
class Announced(Claim):
    """The node says that all slots up to ``slot`` are decided under ballots up to ``ballot``.

    It does so by announcing, or by installing a snapshot.
    """

    ballot: Ballot
    slot: Slot
    how: str = "announces"

    def judge(self, history: FactHistory) -> str | None:
        under = history.votes.under(self.slot)
        if under is None:
            return f"rule 4: {self.node} {self.how} slot {self.slot}, but not every slot up to it is chosen"
        if under > self.ballot:
            return (
                f"rule 4: {self.node} {self.how} slot {self.slot} under {self.ballot}, "
                f"but a slot up to it was chosen under {under}"
            )
        return None


@dataclass(slots=True, frozen=True)
class Learned(Claim):
    """The node knows ``slot`` decided under a ballot up to ``ballot``, from a peer or because it counted a quorum."""

    slot: Slot
    ballot: Ballot

    def judge(self, history: FactHistory) -> str | None:
        choice = history.votes.chosen.get(self.slot)
        if choice is None:
            return f"rule 4: {self.node} considers slot {self.slot} decided, but no quorum has accepted a value there"
        if choice.under > self.ballot:
            return (
                f"rule 4: {self.node} considers slot {self.slot} decided under {self.ballot}, "
                f"but it was chosen under {choice.under}"
            )
        return None


@dataclass(slots=True, frozen=True)
class Applied(Claim):
    """The node applies this value in ``slot``, or sends it to a peer as decided."""

    slot: Slot
    kind: Kind
    value: bytes

    def judge(self, history: FactHistory) -> str | None:
        choice = history.votes.chosen.get(self.slot)
        if choice is None or choice[1:] != (self.kind, self.value):
            chosen = "nothing" if choice is None else _named(*choice[1:])
            return f"agreement: {self.node} takes {_named(self.kind, self.value)} in slot {self.slot}; chosen: {chosen}"
        return None


@dataclass(slots=True, frozen=True)
class CountedAcceptance(Claim):
    """The leader of ``ballot`` counts that ``acceptor`` accepted ``slot``."""

    ballot: Ballot
    slot: Slot
    acceptor: NodeId

    def judge(self, history: FactHistory) -> str | None:
        if any(held.slot == self.slot and held.ballot == self.ballot for held in history.votes.held[self.acceptor]):
            return None
        return (
            f"rule 3: {self.node} counts {self.acceptor} for slot {self.slot} under {self.ballot}, "
            "which never accepted that"
        )


@dataclass(slots=True, frozen=True)
class CountedAnswer(Claim):
    """The node counts this as one whole answer to its Prepare."""

    answer: GivenAnswer

    def judge(self, history: FactHistory) -> str | None:
        given = history.given(self.answer)
        if given == self.answer:
            return None
        real = "no such answer" if given is None else _told(given)
        return f"rule 2: {self.node} counts {_told(self.answer)}; {self.answer.node} gave {real}"


@dataclass(slots=True, frozen=True)
class ReportedNone(Claim):
    """The node answers a Prepare, and so reports *none* for every slot that the answer does not mention."""

    is_lasting = False
    answer: GivenAnswer

    def judge(self, history: FactHistory) -> str | None:
        answer, accepted = self.answer, dict(self.answer.accepted)
        for held in history.votes.held.get(self.node, ()):
            if held.ballot < answer.ballot and answer.is_clean(held.slot):
                told = accepted.get(held.slot)
                if told is None or told < held.ballot:
                    return (
                        f"rule 2: {self.node} reports {told or 'none'} for slot {held.slot}, "
                        f"which it accepted under {held.ballot}"
                    )
        return None


@dataclass(slots=True, frozen=True)
class Proposed(Claim):
    """The leader of ``ballot`` proposes this value in ``slot``."""

    is_lasting = False
    ballot: Ballot
    slot: Slot
    kind: Kind
    value: bytes
    has_clean: bool
    """Whether the leader's own log is intact there."""

    def judge(self, history: FactHistory) -> str | None:
        choice = history.votes.chosen.get(self.slot)
        if choice is not None and choice.under < self.ballot and choice[1:] != (self.kind, self.value):
            return (
                f"rule 2: {self.node} proposes {_named(self.kind, self.value)} in slot {self.slot} "
                f"under {self.ballot}, but {_named(*choice[1:])} was chosen there under {choice.under}"
            )
        clean = {
            answer.node for answer in history.answers if answer.ballot == self.ballot and answer.is_clean(self.slot)
        }
        if self.has_clean:
            clean.add(self.node)
        if len(clean) < history.quorum:
            return f"rule 2: {self.node} proposes slot {self.slot} after clean answers from {sorted(clean)} only"
        return None


@dataclass(slots=True, frozen=True)
class Vouched(Claim):
    """The leader of ``ballot`` vouches that no acceptor can have accepted anything above ``slot``."""

    is_lasting = False
    ballot: Ballot
    slot: Slot

    def judge(self, history: FactHistory) -> str | None:
        for entries in history.votes.held.values():
            for held in entries:
                if held.slot > self.slot and held.ballot <= self.ballot:
                    return (
                        f"rule 5: {self.node}, leading under {self.ballot}, vouches that nothing is accepted above "
                        f"slot {self.slot}, but {held.node} accepted slot {held.slot} under {held.ballot}"
                    )
        return None


@dataclass(slots=True, frozen=True)
class Closed(Claim):
    """The node closes damage to its log at ``slot``: it accepted nothing above that it has lost."""

    is_lasting = False
    slot: Slot
    decided: Slot
    lost: frozenset[Slot]
    """The slots that counted as damaged until then and hold no value."""

    def judge(self, history: FactHistory) -> str | None:
        for held in history.votes.held[self.node]:
            if held.slot > max(self.slot, self.decided) and held.slot in self.lost:
                return f"rule 5: {self.node} closes damage at slot {self.slot}, but it had accepted slot {held.slot}"
        return None


def _told(answer: GivenAnswer) -> str:
    accepted = " ".join(f"{slot}@{ballot}" for slot, ballot in sorted(answer.accepted))
    return f"answer {answer.number} to {answer.ballot}: decided={answer.decided} accepted=[{accepted}]"


def verdict_of(claims: Iterable[Claim], history: FactHistory) -> str | None:
    """Return which of these claims of a step breaks a rule, and how; None: none does.

    ``history`` includes the facts of the step itself.
    """
    if history.votes.broken is not None:
        return history.votes.broken
    return next((verdict for claim in claims if (verdict := claim.judge(history)) is not None), None)
