"""The report of a failing case: what was found, the line of the store, the steps, and the command to repeat it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from paxospp.model import Kind
from paxospp.testing.power_cut import trace_available
from paxospp.testing.storage_suite.checks import BrokenClause, numbered
from paxospp.testing.storage_suite.running import misnamed, run_suite
from paxospp.testing.storage_suite.step_log import Steps
from paxospp.testing.storage_suite.verdicts import CaseResult, SuiteVerdict
from paxospp.testing.storage_suite.words import EVERYTHING, entry, told_apart, told_call_of_read

HISTORY = "test_a_random_history_leaves_what_the_model_says[1-False]"

STORES = '''
import mmap
import os

import paxospp
from tests.kit.broken_stores.durability import NoFsync
from tests.kit.broken_stores.failing import WrongError
from tests.kit.broken_stores.pairs import SoundPairs
from tests.kit.broken_stores.sound import SoundStorage


class CorruptedError(Exception):
    """An exception with the same name as one of paxospp."""


class ReturnsViews(SoundStorage):
    def read(self, start, stop, max_bytes):
        found = super().read(start, stop, max_bytes)
        return [paxospp.Entry(e.slot, e.ballot, e.kind, memoryview(e.value)) for e in found]


class MetaAsText(SoundStorage):
    def load(self):
        state = super().load()
        self.meta = {key: value.decode("latin-1") for key, value in state.meta.items()}
        return paxospp.DurableState(meta=self.meta, last=state.last, promised=state.promised)


class ErrorOfItsOwn(SoundStorage):
    def read(self, start, stop, max_bytes):
        try:
            return super().read(start, stop, max_bytes)
        except paxospp.CorruptedError as error:
            raise CorruptedError("mine") from error


class Raises(SoundStorage):
    def write(self, batch, stamp, state):
        if len(state.entries) > 2:
            raise KeyError("no such thing")  # the line
        super().write(batch, stamp, state)


class FirstBatchTooLarge(WrongError):
    def write(self, batch, stamp, state):
        os.posix_fallocate(self.file, 0, 1 << 24)
        super().write(batch, stamp, state)


class NeedsItsMap(NoFsync):
    def load(self):
        state = super().load()
        with open(os.path.join(self.path, "index"), "a+b") as file:
            file.truncate(4096)
            self.index = mmap.mmap(file.fileno(), 4096)
        if state.last and self.index[0] != 1:
            raise paxospp.CorruptedError("the index is gone")
        self.index[0] = 1
        self.index.flush()
        return state

    def sync_journal(self):
        self.index.flush()


class RaisesForManyPairs(SoundPairs):
    def put(self, writer, puts):
        if len(puts) > 1000:
            raise KeyError("too many")  # the line
        super().put(writer, puts)
'''


@pytest.fixture
def stores(tmp_path: Path) -> str:
    (tmp_path / "mystore.py").write_text(STORES)
    return f"{tmp_path}/mystore.py"


def told(verdict: SuiteVerdict) -> str:
    return "\n\n".join(verdict.details(lambda label: f"paxospp verify --only {label}"))


@pytest.mark.parametrize(
    ("name", "cases", "found"),
    [
        (
            "ReturnsViews",
            [HISTORY, "test_a_killed_process_leaves_all_it_acknowledged_and_no_part_of_a_batch[1-False]"],
            "read returns an Entry (slot 1) whose value is a memoryview",
        ),
        (
            "MetaAsText",
            ["test_meta_merges_key_by_key_and_byte_for_byte"],
            "load returns a state whose meta has a str → a str",
        ),
    ],
)
def test_what_is_of_the_wrong_kind_is_told_with_what_is_wanted(
    stores: str, name: str, cases: list[str], found: str
) -> None:
    verdict = run_suite(f"{stores}:{name}:{{tmp}}", cases=cases, quick=True)

    assert list(verdict.broken) == ["C7"]
    assert verdict.broken["C7"].found == found
    assert "bytes" in verdict.broken["C7"].wanted
    assert "WorkerDied" not in told(verdict)


def test_exceptions_are_named_with_their_module_and_the_line_that_raised_them(stores: str) -> None:
    verdict = run_suite(f"{stores}:ErrorOfItsOwn:{{tmp}}", cases=["test_a_hole_below_decided_is_faulty"])

    found = verdict.broken["C8"].found
    assert "wanted paxospp.CorruptedError, found mystore.CorruptedError: mine" in found
    assert re.search(r'at mystore\.py:\d+, in read: raise CorruptedError\("mine"\) from error', found)


def test_an_exception_that_no_case_expects_shows_the_line_in_the_authors_file(stores: str) -> None:
    verdict = run_suite(f"{stores}:Raises:{{tmp}}", cases=["test_unsynced_batches_are_seen_at_once", HISTORY])

    found = [broken.found for case in verdict.cases.values() for broken in case.broken]
    assert found
    assert all("at mystore.py:" in text and 'raise KeyError("no such thing")  # the line' in text for text in found)


@pytest.mark.skipif(trace_available() is not None, reason=f"not checked: {trace_available()}")
def test_an_exception_in_a_process_of_the_kits_is_told_like_any_other(stores: str) -> None:
    case = "test_a_scan_that_cannot_read_does_not_end_as_if_there_were_nothing_more"
    verdict = run_suite(f"{stores}:RaisesForManyPairs:{{tmp}}", cases=[case])

    found = verdict.broken["C8"].found
    assert re.match(r"KeyError: 'too many' \(at mystore\.py:\d+, in put: raise KeyError\(.*# the line\)", found), found


def test_one_cause_is_told_once_for_all_the_cases_that_it_keeps_from_being_checked(stores: str) -> None:
    kills = [
        f"test_a_killed_process_leaves_all_it_acknowledged_and_no_part_of_a_batch[{seed}]"
        for seed in ("1-False", "2-False", "4-True")
    ]
    verdict = run_suite(f"{stores}:Raises:{{tmp}}", cases=kills, quick=True)

    assert len([case for case in verdict.cases.values() if case.not_checked is not None]) == 3
    paragraphs = [detail for detail in verdict.details() if detail.startswith("not checked")]
    assert len(paragraphs) == 1
    assert paragraphs[0].startswith("not checked: C1 (3), C2 (3), C3 (3), C8 (3), C10 (3): the store is wrong even")


def test_steps_have_the_numbers_that_they_have_among_all_steps() -> None:
    steps = Steps(4)
    for number in range(1, 6):
        steps.add("step {}", number)
        steps.add("  … more of it")

    assert numbered(steps.told(), steps.left_out) == [
        "  (steps 1 to 3 are left out; --all-steps shows them)",
        "  4. step 4",
        "       … more of it",
        "  5. step 5",
        "       … more of it",
    ]
    whole = Steps(None)
    whole.add("only {}", 1)
    assert str(BrokenClause("C6", tuple(whole.told()), "this", "that", whole.left_out)) == (
        "C6 (read) is broken\n  1. only 1\n  wanted: this\n  found:  that"
    )


@pytest.mark.long
@pytest.mark.skipif(trace_available() is not None, reason=f"not checked: {trace_available()}")
def test_steps_up_to_a_state_at_rest_have_their_numbers_too(stores: str) -> None:
    """A store that needs its mapped file is judged right after acknowledged batches only."""
    case = "test_whenever_the_power_goes_what_was_acknowledged_is_there[31-False]"
    verdict = run_suite(f"{stores}:NeedsItsMap:{{tmp}}", cases=[case], quick=True)

    broken = verdict.broken["C2"]
    assert "note: store/index is mapped: taken as it was in memory" in broken.found
    assert broken.left_out > 0


@pytest.mark.long
def test_no_batch_is_said_to_have_returned_if_the_first_one_raises(stores: str) -> None:
    case = "test_a_file_that_cannot_grow_ends_the_handle_and_costs_nothing_that_was_acknowledged"
    verdict = run_suite(f"{stores}:FirstBatchTooLarge:{{tmp}}", cases=[case], quick=True)

    steps = verdict.broken["C4"].steps
    assert "each returns" not in " ".join(steps)
    assert any(step.startswith("persist batch 1 of stream") for step in steps)


def test_all_steps_are_told_if_asked_for(stores: str) -> None:
    url, case = "tests/kit/broken_stores/reading.py:TrimOffByOne:{tmp}", HISTORY

    few = run_suite(url, cases=[case]).broken["C6"]
    all_of_them = run_suite(url, cases=[case], all_steps=True).broken["C6"]

    assert few.left_out > 0
    assert all_of_them.left_out == 0
    numbers = [sum(not step.startswith("  ") for step in broken.steps) for broken in (few, all_of_them)]
    assert numbers[1] == few.left_out + numbers[0]


@pytest.mark.long
def test_cases_that_take_no_time_come_first_and_then_those_that_find_most() -> None:
    only = ["C2", "C6"]
    names = [case.name.partition("[")[0] for case in run_suite("memory:{tmp}", only=only, quick=True).cases.values()]

    first = names.index("test_every_synced_batch_syncs_a_file_before_it_returns")
    assert names.index("test_slots_come_ascending_in_whatever_order_they_were_written") < first
    assert first < names.index("test_whenever_the_power_goes_what_was_acknowledged_is_there")
    assert names.index("test_whenever_the_power_goes_what_was_acknowledged_is_there") < names.index(
        "test_a_killed_process_leaves_all_it_acknowledged_and_no_part_of_a_batch"
    )


def verify(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "paxospp", "verify", *arguments], capture_output=True, text=True, timeout=110, cwd=cwd
    )


@pytest.mark.long
def test_the_line_again_repeats_the_case_alone() -> None:
    root = Path(__file__).parents[2]
    url = "tests/kit/broken_stores/reading.py:UnorderedRead:{tmp}"

    first = verify("--quick", "--only", "slots_come_ascending_in_whatever_order_they_were_written", url, cwd=root)

    assert first.returncode == 1, first.stdout + first.stderr
    (line,) = re.findall(r"^  again:  paxospp verify (.*)$", first.stdout, re.MULTILINE)
    again = verify(*shlex.split(line), cwd=root)
    assert again.returncode == 1
    assert [text for text in again.stdout.splitlines() if "wanted:" in text or "again:" in text] == [
        text for text in first.stdout.splitlines() if "wanted:" in text or "again:" in text
    ]
    assert "C1 atomic" not in again.stdout


@pytest.mark.long
def test_several_urls_make_a_table_each(tmp_path: Path) -> None:
    done = verify(
        "--only",
        "C9/an_option_it_does_not_know_is_refused",
        "file:{tmp}",
        "file:{tmp}?segment_bytes=4096",
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"^verifying (.*)$", done.stdout, re.MULTILINE) == [
        "file:{tmp}",
        "file:{tmp}?segment_bytes=4096",
    ]
    assert len(re.findall(r"^C9 exclusive +holds", done.stdout, re.MULTILINE)) == 2


def test_a_case_that_is_not_there_is_named_with_those_that_are_like_it() -> None:
    verdict = run_suite("memory:{tmp}", only=["C6/slots_come_ascending"], quick=True)

    assert not verdict.holds
    like_it = "slots_come_ascending_in_whatever_order_they_were_written"
    assert verdict.problems == [f"'C6/slots_come_ascending' is not the name of a case; did you mean {like_it}?"]


@pytest.mark.parametrize("wanted", ["C12", "C12/a_case", "c13", "unknown/a_case"])
def test_a_clause_that_is_not_there_is_answered_with_those_that_are(wanted: str, tmp_path: Path) -> None:
    done = verify("--only", "C6", "--only", wanted, "--quick", "memory:{tmp}", cwd=tmp_path)

    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""  # all flags are checked before anything is said to be verified
    assert f"{wanted.partition('/')[0]!r} is not a clause: the clauses are C1 (atomic), C2 (durable)" in done.stderr
    assert done.stderr.rstrip().endswith("C9 (exclusive), C10 (snapshot)")


@pytest.mark.parametrize(
    "wanted", ["c6", "read", "C6 read", "c6/read_includes_its_start_excludes_its_stop_and_skips_gaps"]
)
def test_a_clause_may_be_named_as_in_the_table(wanted: str) -> None:
    cases = run_suite("memory:{tmp}", only=[wanted], collect_only=True)

    assert cases.misnamed == []


def test_a_wrong_name_below_a_clause_is_answered_with_the_cases_of_that_clause() -> None:
    (message,) = misnamed(["c9/nope"])

    assert message.startswith("'c9/nope' is not the name of a case; C9 has ")
    assert "an_option_it_does_not_know_is_refused" in message
    assert "slots_come_ascending" not in message


def test_a_name_that_is_like_nothing_is_answered_with_the_clauses() -> None:
    (message,) = misnamed(["nope"])

    assert message.startswith("'nope' is not the name of a clause or case; the clauses are C1 (atomic), C2 (durable)")


def test_broken_clauses_come_in_their_order_and_are_repeated_by_a_name_that_selects_the_case() -> None:
    """The second case found a clause broken that it does not check."""
    found = [
        CaseResult("test_one[1]", ("C8",), broken=(BrokenClause("C8", (), "this", "that"),)),
        CaseResult("test_two", ("C2",), broken=(BrokenClause("C1", (), "this", "that"),)),
    ]
    verdict = SuiteVerdict({case.name: case for case in found})

    first, second = verdict.details(str)

    assert first.startswith("C1 (atomic) is broken")
    assert first.endswith("again:  two")
    assert second.startswith("C8 (integrity) is broken")
    assert second.endswith("again:  C8/one[1]")


@pytest.mark.parametrize(
    ("call", "shown"),
    [((1, sys.maxsize, EVERYTHING), "read(1, the end, no limit)"), ((2, 9, 40), "read(2, 9, 40)")],
)
def test_a_call_of_read_is_told_without_the_numbers_that_mean_everything(
    call: tuple[int, int, int], shown: str
) -> None:
    assert told_call_of_read(*call) == shown


def test_lists_that_look_the_same_are_told_with_the_first_difference() -> None:
    entries = [entry(slot) for slot in range(1, 6)]
    other = [*entries[:4], entry(5, kind=Kind.NOOP)]

    wanted, found = told_apart(entries, other)

    assert wanted.endswith("(5 in all)], number 5 is b'value' of round 1 of n1, incarnation 7, COMMANDS, in slot 5")
    assert found.endswith("(5 in all)], number 5 is b'value' of round 1 of n1, incarnation 7, NOOP, in slot 5")
