"""The base of the cases with strace: they run scripts under strace and judge what a power cut leaves of the store."""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from paxospp.testing.power_cut import Fault, PowerCutState, Recording, record, trace_available
from paxospp.testing.power_cut.recorder import STORY_STEPS
from paxospp.testing.power_cut.trace_events import Sync
from paxospp.testing.storage_suite.base import SuiteBase
from paxospp.testing.storage_suite.checks import ClauseFindings, KitFailedError, not_checked
from paxospp.testing.storage_suite.scripts import said
from paxospp.testing.storage_suite.standstill import PROGRESS
from paxospp.testing.storage_suite.store_judge import after_crash, only_unsynced_faulty
from paxospp.testing.storage_suite.stream import SYNC_STREAM, Stream
from paxospp.testing.storage_suite.unseen import KilledStore, harmless_files, is_wrong_without
from paxospp.testing.storage_suite.worker_pool import (
    WorkerDied,
    WorkerHandle,
    WorkerStuck,
    python_environment,
    side_by_side,
)

SYNCS = "fsync,fdatasync,msync"
WRITES = "write,pwrite64,writev,pwritev,pwritev2"


STATES_AFTER_LOAD = 24
STATES_AT_REST = 12
KILLED_AFTER = (4, 9, 15)
"""Numbers of batches. A store is killed right after the first synced batch from each number on, to find out whether it
needs its mapped files, whose writes strace cannot see."""
KILLED_AT_WRITE = tuple(range(20, 100, 10))
"""Numbers of the write calls, including those of marks, at which a store is killed for the same purpose."""
BATCHES_MAX = 30
REST_POINTS = 20
"""After how many acknowledged batches the power is cut at once, in a run of its own for each."""

UNCLEAR = ("C1", "C8", "C10")
"""Clauses that a store may seem to break when the cause is a lost durable batch (C2): it then shows a mixture."""

_HARMLESS = pytest.StashKey[dict[str, tuple[set[str], set[str]]]]()


class TracingCases(SuiteBase):
    """Base of the cases that run under strace."""

    def only_with_strace(self) -> None:
        self.only_with_a_directory()
        if (reason := trace_available()) is not None:
            not_checked(f"strace is needed to see the store's writes and syncs: {reason}")

    def script(self, name: str, path: Path, seed: int, cutting: bool, *arguments: object) -> list[str]:
        """Return the command line that runs a script of ``scripts`` on the store at ``path``."""
        return [
            sys.executable,
            "-m",
            "paxospp.testing.storage_suite.worker_process",
            name,
            self.url_of(path),
            json.dumps(self.loaded_plugins),
            str(seed),
            str(int(cutting)),
            *map(str, arguments),
        ]

    def recorded(
        self, command: Sequence[str], directory: Path, *, after: Recording | None = None, fault: Fault | None = None
    ) -> Recording:
        """Run ``command`` under strace and record what it does below ``directory``."""
        directory.mkdir(parents=True, exist_ok=True)
        with own_files():
            recording = record(command, directory, after=after, fault=fault, environment=self.child_environment())
        recording.story_steps = None if self.all_steps else STORY_STEPS
        # The states lose what was mapped and never synced, which is allowed. What a sync made durable is not known.
        synced = {event.path for event in recording.events if isinstance(event, Sync)}
        self.unseen |= {path for path in recording.unseen if path in synced or None in synced}
        return recording

    def conclude(self, findings: ClauseFindings, cuts: int, others: int = 0) -> None:
        """Raise ClausesBroken if anything was found, and count the power cuts."""
        note = f"wrong both with {_named(self.unseen)}, a mapped file, as it was in memory and without the file"
        findings.raise_any(cuts + others, note if self.confirmed else "")
        self.count("power cuts", cuts)

    def is_excused(
        self, recording: Recording, state: PowerCutState, is_wrong: Callable[[WorkerHandle, PowerCutState], bool]
    ) -> bool:
        """Whether ``state`` may seem wrong only because strace did not see all bytes; count such states."""
        if not self.unseen:
            return False
        harmless = self.harmless()
        deciding = self.unseen - harmless
        if not deciding and is_wrong_without(self, recording, state, self.unseen, is_wrong):
            self.confirmed = True
            return False
        self.excused += 1
        self.unclear |= deciding or self.unseen
        return True

    def harmless(self) -> set[str]:
        """Return the unseen files whose bytes do not matter to the store; determined once per URL."""
        suite = self._node.getparent(pytest.Class)
        assert suite is not None
        known: dict[str, tuple[set[str], set[str]]] = suite.stash.setdefault(_HARMLESS, {})
        if self.url not in known or not self.unseen <= known[self.url][0]:
            asked = set(self.unseen)
            known[self.url] = asked, harmless_files(self, asked, self.killed())
            self.unseen = asked  # without files that the killed runs added because a write was cut short
        return known[self.url][1]

    def killed(self) -> Iterator[KilledStore]:
        """Yield stores whose process was killed, some right after a synced batch and some in the middle of one."""
        (seed, cutting), stream = SYNC_STREAM, Stream(SYNC_STREAM[0])
        for least in KILLED_AFTER:
            number = next(number for number in range(least, least + 99) if stream.step(number).synced)
            yield self._killed(seed, cutting, number + 1, None)
        for write in KILLED_AT_WRITE:
            yield self._killed(seed, cutting, BATCHES_MAX, Fault(syscall=WRITES, signal="SIGKILL", when=str(write)))

    def _killed(self, seed: int, cutting: bool, stop: int, fault: Fault | None) -> KilledStore:
        directory, stream = self.new_place().parent, Stream(seed, cutting=cutting)
        command = self.script("die", directory / "store", seed, cutting, 1, stop)
        recording = self.recorded(command, directory, fault=fault)
        lowest = last_number(recording, "ack") if fault is not None else stop - 1
        highest = max(lowest, last_number(recording, "offer"))

        def is_right(worker: WorkerHandle, place: Path) -> bool:
            return after_crash(worker.view(self.url_of(place)), stream, lowest, highest).complaint is None

        return KilledStore(directory, recording, is_right)

    def only_at_rest(self, seed: int, cutting: bool, batches: int, tried: int) -> None:
        """End a case in which a store seems wrong that writes through shared mappings, which strace cannot follow.

        Report a broken clause if even a power cut right after an acknowledgement loses the batch, with all mapped files
        taken as durable. Otherwise end the case as not checked: what may be left at other moments is not known.
        """
        findings, stream = ClauseFindings(), Stream(seed, cutting=cutting)
        unseen = _named(self.unclear)
        synced = [number for number in range(3, batches) if stream.step(number).synced]
        numbers = synced[:: -(-len(synced) // self.some(REST_POINTS))]
        with self.zygote.worker() as worker:
            for number in numbers:
                directory = self.new_place().parent
                command = self.script("die", directory / "store", seed, cutting, 1, number + 1)
                recording = self.recorded(command, directory)
                self.require_end(recording, f"ack {number}")
                shutil.rmtree(directory)
                state = recording.at_rest()
                complaint = self.judge_state(worker, state, stream, number, number)
                if complaint is not None:
                    clause = "C2" if complaint[0] in UNCLEAR else complaint[0]
                    findings.add(clause, *complaint[1:], state.left_out)
        findings.raise_any(len(numbers), f"{unseen} is mapped: taken as it was in memory, the best case for the store")
        not_checked(
            f"strace cannot see what the store writes to {unseen} (shared mapping or io_uring); {self.excused} of "
            f"{tried} power cuts looked wrong, perhaps for lack of these bytes. Only power cuts right after an "
            "acknowledgement were judged, and they lost nothing"
        )

    def child_environment(self) -> Mapping[str, str]:
        return {"PYTHONPATH": python_environment()["PYTHONPATH"], "PYTHONDONTWRITEBYTECODE": "1"}

    def judge_states(
        self,
        states: Iterable[PowerCutState],
        recording: Recording,
        stream: Stream,
        findings: ClauseFindings,
        *,
        loaded: int | None = None,
    ) -> int:
        """Open what each power cut left, judge it and return the number of cuts.

        Args:
            states: what the power cuts left.
            recording: the run that they were drawn from.
            stream: the batches that were being written.
            findings: takes the broken clauses.
            loaded: the batch whose state ``load`` returned at the mark ``loaded``, in a recording that has this mark.
        """
        tried = 0
        self._broken_at_rest: dict[int, str | None] = {}

        def due(state: PowerCutState) -> tuple[int, int]:
            if loaded is not None and "loaded" in state.marks:
                return loaded, loaded
            return state.acknowledged or 0, max(state.acknowledged or 0, state.offered or 0)

        def judge(worker: WorkerHandle, state: PowerCutState) -> tuple[str, list[str], str, str] | None:
            return self.judge_state(worker, state, stream, *due(state))

        def is_wrong(worker: WorkerHandle, state: PowerCutState) -> bool:
            return judge(worker, state) is not None

        for state, complaint in side_by_side(self.zygote, states, judge):
            tried += 1
            if complaint is None or self.is_excused(recording, state, is_wrong):
                continue
            if isinstance(complaint, WorkerDied | WorkerStuck):
                steps = [*state.story, "open and load"]
                wanted = "the store can be opened after a power cut"
                findings.add("C1", steps, wanted, str(complaint), state.left_out)
            else:
                clause, steps, wanted, found = complaint
                numbers = {*due(state)} if loaded is None else {loaded}
                if clause in UNCLEAR:
                    at_rest = {self.broken_at_rest(recording, stream, number) for number in numbers} - {None}
                    clause = "C2" if "C2" in at_rest else "C3" if "C3" in at_rest else clause
                findings.add(clause, steps, wanted, found, state.left_out)
        return tried

    def judge_state(
        self, worker: WorkerHandle, state: PowerCutState, stream: Stream, lowest: int, highest: int
    ) -> tuple[str, list[str], str, str] | None:
        """Open what one power cut left, twice.

        The store must show the state after one of the batches ``lowest`` to ``highest``, and the same again.

        Returns: clause, steps, what was wanted and what was found; None if all is right.
        """
        place, steps = self.new_place(), [*state.story, "open and load"]
        state.write_to(place.parent)
        again = not self.is_quick or state.moment % 3 == 0
        try:
            for _ in range(2 if again else 1):
                complaint, number = after_crash(worker.view(self.url_of(place)), stream, lowest, highest)
                if complaint is not None:
                    return complaint.clause, steps, complaint.wanted, complaint.found
                lowest = highest = number
                steps.append("close it, open and load once more")
        finally:
            self.drop(place)
        return None

    def broken_at_rest(self, recording: Recording, stream: Stream, number: int) -> str | None:
        """Return C2 or C3 if a power cut right after the acknowledgement of batch ``number`` can lose that batch.

        No batch is under way at that moment, so the store does not fail because of the torn rest of one.
        """
        if number not in self._broken_at_rest:
            with self.zygote.worker() as worker:
                self._broken_at_rest[number] = self._lost_at_rest(worker, recording, stream, number) if number else None
        return self._broken_at_rest[number]

    def _lost_at_rest(self, worker: WorkerHandle, recording: Recording, stream: Stream, number: int) -> str | None:
        mark = "loaded" if "loaded" in recording.marks else f"ack {number}"
        if mark not in recording.marks:
            return None
        begun = f"offer {number + 1}"
        until = begun if begun in recording.marks[recording.marks.index(mark) :] else None
        for state in recording.states(random.Random(number), STATES_AT_REST, since=mark, until=until):
            if max(state.offered or 0, number) > number:
                continue
            place = self.new_place()
            state.write_to(place.parent)
            view = worker.view(self.url_of(place))
            complaint, _ = after_crash(view, stream, number, number)
            self.drop(place)
            if complaint is not None and complaint.clause != "C10":  # an unsynced snapshot breaks C10
                unsynced = complaint.clause == "C8" and only_unsynced_faulty(view, stream, number)
                return "C3" if unsynced or complaint.clause == "C3" else "C2"
        return None

    def load_and_cut(self, before: Recording, directory: Path, seed: int, findings: ClauseFindings) -> int:
        """Load in a new process after the run ``before``, and cut the power during ``load`` and right after it.

        Returns: the number of power cuts.
        """
        lowest, highest = last_number(before, "ack"), max(last_number(before, "ack"), last_number(before, "offer"))
        command = self.script("load", directory / "store", seed, False, lowest, highest)
        recording = self.recorded(command, directory, after=before)
        answers = said(recording.ended.output)
        if not answers:
            findings.add(
                "C2",
                ["kill the process; open and load in a second one"],
                "load returns",
                f"the second process ended with {recording.ended.exit_code}: {recording.ended.output[-300:]}",
            )
            return 1
        if answers[0]["complaint"] is not None:
            clause, wanted, found = map(str, _as_list(answers[0]["complaint"]))
            findings.add(clause, ["kill the process; open and load in a second one"], wanted, found)
            return 1
        loaded = int(str(answers[0]["number"]))
        chance, some, stream = random.Random(seed), self.some(STATES_AFTER_LOAD), Stream(seed)
        during = recording.states(chance, some, until="loaded")
        after = recording.states(chance, some, since="loaded")
        tried = self.judge_states(during, recording, stream, findings, loaded=loaded)
        return tried + self.judge_states(after, recording, stream, findings, loaded=loaded)

    def require_end(self, recording: Recording, mark: str) -> None:
        """Fail the case unless the child got as far as ``mark``."""
        assert mark in recording.marks, (
            f"the child process ended with {recording.ended.exit_code} after {recording.marks[-1:]}: "
            f"{recording.ended.output[-1000:]}"
        )


@contextmanager
def own_files() -> Iterator[None]:
    """Guard a traced process: if the kit's own temporary files disappear, raise KitFailedError."""
    try:
        yield
    except FileNotFoundError as error:
        raise KitFailedError(f"the kit's own temporary files were removed: {error}") from error
    PROGRESS.note()


def last_number(recording: Recording, word: str) -> int:
    """Return the highest number in the marks that begin with ``word``; 0 if there are none."""
    return max((int(mark.split()[1]) for mark in recording.marks if mark.startswith(f"{word} ")), default=0)


def _named(paths: Iterable[str]) -> str:
    return ", ".join(sorted(paths))[:200]


def _as_list(value: object) -> list[object]:
    assert isinstance(value, list)
    return value
