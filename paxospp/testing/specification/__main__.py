"""``python -m paxospp.testing.specification``: explore scopes exhaustively, and print a line for each."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from paxospp.testing.specification.model_checker import ScopeResult, explore
from paxospp.testing.specification.scopes import SCOPES, ModelScope


def main(arguments: Sequence[str]) -> int:
    """Explore the scopes that ``arguments`` select.

    Return 0 if no invariant broke, or if one broke after ``--without`` removed a guard; return 1 otherwise.
    """
    parser = argparse.ArgumentParser(
        prog="python -m paxospp.testing.specification", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--scope", action="append", help="explore only this scope; may be repeated")
    parser.add_argument("--without", metavar="GUARD", help="remove a guard; join several with ' + '")
    parser.add_argument("--seconds", type=float, default=300.0, help="time limit for all scopes together; default: 300")
    parser.add_argument("--list", action="store_true", help="list the scopes and their guards, and exit")
    options = parser.parse_args(arguments)
    if unknown := set(options.scope or ()) - SCOPES.keys():
        parser.error(f"unknown scope {sorted(unknown)[0]!r}; known: {', '.join(SCOPES)}")
    scopes = [SCOPES[name] for name in options.scope or SCOPES]
    if options.list:
        _list(scopes)
        return 0
    if options.without and not options.scope:
        scopes = [scope for scope in scopes if options.without in scope.guards] or scopes
    without = frozenset(options.without.split(" + ")) if options.without else frozenset[str]()
    print(f"{'scope':<42} {'steps':>9} {'states':>9} {'depth':>6} {'seconds':>8}", flush=True)
    ends_at = time.monotonic() + options.seconds
    results = []
    for place, scope in enumerate(scopes):
        # The time that one scope leaves unused is shared by the scopes after it.
        share = max(0.0, ends_at - time.monotonic()) / (len(scopes) - place)
        results.append(_explore(scope, without, share))
    is_broken = any(result.broken for result in results)
    return int(is_broken is not bool(without))


def _explore(scope: ModelScope, without: frozenset[str], seconds: float) -> ScopeResult:
    result = explore(scope, without=without, seconds=seconds)
    how = "BROKEN" if result.broken else "exhausted" if result.exhausted else "not exhausted"
    numbers = f"{result.states:>9} {result.distinct:>9} {result.depth:>6} {result.seconds:>8.1f}"
    print(f"{scope.name:<42} {numbers}  {how}", flush=True)
    if result.broken:
        print(f"\n  {result.broken}\n")
        for step in (*scope.begins, *result.trace):
            print(f"    {step}")
        print()
    return result


def _list(scopes: Sequence[ModelScope]) -> None:
    for scope in scopes:
        print(f"{scope.name}: {scope.about}")
        for guard in scope.guards:
            print(f"    {guard}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
