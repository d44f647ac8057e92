"""Records of a run beside the model's state, from which actions get their arguments."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from paxospp.testing.specification.messages import ModelAccepted, ModelPromise, Name, Round, SnapshotOffer
from paxospp.testing.specification.values import ModelBallot


@dataclass(slots=True)
class Boot:
    """Everything that one boot of a node has counted, received and applied."""

    answers: dict[Name, Sequence[ModelPromise]] = field(default_factory=dict)
    """Whole answers to the ballot under which it campaigns or leads, by node."""
    acceptances: dict[tuple[ModelBallot, int], dict[Name, ModelAccepted]] = field(default_factory=dict)
    announced: dict[ModelBallot, int] = field(default_factory=dict)
    """The highest announcement that it heard, by the ballot of the leader."""
    applied: int = 0
    """The slot handed out last, or covered by the snapshot that it started from."""
    under: dict[int, ModelBallot] = field(default_factory=dict)
    """By slot: the highest ballot of the entries up to it, when they were handed out."""

    def highest_under(self, slot: int) -> ModelBallot | None:
        """Return the highest ballot of an entry up to ``slot``, as they were applied here."""
        return max((ballot for covered, ballot in self.under.items() if covered <= slot), default=None)


class Records:
    """Records of the whole run."""

    def __init__(self, names: Sequence[Name]) -> None:
        self.boots: dict[Name, Boot] = {name: Boot() for name in names}
        self.parts: defaultdict[tuple[Name, int, ModelBallot, Hashable], dict[int, ModelPromise]] = defaultdict(dict)
        """The parts of each answer that was given."""
        self.offers: defaultdict[int, list[tuple[Name, SnapshotOffer]]] = defaultdict(list)
        """Snapshots that were offered, by slot."""
        self.snapshots: dict[tuple[Name, int, int], ModelBallot] = {}
        """The ballot in the snapshot of an incarnation, by slot."""
        self.rounds: dict[tuple[Name, int, int], Round] = {}
        """Rounds of heartbeats that leaders sent, by boot and number."""

    def answer(self, name: Name, incarnation: int, ballot: ModelBallot, number: Hashable) -> Sequence[ModelPromise]:
        """Return all parts of an answer; none if it was not given."""
        given: Mapping[int, ModelPromise] = self.parts.get((name, incarnation, ballot, number), {})
        return [given[part] for part in sorted(given)]
