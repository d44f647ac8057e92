"""Picks seeds whose plans promise markers that were seldom reached so far.

A seed decides its plan, and the plan is known before anything runs. So a sweep learns, from the runs it
has behind it, which features of plans (a family of faults, a small alpha, a tiny log ...) go together with
which rare markers; of several fresh seeds per run to come it then takes those that promise most. Every run
remains the run of its seed: the seed alone repeats it, whatever the sweep knew when it picked it.

Which seeds are picked depends on the first seed, the number of runs and their results only, never on how
many processes there are or how fast they are.

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
"""Runs between two looks at what was reached."""
CANDIDATES = 12
"""Fresh seeds looked at per run; one is taken."""
PLAIN = 4
"""One run in so many takes the next seed as it comes: what was never reached has no features yet."""
EXPLORING = 4
"""While something was never reached, one run in so many is the drill of which the fewest runs have been made."""
_PROFILE = "profile="
_NO_PROFILE = _PROFILE
_SUPPORT = 8
"""In fewer runs than this a feature says nothing."""
_DOUBT = 4.0
"""So many runs in which a marker comes with every feature as often as not are added to those that were seen."""
_LIFT_MAX = 4.0
"""By how much one feature may change what a plan promises, as a factor."""
_PROFILE_LIFT_MAX = 64.0
"""The same for a profile, which is made for what hardly ever happens without it."""

Draw = Callable[[int], RunPlan]
Features = tuple[str, ...]


class Steering:
    """Chooses the seeds of a sweep, round by round."""

    def __init__(
        self, first: int, total: int, wanted: Iterable[str], least: int, draw: Draw, *, total_max: int = 0
    ) -> None:
        """``total`` runs, so that each of ``wanted`` is hit ``least`` times; ``draw(seed)`` makes a plan.

        Where that is not enough, more runs follow, round by round, up to ``total_max``.
        """
        self._next = count(first)
        self._left = total
        self._more = max(0, total_max - total)
        self._wanted = sorted(wanted)
        self._least = least
        self._draw = draw
        self._plans: dict[int, Features] = {}
        """The features of what was handed out and has not come back."""
        self._runs = 0
        self._events = 0
        self._hits: Counter[str] = Counter()
        self._reached: Counter[str] = Counter()
        """Runs that have reached a marker."""
        self._having: Counter[str] = Counter()
        """Runs that have a feature."""
        self._events_of: Counter[str] = Counter()
        self._both: defaultdict[str, Counter[str]] = defaultdict(Counter)
        """Marker → feature → runs that have both."""

    def rounds(self) -> Iterator[Sequence[int]]:
        """Yield the seeds of each round; what came of them is told by ``learn`` before the next is asked for."""
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
        """A run that was handed out has ended."""
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
        """Drills of which few runs were made, if something was never reached."""
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
        """Return a function from features to how much rarer markers become likelier per event with a plan of these.

        Every marker weighs as much as it is still wanted, however rare it is. Features are taken for independent,
        which they nearly are: each is drawn from a stream of its own. Sums are formed in one order, so that they are
        the same everywhere to the last bit.
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
        """Logarithm of how much more often something comes with ``feature`` than without looking at it."""
        most = math.log(_PROFILE_LIFT_MAX if feature.startswith(_PROFILE) else _LIFT_MAX)
        return max(-most, min(most, math.log(max(share, 1e-9) / self._usual(feature))))

    def _usual(self, feature: str) -> float:
        return self._having[feature] / self._runs


def features_of(plan: RunPlan) -> Iterator[str]:
    """What of a plan may make a marker likely: families and switches as they are, numbers by order of magnitude."""
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
