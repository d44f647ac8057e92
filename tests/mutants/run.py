"""Runs mutants under random seeds on all processors, and tells which of them were noticed.

Work is cut into pieces of some seeds of one mutant, each in a process of its own; a mutant's next
piece, twice as long, queues behind everybody else's first. A kill counts once the same seed has
passed without any patch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
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
"""What does not count as noticed: nothing, too much, and a mutant that is no longer a program of sense."""


@dataclass(frozen=True, slots=True)
class Told:
    """What came of one seed."""

    seed: int
    rule: str
    text: str
    seconds: float
    """Of the processor."""

    @property
    def noticed(self) -> bool:
        return self.rule not in _NOT_NOTICED


@dataclass(slots=True)
class Score:
    """One mutant, so far."""

    mutant: Mutant
    limit: int
    """Seeds that it is given at most."""
    seeds: int = 0
    """Seeds it was run under."""
    kills: list[Told] = field(default_factory=list)
    other: list[Told] = field(default_factory=list)
    """Runs without end, and crashes that are none of ours."""
    excused: int = 0
    """Seeds under which the code as it is breaks too."""
    seconds: float = 0.0
    piece: int = 0

    @property
    def rules(self) -> str:
        counts = Counter(told.rule for told in self.kills)
        return ", ".join(f"{rule} ({count})" if count > 1 else rule for rule, count in counts.most_common(4))


class Hunt:
    """Seeds ``first``, ``first + 1``, … for each mutant: until ``kills`` noticed it, or ``seeds`` are spent.

    After ``budget_s`` no more pieces are begun, for whichever mutant.
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
        """All of them, in the order they were given."""
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
        """One more piece of seeds; True if that was the last."""
        missing = min(score.piece, score.limit - score.seeds)
        for told in tell(score.mutant.name, self._first + score.seeds, missing):
            score.seeds += 1
            score.seconds += told.seconds
            if told.noticed and self._passes_unpatched(told.seed):
                score.kills.append(told)
            elif told.noticed:
                score.excused += 1
            elif told.rule:
                score.other.append(told)
            if len(score.kills) >= self._kills:
                return True
        score.piece = min(2 * score.piece, _PIECE_MAX)
        return score.seeds >= score.limit

    def _passes_unpatched(self, seed: int) -> bool:
        passes = self._passes.get(seed)
        if passes is None:
            (told,) = tell(UNPATCHED, seed, 1)
            passes = self._passes[seed] = not told.rule
        return passes


def tell(name: str, first: int, count: int) -> Iterator[Told]:
    """Run a mutant under seeds from ``first`` on in a process of its own, which ends when nobody listens any more."""
    command = [sys.executable, "-m", "tests.mutants.child", name, str(first), str(count)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    missing = count
    try:
        assert child.stdout is not None
        for line in child.stdout:
            missing -= 1
            yield Told(**json.loads(line))
        code = child.wait(SEED_CPU_S)
        if code or missing:
            raise RuntimeError(f"{' '.join(command)} ended with exit code {code}, {missing} seeds before its end")
    finally:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


def line_of(score: Score) -> str:
    """One row of the table: in how many runs it was killed, of how many, and what they cost."""
    runs = f"{len(score.kills)} of {score.seeds}"
    row = f"{score.mutant.name:<72} {runs:>16} {score.seconds:6.1f} s  "
    if score.kills:
        first = score.kills[0]
        return f"{row}seed {first.seed:<10}  {score.rules:<12} {first.text[:90]}"
    return row + ("SURVIVED" if not score.other else f"SURVIVED; {score.other[0].rule}: {score.other[0].text[:100]}")
