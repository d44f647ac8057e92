"""The result of a run, clause by clause: the verdict table, and each broken clause with the steps that show it.

``Collector`` is a pytest plug-in that gathers the results in a ``SuiteVerdict``. A case that could not run is *not
checked*: the table and the text below it say so, with the reason, so that a skipped case is never read as a passed one.
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
from paxospp.testing.storage_suite.standstill import ends_if_it_hangs
from paxospp.testing.storage_suite.worker_pool import StoreRaised

WHILE_IT_LIVES = ("C1", "C2", "C3")
"""The clauses that a volatile store can keep only while its process lives."""

FLOORS = {"SIGKILL points": 100, "power cuts": 500}
"""How many of each a run needs to count as a proof, besides 64 bit flips in each file."""

YIELD = (
    "every_synced_batch_syncs_a_file_before_it_returns",
    "whenever_the_power_goes_what_was_acknowledged_is_there",
    "a_sync_that_fails_ends_the_handle_and_is_never_tried_again",
    "a_file_that_cannot_grow_ends_the_handle_and_costs_nothing_that_was_acknowledged",
    "a_flipped_bit_anywhere_is_told_or_harmless",
)
"""The slow cases that find the most faults for their time, best first (measured with ``tests/kit/matrix.py``). They run
right after the fast cases."""
SLOW_CLASSES = {
    "GrowthCases",
    "DamageCases",
    "EveryFileCases",
    "KillCases",
    "FailingCases",
    "KeyValueCases",
    "PowerCases",
}

_PYTEST_HINT = re.compile(r"Use -v+ to get|use '?-vv'? to show", re.IGNORECASE)
"""Lines of pytest that name its own flags, which are of no use to those who run ``paxospp verify``."""

COLUMNS = ("clause", "verdict", "cases", "tried")


@dataclass(slots=True)
class CaseResult:
    """The result of one case."""

    name: str
    clauses: tuple[str, ...]
    passed: bool = False
    not_checked: str | None = None
    """Why the case could not run here."""
    not_applicable: str | None = None
    """Why the case is not meant for a store of this kind; it then counts for no clause."""
    broken: tuple[BrokenClause, ...] = ()
    counts: Counter[str] = field(default_factory=Counter)
    volatile: bool = False
    id: str = ""
    """The node id by which pytest selects the case."""

    @property
    def was_checked(self) -> bool:
        return self.passed or bool(self.broken)

    def label(self, clause: str) -> str:
        """Return the argument of ``verify --only``: ``C8/a_flipped_bit_anywhere_is_told_or_harmless[closed]``."""
        name = self.name.removeprefix("test_")
        return f"{clause}/{name}" if clause in self.clauses else name  # a case may also find a clause it does not check


@dataclass(slots=True)
class SuiteVerdict:
    """The results of all cases of a run."""

    cases: dict[str, CaseResult] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    """Failures that belong to no clause: the suite itself was changed, or pytest could not collect it."""
    misnamed: list[str] = field(default_factory=list)
    """For each argument of ``--only`` that names no clause and no case, a message with similar names. If there is one,
    nothing was run."""
    only: tuple[str, ...] = ()
    """The arguments of ``--only``."""

    @property
    def broken(self) -> dict[str, BrokenClause]:
        """The broken clauses in order, each with its first example."""
        found: dict[str, BrokenClause] = {}
        for case in self.cases.values():
            for broken in case.broken:
                found.setdefault(broken.clause, broken)
        return {clause: found[clause] for clause in CLAUSES if clause in found}

    @property
    def holds(self) -> bool:
        """Whether nothing is broken, and something was checked for every argument of ``--only``."""
        checked = any(case.passed for case in self.cases.values())
        return checked and not self.broken and not self.problems and not self.unanswered

    @property
    def unanswered(self) -> list[str]:
        """The arguments of ``--only`` for which no case could be checked."""
        checked = [case for case in self.cases.values() if case.was_checked]
        return [wanted for wanted in self.only if not any(_is_meant(wanted, c.clauses, c.name) for c in checked)]

    @property
    def summary(self) -> str:
        """The last line of the report."""
        if self.broken:
            return f"broken: {', '.join(self.broken)}"
        if self.problems:
            return "the run failed for a reason that says nothing about the store; see above"
        if self.unanswered:
            return f"nothing could be checked for {', '.join(self.unanswered)}; the reasons are above"
        return "no clause is broken" if self.holds else "nothing could be checked; the reasons are above"

    @property
    def below_floors(self) -> list[str]:
        """The counts that are too low for a proof, in words: ``15 of 100 SIGKILL points``."""
        tried: Counter[str] = Counter()
        for case in self.cases.values():
            tried.update(case.counts)
        return [f"{tried[what]} of {floor} {what}" for what, floor in FLOORS.items() if 0 < tried[what] < floor]

    def rows(self, *, selected: bool = False) -> list[tuple[str, str, str, str]]:
        """Return the rows of the table under ``COLUMNS``, one per clause; ``selected``: of clauses with cases only."""
        with_cases = {clause for case in self.cases.values() for clause in case.clauses} | set(self.broken)
        return [self._row(clause) for clause in CLAUSES if clause in with_cases or not selected]

    def details(self, again: Callable[[str], str] | None = None) -> Iterator[str]:
        """Yield the broken clauses in order, each with its steps, then what was not checked, with the reasons.

        ``again`` returns the command that repeats a case, given its label; by default it is a pytest command.
        """
        yield from self.problems
        found = [(case, broken) for case in self.cases.values() for broken in case.broken]
        for broken in self.broken.values():
            case = next(case for case, b in found if b is broken)
            others = len({c.name for c, b in found if b.clause == broken.clause}) - 1
            more = f", and {others} other{'s' if others > 1 else ''}" if others else ""
            command = again(case.label(broken.clause)) if again is not None else f"pytest '{case.id}'"
            yield f"{broken}\n  case:   {case.name}{more}\n  again:  {command}"
        if self.below_floors and not self.broken:  # a case that found something counts no further
            yield f"too few tries for a proof: {', '.join(self.below_floors)}"
        yield from self._unchecked()

    def _unchecked(self) -> Iterator[str]:
        """Yield what was not checked, one line per reason; reasons with the same cause share a line."""
        reasons: dict[str, list[CaseResult]] = {}
        for case in self.cases.values():
            if case.not_checked is not None:
                known = case.not_checked.startswith(WRONG_WITHOUT_FAULTS)
                reasons.setdefault(WRONG_WITHOUT_FAULTS if known else case.not_checked, []).append(case)
        for cases in reasons.values():
            clauses = Counter(clause for case in cases for clause in case.clauses)
            counted = ", ".join(f"{clause} ({clauses[clause]})" for clause in CLAUSES if clauses[clause])
            yield f"not checked: {counted or 'the suite'}: {cases[0].not_checked}"
        if self.unanswered:  # such cases are of no interest unless the author asked for one of them
            for case in self.cases.values():
                if case.not_applicable is not None:
                    yield f"not checked: {case.name.removeprefix('test_')}: {case.not_applicable}"

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
    """A pytest plug-in that selects and orders the cases and gathers their results."""

    def __init__(
        self, on_progress: Callable[[int, int, Sequence[str]], None] | None = None, only: Sequence[str] = ()
    ) -> None:
        """Args:
        on_progress: called after each case with the number of cases done, the total and the clauses broken so far.
        only: clauses (``C8``), cases (``a_case`` or ``a_case[parameter]``) or both (``C8/a_case``).
        """
        self.verdict = SuiteVerdict(only=tuple(only))
        self._only = only
        self._on_progress = on_progress
        self._total = self._done = 0

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        names = {item.nodeid: (clauses_of(getattr(item, "function", None)), item.name) for item in items}
        for wanted in self._only:
            if not any(_is_meant(wanted, *name) for name in names.values()):
                self.verdict.misnamed.append(_no_such_case(wanted, list(names.values())))
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
                case.not_applicable = case.not_checked.removeprefix(NOT_APPLICABLE)
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
    """Return the sort key of a case: fast cases first, then those of ``YIELD``, then all others."""
    name = item.name.partition("[")[0].removeprefix("test_")
    slow = getattr(getattr(item, "function", None), "__qualname__", "").partition(".")[0] in SLOW_CLASSES
    return (YIELD.index(name) + 1 if name in YIELD else len(YIELD) + 1) if slow else 0


def _is_meant(wanted: str, clauses: Sequence[str], name: str) -> bool:
    """Whether ``wanted``, an argument of ``--only``, selects the case ``name`` of ``clauses``."""
    clause, slash, case = wanted.partition("/")
    if slash:
        clause = _clause(clause) or clause
    else:
        clause, case = (found, "") if (found := _clause(wanted)) is not None else ("", wanted)
    names = {spelling.removeprefix("test_") for spelling in (name, name.partition("[")[0])}
    return (not clause or clause in clauses) and (not case or case.removeprefix("test_") in names)


def _clause(name: str) -> str | None:
    """Return the clause that ``name`` means: ``C1``, ``c1``, ``atomic`` or ``C1 atomic``."""
    spellings = ((clause, {clause.lower(), words, f"{clause.lower()} {words}"}) for clause, words in CLAUSES.items())
    return next((clause for clause, known in spellings if name.strip().lower() in known), None)


def _no_such_case(wanted: str, cases: Sequence[tuple[tuple[str, ...], str]]) -> str:
    """Return a message for an argument of ``--only`` that selects nothing; ``cases``: clauses and name of each case."""
    clause, slash, case = wanted.partition("/")
    of = _clause(clause) if slash else None
    all_clauses = ", ".join(f"{name} ({words})" for name, words in CLAUSES.items())
    if of is None and (slash or re.fullmatch(r"[Cc]?\d+", clause)):
        return f"{clause!r} is not a clause: the clauses are {all_clauses}"
    case = (case if slash else wanted).removeprefix("test_")
    names = {name.removeprefix("test_") for clauses, name in cases if of is None or of in clauses}
    known = sorted(name for name in names | {n.partition("[")[0] for n in names} if "[" in case or "[" not in name)
    near = [name for name in known if case.partition("[")[0] in name][:3] or difflib.get_close_matches(case, known, n=3)
    if near:
        return f"{wanted!r} is not the name of a case; did you mean {' or '.join(near)}?"
    if of is not None:
        return f"{wanted!r} is not the name of a case; {of} has {', '.join(known)}"
    return (
        f"{wanted!r} is not the name of a clause or case; the clauses are {all_clauses}; 'C1/?' lists the cases of C1"
    )


def _spelled_out(case: CaseResult, error: BaseException | None, report: pytest.TestReport) -> BrokenClause:
    """Describe a failed assertion, or an exception that the case did not expect, like any other broken clause."""
    notes: Sequence[str] = getattr(error, "__notes__", ())
    steps, left_out = _told_steps(notes)
    text = str(error) if isinstance(error, AssertionError | StoreRaised) else f"{named(type(error))}: {error}"
    lines = [line[:300] for line in text.splitlines() if line.strip() and not _PYTEST_HINT.search(line)][:8] or [
        str(report.longrepr).splitlines()[-1]
    ]
    lines += [f"at {note.removeprefix(AT)}" for note in notes if note.startswith(AT)]
    wanted = case.name.partition("[")[0].removeprefix("test_").replace("_", " ")
    return BrokenClause(case.clauses[0], steps, wanted, "\n          ".join(lines), left_out)


def _told_steps(notes: Sequence[str]) -> tuple[tuple[str, ...], int]:
    """Parse the note that ``checks`` adds: the steps, and how many were left out before them."""
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
