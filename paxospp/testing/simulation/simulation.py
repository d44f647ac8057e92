"""``Simulation``: runs a simulated cluster under faults, seed by seed, deterministically.

One seed decides everything: sizes, settings, faults, every delay and every call. If a seed breaks something, the run is
made smaller as long as it breaks the same rule, and ``SimulationError`` is raised.

References: Claessen and Hughes, "QuickCheck" (2000), for shrinking; Zhou et al., "FoundationDB" (2021), section 4, for
the value of such a simulator.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from paxospp.state_machine import StateMachine, prepare
from paxospp.testing.simulation.machines import Ledger, ledger_calls
from paxospp.testing.simulation.phases import SimulationRun
from paxospp.testing.simulation.plan import Invariant, Overrides, RunPlan, Workload
from paxospp.testing.simulation.replay_command import SimulatedMachine
from paxospp.testing.simulation.report import Reached, Report, SimulationError
from paxospp.testing.simulation.rule_broken import RuleBroken
from paxospp.testing.workload import workload_of

SHRINKING_S = 20.0
"""How long to look for a smaller failure."""


class Simulation:
    """Runs a state machine on a simulated cluster under faults.

    Args:
        machine: makes a machine; every replica has its own, at every start.
        workload: draws one call, such as ``(Bank.transfer, "a", "b", 5)``; without it, calls are drawn from the
            annotations of the machine, over a small domain.
        invariant: called with the machine of each replica after each slot that it applies; raises if something is
            wrong.
        nodes: number of nodes; without it, each seed decides.
        overrides: other parts of the plan to replace.

    Raises:
        ConfigError: no node would start with this machine, or its annotations do not say what to call.
    """

    def __init__(
        self,
        machine: Callable[[], StateMachine],
        *,
        workload: Workload | None = None,
        invariant: Invariant | None = None,
        nodes: int | None = None,
        overrides: Overrides | None = None,
    ) -> None:
        self._overrides = overrides or Overrides()
        if nodes is not None:
            self._overrides = replace(self._overrides, nodes=nodes)
        if machine is Ledger and workload is None and invariant is None:
            self._subject = SimulatedMachine(Ledger, ledger_calls, is_default=True)
            return
        made = machine()
        prepare(made)
        self._subject = SimulatedMachine(machine, workload or workload_of(type(made)), invariant, workload)

    def run(self, seeds: Iterable[int]) -> Report:
        """Run these seeds, one after another.

        Raises:
            SimulationError: one of them broke something; its text holds the command that replays it.
        """
        report = Report()
        with _silence():
            for seed in seeds:
                report.add(self.run_seed(seed))
        return report

    def run_seed(self, seed: int) -> Report:
        """Run one seed and return what it reached. Raises SimulationError."""
        try:
            return self._once(seed, self._overrides)
        except RuleBroken as broken:
            command = self._subject.command(seed, self._overrides)
            smaller = self._shrink(seed, broken.rule)
            less = None if smaller is None else self._subject.command(seed, smaller)
            raise SimulationError(seed, broken.rule, broken.text, command, less) from broken

    def plan(self, seed: int) -> RunPlan:
        """Return what ``seed`` decides."""
        return self._draw(seed, self._overrides)

    def _draw(self, seed: int, overrides: Overrides) -> RunPlan:
        return RunPlan.draw(
            seed,
            machine=self._subject.machine,
            workload=self._subject.workload,
            invariant=self._subject.invariant,
            overrides=overrides,
        )

    def _once(self, seed: int, overrides: Overrides) -> Report:
        plan = self._draw(seed, overrides)
        began = time.process_time()
        run = SimulationRun(plan)
        run.go()
        world = run.world
        if world.validator is not None:
            world.coverage["a run was held against the specification"] += 1
        return Report(
            seeds=1,
            events=world.clock.events,
            seconds=time.process_time() - began,
            hashes={seed: world.event_hash},
            coverage=world.coverage,
            calls=world.history.ended,
            runs={seed: Reached(dict(world.reach.hits), world.clock.events)},
        )

    def _shrink(self, seed: int, rule: str) -> Overrides | None:
        """Return overrides under which less still breaks the same rule; None if nothing can be left out."""
        until = time.monotonic() + SHRINKING_S
        best = self._overrides
        tried: set[Overrides] = {best}

        def breaks(overrides: Overrides) -> bool:
            if overrides in tried or time.monotonic() > until:
                return False
            tried.add(overrides)
            try:
                self._once(seed, overrides)
            except RuleBroken as broken:
                return broken.rule == rule
            return False

        while (smaller := next(filter(breaks, self._smaller(seed, best)), None)) is not None:
            best = smaller
        return None if best == self._overrides else best

    def _smaller(self, seed: int, overrides: Overrides) -> Iterator[Overrides]:
        """Yield overrides that leave out one more thing, those that leave out most first."""
        plan = self._draw(seed, overrides)
        families = plan.faults.families
        if families:
            yield replace(overrides, families=())
            half = len(families) // 2
            if half:
                yield replace(overrides, families=families[:half])
                yield replace(overrides, families=families[half:])
            for family in families:
                yield replace(overrides, families=tuple(other for other in families if other != family))
        if plan.safety_s > 0.5:
            yield replace(overrides, seconds=round(plan.safety_s / 2, 3))
        for nodes in range(1, plan.nodes):
            yield replace(overrides, nodes=nodes)


@contextmanager
def _silence() -> Iterator[None]:
    """Disable logging, because the nodes are meant to fail."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(level)
