"""Runs mutants under random seeds on all processors and says which of them were noticed.

The work is divided into pieces: some seeds of one mutant, run in a process of its own. A mutant's next piece is
twice as long and waits until all other mutants have had their turn. A kill counts once the unpatched code has
passed under the same seed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.mutants import rare
from tests.mutants.child import SEED_CPU_S
from tests.mutants.mutant import Mutant

ROOT = Path(__file__).resolve().parents[2]
UNPATCHED = "-"
_PIECE_MAX = 80
_NOT_NOTICED = ("", "no end", "crash")
"""The rules of runs that do not count as noticed: nothing broke, the run had no end, or the program itself broke."""


@dataclass(frozen=True, slots=True)
class SeedResult:
    """The result of one run."""

    seed: int
    rule: str
    text: str
    seconds: float
    """Processor time."""

    @property
    def noticed(self) -> bool:
        return self.rule not in _NOT_NOTICED


@dataclass(slots=True)
class Score:
    """The results of one mutant so far."""

    mutant: Mutant
    limit: int
    """The highest number of seeds to run it under."""
    seeds: int = 0
    """How many seeds it has been run under."""
    kills: list[SeedResult] = field(default_factory=list)
    other: list[SeedResult] = field(default_factory=list)
    """Endless runs, and crashes that no check raised."""
    excused: int = 0
    """How many seeds were noticed but break the unpatched code too."""
    seconds: float = 0.0
    piece: int = 0

    @property
    def rules(self) -> str:
        counts = Counter(result.rule for result in self.kills)
        return ", ".join(f"{rule} ({count})" if count > 1 else rule for rule, count in counts.most_common(4))


class Hunt:
    """Runs each mutant under the seeds ``first``, ``first + 1``, … until it has ``kills`` kills or ``seeds`` seeds.

    No piece is started after ``budget_s`` seconds.
    """

    def __init__(
        self,
        mutants: Sequence[Mutant],
        *,
        first: int,
        seeds: int,
        kills: int,
        jobs: int | None = None,
        piece: int = 10,
        budget_s: float | None = None,
        on_done: Callable[[Score], None] = lambda _: None,
    ) -> None:
        self.scores = [
            Score(mutant, max(seeds, rare.SEEDS) if mutant.name in rare.RARE else seeds, piece=piece)
            for mutant in mutants
        ]
        self._first = first
        self._kills = kills
        self._jobs = jobs or os.cpu_count() or 1
        self._ends_at = float("inf") if budget_s is None else time.monotonic() + budget_s
        self._on_done = on_done
        self._queue = deque(self.scores)
        self._lock = threading.Lock()
        self._passes: dict[int, bool] = {}
        self._problem: BaseException | None = None

    def go(self) -> list[Score]:
        """Run all mutants and return their scores in the order in which they were given."""
        threads = [threading.Thread(target=self._work) for _ in range(self._jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._problem is not None:
            raise self._problem
        return self.scores

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._queue or self._problem is not None:
                    return
                score = self._queue.popleft()
            try:
                done = time.monotonic() >= self._ends_at or self._advance(score)
            except BaseException as problem:
                self._problem = problem
                return
            with self._lock:
                if done:
                    self._on_done(score)
                else:
                    self._queue.append(score)

    def _advance(self, score: Score) -> bool:
        """Run one more piece of a mutant's seeds; return whether it was the last."""
        missing = min(score.piece, score.limit - score.seeds)
        for result in run_seeds(score.mutant.name, self._first + score.seeds, missing):
            score.seeds += 1
            score.seconds += result.seconds
            if result.noticed and self._passes_unpatched(result.seed):
                score.kills.append(result)
            elif result.noticed:
                score.excused += 1
            elif result.rule:
                score.other.append(result)
            if len(score.kills) >= self._kills:
                return True
        score.piece = min(2 * score.piece, _PIECE_MAX)
        return score.seeds >= score.limit

    def _passes_unpatched(self, seed: int) -> bool:
        passes = self._passes.get(seed)
        if passes is None:
            (result,) = run_seeds(UNPATCHED, seed, 1)
            passes = self._passes[seed] = not result.rule
        return passes


def run_seeds(name: str, first: int, count: int) -> Iterator[SeedResult]:
    """Run a mutant under ``count`` seeds from ``first`` on in a child process; closing the iterator ends the child."""
    command = [sys.executable, "-m", "tests.mutants.child", name, str(first), str(count)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    missing = count
    try:
        assert child.stdout is not None
        for line in child.stdout:
            missing -= 1
            yield SeedResult(**json.loads(line))
        code = child.wait(SEED_CPU_S)
        if code or missing:
            raise RuntimeError(
                f"{' '.join(command)} ended with exit code {code} and did not run {missing} of its seeds"
            )
    finally:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


def heading() -> str:
    """Return the line above the rows of ``line_of``."""
    how = f"{'first kill':<15}  {'rules':<12} what was seen"
    return f"{'mutant':<72} {'kills of runs':>16} {'time':>8}  {how}"


def line_of(score: Score) -> str:
    """Return one row of the table: kills, runs and their processor time, and how the first kill was noticed."""
    runs = f"{len(score.kills)} of {score.seeds}"
    row = f"{score.mutant.name:<72} {runs:>16} {score.seconds:6.1f} s  "
    if score.kills:
        first = score.kills[0]
        return f"{row}seed {first.seed:<10}  {score.rules:<12} {_shortened(first.text)}"
    if not score.other:
        return f"{row}SURVIVED"
    return f"{row}SURVIVED; {score.other[0].rule}: {_shortened(score.other[0].text)}"


def _shortened(text: str) -> str:
    return textwrap.shorten(text, 100, placeholder=" …")
