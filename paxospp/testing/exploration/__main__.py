"""``python -m paxospp.testing.exploration``: explore a scope, and print what the search found.

The engine is imported late: ``--fault`` puts a fault back into its source before that.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if no rule was broken, 1 if one was, and 2 if an argument is not valid."""
    parser = argparse.ArgumentParser(
        prog="python -m paxospp.testing.exploration",
        description="Explore every order of events in a small scope on the real engine.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--scope", default="plain", help="plain, five, crash, parts, damage or snapshot (default: plain)"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to search (default: 60)")
    parser.add_argument("--states", type=int, help="stop after this many states, even if time is left")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--directed", action="store_true", help="search towards rare markers instead of breadth first")
    how.add_argument("--depth-first", action="store_true", help="search depth first")
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="0: a directed search takes the shortest traces first; other seeds: it draws at random",
    )
    parser.add_argument("--sleep-sets", action="store_true", help="skip orders of actions that lead to the same state")
    parser.add_argument("--symmetry", action="store_true", help="treat nodes with the same role as interchangeable")
    parser.add_argument(
        "--begin-at",
        metavar="MARKER",
        help="begin where a random run of the simulator, of --seed or later, reports this marker",
    )
    parser.add_argument(
        "--bound", action="append", default=[], metavar="NAME=N", help="change a bound, such as campaigns=3 or alpha=1"
    )
    parser.add_argument(
        "--fault",
        metavar="NAME",
        help="put a fault into the engine first: a mutant of tests/mutants (needs a checkout)",
    )
    parser.add_argument("--scenario", metavar="FILE", help="write the trace that breaks a rule to this scenario file")
    given = parser.parse_args(arguments)
    if given.fault is not None and not _put_back(given.fault):
        return 2
    from paxospp.testing.exploration.explore_command import explore

    return explore(
        given.scope,
        seconds=given.seconds,
        states=given.states,
        order="directed" if given.directed else "depth" if given.depth_first else "breadth",
        seed=given.seed,
        sleeps=given.sleep_sets,
        symmetry=given.symmetry,
        bounds=given.bound,
        marker=given.begin_at,
        scenario=given.scenario,
    )


def _put_back(name: str) -> bool:
    """Apply a mutant of the tests to the source of the engine, which nothing has imported yet."""
    try:
        mutants = import_module("tests.mutants.catalogue").MUTANTS
        become = import_module("tests.mutants.patching").become
    except ModuleNotFoundError:
        print("--fault needs tests/mutants: run it in a checkout of paxospp", file=sys.stderr)  # noqa: T201
        return False
    if name not in mutants:
        print(f"{name!r} is not a mutant; tests/mutants/put_back.py has those of the protocol", file=sys.stderr)  # noqa: T201
        return False
    become(mutants[name])
    return True


if __name__ == "__main__":
    sys.exit(main())
