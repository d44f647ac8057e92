"""``paxospp simulate``: runs of the simulator on every core, and what they have seen.

A sweep of our own machine that is large enough has to have seen every *gate*: a simulator that
never reached some state has not proved that state right.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence

from paxospp.cli.arguments import EXIT_FAILED
from paxospp.cli.showing import print_table, progress, say
from paxospp.errors import ConfigError
from paxospp.testing.simulation import Overrides, Report, SimulationError
from paxospp.testing.simulation.faults import FAMILIES
from paxospp.testing.simulation.workers import Job, run_seeds

SEEDS = 100
GATED_SEEDS = 1000
"""From so many seeds on a gate that was never seen is a failure."""


def run(options: argparse.Namespace) -> int:
    """0 if every seed held, and every gate was seen where that can be asked; else 1, with the seed."""
    job = Job(
        machine=options.machine,
        workload=options.workload,
        invariant=options.invariant,
        plugins=tuple(options.plugin or ()),
        overrides=Overrides(families=_families(options.faults), nodes=options.nodes, seconds=options.seconds),
    )
    if job.machine is None and (job.workload or job.invariant):
        raise ConfigError("--workload and --invariant belong to a --machine")
    first = options.seed or 0
    count = options.seeds if options.seeds is not None else SEEDS if options.seed is None else 1
    simulation = job.simulation()  # what is misspelt is told here, once
    began = time.monotonic()
    report = Report()
    try:
        if count == 1:
            report = simulation.run([first])
        else:
            _sweep(job, range(first, first + count), options.jobs or os.cpu_count() or 1, report)
    except SimulationError as error:
        say(str(error))
        return EXIT_FAILED
    return _show(report, time.monotonic() - began, gated=_is_plain(options) and count >= GATED_SEEDS)


def _sweep(job: Job, seeds: Sequence[int], jobs: int, report: Report) -> None:
    with progress("simulating", len(seeds)) as advance:
        for part in run_seeds(job, seeds, min(jobs, len(seeds))):
            report.add(part)
            advance(report.seeds)


def _show(report: Report, seconds: float, *, gated: bool) -> int:
    if report.seeds == 1:
        (seed,) = report.hashes
        say(f"seed {seed}: {report.hashes[seed]}")
    else:
        rows = [(what, str(count)) for what, count in sorted(report.coverage.items()) if count]
        print_table(("seen", "times"), rows)
    say(f"{report} ({seconds:.0f} s)")
    missed = report.gates_missed
    if not gated or not missed:
        return 0
    say(f"never seen: {'; '.join(missed)}")
    return EXIT_FAILED


def _is_plain(options: argparse.Namespace) -> bool:
    """Whether nothing was left out, so that everything has to be seen."""
    given = (options.machine, options.faults, options.nodes, options.seconds)
    return all(value is None for value in given)


def _families(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = () if text == "none" else tuple(text.split(","))
    unknown = [name for name in names if name not in FAMILIES]
    if unknown:
        raise ConfigError(f"--faults {unknown[0]}: there is no such family; known: {', '.join(FAMILIES)}, or none")
    return names
