"""The result of a simulation: what was seen, and what broke, with the command that replays it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from paxospp.testing.simulation.reach.tally import MarkerTally

GATES: tuple[str, ...] = (
    "leaders",
    "a leader found a slot that was not chosen",
    "a gap was filled with a no-op",
    "a copy of an applied command was decided",
    "a leader waits for clean answers",
    "a slot was damaged",
    "a lost slot was repaired from a peer",
    "a lost slot was repaired by an accept",
    "one copy of the promise was repaired from the other",
    "a campaign was given up",
    "an unknown outcome was applied later",
    "a read was refused",
    "a log was trimmed",
    "a prepare began below the floor of a log",
    "a peer's snapshot was installed",
    "a node started from its snapshot",
    "a disk was wiped",
    "a forged frame arrived",
    "killed between two storage operations",
    "killed between two steps of a snapshot",
    "a clone or an older disk was noticed",
    "a run of an expired session was decided",
    "a read was confirmed by a lease",
)
"""Coverage that a sweep must reach at least once, if it is not tiny: *sometimes* assertions, as opposed to *always*."""

WORST = "liveness: windows until all calls were answered, at worst"
"""The only entry that is a maximum and not a count."""


class Reached(NamedTuple):
    """The markers that one run reached, and the number of its events."""

    hits: Mapping[str, int]
    events: int


@dataclass(slots=True)
class Report:
    """The runs that passed."""

    seeds: int = 0
    events: int = 0
    """Number of messages, timers, writes, reads and calls: each is followed by every check."""
    seconds: float = 0.0
    """Processor time of the runs."""
    hashes: dict[int, str] = field(default_factory=dict)
    """The event hash of each seed: equal for equal seeds, whatever PYTHONHASHSEED."""
    coverage: Counter[str] = field(default_factory=Counter)
    """Number of times that something happened, by its name."""
    calls: Counter[str] = field(default_factory=Counter)
    """Number of calls by the way they ended."""
    runs: dict[int, Reached] = field(default_factory=dict)
    """The markers that each seed reached, and the number of its events."""

    def add(self, other: Report) -> None:
        """Add what another report has counted."""
        self.seeds += other.seeds
        self.events += other.events
        self.seconds += other.seconds
        self.hashes.update(other.hashes)
        worst = max(self.coverage[WORST], other.coverage[WORST])
        self.coverage.update(other.coverage)
        self.coverage[WORST] = worst
        self.calls.update(other.calls)
        self.runs.update(other.runs)

    @property
    def events_per_s(self) -> float:
        """Return the events per second of one core, with every check."""
        return self.events / self.seconds if self.seconds else 0.0

    @property
    def tally(self) -> MarkerTally:
        """Return how often each marker was reached."""
        tally = MarkerTally()
        for run in self.runs.values():
            tally.add(run.hits)
        return tally

    @property
    def gates_missed(self) -> tuple[str, ...]:
        """Return the gates that these runs did not reach; a small sweep may miss some."""
        return tuple(gate for gate in GATES if not self.coverage[gate])

    def __str__(self) -> str:
        calls = ", ".join(f"{count} {how}" for how, count in self.calls.most_common())
        seeds = "1 seed" if self.seeds == 1 else f"{self.seeds} seeds"
        return (
            f"{seeds} passed: {self.events} events, {self.events_per_s:,.0f}/s per core with every check; "
            f"calls: {calls or 'none'}"
        )


class SimulationError(AssertionError):
    """A seed broke something; the text says what, with the command that replays it.

    ``rule`` is the number of an invariant in ``paxospp/testing/simulation/README.md``, the number of a bug, a rule of
    the engine, or a word: *liveness*, *quiet*, *divergence*, *invariant* and so on.
    """

    def __init__(self, seed: int, rule: str, text: str, command: str, smaller: str | None = None) -> None:
        super().__init__(seed, rule, text, command, smaller)
        self.seed = seed
        self.rule = rule
        self.text = text
        self.command = command
        self.smaller = smaller
        """Options under which less still fails alike: fewer families of faults, fewer nodes, a shorter run."""

    def __str__(self) -> str:
        lines = [f"seed {self.seed}: {self.rule}: {self.text}", f"replay: {self.command}"]
        if self.smaller is not None:
            lines.append(f"smaller: {self.smaller}")
        return "\n".join(lines)
