"""C4: after a failure the handle refuses every further batch, and a new handle finds the batch whole or not at all.

The failures come from system calls of another process, which works for every store: files that must not grow beyond a
limit, as on a full disk, and errors that ``strace`` makes single writes and syncs return.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from paxospp.testing.power_cut import Fault, Recording, inject
from paxospp.testing.power_cut.strace import ram_directory
from paxospp.testing.power_cut.trace_events import FailedSync, FileWrite, Mark, Sync
from paxospp.testing.storage_suite.checks import ClauseFindings, checks, not_checked
from paxospp.testing.storage_suite.scripts import said
from paxospp.testing.storage_suite.store_judge import after_crash
from paxospp.testing.storage_suite.store_view import ExceptionReport
from paxospp.testing.storage_suite.stream import FAILING_STREAM, LIMIT_STREAMS, Stream
from paxospp.testing.storage_suite.tracing import TracingCases, own_files
from paxospp.testing.storage_suite.worker_pool import WorkerDied, WorkerHandle

LIMITS = 40
BATCHES = 400
FAILED_SYNCS = (
    *(("fdatasync", 4), ("fsync", 14), ("fdatasync", 1), ("fsync", 22), ("fdatasync", 9)),
    *(("fsync", 6), ("fdatasync", 15), ("fsync", 33), ("msync", 1), ("sync_file_range", 1)),
)
FAILED_WRITES = (
    *(("pwrite64", 9), ("write", 5), ("pwrite64", 20), ("write", 11), ("pwrite64", 1), ("write", 1), ("pwrite64", 14)),
    *(
        ("write", 20),
        ("pwrite64", 31),
        ("write", 33),
        ("pwritev", 1),
        ("writev", 2),
        ("ftruncate", 1),
        ("fallocate", 1),
    ),
)
"""Pairs of a system call and the number of the call that fails. A quick run tries only the first, which find most."""
FAILING_SEED, FAILING_CUTTING = FAILING_STREAM
FAILING_BATCHES = 30
_WHOLE = pytest.StashKey[dict[str, Recording]]()
FAILING_CLAUSES = ("C4", "C1", "C2", "C3", "C8", "C10")


class FailingCases(TracingCases):
    @checks(*FAILING_CLAUSES)
    def test_a_file_that_cannot_grow_ends_the_handle_and_costs_nothing_that_was_acknowledged(self) -> None:
        """Limit the size of files: as on a full disk, one write is short and the next fails, anywhere in a record."""
        self.only_if_durable()
        for seed, cutting in LIMIT_STREAMS:
            self.only_if_right_without_faults(seed, cutting, 60)
        findings, chance = ClauseFindings(), random.Random(9)
        limits, reached = self.some(LIMITS), 0
        for number in range(limits):
            limit = int(600 * 1.12**number) + chance.randrange(400) if number < 40 else chance.randrange(1 << 16)
            reached += self.run_into(limit, *LIMIT_STREAMS[number % len(LIMIT_STREAMS)], findings)
        findings.raise_any(limits)
        if not reached:
            not_checked(
                "no write failed although no file could grow: the store writes to files that are long enough already"
            )
        self.count("failed writes", reached)

    @checks(*FAILING_CLAUSES)
    def test_a_sync_that_fails_ends_the_handle_and_is_never_tried_again(self) -> None:
        """Fail a sync, load again, and cut the power: the state that ``load`` returned must still be there.

        A failed sync leaves its pages marked clean, so a store that only syncs again writes nothing.
        """
        self.only_with_strace()
        self.only_if_right_without_faults(*FAILING_STREAM, FAILING_BATCHES)
        findings, cuts, hits = ClauseFindings(), 0, 0
        whole = self.without_faults()
        for call, number in FAILED_SYNCS:
            if number > whole.calls[call]:
                continue  # the store makes fewer of these calls
            if hits == self.some(len(FAILED_SYNCS)):
                break
            directory, fault = self.new_place().parent, Fault(syscall=call, error="EIO", when=str(number))
            recording = self.recorded(self.failing(directory), directory, fault=fault)
            if not any(isinstance(event, FailedSync) for event in recording.events):
                continue  # this time the call was not reached
            events = said(recording.ended.output)
            hits += 1
            url = self.url_of(directory / "store")
            steps = [f"open {url} and persist; {call} number {number} of a thread fails with EIO"]
            over = self.is_refused(events, steps, findings)
            self.judge_trace(recording, steps, findings)
            if over and any("error" in event for event in events):
                cuts += self.load_and_cut(recording, directory, FAILING_SEED, findings)
            shutil.rmtree(directory)
        if not hits:
            not_checked("no sync could be made to fail: the store makes none, or none that strace can inject")
        self.count("failed syncs", hits)
        self.conclude(findings, cuts, hits)

    @checks(*FAILING_CLAUSES)
    def test_a_write_that_fails_ends_the_handle_and_costs_nothing_that_was_acknowledged(self) -> None:
        self.only_with_strace()
        self.only_if_right_without_faults(*FAILING_STREAM, FAILING_BATCHES)
        findings, hits = ClauseFindings(), 0
        whole = self.without_faults()
        for call, number in FAILED_WRITES:
            if number > whole.calls[call]:
                continue
            if hits == self.some(len(FAILED_WRITES)):
                break
            directory = Path(whole.directory)  # the same directory again: strace selects calls by the paths of files
            directory.mkdir()
            error = "EIO" if number % 2 else "ENOSPC"
            fault = Fault(syscall=call, error=error, when=str(number))
            with own_files():
                ended = inject(self.failing(directory), fault, paths=whole.paths, environment=self.child_environment())
            events = said(ended.output)
            hits += any("error" in event for event in events)
            url = self.url_of(directory / "store")
            steps = [f"open {url} and persist; {call} number {number} to its files fails with {error}"]
            if not self.is_refused(events, steps, findings):
                continue
            numbers = [mark.split() for mark in ended.marks if " " in mark]
            lowest = max((int(n) for word, n in numbers if word == "ack"), default=0)
            highest = max((int(n) for word, n in numbers if word == "offer"), default=0)
            steps += ["open and load in a new process without failures"]
            with self.zygote.worker() as worker:
                again = worker.view(url)
            shutil.rmtree(directory)
            complaint, _ = after_crash(again, Stream(FAILING_SEED), lowest, max(lowest, highest))
            if complaint is not None:
                findings.add(complaint.clause, steps, complaint.wanted, complaint.found)
        findings.raise_any(hits)
        if not hits:
            not_checked("no write could be made to fail: the store makes none, or none that strace can inject")
        self.count("failed writes", hits)

    def failing(self, directory: Path) -> list[str]:
        return self.script("fail", directory / "store", FAILING_SEED, FAILING_CUTTING, 1, FAILING_BATCHES)

    def without_faults(self) -> Recording:
        """Record the same run without a failure once per URL, to count the calls that can fail."""
        suite = self._node.getparent(pytest.Class)
        assert suite is not None
        known: dict[str, Recording] = suite.stash.setdefault(_WHOLE, {})
        if self.url not in known:
            with tempfile.TemporaryDirectory(prefix="paxospp-kit-", dir=ram_directory()) as directory:
                known[self.url] = self.recorded(self.failing(Path(directory)), Path(directory))
        self.require_end(known[self.url], f"ack {FAILING_BATCHES - 1}")
        return known[self.url]

    def is_refused(self, events: Sequence[Mapping[str, object]], steps: list[str], findings: ClauseFindings) -> bool:
        """Whether the store refused every batch after the one that failed; report it if not."""
        for event in events:
            if "returned" not in event:
                steps.append(json.dumps(event))
            if "went on" in event:
                findings.add(
                    "C4", steps, "StorageError from every persist after the first exception", "persist returns"
                )
            if "refused" in event and not event["right"]:
                findings.add("C4", steps, "StorageError", str(event["kind"]))
        return not any("went on" in event for event in events)

    def judge_trace(self, recording: Recording, steps: list[str], findings: ClauseFindings) -> None:
        """Report everything that the store did after a failure although it must not.

        A file whose sync failed is not synced again unless it is written again. No batch that needed the sync returns.
        After an exception from ``persist`` nothing is written.
        """
        clean: set[str] = set()
        under_way: set[str] = set()  # files that the current batch wrote to
        unsafe: set[str] = set()  # files whose sync failed
        doubtful: list[tuple[str, str]] = []  # batches that returned although a sync had failed, and of which file
        written = {event.path for event in recording.events if isinstance(event, FileWrite)}
        synced: set[str] = set()
        begun = failed = False
        for event in recording.events:
            match event:
                case FailedSync() if begun and event.path in written:  # a failed sync of a directory proves less
                    clean.add(event.path)
                    if not self.unseen or (event.path in under_way and "/anchor-" not in event.path):
                        unsafe.add(event.path)
                case FileWrite() if failed and event.path in synced and "/anchor-" not in event.path:
                    # The anchor's thread may still be writing for an earlier batch, which is durable.
                    wanted = "nothing is written after a failed persist"
                    findings.add("C4", steps, wanted, f"{event}, before close returns")
                case FileWrite():
                    clean.discard(event.path)
                    under_way.add(event.path)
                case Sync() if event.path in clean:
                    findings.add("C4", steps, "no second sync of a file whose sync failed", f"{event} once more")
                case Sync():
                    synced.add(event.path)
                case Mark():
                    begun |= event.text.startswith(
                        "offer"
                    )  # a failure before that concerns load, which acknowledges nothing
                    failed = event.text == "failed"
                    if event.text.startswith("ack") and unsafe:
                        doubtful.append((event.text, min(unsafe)))
                    under_way.clear()
        for ack, path in doubtful:
            if self.needed_the_sync(recording, ack):
                wanted = f"an exception from persist, because the sync of {path} failed"
                number = ack.split()[1]
                findings.add("C4", steps, wanted, f"persist of batch {number} returns, and a power cut loses the batch")
                break

    def needed_the_sync(self, recording: Recording, ack: str) -> bool:
        """Whether a power cut right after the mark ``ack`` loses that batch, which returned after a failed sync.

        The failed sync may have been one that no batch waits for, such as that of the anchor's thread. If strace cannot
        follow all of the store's writes, assume that the batch needed it.
        """
        if self.unseen:
            return True
        number = int(ack.split()[1])
        with self.zygote.worker() as worker:
            return self.judge_state(worker, recording.at(ack), Stream(FAILING_SEED), number, number) is not None

    def run_into(self, limit: int, seed: int, cutting: bool, findings: ClauseFindings) -> bool:
        """Write a stream until no file can grow beyond ``limit`` bytes; return whether a write failed."""
        path = self.new_place()
        path.parent.mkdir(parents=True)
        url, stream = self.url_of(path), Stream(seed, cutting=cutting)
        steps = [f"open {url} and load; from now on no file can grow beyond {limit} bytes"]
        with self.zygote.worker() as worker:
            raised = worker.open(url)
            assert raised is None, raised
            view = worker.load()
            assert view.refused is None, view.refused
            worker.limit_files(limit)
            acknowledged, failed = _stream_until_it_fails(worker, seed, cutting)
            if failed is None:
                return False
            under_way = acknowledged + 1
            if acknowledged:
                steps.append(f"persist batches 1 to {acknowledged} of stream {seed}; each returns")
            steps.append(f"persist batch {under_way} of stream {seed} raises {failed}")
            if not failed.staging and not self.is_over(worker, (seed, cutting), under_way, steps, findings):
                return True  # the kit does not know what else the store wrote
        steps += ["end the process; open and load in a new one without the limit"]
        with self.zygote.worker() as worker:
            try:
                again = worker.view(url)
            except WorkerDied as error:
                findings.add("C4", steps, "the store opens again", str(error))
                return True
        complaint, _ = after_crash(again, stream, stream.synced_by(acknowledged), under_way)
        if complaint is not None:
            findings.add(complaint.clause, steps, complaint.wanted, complaint.found)
        return True

    def is_over(
        self, worker: WorkerHandle, stream: tuple[int, bool], under_way: int, steps: list[str], findings: ClauseFindings
    ) -> bool:
        """Persist two more batches after the failure and close; return whether the store refused both batches."""
        over = True
        for number in (under_way, under_way + 1):
            refused = worker.persist(*stream, number)
            steps.append(f"persist batch {number} on the same handle {f'raises {refused}' if refused else 'returns'}")
            over &= refused is not None
            if refused is None or not refused.storage_error:
                findings.add("C4", steps, "StorageError from every persist after the first exception", steps[-1])
        worker.close()  # may raise; whether it writes something shows at the next load
        steps.append("close it")
        return over


def _stream_until_it_fails(worker: WorkerHandle, seed: int, cutting: bool) -> tuple[int, ExceptionReport | None]:
    worker.begin("stream", seed, cutting, 1, BATCHES)
    acknowledged = 0
    while True:
        answer = worker.answer()
        if not isinstance(answer, int):
            assert answer is None or isinstance(answer, ExceptionReport)
            return acknowledged, answer
        acknowledged = answer
