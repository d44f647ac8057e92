"""Breadth-first search through everything that a scope allows, until an invariant breaks or nothing new is left.

States that differ in which node is which only are visited once (``explored.Symmetry``). The first violation found
is one of the shortest.

Reference: Lamport, "Specifying Systems" (2002), chapter 14: TLC; Yu, Manolios, Lamport, "Model Checking TLA+
Specifications" (1999).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from paxospp.testing.specification.choices import choices
from paxospp.testing.specification.explored import Explored, Symmetry, begin, membership_of
from paxospp.testing.specification.invariants import violations
from paxospp.testing.specification.scopes import Scope
from paxospp.testing.specification.step import NotAllowedError, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of exploring a scope."""

    scope: str
    states: int
    """Reached by some step, the same ones counted again."""
    distinct: int
    depth: int
    """Every state that so many steps lead to was visited."""
    seconds: float
    exhausted: bool
    broken: str = ""
    trace: Sequence[str] = ()
    """The steps that lead there."""


_Parent = tuple[Explored, str, int, tuple[int, ...]]
"""The state before, the step of which of its nodes, and where the nodes of this one stood after it."""


def explore(
    scope: Scope, *, without: frozenset[str] = frozenset(), seconds: float = math.inf, states_max: int = 5_000_000
) -> Result:
    """Visit what ``scope`` allows, without the guards ``without``, until so many are known or so long has passed."""
    began = time.monotonic()
    membership = membership_of(scope)
    symmetry = Symmetry(scope.nodes) if scope.is_symmetric else None
    start = _begun(scope)
    seen: dict[Explored, _Parent | None] = {start: None}
    level, states, depth = [start], 1, 0

    def result(*, exhausted: bool, broken: str = "", trace: Sequence[str] = ()) -> Result:
        return Result(
            scope=scope.name,
            states=states,
            distinct=len(seen),
            depth=depth,
            seconds=time.monotonic() - began,
            exhausted=exhausted,
            broken=broken,
            trace=trace,
        )

    while level:
        following: list[Explored] = []
        for state in level:
            if time.monotonic() - began > seconds or len(seen) >= states_max:
                return result(exhausted=False)
            for choice in choices(state, scope):
                step = Step(state, choice.name, without)
                try:
                    choice.act(step)
                except NotAllowedError:
                    continue
                states += 1
                after = state.after(step, choice.spends)
                order: tuple[int, ...] = tuple(range(scope.nodes))
                if symmetry is not None:
                    after, order = symmetry.canonical(after)
                if after in seen:
                    continue
                seen[after] = (state, choice.what, choice.name, order)
                broken = next(violations(after, membership), "")
                if broken:
                    depth += 1
                    return result(exhausted=False, broken=broken, trace=_trace(seen, after))
                following.append(after)
        level = following
        depth += bool(level)
    return result(exhausted=True)


def _begun(scope: Scope) -> Explored:
    """The state after the steps that ``scope`` begins with."""
    state = begin(scope)
    for told in scope.begins:
        for choice in choices(state, scope):
            if f"n{choice.name + 1} {choice.what}" == told:
                step = Step(state, choice.name)
                try:
                    choice.act(step)
                except NotAllowedError:
                    continue
                state = state.after(step, choice.spends)
                break
        else:
            raise ValueError(f"scope {scope.name!r} begins with a step that is not allowed: {told}")
    return state


def _trace(seen: dict[Explored, _Parent | None], state: Explored) -> Sequence[str]:
    """The steps to ``state``, with the nodes called alike from beginning to end."""
    steps: list[_Parent] = []
    while (parent := seen[state]) is not None:
        steps.append(parent)
        state = parent[0]
    names = list(range(len(state.nodes)))
    told: list[str] = []
    for _, what, name, order in reversed(steps):
        told.append(f"n{names[name] + 1} {what}")
        names = [names[place] for place in order]
    return told
