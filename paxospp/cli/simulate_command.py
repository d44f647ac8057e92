"""``paxospp simulate``: run the simulator on all cores, and print what the runs reached.

A simulator that never reached a state has not shown that the state is handled right. So a sweep of the built-in state
machine with many seeds fails if it never saw one of the *gates*, states that must occur. ``--require-markers`` asks the
same of marked branches of the code.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence

from paxospp.cli.arguments import EXIT_FAILED
from paxospp.cli.marker_table import has_reached_enough, print_markers, write_markers
from paxospp.cli.terminal import print_table, progress, say
from paxospp.errors import ConfigError
from paxospp.testing.simulation import Overrides, Report, SimulationError
from paxospp.testing.simulation.faults.families import FAMILIES
from paxospp.testing.simulation.reach.beyond import required
from paxospp.testing.simulation.reach.steering import Steering
from paxospp.testing.simulation.seed_workers import Job, run_rounds, run_seeds

SEEDS = 100
GATED_SEEDS = 1000
"""With at least this many seeds, a gate that was never seen is a failure."""


def run(options: argparse.Namespace) -> int:
    """Run the seeds; return 0, or 1 if a seed broke an invariant or a gate or marker was not reached often enough."""
    job = Job(
        machine=options.machine,
        workload=options.workload,
        invariant=options.invariant,
        plugins=tuple(options.plugin or ()),
        overrides=Overrides(
            families=_families(options.faults),
            nodes=options.nodes,
            seconds=options.seconds,
            validates=options.validate,
        ),
    )
    if job.machine is None and (job.workload or job.invariant):
        raise ConfigError("--workload and --invariant need --machine")
    if options.require_markers is None and (options.missed_max is not None or options.seeds_max is not None):
        raise ConfigError("--missed-max and --seeds-max need --require-markers")
    first = options.seed or 0
    count = options.seeds if options.seeds is not None else SEEDS if options.seed is None else 1
    simulation = job.simulation()  # made here so that a wrong name is reported once, not by each worker
    began = time.monotonic()
    report = Report()
    try:
        jobs = min(count, options.jobs or os.cpu_count() or 1)
        if options.require_markers is not None:
            steering = Steering(
                first, count, required(), options.require_markers, simulation.plan, total_max=options.seeds_max or count
            )
            _steer(job, steering, count, jobs, report)
        elif count == 1:
            report = simulation.run([first])
        else:
            _sweep(job, range(first, first + count), jobs, report)
    except SimulationError as error:
        say(str(error))
        return EXIT_FAILED
    code = _show(report, time.monotonic() - began, gated=_is_plain(options) and report.seeds >= GATED_SEEDS)
    return max(code, _show_markers(report, options))


def _sweep(job: Job, seeds: Sequence[int], jobs: int, report: Report) -> None:
    with progress("simulating", len(seeds)) as advance:
        for part in run_seeds(job, seeds, jobs):
            report.add(part)
            advance(report.seeds)


def _steer(job: Job, steering: Steering, count: int, jobs: int, report: Report) -> None:
    with progress("simulating", count) as advance:
        for part in run_rounds(job, steering.rounds(), jobs):
            for seed, reached in part.runs.items():
                steering.learn(seed, reached)
            report.add(part)
            advance(report.seeds)


def _show_markers(report: Report, options: argparse.Namespace) -> int:
    tally = report.tally
    if options.markers:
        print_markers(tally)
    if options.markers_json is not None:
        write_markers(tally, options.markers_json)
    least = options.require_markers
    if least is not None and not has_reached_enough(tally, least, missed_max=options.missed_max or 0):
        return EXIT_FAILED
    return 0


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
    """Return whether the simulation is at its defaults, so that it must see every gate."""
    given = (options.machine, options.faults, options.nodes, options.seconds)
    return all(value is None for value in given)


def _families(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = () if text == "none" else tuple(text.split(","))
    unknown = [name for name in names if name not in FAMILIES]
    if unknown:
        raise ConfigError(f"--faults {unknown[0]}: unknown family of faults; known are {', '.join(FAMILIES)}, or none")
    return names
