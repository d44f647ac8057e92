"""Breadth-first search through every state of a scope, until an invariant breaks or no new state is left.

States that are equal up to renaming the nodes are visited once (``explored_system.ModelSymmetry``). The trace to the
first violation is one of the shortest.

Reference: Lamport, "Specifying Systems" (2002), chapter 14: TLC; Yu, Manolios, Lamport, "Model Checking TLA+
Specifications" (1999).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from paxospp.testing.specification.choices import choices
from paxospp.testing.specification.explored_system import Explored, ModelSymmetry, begin, membership_of
from paxospp.testing.specification.invariants import violations
from paxospp.testing.specification.scopes import ModelScope
from paxospp.testing.specification.step import ModelStep, NotAllowedError


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeResult:
    """The outcome of exploring a scope."""

    scope: str
    states: int
    """How many steps were taken; a state that is reached again counts again."""
    distinct: int
    """How many distinct states were reached."""
    depth: int
    """Every state within this many steps was visited."""
    seconds: float
    exhausted: bool
    """Whether every reachable state was visited."""
    broken: str = ""
    """The invariant that broke, and how; empty if none did."""
    trace: Sequence[str] = ()
    """The steps that lead to the violation."""


_Parent = tuple[Explored, str, int, tuple[int, ...]]
"""How a state was reached: the state before, the step as text, the node that took it, and the symmetry's reordering.

For each node of the state after the step, the reordering holds the index of the same node in the state before.
"""


def explore(
    scope: ModelScope, *, without: frozenset[str] = frozenset(), seconds: float = math.inf, states_max: int = 5_000_000
) -> ScopeResult:
    """Visit the states of ``scope`` with the guards ``without`` removed.

    Stop at the first violation, after ``seconds``, or once ``states_max`` distinct states are known.
    """
    began = time.monotonic()
    membership = membership_of(scope)
    symmetry = ModelSymmetry(scope.nodes) if scope.is_symmetric else None
    start = _begun(scope)
    seen: dict[Explored, _Parent | None] = {start: None}
    level, states, depth = [start], 1, 0

    def result(*, exhausted: bool, broken: str = "", trace: Sequence[str] = ()) -> ScopeResult:
        return ScopeResult(
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
                step = ModelStep(state, choice.name, without)
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


def _begun(scope: ModelScope) -> Explored:
    """Return the state after the steps that ``scope`` begins with."""
    state = begin(scope)
    for told in scope.begins:
        for choice in choices(state, scope):
            if f"n{choice.name + 1} {choice.what}" == told:
                step = ModelStep(state, choice.name)
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
    """Return the steps to ``state``; undo the symmetry's reordering, so that each node keeps one name throughout."""
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
