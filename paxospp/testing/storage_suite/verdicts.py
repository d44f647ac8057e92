"""What a run of the suite says, clause by clause: the verdict table and the failing cases spelled out.

``Collector`` is a pytest plug-in that listens; ``SuiteVerdict`` is what it heard. What did not run is *not
checked*, with its reason, and a row says so: nobody reads a skipped case as a passed one.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from paxospp.testing.storage_suite.checks import (
    AT,
    CLAUSES,
    NOT_APPLICABLE,
    STEP_BY_STEP,
    WRONG_WITHOUT_FAULTS,
    BrokenClause,
    ClausesBroken,
    KitFailedError,
    clauses_of,
)
from paxospp.testing.storage_suite.kinds import named
from paxospp.testing.storage_suite.progress import ends_if_it_hangs
from paxospp.testing.storage_suite.worker_pool import StoreRaised

WHILE_IT_LIVES = ("C1", "C2", "C3")
"""What a volatile store keeps as long as its process lives, and no longer."""

FLOORS = {"SIGKILL points": 100, "power cuts": 500}
"""How many of each there are in a run that proves something; 64 bit flips in each file besides."""

YIELD = (
    "every_synced_batch_syncs_a_file_before_it_returns",
    "whenever_the_power_goes_what_was_acknowledged_is_there",
    "a_sync_that_fails_ends_the_handle_and_is_never_tried_again",
    "a_file_that_cannot_grow_ends_the_handle_and_costs_nothing_that_was_acknowledged",
    "a_flipped_bit_anywhere_is_told_or_harmless",
)
"""Cases that find many faults for the time they take, first those that find most (``tests/kit/matrix.py``). They come
right after the cases that take next to no time."""
SLOW = {"GrowthCases", "DamageCases", "EveryFileCases", "KillCases", "FailingCases", "KeyValueCases", "PowerCases"}

COLUMNS = ("clause", "verdict", "cases", "tried")


@dataclass(slots=True)
class CaseResult:
    """What became of one case."""

    name: str
    clauses: tuple[str, ...]
    passed: bool = False
    not_checked: str | None = None
    broken: tuple[BrokenClause, ...] = ()
    counts: Counter[str] = field(default_factory=Counter)
    volatile: bool = False
    id: str = ""
    """As pytest knows it."""

    def label(self, clause: str) -> str:
        """What ``verify --only`` takes: ``C8/a_flipped_bit_anywhere_is_told_or_harmless[closed]``."""
        return f"{clause if clause in self.clauses else self.clauses[0]}/{self.name.removeprefix('test_')}"


@dataclass(slots=True)
class SuiteVerdict:
    """What became of all of them."""

    cases: dict[str, CaseResult] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    """What belongs to no clause: the suite itself was changed, or could not be collected."""
    misnamed: list[str] = field(default_factory=list)
    """Arguments of ``--only`` that mean no clause and no case, each with what it might have meant; nothing was run."""

    @property
    def broken(self) -> dict[str, BrokenClause]:
        """The broken clauses, each with the first example, in order."""
        found: dict[str, BrokenClause] = {}
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

    def details(self, again: Callable[[str], str] | None = None) -> Iterator[str]:
        """The failing cases as steps, and what was not checked, with its reason.

        ``again`` gives the command that runs one case once more, by its label; else it is what pytest takes.
        """
        yield from self.problems
        found = [(case, broken) for case in self.cases.values() for broken in case.broken]
        for case, broken in found:
            if self.broken[broken.clause] is broken:
                others = len({c.name for c, b in found if b.clause == broken.clause}) - 1
                more = f", and {others} other{'s' if others > 1 else ''}" if others else ""
                command = again(case.label(broken.clause)) if again is not None else f"pytest '{case.id}'"
                yield f"{broken}\n  case:   {case.name}{more}\n  again:  {command}"
        if self.below_floors and not self.broken:  # a case that found something counts no further
            yield f"below the floors, so this proves less than it could: {', '.join(self.below_floors)}"
        yield from self._unchecked()

    def _unchecked(self) -> Iterator[str]:
        """What was not checked, once for each reason; of reasons with one cause, the first."""
        reasons: dict[str, list[CaseResult]] = {}
        for case in self.cases.values():
            if case.not_checked is not None:
                known = case.not_checked.startswith(WRONG_WITHOUT_FAULTS)
                reasons.setdefault(WRONG_WITHOUT_FAULTS if known else case.not_checked, []).append(case)
        for cases in reasons.values():
            clauses = Counter(clause for case in cases for clause in case.clauses)
            counted = ", ".join(f"{clause} ({clauses[clause]})" for clause in CLAUSES if clauses[clause])
            yield f"not checked: {counted or 'the suite'}: {cases[0].not_checked}"

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

    def __init__(
        self, on_progress: Callable[[int, int, Sequence[str]], None] | None = None, only: Sequence[str] = ()
    ) -> None:
        """``only``: clauses (``C8``), cases (``a_case`` or ``a_case[parameter]``) or both (``C8/a_case``)."""
        self.verdict = SuiteVerdict()
        self._only = only
        self._on_progress = on_progress
        self._total = self._done = 0

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        names = {item.nodeid: (clauses_of(getattr(item, "function", None)), item.name) for item in items}
        for wanted in self._only:
            if not any(_is_meant(wanted, *name) for name in names.values()):
                self.verdict.misnamed.append(_no_such_case(wanted, [name for _, name in names.values()]))
        self.verdict.problems += self.verdict.misnamed
        items.sort(key=_rank)
        if self.verdict.misnamed:
            items.clear()
        elif self._only:
            items[:] = [item for item in items if any(_is_meant(w, *names[item.nodeid]) for w in self._only)]

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._total = len(session.items)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.verdict.problems.append(f"the suite cannot be collected: {str(report.longrepr).strip()}")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        with ends_if_it_hangs():
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report: pytest.TestReport = yield
        clauses = clauses_of(getattr(item, "function", None))
        case = self.verdict.cases.setdefault(item.nodeid, CaseResult(item.name, clauses, id=item.nodeid))
        if report.when == "call" and report.passed:
            case.passed = True
        if report.skipped:
            case.passed = False
            case.not_checked = getattr(report, "wasxfail", None) or _reason(report)
            if case.not_checked.startswith(NOT_APPLICABLE):
                case.clauses, case.not_checked = (), None
        if report.failed:
            case.passed = False
            self._fail(case, call, report)
        if report.when == "teardown":
            self._count(case, item)
        return report

    def _fail(self, case: CaseResult, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
        error = call.excinfo.value if call.excinfo is not None else None
        if isinstance(error, ClausesBroken):
            case.broken += error.broken
        elif case.clauses and not isinstance(error, KitFailedError):
            case.broken += (_spelled_out(case, error, report),)
        else:
            self.verdict.problems.append(f"{case.name}: {error}")

    def _count(self, case: CaseResult, item: pytest.Item) -> None:
        for key, value in item.user_properties:
            if key == "paxospp" and isinstance(value, tuple):
                case.counts[str(value[0])] += value[1]
            case.volatile |= key == "paxospp-volatile"
        self._done += 1
        if self._on_progress is not None:
            self._on_progress(self._done, self._total, tuple(self.verdict.broken))


def _rank(item: pytest.Item) -> int:
    """The place of a case in the order of a run: lower ones are sooner, equal ones stay as they are."""
    name = item.name.partition("[")[0].removeprefix("test_")
    slow = getattr(getattr(item, "function", None), "__qualname__", "").partition(".")[0] in SLOW
    return (YIELD.index(name) + 1 if name in YIELD else len(YIELD) + 1) if slow else 0


def _is_meant(wanted: str, clauses: Sequence[str], name: str) -> bool:
    """Whether ``wanted``, an argument of ``--only``, means the case ``name``."""
    clause, slash, case = wanted.partition("/")
    if not slash:
        clause, case = (wanted, "") if wanted in CLAUSES else ("", wanted)
    names = {spelling.removeprefix("test_") for spelling in (name, name.partition("[")[0])}
    return (not clause or clause in clauses) and (not case or case.removeprefix("test_") in names)


def _no_such_case(wanted: str, names: Sequence[str]) -> str:
    clause = wanted.partition("/")[0]
    if re.fullmatch(r"[Cc]?\d+", clause) and clause not in CLAUSES:
        clauses = ", ".join(f"{name} ({words})" for name, words in CLAUSES.items())
        return f"no clause is {clause!r}: the clauses are {clauses}"
    case = wanted.rpartition("/")[2].removeprefix("test_")
    known = sorted({name.partition("[")[0].removeprefix("test_") for name in names})
    near = [name for name in known if case in name][:3] or difflib.get_close_matches(case, known, n=3)
    return f"no case is {wanted!r}" + (f"; did you mean {' or '.join(near)}?" if near else "")


def _spelled_out(case: CaseResult, error: BaseException | None, report: pytest.TestReport) -> BrokenClause:
    """A failed assertion, or an exception that no case expects, in the form of the others."""
    notes: Sequence[str] = getattr(error, "__notes__", ())
    steps, left_out = _told_steps(notes)
    text = str(error) if isinstance(error, AssertionError | StoreRaised) else f"{named(type(error))}: {error}"
    lines = [line[:300] for line in text.splitlines() if line.strip()][:8] or [str(report.longrepr).splitlines()[-1]]
    lines += [f"at {note.removeprefix(AT)}" for note in notes if note.startswith(AT)]
    wanted = case.name.partition("[")[0].removeprefix("test_").replace("_", " ")
    return BrokenClause(case.clauses[0], steps, wanted, "\n          ".join(lines), left_out)


def _told_steps(notes: Sequence[str]) -> tuple[tuple[str, ...], int]:
    """The steps of a note as ``checks`` adds it, and how many were left out before them."""
    told = next((note.splitlines()[1:] for note in notes if note.startswith(STEP_BY_STEP)), [])
    steps, left_out = list[str](), 0
    for line in told:
        number, dot, step = line.strip().partition(". ")
        if dot and number.isdecimal():
            left_out = int(number) - 1 if not steps else left_out
            steps.append(step)
        elif steps:
            steps.append(f"  {line.strip()}")
    return tuple(steps), left_out


def _reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return str(report.longrepr)
