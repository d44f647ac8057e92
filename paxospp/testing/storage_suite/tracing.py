"""What the cases with strace share: running scripts under it, and judging what a power cut left."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from paxospp.testing.power_cut import Fault, PowerCutState, Recording, record, trace_available
from paxospp.testing.power_cut.happenings import Sync
from paxospp.testing.storage_suite.base import SuiteBase
from paxospp.testing.storage_suite.checks import Findings, KitFailedError, not_checked
from paxospp.testing.storage_suite.judging import after_crash
from paxospp.testing.storage_suite.scripts import said
from paxospp.testing.storage_suite.stream import Stream
from paxospp.testing.storage_suite.workers import WorkerDied, WorkerHandle, WorkerStuck, python_environment

SYNCS = "fsync,fdatasync,msync"


STATES_AFTER_LOAD = 24
STATES_AT_REST = 12

UNCLEAR = ("C1", "C8", "C10")
"""Clauses that seem broken where a batch that was to be durable is gone, and the store cannot say so better."""


class TracingCases(SuiteBase):
    """What the cases with strace share."""

    def only_with_strace(self) -> None:
        self.only_with_a_directory()
        if (reason := trace_available()) is not None:
            not_checked(f"needs strace to see writes and syncs from outside: {reason}")

    def script(self, name: str, path: Path, seed: int, cutting: bool, *arguments: object) -> list[str]:
        """The command line of a script of ``scripts``."""
        return [
            sys.executable,
            "-m",
            "paxospp.testing.storage_suite.child",
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
        """Run it below ``directory``."""
        directory.mkdir(parents=True, exist_ok=True)
        with own_files():
            recording = record(command, directory, after=after, fault=fault, environment=self.child_environment())
        # What was only mapped and never synced may be lost, as the states have it; what was also synced is unknown.
        synced = {happening.path for happening in recording.happenings if isinstance(happening, Sync)}
        self.unseen |= {path for path in recording.unseen if path in synced or None in synced}
        return recording

    def conclude(self, findings: Findings, cuts: int, others: int = 0) -> None:
        """Raise what was found, with a note if the store also writes in ways that cannot be followed."""
        unseen = ", ".join(sorted(self.unseen))[:200]
        findings.raise_any(
            cuts + others,
            f"{unseen}: written in ways that strace cannot follow; what came so is lost here" if unseen else "",
        )
        self.count("power cuts", cuts)

    def child_environment(self) -> Mapping[str, str]:
        return {"PYTHONPATH": python_environment()["PYTHONPATH"], "PYTHONDONTWRITEBYTECODE": "1"}

    def judge_states(
        self,
        states: Iterable[PowerCutState],
        recording: Recording,
        stream: Stream,
        findings: Findings,
        *,
        loaded: int | None = None,
    ) -> int:
        """Open what each power cut left, twice; how many. ``loaded``: what stands after the mark ``loaded``."""
        tried = 0
        self._never_durable: dict[int, bool] = {}
        worker = self.zygote.worker()
        for state in states:
            lowest = state.acknowledged or 0
            highest = max(lowest, state.offered or 0)
            if loaded is not None and "loaded" in state.marks:
                lowest = highest = loaded
            tried += 1
            due = {lowest, highest} if loaded is None else {loaded}
            try:
                complaint = self.judge_state(worker, state, stream, lowest, highest)
                if complaint is not None:
                    clause, steps, wanted, found = complaint
                    if clause in UNCLEAR and any(self.was_never_durable(worker, recording, stream, n) for n in due):
                        clause = "C2"
                    findings.add(clause, steps, wanted, found)
            except (WorkerDied, WorkerStuck) as error:
                steps = [*state.story, "open and load"]
                findings.add("C1", steps, "the store can be opened after a power cut", str(error))
                worker.kill()
                worker = self.zygote.worker()
        worker.kill()
        return tried

    def judge_state(
        self, worker: WorkerHandle, state: PowerCutState, stream: Stream, lowest: int, highest: int
    ) -> tuple[str, list[str], str, str] | None:
        """Open what one power cut left, and once more: it stands between the two batches, and stays where it stands."""
        place, steps = self.new_place(), [*state.story, "open and load"]
        state.write_to(place.parent)
        try:
            for _ in range(2):
                complaint, number = after_crash(worker.look(self.url_of(place)), stream, lowest, highest)
                if complaint is not None:
                    return complaint.clause, steps, complaint.wanted, complaint.found
                lowest = highest = number
                steps.append("close it, open and load once more")
        finally:
            self.drop(place)
        return None

    def was_never_durable(self, worker: WorkerHandle, recording: Recording, stream: Stream, number: int) -> bool:
        """Whether batch ``number`` may be gone even if the power goes right after it was acknowledged.

        No batch is under way then, and it is not the torn rest of one that the store stumbles over.
        """
        if number not in self._never_durable:
            self._never_durable[number] = number > 0 and self._is_lost_at_rest(worker, recording, stream, number)
        return self._never_durable[number]

    def _is_lost_at_rest(self, worker: WorkerHandle, recording: Recording, stream: Stream, number: int) -> bool:
        mark = "loaded" if "loaded" in recording.marks else f"ack {number}"
        if mark not in recording.marks:
            return False
        begun = f"offer {number + 1}"
        until = begun if begun in recording.marks[recording.marks.index(mark) :] else None
        for state in recording.states(random.Random(number), STATES_AT_REST, since=mark, until=until):
            if max(state.offered or 0, number) > number:
                continue
            place = self.new_place()
            state.write_to(place.parent)
            complaint, _ = after_crash(worker.look(self.url_of(place)), stream, number, number)
            self.drop(place)
            if complaint is not None and complaint.clause != "C10":  # a snapshot that was not synced is C10
                return True
        return False

    def load_and_cut(self, before: Recording, directory: Path, seed: int, findings: Findings) -> int:
        """Load after ``before``, and cut the power while that goes on and at once after it returned."""
        lowest, highest = last_number(before, "ack"), max(last_number(before, "ack"), last_number(before, "offer"))
        command = self.script("load", directory / "store", seed, False, lowest, highest)
        recording = self.recorded(command, directory, after=before)
        answers = said(recording.ended.output)
        if not answers:
            findings.add(
                "C2",
                ["open and load in a second process, after the first one was killed"],
                "the store loads",
                f"the process ended with {recording.ended.exit_code}: {recording.ended.output[-300:]}",
            )
            return 1
        if answers[0]["complaint"] is not None:
            clause, wanted, found = map(str, _as_list(answers[0]["complaint"]))
            findings.add(clause, ["kill the process, open and load in a second one"], wanted, found)
            return 1
        loaded = int(str(answers[0]["number"]))
        chance, some, stream = random.Random(seed), self.some(STATES_AFTER_LOAD), Stream(seed)
        during = recording.states(chance, some, until="loaded")
        after = recording.states(chance, some, since="loaded")
        tried = self.judge_states(during, recording, stream, findings, loaded=loaded)
        return tried + self.judge_states(after, recording, stream, findings, loaded=loaded)

    def require_end(self, recording: Recording, mark: str) -> None:
        """The child did all it had to do."""
        assert mark in recording.marks, (
            f"the child process ended with {recording.ended.exit_code} after {recording.marks[-1:]}: "
            f"{recording.ended.output[-1000:]}"
        )


@contextmanager
def own_files() -> Iterator[None]:
    """What goes on here needs files of the kit's own, below the system's directory for temporary ones."""
    try:
        yield
    except FileNotFoundError as error:
        raise KitFailedError(f"somebody removed the kit's own files: {error}") from error


def last_number(recording: Recording, word: str) -> int:
    """The highest batch of which ``word`` was said."""
    return max((int(mark.split()[1]) for mark in recording.marks if mark.startswith(f"{word} ")), default=0)


def _as_list(value: object) -> list[object]:
    assert isinstance(value, list)
    return value
