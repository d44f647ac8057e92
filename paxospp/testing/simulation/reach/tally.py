"""Counts of the markers that one run or a whole sweep reached: how many times, and in how many runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from paxospp.testing.simulation.judges.observed import ObservedHost
from paxospp.testing.simulation.reach.markers import known_markers
from paxospp.testing.simulation.reach.pairs import PAIRS, all_pairs, pair
from paxospp.testing.simulation.reach.states import STATES

_ASKED: Mapping[str, tuple[tuple[str, Callable[[ObservedHost], bool]], ...]] = {
    marker: tuple((pair(marker, state), STATES[state]) for state in states) for marker, states in PAIRS.items()
}
"""By marker: the names of its pairs, each with the predicate of its state."""


class MarkerRow(NamedTuple):
    """One line of the table of markers."""

    marker: str
    seeds: int
    """Number of runs that reached it."""
    hits: int


class RunReach:
    """Counts what one run reaches; pairs are counted with the markers they belong to."""

    def __init__(self) -> None:
        self.hits: Counter[str] = Counter()

    def reached(self, host: ObservedHost, marker: str) -> None:
        """Count ``marker``, which ``host`` has just reached, and its pairs, unless the host has no replica yet."""
        self.hits[marker] += 1
        if host.runtime is None:
            return
        for name, is_so in _ASKED.get(marker, ()):
            if is_so(host):
                self.hits[name] += 1


@dataclass(slots=True)
class MarkerTally:
    """Sums over runs."""

    runs: int = 0
    hits: Counter[str] = field(default_factory=Counter)
    seeds: Counter[str] = field(default_factory=Counter)

    def add(self, hits: Mapping[str, int]) -> None:
        """Add the hits of one run."""
        self.runs += 1
        self.hits.update(hits)
        self.seeds.update(hits.keys())

    def rows(self) -> list[MarkerRow]:
        """Return every known marker and pair, including those never reached, sorted by name."""
        return [MarkerRow(name, self.seeds[name], self.hits[name]) for name in sorted(everything())]

    def below(self, least: int, among: Iterable[str]) -> list[MarkerRow]:
        """Return those of ``among`` that were hit less than ``least`` times, the rarest first."""
        rows = [MarkerRow(name, self.seeds[name], self.hits[name]) for name in among if self.hits[name] < least]
        return sorted(rows, key=lambda row: (row.hits, row.seeds, row.marker))


def everything() -> frozenset[str]:
    """Return all markers and pairs."""
    return known_markers().union(all_pairs())
