"""The search through the worlds of a scope: breadth first, depth first, or directed towards rare markers.

*Breadth first* finds a shortest trace to a violation, and says up to which depth none exists. *Depth first* goes deep
quickly. The *directed* search groups worlds by the set of markers that the engine reported on the way to them, and
expands the groups alternately, so that a rare set gets as much attention as a common one.

**Sleep sets** (Godefroid, "Partial-Order Methods for the Verification of Concurrent Systems", 1996) leave out an action
where the same world is reached by the same actions in another order. Two actions are independent if they

* happen at different nodes, so that neither changes what the other does or whether it can happen,
* do not cost the same budget, so that neither can use up what the other needs, and
* do not judge each other: if one adds facts, the other makes no claim that more facts can refute. (A lasting claim
  needs no such care: it was true when both could happen, or the search would have ended there.)

Sleep sets leave out steps and never worlds: every world is still visited, at its smallest depth. The outcome of a step
is remembered and costs little the second time, so sleep sets save less time here than elsewhere.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from random import Random

from paxospp.testing.exploration.node_events import Install
from paxospp.testing.exploration.story import begin as begin_scope
from paxospp.testing.exploration.symmetry import Symmetry
from paxospp.testing.exploration.worlds import Action, Explorer, Successor, World

_NOTHING: frozenset[int] = frozenset()
_CHECKED_EVERY = 256
"""How many worlds are expanded between two looks at the clock."""


class Order(Enum):
    """Which world is expanded next."""

    BREADTH = "breadth"
    DEPTH = "depth"
    DIRECTED = "directed"


@dataclass(slots=True)
class Violation:
    """A broken rule, and the trace that leads to it."""

    text: str
    trace: list[Action]
    """The actions from the first world on; the last one breaks the rule."""


@dataclass(slots=True)
class SearchFindings:
    """The results of a search so far."""

    transitions: int = 0
    """How many actions were taken; the command calls them states."""
    distinct: int = 0
    """How many worlds were visited."""
    depth: int = 0
    """The greatest depth of a world that was visited."""
    complete_to: int = 0
    """Every world less deep than this was expanded; kept only by a breadth-first search."""
    is_exhausted: bool = False
    """Whether every world was expanded."""
    seconds: float = 0.0
    processor_s: float = 0.0
    """Processor time of this process; less than ``seconds`` on a busy machine."""
    violation: Violation | None = None


@dataclass(slots=True)
class _Bucket:
    """The worlds that were reached with the same set of markers reported on the way."""

    waiting: deque[tuple[World, int]] = field(default_factory=deque)
    """Worlds to expand, each with its depth, in the order in which they were found."""
    expanded: int = 0


class Search:
    """One search through one scope."""

    def __init__(
        self,
        explorer: Explorer,
        *,
        order: Order = Order.BREADTH,
        sleeps: bool = False,
        symmetry: bool = False,
        seed: int = 0,
        begin: World | None = None,
    ) -> None:
        """Prepare a search; ``run`` begins it.

        Args:
            explorer: the explorer of the scope.
            order: which world is expanded next.
            sleeps: use sleep sets, unless the search is directed or uses symmetry.
            symmetry: treat worlds that differ only in the names of interchangeable nodes as one, see ``symmetry``.
            seed: how a directed search picks among worlds with the same markers. 0: in the order in which they were
                found, so those with short traces first; another number: at random.
            begin: the first world; None: that of the scope.
        """
        self.explorer = explorer
        self.findings = SearchFindings()
        self.first = begin_scope(explorer) if begin is None else begin
        self._order = order
        self._key: Callable[[World], int] = Symmetry(explorer).key if symmetry else hash
        self._sleeps = sleeps and order is not Order.DIRECTED and not symmetry
        self._random = Random(seed) if seed else None
        self._parents: dict[int, int] = {}
        """The key of the world from which a world was reached first, by the key of the latter."""
        self._asleep: dict[int, frozenset[int]] = {}
        """The actions that need not be taken in a world, by its key; empty sets are left out."""
        self._level: list[tuple[World, int, frozenset[int] | None]] = [(self.first, 0, None)]
        """Worlds to expand, each with its depth and the only actions to take there; None: all that are not asleep."""
        self._next_level: list[tuple[World, int, frozenset[int] | None]] = []
        self._buckets: dict[frozenset[str], _Bucket] = {}
        self._heap: list[tuple[int, int, int, frozenset[str]]] = []
        self._parents[self._key(self.first)] = 0
        self.findings.distinct = 1
        if order is Order.DIRECTED:
            self._queue(self.first, 0, frozenset())

    def run(
        self, *, seconds: float = float("inf"), transitions: int | None = None, depth: int | None = None
    ) -> SearchFindings:
        """Continue until a rule is broken, every world is expanded, or a limit is reached.

        ``depth`` limits a breadth-first search to the worlds less deep than that.
        """
        began, used = time.monotonic(), time.process_time()
        ends_at = began + seconds
        findings = self.findings
        expand = self._expand_rarest if self._order is Order.DIRECTED else self._expand_next
        steps = 0
        while findings.violation is None:
            if depth is not None and findings.complete_to >= depth and not self._level:
                break
            if not expand():
                findings.is_exhausted = True
                break
            steps += 1
            if steps % _CHECKED_EVERY == 0 and time.monotonic() > ends_at:
                break
            if transitions is not None and findings.transitions >= transitions:
                break
        findings.seconds += time.monotonic() - began
        findings.processor_s += time.process_time() - used
        return findings

    # Breadth first and depth first.

    def _expand_next(self) -> bool:
        if not self._level:
            if not self._next_level:
                return False
            self._level, self._next_level = self._next_level, []
            if self._order is Order.BREADTH:
                self._level.reverse()
        world, depth, only = self._level.pop()
        self._expand(world, depth, only)
        if self._order is Order.BREADTH:
            if not self._level:
                self.findings.complete_to = depth + 1
        elif self._next_level:
            self._level.extend(reversed(self._next_level))
            self._next_level.clear()
        return True

    def _expand(self, world: World, depth: int, only: frozenset[int] | None) -> None:
        explorer, findings, parents = self.explorer, self.findings, self._parents
        key = self._key(world)
        asleep = self._asleep.get(key, _NOTHING) if self._sleeps else _NOTHING
        if self._sleeps:
            successors, taken = self._awake(world, asleep, only)
        else:
            successors, taken = explorer.successors(world), []
        for successor in successors:
            findings.transitions += 1
            action, _, after, broken = successor
            if broken is not None:
                findings.violation = Violation(broken, [*self._trace(world), action])
                return
            reached = self._key(after)
            sleep = _still_asleep(taken, successor) if self._sleeps and taken else _NOTHING
            if reached not in parents:
                parents[reached] = key
                findings.distinct += 1
                if depth >= findings.depth:
                    findings.depth = depth + 1
                if sleep:
                    self._asleep[reached] = sleep
                self._next_level.append((after, depth + 1, None))
            elif self._sleeps and (before := self._asleep.get(reached)):
                missing = before - sleep
                if missing:
                    self._asleep[reached] = before & sleep
                    self._next_level.append((after, depth + 1, missing))
            if self._sleeps:
                taken.append(successor)

    def _awake(
        self, world: World, asleep: frozenset[int], only: frozenset[int] | None
    ) -> tuple[list[Successor], list[Successor]]:
        """Return the outcomes of the actions to take here, and those of the rest, which may stay asleep after them."""
        awake: list[Successor] = []
        rest: list[Successor] = []
        for successor in self.explorer.successors(world):
            code = successor[0].code
            leave = code in asleep if only is None else code not in only
            (rest if leave else awake).append(successor)
        return awake, rest

    # Directed.

    def _queue(self, world: World, depth: int, marks: frozenset[str]) -> None:
        bucket = self._buckets.get(marks)
        if bucket is None:
            bucket = self._buckets[marks] = _Bucket()
        if not bucket.waiting:
            heapq.heappush(self._heap, (bucket.expanded, -len(marks), len(self._parents), marks))
        bucket.waiting.append((world, depth))

    def _expand_rarest(self) -> bool:
        if not self._heap:
            return False
        *_, marks = heapq.heappop(self._heap)
        bucket = self._buckets[marks]
        waiting = bucket.waiting
        if self._random is not None:
            waiting.rotate(self._random.randrange(len(waiting)))
        world, depth = waiting.popleft()
        bucket.expanded += 1
        if waiting:
            heapq.heappush(self._heap, (bucket.expanded, -len(marks), len(self._parents), marks))
        findings, parents, key = self.findings, self._parents, self._key(world)
        for action, step, after, broken in self.explorer.successors(world):
            findings.transitions += 1
            if broken is not None:
                findings.violation = Violation(broken, [*self._trace(world), action])
                return True
            reached = self._key(after)
            if reached not in parents:
                parents[reached] = key
                findings.distinct += 1
                findings.depth = max(findings.depth, depth + 1)
                self._queue(after, depth + 1, marks | step.marks)
        return True

    # Traces.

    def _trace(self, world: World) -> list[Action]:
        """Return the actions by which ``world`` was reached first."""
        keys = [self._key(world)]
        while (parent := self._parents[keys[-1]]) != 0:
            keys.append(parent)
        trace: list[Action] = []
        here = self.first
        for key in reversed(keys[:-1]):
            action, _, here, _ = next(it for it in self.explorer.successors(here) if self._key(it[2]) == key)
            trace.append(action)
        return trace


def _still_asleep(taken: Iterable[Successor], now: Successor) -> frozenset[int]:
    """Return the codes of the ``taken`` actions that are independent of ``now``, and so need no second try after it."""
    return frozenset([other[0].code for other in taken if _are_independent(other, now)])


def _are_independent(one: Successor, other: Successor) -> bool:
    here, step, *_ = one
    there, other_step, *_ = other
    if here.place == there.place or (here.budget == there.budget >= 0):
        return False
    if (step.facts_id and other_step.has_fleeting_claims) or (other_step.facts_id and step.has_fleeting_claims):
        return False
    # Installing a snapshot reads the disk of a peer.
    return type(here.event) is not Install and type(there.event) is not Install
