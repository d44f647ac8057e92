"""Runs seeds on every core, in processes that are given a few seeds at a time.

Jobs are sent as text, as on the command line, so that a machine in a file needs no pickling. The processes are
*spawned*: nothing of the caller's process is copied, least of all its threads.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, cast

from paxospp.plugins import PluginRegistry
from paxospp.plugins.loading import load_object
from paxospp.testing.simulation.machines import Ledger
from paxospp.testing.simulation.plan import Overrides
from paxospp.testing.simulation.report import Report
from paxospp.testing.simulation.simulation import Simulation

SEEDS_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A simulation, described by text."""

    machine: str | None = None
    workload: str | None = None
    invariant: str | None = None
    plugins: tuple[str, ...] = ()
    overrides: Overrides = Overrides()

    def simulation(self) -> Simulation:
        """Return the simulation. Raises ConfigError or PluginError if something that is named does not exist."""
        machine = Ledger if self.machine is None else PluginRegistry(self.plugins).machine(self.machine)
        if self.machine is not None and ":" in self.machine:
            # The class itself, which can be imported by name; a factory of the registry cannot.
            machine = cast("Callable[[], Any]", load_object(self.machine))
        return Simulation(
            machine,
            workload=_function(self.workload),
            invariant=_function(self.invariant),
            overrides=self.overrides,
        )


def run_seeds(job: Job, seeds: Sequence[int], jobs: int) -> Iterator[Report]:
    """Yield reports as they come, a few seeds each. Raises SimulationError for a seed that breaks something."""
    return run_rounds(job, [seeds], jobs)


def run_rounds(job: Job, rounds: Iterable[Sequence[int]], jobs: int) -> Iterator[Report]:
    """Yield reports round by round; the seeds of a round are asked for after all reports of the former round."""
    # Sets iterate in the same order in all processes, so that a failure that depends on it can be repeated.
    os.environ.setdefault("PYTHONHASHSEED", "1")
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
    try:
        for seeds in rounds:
            # Small enough that no process waits long for the others at the end of a round.
            at_once = max(1, min(SEEDS_AT_ONCE, len(seeds) // (8 * jobs)))
            waiting: set[Future[Report]] = {
                pool.submit(_run, job, seeds[start : start + at_once]) for start in range(0, len(seeds), at_once)
            }
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()  # a pool that is not shut down may print an error when the interpreter ends


def _run(job: Job, seeds: Sequence[int]) -> Report:
    report = job.simulation().run(seeds)
    # A world is full of reference cycles, and every restore makes them old, where the collector seldom looks.
    gc.collect()
    return report


def _function(spec: str | None) -> Any:
    return None if spec is None else load_object(spec)
