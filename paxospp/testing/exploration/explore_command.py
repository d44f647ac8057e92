"""The command: run one search, and print how far it came and the trace to a violation."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from paxospp.testing.exploration.scope import ExplorationScope
from paxospp.testing.exploration.scopes import SCOPES
from paxospp.testing.exploration.search import Order, Search, SearchFindings
from paxospp.testing.exploration.starts import SEEDS_MAX, first_start
from paxospp.testing.exploration.story import describe, scenario_of
from paxospp.testing.exploration.worlds import Explorer, World
from paxospp.testing.simulation.reach.tally import everything

_REPORT_S = 10.0


def explore(
    name: str,
    *,
    seconds: float,
    states: int | None = None,
    order: str = "breadth",
    seed: int = 0,
    sleeps: bool = False,
    symmetry: bool = False,
    bounds: Sequence[str] = (),
    marker: str | None = None,
    scenario: str | None = None,
    write: Callable[[str], object] = lambda line: print(line, flush=True),  # noqa: T201
) -> int:
    """Search the scope ``name`` until a limit, and print the outcome.

    Return 0 if no rule was broken, 1 if one was, and 2 if an argument is not valid.
    """
    if marker is not None and scenario is not None:
        print("a scenario begins with a new cluster: leave out --begin-at or --scenario", file=sys.stderr)  # noqa: T201
        return 2
    if name not in SCOPES:
        print(f"{name!r} is not a scope; known: {', '.join(SCOPES)}", file=sys.stderr)  # noqa: T201
        return 2
    try:
        scope = bounded(SCOPES[name], bounds)
    except ValueError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    write(f"scope {scope.name}: {scope.about}")
    begin: World | None = None
    if marker is None:
        explorer = Explorer(scope)
    else:
        if marker not in everything():
            print(f"{marker!r} is not a marker: paxospp simulate --markers lists them", file=sys.stderr)  # noqa: T201
            return 2
        logging.disable(logging.CRITICAL)  # warnings of the simulated nodes
        found = first_start(marker, scope, seed)
        if found is None:
            write(
                f"none of {SEEDS_MAX} random runs from seed {seed} on reaches {marker!r} in a cluster that can be "
                "explored: try another --seed"
            )
            return 2
        number, explorer, begin = found
        write(f"from where the random run of seed {number} reaches {marker!r}: {len(explorer.names)} nodes")
    search = Search(explorer, order=Order(order), sleeps=sleeps, symmetry=symmetry, seed=seed, begin=begin)
    while True:
        findings = search.run(seconds=min(_REPORT_S, seconds - search.findings.seconds), transitions=states)
        write(summary(findings, order, explorer))
        if findings.violation is not None:
            write("")
            for action in findings.violation.trace:
                write(f"  {describe(explorer, action)}")
            write(f"\n{findings.violation.text}")
            if scenario is not None:
                Path(scenario).write_text(scenario_of(explorer, findings.violation.trace, findings.violation.text))
            return 1
        if findings.is_exhausted:
            write("exhausted: every state of this scope was visited, and no rule is broken")
            return 0
        if findings.seconds >= seconds or (states is not None and findings.transitions >= states):
            write("not exhausted; no rule is broken so far")
            return 0


def bounded(scope: ExplorationScope, bounds: Sequence[str]) -> ExplorationScope:
    """Return ``scope`` with the bounds replaced that are given as ``name=number``.

    Raises:
        ValueError: a name is unknown, or a value is not a number.
    """
    numbers = {field.name for field in fields(ExplorationScope) if isinstance(getattr(scope, field.name), int)}
    for bound in bounds:
        name, _, number = bound.partition("=")
        if name not in numbers or not number.isdecimal():
            raise ValueError(f"{bound!r} is not a bound: write NAME=N, with one of {', '.join(sorted(numbers))}")
        value = int(number)
        changed: dict[str, Any] = {name: bool(value) if isinstance(getattr(scope, name), bool) else value}
        scope = replace(scope, **changed)
    return scope


def summary(findings: SearchFindings, order: str, explorer: Explorer) -> str:
    """Return one line about how far a search has come."""
    depth = f"complete to depth {findings.complete_to}" if order == "breadth" else f"depth {findings.depth}"
    rate = findings.transitions / findings.processor_s if findings.processor_s else 0.0
    return (
        f"{findings.transitions} states, {findings.distinct} distinct, {depth}, {findings.seconds:.1f} s "
        f"({findings.processor_s:.1f} s of processor), {rate:.0f} states/s of it; "
        f"{len(explorer.nodes.known)} states of nodes, {explorer.nodes.steps_taken} steps of the engine"
    )
