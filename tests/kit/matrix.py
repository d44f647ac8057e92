"""Which clauses each broken store breaks, and ``paxospp verify`` over one of them.

A store is red in exactly these and green in all others. What the kit misses is a finding about the kit.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

STORES = Path(__file__).parent / "broken_stores"
CLAUSES = tuple(f"C{number}" for number in range(1, 11))
TIMEOUT_S = 300

BREAKS = {
    "sound": {"SoundStorage": (), "RefusesDamage": ()},
    "atomicity": {"PromiseInAFileOfItsOwn": ("C1",), "EntriesOneByOne": ("C1",)},
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
        "UnsyncedLostAtClose": ("C3",),
        "LaterWithoutEarlier": ("C3", "C8"),  # and nobody misses what is gone from the file of its own
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
        "BoundToItsThread": ("C5",),
        "NeighboursBelowFirst": ("C6",),
        "UnorderedRead": ("C6",),
        "StarvingRead": ("C6",),
        "TrimOffByOne": ("C6",),
    },
    "opaque": {"EmptyAsAbsent": ("C7",), "MetaReplaced": ("C7",), "PaddingStripped": ("C7",)},
    "integrity": {
        "DamageAsAbsent": ("C8",),
        "CutAtTheFirstDamage": ("C8",),
        "FaultyToldOnce": ("C8",),
        "TornEndIsDamage": ("C8",),
        "AnchorBeforeItsBatch": ("C8",),
        "AnchorOfTheLastSlot": ("C8",),
    },
    "opening": {"NoLock": ("C9",), "PidFile": ("C9",), "LockPerProcess": ("C9",), "LockTakenInLoad": ("C9",)},
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
"""Module → class → the clauses it breaks."""


@dataclass(frozen=True)
class Row:
    """One store, and what ``verify`` said of it."""

    module: str
    name: str
    wanted: tuple[str, ...]
    found: tuple[str, ...]
    seconds: float
    output: str

    def __str__(self) -> str:
        marks = "".join(f"{'red' if clause in self.found else '·':>5}" for clause in CLAUSES)
        wrong = "" if self.found == self.wanted else f"   wanted {', '.join(self.wanted) or 'none'}"
        return f"{self.module:<11} {self.name:<27}{marks} {self.seconds:5.0f} s{wrong}"


HEAD = f"{'':<39}{''.join(f'{clause:>5}' for clause in CLAUSES)}"


def stores() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    for module, classes in BREAKS.items():
        for name, clauses in classes.items():
            yield module, name, clauses


def url_of(module: str, name: str) -> str:
    return f"{STORES / module}.py:{name}:{{tmp}}"


def verified(module: str, name: str) -> tuple[tuple[str, ...], str]:
    """The clauses that ``paxospp verify --quick`` finds broken, and all it says."""
    done = subprocess.run(
        [sys.executable, "-m", "paxospp", "verify", "--quick", url_of(module, name)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        env={**os.environ, "COLUMNS": "200"},
    )
    rows = [re.split(r"  +", line) for line in done.stdout.splitlines() if re.match(r"C\d+ ", line)]
    verdicts = {row[0].split()[0]: row[1] for row in rows if len(row) > 2}
    assert tuple(verdicts) == CLAUSES, done.stdout
    broken = tuple(clause for clause in CLAUSES if verdicts[clause] == "BROKEN")
    assert done.returncode == (1 if broken else 0), done.stdout
    return broken, done.stdout
