"""``python -m tests.mutants``: run all mutants, or those whose names contain one of the given words."""

from __future__ import annotations

import argparse
import resource
import secrets
import statistics
import sys
import time

from tests.mutants.by_test import notices
from tests.mutants.catalogue import MUTANTS
from tests.mutants.run import Hunt, heading, line_of

UNDECIDED = 77
"""The exit code when no mutant survived, but the time ran out before each had run all its seeds."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__, allow_abbrev=False)
    parser.add_argument("words", nargs="*", help="run mutants whose names contain one of these; default: all")
    parser.add_argument("--first", type=int, default=None, help="the first seed; default: random")
    parser.add_argument("--seeds", type=int, default=400, help="seeds per mutant at most, except the rare ones")
    parser.add_argument("--budget-s", type=float, default=None, help="start no more runs after this many seconds")
    parser.add_argument("--kills", type=int, default=1, help="stop a mutant after this many kills; 0: run all seeds")
    parser.add_argument("--jobs", type=int, default=None, help="processes to run at a time; default: one per processor")
    parser.add_argument("--list", action="store_true", help="print what each mutant breaks, and exit")
    options = parser.parse_args()
    chosen = [
        mutant for mutant in MUTANTS.values() if not options.words or any(word in mutant.name for word in options.words)
    ]
    if not chosen:
        parser.error(f"no mutant's name contains {' or '.join(map(repr, options.words))}: see --list")
    if options.list:
        for mutant in chosen:
            print(f"{mutant.name}\n    {mutant.why}")
        return 0
    for mutant in chosen:
        mutant.check()
    first = secrets.randbelow(1 << 31) if options.first is None else options.first
    began = time.monotonic()
    mutants = "1 mutant" if len(chosen) == 1 else f"{len(chosen)} mutants, each"
    print(f"{mutants} under seeds from {first} on, at most {options.seeds}\n{heading()}", flush=True)
    hunt = Hunt(
        [mutant for mutant in chosen if not mutant.seen_by and (options.words or not mutant.open)],
        first=first,
        seeds=options.seeds,
        kills=options.kills or options.seeds + 1,
        jobs=options.jobs,
        budget_s=options.budget_s,
        on_done=lambda score: print(line_of(score), flush=True),
    )
    scores = hunt.go()
    survivors = [score.mutant.name for score in scores if not score.kills and score.seeds >= score.limit]
    undecided = [score for score in scores if not score.kills and score.seeds < score.limit]
    for mutant in chosen:
        if mutant.seen_by:
            noticed = notices(mutant)
            verdict = "by test" if noticed else "SURVIVED"
            print(f"{mutant.name:<72} {verdict:>16}  {mutant.seen_by}", flush=True)
            if not noticed:
                survivors.append(mutant.name)
    lacking = [] if options.words else [mutant for mutant in chosen if mutant.open]
    for mutant in lacking:
        print(f"{mutant.name:<72} {'OPEN':>16}  {mutant.open}", flush=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{len(chosen) - len(survivors) - len(lacking) - len(undecided)} of {len(chosen)} killed, {len(lacking)} open, "
        f"{sum(bool(score.kills) for score in scores)} of them by random seeds alone; "
        f"{sum(score.seeds for score in scores)} runs in {time.monotonic() - began:.0f} s, "
        f"{used.ru_utime + used.ru_stime:.0f} s of processors"
    )
    killed = sorted(score.seeds for score in scores if score.kills)
    if killed:
        print(f"seeds until the first kill: median {statistics.median(killed):g}, at most {killed[-1]}")
    for name in survivors:
        print(f"survived: {name}")
    for score in undecided:
        print(f"undecided, because the time ran out after {score.seeds} seeds: {score.mutant.name}")
    return 1 if survivors else UNDECIDED if undecided else 0


if __name__ == "__main__":
    sys.exit(main())
