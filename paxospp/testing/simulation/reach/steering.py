"""Picks seeds whose plans make rare markers likely.

A seed decides its plan, and the plan is known before the run. So a sweep learns from its finished runs which features
of plans (a family of faults, a small alpha, a tiny log) go together with which rare markers. For each further run, it
draws several fresh seeds and takes the most promising one. The run still depends on its seed alone, whatever the sweep
knew when it picked the seed.

Which seeds are picked depends only on the first seed, the number of runs and their results, not on the number of
processes or their speed.

Reference: Groce et al., "Swarm Testing" (2012), for features of a configuration that suppress or enable
behaviour.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import count
from typing import Any

from paxospp.testing.simulation.faults.families import Faults
from paxospp.testing.simulation.plan import RunPlan
from paxospp.testing.simulation.report import Reached

ROUND = 64
"""Number of runs between two looks at what was reached."""
CANDIDATES = 12
"""Number of fresh seeds drawn per run; one of them is taken."""
PLAIN = 4
"""One run in this many takes the next seed as it comes: a marker that was never reached has no features yet."""
EXPLORING = 4
"""While a marker was never reached, one run in this many has the profile with the fewest runs so far."""
_PROFILE = "profile="
_NO_PROFILE = _PROFILE
_SUPPORT = 8
"""A feature with fewer runs than this says nothing."""
_DOUBT = 4.0
"""Number of imaginary runs, in which a marker and a feature are independent, that are added to the real ones."""
_LIFT_MAX = 4.0
"""Greatest factor by which one feature may change the estimate for a plan."""
_PROFILE_LIFT_MAX = 64.0
"""The same for a profile, which is made for what seldom happens without it."""

Draw = Callable[[int], RunPlan]
Features = tuple[str, ...]


class Steering:
    """Chooses the seeds of a sweep, round by round."""

    def __init__(
        self, first: int, total: int, wanted: Iterable[str], least: int, draw: Draw, *, total_max: int = 0
    ) -> None:
        """Plan ``total`` runs, so that each of ``wanted`` is hit ``least`` times; ``draw(seed)`` makes a plan.

        If that is not enough, more runs follow, round by round, up to ``total_max``.
        """
        self._next = count(first)
        self._left = total
        self._more = max(0, total_max - total)
        self._wanted = sorted(wanted)
        self._least = least
        self._draw = draw
        self._plans: dict[int, Features] = {}
        """The features of the seeds that were handed out and have not come back."""
        self._runs = 0
        self._events = 0
        self._hits: Counter[str] = Counter()
        self._reached: Counter[str] = Counter()
        """By marker: number of runs that reached it."""
        self._having: Counter[str] = Counter()
        """By feature: number of runs that have it."""
        self._events_of: Counter[str] = Counter()
        self._both: defaultdict[str, Counter[str]] = defaultdict(Counter)
        """By marker and feature: number of runs that have both."""

    def rounds(self) -> Iterator[Sequence[int]]:
        """Yield the seeds of each round; pass the results of a round to ``learn`` before asking for the next."""
        while self._left > 0 or (self._more > 0 and self._missing()):
            if self._left == 0:
                self._left = min(ROUND, self._more)
                self._more -= self._left
            seeds = self._pick(min(ROUND, self._left))
            self._left -= len(seeds)
            yield seeds

    def _missing(self) -> bool:
        return any(self._hits[marker] < self._least for marker in self._wanted)

    def learn(self, seed: int, reached: Reached) -> None:
        """Note the result of a run that was handed out."""
        features = self._plans.pop(seed)
        self._runs += 1
        self._events += reached.events
        self._hits.update(reached.hits)
        self._reached.update(reached.hits.keys())
        self._having.update(features)
        for feature in features:
            self._events_of[feature] += reached.events
        for marker in reached.hits:
            self._both[marker].update(features)

    def _pick(self, size: int) -> list[int]:
        rare = [marker for marker in self._wanted if 0 < self._hits[marker] < self._least]
        if self._runs == 0 or not rare:
            return [self._take(next(self._next)) for _ in range(size)]
        plain = [self._take(next(self._next)) for _ in range(size // PLAIN)]
        fresh = [self._take(next(self._next)) for _ in range(CANDIDATES * (size - len(plain)))]
        chosen = set(self._explore(fresh, size // EXPLORING))
        promise = self._promises(rare)
        best = sorted(fresh, key=lambda seed: (-promise(self._plans[seed]), seed))
        chosen.update([seed for seed in best if seed not in chosen][: size - len(plain) - len(chosen)])
        for seed in fresh:
            if seed not in chosen:
                del self._plans[seed]
        return sorted([*plain, *chosen])

    def _explore(self, fresh: Iterable[int], size: int) -> list[int]:
        """Return seeds with profiles of which few runs were made, if a marker was never reached."""
        if all(self._hits[marker] for marker in self._wanted):
            return []
        runs = Counter({feature: self._having[feature] for feature in self._having if feature.startswith(_PROFILE)})
        profiles: dict[int, str] = {}
        for seed in fresh:
            profile = next((feature for feature in self._plans[seed] if feature.startswith(_PROFILE)), None)
            if profile is not None and profile != _NO_PROFILE:
                profiles[seed] = profile
        chosen: list[int] = []
        while profiles and len(chosen) < size:
            seed = min(profiles, key=lambda seed: (runs[profiles[seed]], seed))
            runs[profiles.pop(seed)] += 1
            chosen.append(seed)
        return chosen

    def _take(self, seed: int) -> int:
        self._plans[seed] = tuple(sorted(features_of(self._draw(seed))))
        return seed

    def _promises(self, rare: Sequence[str]) -> Callable[[Features], float]:
        """Return a function that estimates how much likelier per event a plan with these features makes rare markers.

        A marker weighs as much as it is still wanted, no matter how rare it is. Features are treated as independent,
        which they nearly are: each is drawn from a stream of its own. Sums are formed in a fixed order, so that they
        are equal everywhere to the last bit.
        """
        known = sorted(feature for feature, runs in self._having.items() if runs >= _SUPPORT)
        cost = {feature: self._lift(self._events_of[feature] / self._events, feature) for feature in known}
        lifts = [(1 - self._hits[marker] / self._least, self._lifts(marker, known)) for marker in rare]

        def promise(features: Features) -> float:
            worth = sum(need * math.exp(sum(lift.get(feature, 0.0) for feature in features)) for need, lift in lifts)
            return worth / math.exp(sum(cost.get(feature, 0.0) for feature in features))

        return promise

    def _lifts(self, marker: str, known: Iterable[str]) -> Mapping[str, float]:
        total, both = self._reached[marker] + _DOUBT, self._both[marker]
        return {
            feature: self._lift((both[feature] + _DOUBT * self._usual(feature)) / total, feature) for feature in known
        }

    def _lift(self, share: float, feature: str) -> float:
        """Return the logarithm of how much more often something comes with ``feature`` than on average."""
        most = math.log(_PROFILE_LIFT_MAX if feature.startswith(_PROFILE) else _LIFT_MAX)
        return max(-most, min(most, math.log(max(share, 1e-9) / self._usual(feature))))

    def _usual(self, feature: str) -> float:
        return self._having[feature] / self._runs


def features_of(plan: RunPlan) -> Iterator[str]:
    """Yield the features of a plan: families and switches as they are, numbers by order of magnitude."""
    yield from plan.faults.families
    yield from _features("", plan)


def _features(prefix: str, value: Any) -> Iterator[str]:
    for field in fields(value):
        inner, name = getattr(value, field.name), f"{prefix}{field.name}"
        if field.name == "seed" or isinstance(inner, Faults):
            continue
        if is_dataclass(inner) and not isinstance(inner, type):
            yield from _features(f"{name}.", inner)
        elif isinstance(inner, bool | str):
            yield f"{name}={inner}"
        elif isinstance(inner, int | float):
            yield f"{name}~{_magnitude(inner)}"


def _magnitude(value: float) -> str:
    return "0" if value == 0 else f"2^{math.frexp(value)[1]}" if math.isfinite(value) else "inf"
