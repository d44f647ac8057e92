"""What is remembered of a run beside the model's state: where an action finds its arguments."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from paxospp.testing.specification.messages import ModelAccepted, ModelPromise, Name, Round, SnapshotOffer
from paxospp.testing.specification.values import ModelBallot


@dataclass(slots=True)
class Boot:
    """What one boot of one node has counted, heard and applied."""

    answers: dict[Name, Sequence[ModelPromise]] = field(default_factory=dict)
    """Whole answers to the ballot it campaigns or leads under, by who gave them."""
    acceptances: dict[tuple[ModelBallot, int], dict[Name, ModelAccepted]] = field(default_factory=dict)
    announced: dict[ModelBallot, int] = field(default_factory=dict)
    """The highest announcement that it heard of each leader."""
    applied: int = 0
    """The slot handed out last, or covered by the snapshot that it began from."""
    under: dict[int, ModelBallot] = field(default_factory=dict)
    """The highest ballot that an entry up to a slot had when it was handed out."""

    def highest_under(self, slot: int) -> ModelBallot | None:
        """The highest ballot of an entry up to ``slot``, as they were applied here."""
        return max((ballot for covered, ballot in self.under.items() if covered <= slot), default=None)


class Records:
    """Of the whole run."""

    def __init__(self, names: Sequence[Name]) -> None:
        self.boots: dict[Name, Boot] = {name: Boot() for name in names}
        self.parts: defaultdict[tuple[Name, int, ModelBallot, Hashable], dict[int, ModelPromise]] = defaultdict(dict)
        """Parts of each answer that was given."""
        self.offers: defaultdict[int, list[tuple[Name, SnapshotOffer]]] = defaultdict(list)
        """Snapshots that were offered, by slot."""
        self.snapshots: dict[tuple[Name, int, int], ModelBallot] = {}
        """The ballot that the snapshot of a life, up to a slot, names."""
        self.rounds: dict[tuple[Name, int, int], Round] = {}
        """Rounds of heartbeats that leaders sent, by boot and number."""

    def answer(self, name: Name, incarnation: int, ballot: ModelBallot, number: Hashable) -> Sequence[ModelPromise]:
        """All parts of an answer; none if it was not given."""
        given: Mapping[int, ModelPromise] = self.parts.get((name, incarnation, ballot, number), {})
        return [given[part] for part in sorted(given)]
