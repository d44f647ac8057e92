"""What is known from outside about a run, and the claims of replicas that are judged by it.

Every step of a replica makes *facts*, which are true from then on: a disk holds an entry, an answer to a Prepare was
given. And it makes *claims*, which are judged by all facts so far, the step's own included: that slots are
decided under ballots up to one, that somebody accepted something, that nothing was accepted above a slot. The rules
are those of ``paxospp/engine/README.md``;
``paxospp/testing/simulation/judges/step_rules.py`` judges the same steps in random runs.

A claim is *lasting* if it stays true once it is true, whatever facts are added. The others (``is_lasting`` False) say
that something has not happened.
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


class Answer(NamedTuple):
    """A fact: ``node`` gave this answer to a Prepare. Its boot and number identify it."""

    node: NodeId
    boot: int
    number: int
    ballot: Ballot
    decided: Slot
    first: Slot
    faulty: tuple[range, ...]
    accepted: frozenset[tuple[Slot, Ballot]]

    def is_clean(self, slot: Slot) -> bool:
        """Whether it says accepted or none of ``slot``."""
        return slot > self.decided and slot >= self.first and not any(slot in slots for slots in self.faulty)


class Chosen(NamedTuple):
    """A fact: this was chosen in ``slot`` before the exploration begins, under no ballot below ``under``."""

    slot: Slot
    under: Ballot
    kind: Kind
    value: bytes


Fact = Held | Answer | Chosen


class Choice(NamedTuple):
    """What is chosen in a slot."""

    under: Ballot
    """The lowest ballot under which a quorum accepted it."""
    kind: Kind
    value: bytes


class Votes:
    """All that was ever on disks, and what is chosen by that."""

    def __init__(self, facts: frozenset[Held | Chosen], quorum: int) -> None:
        self.facts = facts
        self._under: dict[Slot, Ballot | None] = {}
        self.held: Mapping[NodeId, Sequence[Held]]
        self.chosen: dict[Slot, Choice] = {}
        self.broken: str | None = None
        """How these facts contradict agreement, if they do."""
        by_node: defaultdict[NodeId, list[Held]] = defaultdict(list)
        holders: defaultdict[tuple[Slot, Ballot], list[Held]] = defaultdict(list)
        for fact in facts:
            if isinstance(fact, Chosen):
                self._choose(fact.slot, Choice(fact.under, fact.kind, fact.value))
            else:
                by_node[fact.node].append(fact)
                holders[fact.slot, fact.ballot].append(fact)
        self.held = by_node
        for (slot, ballot), entries in sorted(holders.items()):
            values = {(entry.kind, entry.value) for entry in entries}
            if len(values) > 1:
                self.broken = f"rule 1: under {ballot} slot {slot} has two values"
            elif len(entries) >= quorum:
                self._choose(slot, Choice(ballot, *values.pop()))

    def _choose(self, slot: Slot, choice: Choice) -> None:
        former = self.chosen.setdefault(slot, choice)
        if choice.under < former.under:
            self.chosen[slot] = choice
        if former[1:] != choice[1:]:
            self.broken = (
                f"agreement: slot {slot} was chosen as {_named(*former[1:])} under {former.under} "
                f"and as {_named(*choice[1:])} under {choice.under}"
            )

    def under(self, slot: Slot) -> Ballot | None:
        """The highest of the ballots under which the slots from 2 up to ``slot`` were chosen; None: not all are."""
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


class History:
    """All facts of one run so far."""

    def __init__(self, votes: Votes, answers: frozenset[Answer], quorum: int) -> None:
        self.quorum = quorum
        self.votes = votes
        self.answers = answers

    def given(self, answer: Answer) -> Answer | None:
        """Return the answer that was given under the identity of this one."""
        return next((given for given in self.answers if given[:4] == answer[:4]), None)


def _named(kind: Kind, value: bytes) -> str:
    return "a no-op" if kind is Kind.NOOP else value.decode(errors="backslashreplace")


@dataclass(slots=True, frozen=True)
class Claim:
    """Something that a step of ``node`` takes for granted."""

    is_lasting: ClassVar[bool] = True
    node: NodeId

    def judge(self, history: History) -> str | None:
        """Return the rule that the claim breaks and how, or None if it is right."""
        raise NotImplementedError


@dataclass(slots=True, frozen=True)
class Announced(Claim):
    """Under ``ballot`` it says that all slots up to ``slot`` are decided; or a snapshot does, or an installed one."""

    ballot: Ballot
    slot: Slot
    how: str = "announces"

    def judge(self, history: History) -> str | None:
        under = history.votes.under(self.slot)
        if under is None:
            return f"rule 4: {self.node} {self.how} slot {self.slot}, and not all up to it are chosen"
        if under > self.ballot:
            return (
                f"rule 4: {self.node} {self.how} slot {self.slot} under {self.ballot}; a part was chosen under {under}"
            )
        return None


@dataclass(slots=True, frozen=True)
class Learned(Claim):
    """It takes ``slot`` for decided, as it was told, or counted, under a ballot up to ``ballot``."""

    slot: Slot
    ballot: Ballot

    def judge(self, history: History) -> str | None:
        choice = history.votes.chosen.get(self.slot)
        if choice is None:
            return f"rule 4: {self.node} takes slot {self.slot} for decided, which no quorum holds"
        if choice.under > self.ballot:
            return f"rule 4: {self.node} takes slot {self.slot} for decided under {self.ballot}, chosen: {choice.under}"
        return None


@dataclass(slots=True, frozen=True)
class Applied(Claim):
    """It applies this value in ``slot``, or teaches it to a peer."""

    slot: Slot
    kind: Kind
    value: bytes

    def judge(self, history: History) -> str | None:
        choice = history.votes.chosen.get(self.slot)
        if choice is None or choice[1:] != (self.kind, self.value):
            chosen = "nothing" if choice is None else _named(*choice[1:])
            return f"agreement: {self.node} takes {_named(self.kind, self.value)} in slot {self.slot}; chosen: {chosen}"
        return None


@dataclass(slots=True, frozen=True)
class CountedAcceptance(Claim):
    """Leading under ``ballot``, it counts that ``acceptor`` accepted ``slot``."""

    ballot: Ballot
    slot: Slot
    acceptor: NodeId

    def judge(self, history: History) -> str | None:
        if any(held.slot == self.slot and held.ballot == self.ballot for held in history.votes.held[self.acceptor]):
            return None
        return f"rule 3: {self.node} counts {self.acceptor} for slot {self.slot} under {self.ballot}"


@dataclass(slots=True, frozen=True)
class CountedAnswer(Claim):
    """It takes this for one whole answer to its Prepare."""

    answer: Answer

    def judge(self, history: History) -> str | None:
        given = history.given(self.answer)
        if given == self.answer:
            return None
        return f"rule 2: {self.node} counts {_told(self.answer)}; {self.answer.node} said {given and _told(given)}"


@dataclass(slots=True, frozen=True)
class Told(Claim):
    """In an answer to a Prepare it says *none* of every slot that the answer does not mention."""

    is_lasting = False
    answer: Answer

    def judge(self, history: History) -> str | None:
        answer, accepted = self.answer, dict(self.answer.accepted)
        for held in history.votes.held.get(self.node, ()):
            if held.ballot < answer.ballot and answer.is_clean(held.slot):
                told = accepted.get(held.slot)
                if told is None or told < held.ballot:
                    return f"rule 2: {self.node} says {told or 'none'} of slot {held.slot}, held under {held.ballot}"
        return None


@dataclass(slots=True, frozen=True)
class Proposed(Claim):
    """Leading under ``ballot``, it proposes this in ``slot``."""

    is_lasting = False
    ballot: Ballot
    slot: Slot
    kind: Kind
    value: bytes
    has_clean: bool
    """Whether its own log is not damaged there."""

    def judge(self, history: History) -> str | None:
        choice = history.votes.chosen.get(self.slot)
        if choice is not None and choice.under < self.ballot and choice[1:] != (self.kind, self.value):
            return (
                f"rule 2: {self.node} proposes {_named(self.kind, self.value)} in slot {self.slot} "
                f"under {self.ballot}, where {choice.under} chose {_named(*choice[1:])}"
            )
        clean = {
            answer.node for answer in history.answers if answer.ballot == self.ballot and answer.is_clean(self.slot)
        }
        if self.has_clean:
            clean.add(self.node)
        if len(clean) < history.quorum:
            return f"rule 2: {self.node} proposes slot {self.slot} after clean answers from {sorted(clean)} alone"
        return None


@dataclass(slots=True, frozen=True)
class Vouched(Claim):
    """Leading under ``ballot``, it says that nobody can have accepted anything above ``slot``."""

    is_lasting = False
    ballot: Ballot
    slot: Slot

    def judge(self, history: History) -> str | None:
        for entries in history.votes.held.values():
            for held in entries:
                if held.slot > self.slot and held.ballot <= self.ballot:
                    return (
                        f"rule 5: {self.node}, leading under {self.ballot}, vouches for {self.slot}; "
                        f"{held.node} accepted slot {held.slot} under {held.ballot}"
                    )
        return None


@dataclass(slots=True, frozen=True)
class Closed(Claim):
    """It takes nothing above ``slot`` for damaged any more, and holds none of what it may have accepted there."""

    is_lasting = False
    slot: Slot
    decided: Slot
    lost: frozenset[Slot]
    """Slots above that were damaged until then."""

    def judge(self, history: History) -> str | None:
        for held in history.votes.held[self.node]:
            if held.slot > max(self.slot, self.decided) and held.slot in self.lost:
                return f"rule 5: damage to the log of {self.node} is closed at {self.slot}; it held slot {held.slot}"
        return None


def _told(answer: Answer) -> str:
    accepted = " ".join(f"{slot}@{ballot}" for slot, ballot in sorted(answer.accepted))
    return f"answer {answer.number} to {answer.ballot}: decided={answer.decided} accepted=[{accepted}]"


def verdict_of(claims: Iterable[Claim], history: History) -> str | None:
    """Return what is wrong with a step that makes these claims; None: nothing. Its own facts are in ``history``."""
    if history.votes.broken is not None:
        return history.votes.broken
    return next((verdict for claim in claims if (verdict := claim.judge(history)) is not None), None)
