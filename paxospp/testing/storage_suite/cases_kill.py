"""C1, C2, C3, C8, C10 under SIGKILL: a process dies at random moments of a stream of batches.

Data in the page cache of the operating system survives; data in the memory of the process does not. One process after
another opens the store, none closes it, and each finds what the one before left when it was killed: in the middle of
``persist``, of ``load`` or of a snapshot.
"""

from __future__ import annotations

import random
import time

import pytest

from paxospp.testing.storage_suite.base import SuiteBase
from paxospp.testing.storage_suite.checks import CRASH_CLAUSES, ClauseFindings, checks
from paxospp.testing.storage_suite.store_judge import after_crash
from paxospp.testing.storage_suite.store_view import StoreView
from paxospp.testing.storage_suite.stream import KILL_STREAMS, LEAVE_STREAM, Stream
from paxospp.testing.storage_suite.words import told
from paxospp.testing.storage_suite.worker_pool import WorkerDied, WorkerHandle, WorkerStuck

KILLS_PER_CASE = 30
KILL_STEPS = 6
BATCHES_MAX = 24
"""The most batches that a process persists before it is killed."""


class KillCases(SuiteBase):
    @pytest.mark.parametrize(("seed", "cutting"), KILL_STREAMS)
    @checks(*CRASH_CLAUSES)
    def test_a_killed_process_leaves_all_it_acknowledged_and_no_part_of_a_batch(self, seed: int, cutting: bool) -> None:
        """``cutting``: most kills fall into a trim or the publishing of a snapshot."""
        self.only_if_durable()
        self.only_if_right_without_faults(seed, cutting, 60)
        self.path.parent.mkdir(parents=True)
        history = _History(self, Stream(seed, cutting=cutting), random.Random(seed))
        kills = self.some(KILLS_PER_CASE)
        for _ in range(kills):
            with self.zygote.worker() as worker:
                history.live(worker, seed, cutting)
            if history.is_over:
                break
        else:
            with self.zygote.worker() as worker:
                history.open_and_judge(worker)
        history.findings.raise_any(kills)
        self.count("SIGKILL points", kills)

    @checks("C3", "C2")
    def test_a_process_that_leaves_without_closing_leaves_a_prefix(self) -> None:
        """The process exits after unsynced batches without closing the store, and not in the middle of a call."""
        self.only_if_durable()
        (seed, cutting), stop = LEAVE_STREAM, 60
        self.only_if_right_without_faults(seed, cutting, stop)
        self.path.parent.mkdir(parents=True)
        stream, findings = Stream(seed), ClauseFindings()
        with self.zygote.worker() as worker:
            assert worker.open(self.url_of(self.path)) is None
            assert worker.load().refused is None
            worker.begin("stream", seed, cutting, 1, stop)
            answers = [worker.answer() for _ in range(stop)]
            assert answers[-1] is None, answers[-1]
        with self.zygote.worker() as worker:
            view = worker.view(self.url_of(self.path))

        complaint, _ = after_crash(view, stream, stream.synced_by(stop - 1), stop - 1)

        if complaint is not None:
            steps = [f"open and load in another process, persist batches 1 to {stop - 1}, exit without closing"]
            findings.add(complaint.clause, [*steps, "open and load"], complaint.wanted, complaint.found)
        findings.raise_any(1)


class _History:
    """One store that many processes open one after another, and the batches that it may hold."""

    def __init__(self, case: SuiteBase, stream: Stream, chance: random.Random) -> None:
        self._url = case.url_of(case.path)
        self._all_steps = case.all_steps
        self._stream = stream
        self._chance = chance
        self._persist_s = 0.0005
        self._load_s = 0.01
        self._steps: list[str] = []
        self._lowest = 0
        self._highest = 0
        self.findings = ClauseFindings()
        self.is_over = False

    def live(self, worker: WorkerHandle, seed: int, cutting: bool) -> None:
        """Have ``worker`` open, load and write, and kill it somewhere on the way."""
        if self._chance.random() < 0.12:
            worker.begin("open", self._url)
            worker.answer()
            worker.begin("load")
            self._kill_after(worker, self._chance.random() * self._load_s, "while it loads")
            return
        number = self.open_and_judge(worker)
        if number is None:
            return
        goal = number + self._chance.randint(0, BATCHES_MAX)
        acknowledged = number
        begun = time.perf_counter()
        worker.begin("stream", seed, cutting, number + 1, goal + 50)
        while acknowledged < goal:
            answer = worker.answer()
            if not isinstance(answer, int):
                self._steps += [f"persist batch {acknowledged + 1} of stream {seed}"]
                self._complain("C1", "persist returns", f"it raises {answer}")
                return
            acknowledged = answer
        if goal > number:
            self._persist_s = (time.perf_counter() - begun) / (goal - number)
        _spin(self._chance.random() * 2 * self._persist_s)
        heard = worker.kill()
        acknowledged = max([acknowledged, *(answer for answer in heard if isinstance(answer, int))])
        self._lowest = max(self._lowest, self._stream.synced_by(acknowledged))
        self._highest = acknowledged + 1
        self._steps.append(
            f"persist batches {number + 1} to {acknowledged} (each returned); SIGKILL during batch {acknowledged + 1}: "
            f"persist({told(self._stream.step(acknowledged + 1).batch)})"
        )

    def open_and_judge(self, worker: WorkerHandle) -> int | None:
        """Open, load and judge; return the batch whose state the store shows, or None if a clause is broken."""
        begun = time.perf_counter()
        self._steps.append(f"open {self._url} and load in a new process")
        try:
            raised = worker.open(self._url)
            view = StoreView(raised) if raised is not None else worker.load()
        except (WorkerDied, WorkerStuck) as error:
            self._complain("C1", "the store can be opened after a crash", str(error))
            return None
        self._load_s = time.perf_counter() - begun
        complaint, number = after_crash(view, self._stream, self._lowest, self._highest)
        if complaint is not None:
            self._complain(*complaint)
            return None
        self._steps.append(f"it shows the state after batch {number}, which is right")
        self._lowest = self._highest = number  # what load returned must survive from now on
        return number

    def _complain(self, clause: str, wanted: str, found: str) -> None:
        shown = len(self._steps) if self._all_steps else KILL_STEPS
        left_out = max(len(self._steps) - shown, 0)
        self.findings.add(clause, self._steps[left_out:], wanted, found, left_out)
        self.is_over = True

    def _kill_after(self, worker: WorkerHandle, seconds: float, when: str) -> None:
        _spin(seconds)
        worker.kill()
        self._steps.append(f"open it in a new process; SIGKILL {when}")


def _spin(seconds: float) -> None:
    """Wait more precisely than ``time.sleep``: poll the clock for the last two milliseconds."""
    end = time.perf_counter() + seconds
    if seconds > 0.003:
        time.sleep(seconds - 0.002)
    while time.perf_counter() < end:
        pass
