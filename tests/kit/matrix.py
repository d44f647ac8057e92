"""The clauses that each broken store breaks, and the cases that show it.

``paxospp verify`` must find each store broken in exactly these clauses. What it misses is a fault of the kit.

All cases on all stores take 450 s of processor time. So a run tries on each store the cases of ``FOUND_BY``, which
find it every time, and a share of all others, drawn with a seed that is printed. ``PAXOSPP_KIT_SHARE=1`` runs all
cases, ``PAXOSPP_KIT_SEED`` draws the same ones again.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from paxospp.testing.storage_suite import StorageSuite

STORES = Path(__file__).parent / "broken_stores"
CLAUSES = tuple(f"C{number}" for number in range(1, 11))
SHARE = float(os.environ.get("PAXOSPP_KIT_SHARE", "0.1"))
SEED = int(os.environ.get("PAXOSPP_KIT_SEED", random.SystemRandom().randrange(1_000_000)))

BREAKS = {
    "sound": {"SoundStorage": (), "RefusesDamage": (), "WritesThroughAMap": ()},
    "atomicity": {
        "PromiseInAFileOfItsOwn": ("C1",),
        "EntriesOneByOne": ("C1", "C8"),  # damage to the last entries of a batch looks like a torn end
    },
    "durability": {
        "NoFsync": ("C2",),
        "NoFsyncBesideAMap": ("C2",),
        "FsyncOfTheWrongFile": ("C2",),
        "DirectoryNotSynced": ("C2",),
        "LoadWithoutMakingItDurable": ("C2",),
        "LoadThatOnlySyncsAgain": ("C2",),
        "BufferedInTheProcess": ("C2",),
        "PromiseForgottenOnTrim": ("C2",),
        "OlderBallotKept": ("C2",),
        "AcknowledgesBeforeItsThreadSyncs": ("C2", "C4"),  # it does not wait for the sync, so it cannot raise
        "MetaLostByCompaction": ("C2",),
        "UnsyncedLostAtClose": ("C3",),
        "LaterWithoutEarlier": ("C3", "C8"),  # nothing notices what is missing from the second file
    },
    "failing": {
        "GoesOn": ("C4",),
        "RetriesTheSync": ("C4",),
        "PassesOverAFailedSync": ("C4",),
        "WritesWhenItCloses": ("C4",),
        "WrongError": ("C4",),
    },
    "reading": {
        "ShowsTooEarly": ("C5",),
        "ReadsInPieces": ("C5",),
        "BoundToItsThread": ("C5",),
        "NeighboursBelowFirst": ("C6",),
        "UnorderedRead": ("C6",),
        "StarvingRead": ("C6",),
        "TrimOffByOne": ("C6",),
    },
    "opaque": {"EmptyAsAbsent": ("C7",), "MetaReplaced": ("C7",), "PaddingStripped": ("C7",)},
    "integrity": {
        "DamageAsAbsent": ("C1", "C8"),  # it takes the whole entries of a torn batch
        "CutAtTheFirstDamage": ("C8",),
        "FaultyToldOnce": ("C8",),
        "FaultyForgottenByCompaction": ("C8",),
        "TornEndIsDamage": ("C8",),
        "AnchorBeforeItsBatch": ("C8",),
        "AnchorOfTheLastSlot": ("C8",),
    },
    "opening": {
        "NoLock": ("C9",),
        "PidFile": ("C9",),
        "LockPerProcess": ("C9",),
        "LockTakenInLoad": ("C9",),
        "NoForkGuard": ("C9",),
    },
    "pairs": {
        "SoundPairs": (),
        "ScanBeginsAgain": ("C5",),
        "ScanEndsAtAnError": ("C8",),
        "DeletesThenPuts": ("C1",),
        "DeletesThenPutsBesideAMap": ("C1",),
        "PutsThenDeletes": ("C1",),
        "ShortKeys": ("C7",),
        "NullForEmpty": ("C7",),
        "ViewsOfBytes": ("C7",),
    },
    "snapshots": {
        "DeletesWhatIsAbove": ("C10",),
        "CurrentAtCommit": ("C10",),
        "OrphansStay": ("C10",),
        "OlderOverNewer": ("C10",),
        "GivesBackTooEarly": ("C10",),
        "TrimsBeyondTheSnapshot": ("C10",),
        "StagedNotSynced": ("C10",),
    },
}
"""For each module and class the clauses that the store breaks."""

_HISTORY = ("a_random_history_leaves_what_the_model_says[1-False]",)
_CUT = ("whenever_the_power_goes_what_was_acknowledged_is_there[31-False]",)
_CUTTING_CUT = ("whenever_the_power_goes_what_was_acknowledged_is_there[33-True]",)
_EVERY_SYNC = ("every_synced_batch_syncs_a_file_before_it_returns",)
_SYNC_FAILS = ("a_sync_that_fails_ends_the_handle_and_is_never_tried_again",)
_FULL = ("a_file_that_cannot_grow_ends_the_handle_and_costs_nothing_that_was_acknowledged",)
_FLIPS = ("a_flipped_bit_anywhere_is_told_or_harmless[closed]",)
_FLIPS_AFTER_A_KILL = ("a_flipped_bit_anywhere_is_told_or_harmless[killed]",)
_PAIRS_CUT = ("whenever_the_power_goes_a_write_of_deletes_and_puts_is_there_whole_or_not_at_all",)
_PAIRS = ("keys_and_values_come_back_byte_for_byte",)

FOUND_BY = {
    "PromiseInAFileOfItsOwn": (*_FULL, *_CUT),
    "EntriesOneByOne": (*_FULL, *_FLIPS_AFTER_A_KILL),
    "NoFsync": _CUT,
    "NoFsyncBesideAMap": _CUT,
    "FsyncOfTheWrongFile": _CUT,
    "DirectoryNotSynced": _CUT,
    "LoadWithoutMakingItDurable": _SYNC_FAILS,
    "LoadThatOnlySyncsAgain": _SYNC_FAILS,
    "BufferedInTheProcess": _EVERY_SYNC,
    "PromiseForgottenOnTrim": ("a_random_history_leaves_what_the_model_says[2-False]",),
    "OlderBallotKept": _HISTORY,
    "AcknowledgesBeforeItsThreadSyncs": (*_EVERY_SYNC, *_SYNC_FAILS),
    "MetaLostByCompaction": ("nothing_is_lost_when_the_log_grows_to_forty_mib",),
    "UnsyncedLostAtClose": ("unsynced_batches_outlive_a_close",),
    "LaterWithoutEarlier": (*_CUT, *_FLIPS),
    "GoesOn": _FULL,
    "RetriesTheSync": _SYNC_FAILS,
    "PassesOverAFailedSync": _SYNC_FAILS,
    "WritesWhenItCloses": _SYNC_FAILS,
    "WrongError": _FULL,
    "ShowsTooEarly": ("read_sees_nothing_of_a_batch_that_has_not_returned",),
    "ReadsInPieces": ("read_shows_whole_batches_while_others_are_written",),
    "BoundToItsThread": ("read_shows_whole_batches_while_others_are_written",),
    "NeighboursBelowFirst": _HISTORY,
    "UnorderedRead": _HISTORY,
    "StarvingRead": _HISTORY,
    "TrimOffByOne": _HISTORY,
    "EmptyAsAbsent": _HISTORY,
    "MetaReplaced": _HISTORY,
    "PaddingStripped": ("a_random_history_leaves_what_the_model_says[22-False]",),
    "DamageAsAbsent": (*_CUT, "a_damaged_slot_stands_in_faulty_and_no_slot_is_lost_or_altered"),
    "CutAtTheFirstDamage": _FLIPS,
    "FaultyToldOnce": _FLIPS,
    "FaultyForgottenByCompaction": _FLIPS,
    "TornEndIsDamage": (*_FULL, *_CUT),
    "AnchorBeforeItsBatch": (*_FULL, *_CUT),
    "AnchorOfTheLastSlot": _FLIPS,
    "NoLock": ("a_second_opener_here_is_told_at_once",),
    "PidFile": ("a_killed_holder_leaves_no_lock_behind",),
    "LockPerProcess": ("a_second_opener_here_is_told_at_once",),
    "LockTakenInLoad": ("a_second_opener_here_is_told_at_once",),
    "NoForkGuard": ("a_forked_child_may_not_write",),
    "ScanBeginsAgain": ("a_scan_shows_one_state_whatever_is_written_while_it_runs",),
    "ScanEndsAtAnError": ("a_scan_that_cannot_read_does_not_end_as_if_there_were_nothing_more",),
    "DeletesThenPuts": _PAIRS_CUT,
    "DeletesThenPutsBesideAMap": _PAIRS_CUT,
    "PutsThenDeletes": ("a_write_deletes_its_ranges_and_then_puts_its_pairs",),
    "ShortKeys": _PAIRS,
    "NullForEmpty": _PAIRS,
    "ViewsOfBytes": _PAIRS,
    "DeletesWhatIsAbove": _HISTORY,
    "CurrentAtCommit": _HISTORY,
    "OrphansStay": ("space_comes_back_from_snapshots_that_no_batch_named",),
    "OlderOverNewer": ("an_older_snapshot_is_never_published_over_a_newer_one",),
    "GivesBackTooEarly": _CUTTING_CUT,
    "TrimsBeyondTheSnapshot": ("trim_reaches_at_most_to_the_slot_after_the_snapshot",),
    "StagedNotSynced": _CUTTING_CUT,
}
"""For each broken store the cases that find it in a quick run, fastest first."""


@dataclass(frozen=True)
class Row:
    """One store, and the result of ``verify``."""

    module: str
    name: str
    wanted: tuple[str, ...]
    found: tuple[str, ...]
    seconds: float
    output: str

    def __str__(self) -> str:
        marks = "".join(f"{'red' if clause in self.found else '·':>5}" for clause in CLAUSES)
        wrong = "" if self.found == self.wanted else f"   wanted {', '.join(self.wanted) or 'none'}"
        return f"{self.module:<11} {self.name:<33}{marks} {self.seconds:5.0f} s{wrong}"


HEAD = f"{'':<45}{''.join(f'{clause:>5}' for clause in CLAUSES)}"


def stores() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    for module, classes in BREAKS.items():
        for name, clauses in classes.items():
            yield module, name, clauses


def url_of(module: str, name: str) -> str:
    return f"{STORES / module}.py:{name}:{{tmp}}"


def cases_for(name: str) -> list[str]:
    """Return the cases to run: none, which means all, for a sound store; else those of ``FOUND_BY`` and a share."""
    if name not in FOUND_BY or SHARE >= 1:
        return []
    methods = sorted(case.removeprefix("test_") for case in dir(StorageSuite) if case.startswith("test_"))
    chance = random.Random(f"{SEED}/{name}")
    return [*FOUND_BY[name], *(method for method in methods if chance.random() < SHARE)]


def verified(module: str, name: str) -> tuple[tuple[str, ...], str]:
    """Run ``paxospp verify --quick`` and return the clauses that it finds broken, and its output."""
    only = [word for case in cases_for(name) for word in ("--only", case)]
    done = subprocess.run(
        [sys.executable, "-m", "paxospp", "verify", "--quick", *only, url_of(module, name)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    rows = [re.split(r"  +", line) for line in done.stdout.splitlines() if re.match(r"C\d+ ", line)]
    verdicts = {row[0].split()[0]: row[1] for row in rows if len(row) > 2}
    assert verdicts, done.stdout
    assert only or tuple(verdicts) == CLAUSES, done.stdout
    broken = tuple(clause for clause in CLAUSES if verdicts.get(clause) == "BROKEN")
    assert done.returncode == (1 if broken else 0), done.stdout
    return broken, done.stdout
