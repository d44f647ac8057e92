"""What a run of the suite says, clause by clause: the verdict table and the failing cases spelled out.

``Collector`` is a pytest plug-in that listens; ``Verdict`` is what it heard. What did not run is *not
checked*, with its reason, and a row says so: nobody reads a skipped case as a passed one.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType

import pytest

from paxospp.testing.storage_suite.checks import CLAUSES, Broken, ClausesBroken, KitFailedError, clauses_of

CASE_TIMEOUT_S = 300
WHILE_IT_LIVES = ("C1", "C2", "C3")
"""What a volatile store keeps as long as its process lives, and no longer."""

FLOORS = {"SIGKILL points": 100, "power cuts": 500}
"""How many of each there are in a run that proves something; 64 bit flips in each file besides."""

COLUMNS = ("clause", "verdict", "cases", "tried")


@dataclass(slots=True)
class Case:
    """What became of one case."""

    name: str
    clauses: tuple[str, ...]
    passed: bool = False
    not_checked: str | None = None
    broken: tuple[Broken, ...] = ()
    counts: Counter[str] = field(default_factory=Counter)
    volatile: bool = False


@dataclass(slots=True)
class Verdict:
    """What became of all of them."""

    cases: dict[str, Case] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    """What belongs to no clause: the suite itself was changed, or could not be collected."""

    @property
    def broken(self) -> dict[str, Broken]:
        """The broken clauses, each with the first example, in order."""
        found: dict[str, Broken] = {}
        for case in self.cases.values():
            for broken in case.broken:
                found.setdefault(broken.clause, broken)
        return {clause: found[clause] for clause in CLAUSES if clause in found}

    @property
    def holds(self) -> bool:
        """Whether nothing was found broken, and something was checked at all."""
        return not self.broken and not self.problems and any(case.passed for case in self.cases.values())

    @property
    def below_floors(self) -> list[str]:
        """What was tried, but not as often as a proof asks for."""
        tried: Counter[str] = Counter()
        for case in self.cases.values():
            tried.update(case.counts)
        return [f"{tried[what]} of {floor} {what}" for what, floor in FLOORS.items() if 0 < tried[what] < floor]

    def rows(self) -> list[tuple[str, str, str, str]]:
        """One row per clause, under ``COLUMNS``."""
        return [self._row(clause) for clause in CLAUSES]

    def details(self) -> Iterator[str]:
        """The failing cases as steps, and what was not checked, with its reason."""
        yield from self.problems
        by_name = [(case.name, broken) for case in self.cases.values() for broken in case.broken]
        for name, broken in by_name:
            if self.broken[broken.clause] is broken:
                others = sum(b.clause == broken.clause for _, b in by_name) - 1
                yield f"{broken}\n  case:   {name}" + (f", and {others} others" if others else "")
        if self.below_floors and not self.broken:  # a case that found something counts no further
            yield f"below the floors, so this proves less than it could: {', '.join(self.below_floors)}"
        reasons: dict[str, Counter[str]] = {}
        for case in self.cases.values():
            if case.not_checked is not None:
                reasons.setdefault(case.not_checked, Counter()).update(case.clauses)
        for reason, clauses in reasons.items():
            counted = ", ".join(f"{clause} ({clauses[clause]})" for clause in CLAUSES if clauses[clause])
            yield f"not checked: {counted or 'the suite'}: {reason}"

    def _row(self, clause: str) -> tuple[str, str, str, str]:
        cases = [case for case in self.cases.values() if clause in case.clauses]
        passed = sum(case.passed for case in cases)
        skipped = sum(case.not_checked is not None for case in cases)
        if clause in self.broken:
            verdict = "BROKEN"
        elif not passed:
            verdict = "not checked"
        elif clause in WHILE_IT_LIVES and any(case.volatile for case in self.cases.values()):
            verdict = "holds while the process lives (volatile)"
        elif skipped:
            verdict = f"holds; {skipped} of {len(cases)} cases not checked"
        else:
            verdict = "holds"
        counts: Counter[str] = Counter()
        for case in cases:
            counts.update(case.counts)
        tried = ", ".join(f"{number:,} {what}" for what, number in counts.items())
        return f"{clause} {CLAUSES[clause]}", verdict, str(passed), tried


class Collector:
    """Listens to a run of pytest and writes the verdict."""

    def __init__(self, on_progress: Callable[[int, int], None] | None = None) -> None:
        self.verdict = Verdict()
        self._on_progress = on_progress
        self._total = self._done = 0

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._total = len(session.items)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.verdict.problems.append(f"the suite cannot be collected: {str(report.longrepr).strip()}")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        with _time_limit(CASE_TIMEOUT_S):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report: pytest.TestReport = yield
        case = self.verdict.cases.setdefault(item.nodeid, Case(item.name, clauses_of(getattr(item, "function", None))))
        if report.when == "call" and report.passed:
            case.passed = True
        if report.skipped:
            case.passed = False
            case.not_checked = getattr(report, "wasxfail", None) or _reason(report)
        if report.failed:
            case.passed = False
            self._fail(case, call, report)
        if report.when == "teardown":
            self._count(case, item)
        return report

    def _fail(self, case: Case, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
        error = call.excinfo.value if call.excinfo is not None else None
        if isinstance(error, ClausesBroken):
            case.broken += error.broken
        elif case.clauses and not isinstance(error, KitFailedError):
            case.broken += (_spelled_out(case, error, report),)
        else:
            self.verdict.problems.append(f"{case.name}: {error}")

    def _count(self, case: Case, item: pytest.Item) -> None:
        for key, value in item.user_properties:
            if key == "paxospp" and isinstance(value, tuple):
                case.counts[str(value[0])] += value[1]
            case.volatile |= key == "paxospp-volatile"
        self._done += 1
        if self._on_progress is not None:
            self._on_progress(self._done, self._total)


def _spelled_out(case: Case, error: BaseException | None, report: pytest.TestReport) -> Broken:
    """A failed assertion, or an exception that no case expects, in the form of the others."""
    notes: Sequence[str] = getattr(error, "__notes__", ())
    steps = [line.strip().partition(". ")[2] for note in notes for line in note.splitlines()[1:]]
    text = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
    lines = [line for line in text.splitlines() if line.strip()] or [str(report.longrepr).splitlines()[-1]]
    wanted = case.name.partition("[")[0].removeprefix("test_").replace("_", " ")
    return Broken(case.clauses[0], tuple(steps), wanted, "\n          ".join(line[:300] for line in lines[:8]))


def _reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return str(report.longrepr)


class _time_limit:
    """Ends what takes longer, with TimeoutError: a store that hangs must not hang the kit."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        self._usable = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> None:
        if self._usable:
            self._former = signal.signal(signal.SIGALRM, self._end)
            self._former_timer = signal.setitimer(signal.ITIMER_REAL, self._seconds)
            self._begun = time.monotonic()

    def __exit__(self, *_: object) -> None:
        if self._usable:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._former)
            left, interval = self._former_timer
            if left:  # somebody else's limit, around all of this
                signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - self._begun), 0.001), interval)

    def _end(self, number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"the case has not ended after {self._seconds} s")
