"""The methods of a ``KeyValueStorage``, called directly, to find faults that the log on top of them may hide for long.

The log seldom deletes and puts in one write, scans few pairs at a time, and notices many faults below it. These cases
call ``get``, ``scan`` and ``write`` in all ways that their documentation allows. They do not apply to a store that is
not a ``KeyValueStorage``.
"""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Iterable

from paxospp.storage.key_value import KeyValueStorage
from paxospp.testing.power_cut import Ended, Fault, PowerCutState, count_calls, inject
from paxospp.testing.storage_suite.checks import ClauseFindings, checks, not_applicable, not_checked
from paxospp.testing.storage_suite.file_damage import copy_store, files_of
from paxospp.testing.storage_suite.key_value_pairs import MANY, PAIRS_SEED, PREFIX, STOP, Pairs, judge_pairs, many_pairs
from paxospp.testing.storage_suite.scripts import said
from paxospp.testing.storage_suite.tracing import TracingCases, own_files
from paxospp.testing.storage_suite.words import noise
from paxospp.testing.storage_suite.worker_pool import WorkerHandle

WRITES = 30
CUTS = 160
READS = ("pread64", "read", "preadv", "readv", "preadv2")
QUICK_FAILED_READS = 3
FAILED_READS = (2, 40, 0, 15, 150)
"""Which read fails, counted back from the last one: the last reads are those of the scan."""
BESIDE_S = 1.0
"""How long, in seconds, the kit lets a write wait for a scan before it goes on with the scan."""


class KeyValueCases(TracingCases):
    def key_values(self) -> KeyValueStorage:
        """Open and load the store; leave the case out if it is not a ``KeyValueStorage``."""
        storage = self.open(self.path)
        if not isinstance(storage.inner, KeyValueStorage):
            not_applicable("the case is for a KeyValueStorage only")
        storage.load()
        return storage.inner

    @checks("C7")
    def test_keys_and_values_come_back_byte_for_byte(self) -> None:
        storage = self.key_values()
        every_byte = bytes(range(256))
        wanted = {
            PREFIX: b"the shortest key",
            PREFIX + b"\0": b"\0",
            PREFIX + b"empty": b"",
            PREFIX + every_byte[-53:]: every_byte,  # 58 bytes, the longest key that paxospp ever writes
            PREFIX + bytes(53): b" padded\0 ",
            PREFIX + b"large": noise(300_000),
        }
        self.steps.add("write((), {} pairs, True)", len(wanted))
        storage.write((), list(wanted.items()), True)
        for _ in range(2):
            for key, value in wanted.items():
                found = storage.get(key)
                self.require("C7", f"get({key!r}) returns bytes:", _kind(found), "bytes")
                self.require("C7", f"get({key!r}) returns", found, value)
            self.require("C7", "get of a key that was never put returns", storage.get(PREFIX + b"absent"), None)
            rows = list(storage.scan(PREFIX, STOP))
            self.require("C7", "scan gives pairs of bytes:", {_kind(part) for row in rows for part in row}, {"bytes"})
            self.require("C7", "scan gives", rows, sorted(wanted.items()))
            if self.volatile:
                break
            storage.close()
            storage = self.key_values()

    @checks("C6")
    def test_a_scan_begins_at_its_start_ends_before_its_stop_and_ascends(self) -> None:
        storage = self.key_values()
        names = [b"a", b"a\0", b"a\0\0", b"a\xff", b"b", b"ba", b"\xff", b"\xff\xff"]
        storage.write((), [(PREFIX + name, name) for name in reversed(names)], True)

        def scanned(start: bytes, stop: bytes) -> list[bytes]:
            return [value for _, value in storage.scan(PREFIX + start, PREFIX + stop)]

        for start, stop in (
            (b"", b"\xff\xff\xff"),
            (b"a", b"b"),
            (b"a\0", b"a\xff"),
            (b"a\x01", b"ba"),
            (b"bb", b"\xff"),
        ):
            wanted = sorted(name for name in names if start <= name < stop)
            self.require("C6", f"scan from {start!r} to {stop!r} gives", scanned(start, stop), wanted)
        self.require("C6", "an empty range gives", scanned(b"b", b"b"), [])
        self.require("C6", "a range that ends before it begins gives", scanned(b"b", b"a"), [])
        rows = iter(storage.scan(PREFIX, STOP))
        next(rows)
        del rows  # an abandoned scan must not keep a lock, a snapshot or a file
        storage.write((), [(PREFIX + b"c", b"c")], True)
        self.require("C6", "after a scan that was left early, get returns", storage.get(PREFIX + b"c"), b"c")

    @checks("C1")
    def test_a_write_deletes_its_ranges_and_then_puts_its_pairs(self) -> None:
        storage = self.key_values()
        keys = [PREFIX + b"%02d" % number for number in range(20)]
        before = dict.fromkeys(keys, b"old")
        writes: Iterable[tuple[str, list[tuple[int, int]], list[int]]] = (
            ("a put within a deleted range stays", [(3, 6)], [4]),
            ("ranges may overlap", [(2, 8), (5, 11)], []),
            ("one range may stand in another", [(2, 9), (4, 5)], [8]),
            ("ranges may touch, in any order", [(6, 9), (3, 6)], [6, 2]),
            ("the same range may come twice", [(1, 3), (1, 3)], [1]),
            ("a range may be empty or hold nothing", [(5, 5), (30, 40), (7, 8)], [5]),
            ("deletes alone", [(0, 20)], []),
            ("puts alone", [], [0, 19, 25]),
            ("nothing at all", [], []),
        )
        for words, ranges, puts in writes:
            storage.write([(PREFIX, STOP)], list(before.items()), True)
            bounds = [(PREFIX + b"%02d" % start, PREFIX + b"%02d" % stop) for start, stop in ranges]
            pairs = [(PREFIX + b"%02d" % number, b"new") for number in puts]
            self.steps.add("write({}, {}, True) where 20 keys stand", bounds, pairs)
            storage.write(bounds, pairs, True)
            wanted = {key: b"old" for key in keys if not any(start <= key < stop for start, stop in bounds)} | dict(
                pairs
            )
            shown = {bytes(key): bytes(value) for key, value in storage.scan(PREFIX, STOP)}
            gone = sorted(key for key in wanted if key not in shown)
            more = sorted(key for key in shown if key not in wanted)
            self.require("C1", f"{words}; keys that are missing, and too many:", (gone, more), ([], []))
            self.require("C1", f"{words}; the pairs are", shown, wanted)

    @checks("C5")
    def test_a_scan_shows_one_state_whatever_is_written_while_it_runs(self) -> None:
        storage = self.key_values()
        pairs = many_pairs()
        storage.write((), pairs, True)
        failures: list[BaseException] = []

        def write() -> None:
            try:
                storage.write([(PREFIX, STOP)], [(key, b"new") for key, _ in pairs[::2]], True)
            except BaseException as error:
                failures.append(error)

        writer = threading.Thread(target=write)
        self.steps.add("write((), {} pairs, True)", MANY)
        rows = iter(storage.scan(PREFIX, STOP))
        found = [next(rows)]
        self.steps.add(
            "begin a scan and take one pair; in another thread, delete all pairs and put half of them with new values"
        )
        writer.start()
        writer.join(BESIDE_S)  # a store whose scans block writers is slow, not wrong
        found += rows
        writer.join()

        assert failures == []
        old = sum(bytes(value) != b"new" for _, value in found)
        wanted = f"{MANY} pairs as they were when the first one was read"
        shown = (
            wanted if [tuple(map(bytes, row)) for row in found] == pairs else f"{old} old pairs, {len(found) - old} new"
        )
        self.require("C5", "the scan gives", shown, wanted)

    @checks("C5", "C1")
    def test_scans_in_several_threads_see_whole_writes_only(self) -> None:
        """Readers scan all the time while every write deletes and puts all pairs."""
        storage = self.key_values()
        keys = [PREFIX + b"%03d" % number for number in range(200)]
        storage.write((), [(key, b"0") for key in keys], True)
        ended, failures, halves = threading.Event(), list[object](), list[object]()

        def read_until_ended() -> None:
            try:
                while not ended.is_set():
                    rows = list(storage.scan(PREFIX, STOP))
                    values = {bytes(value) for _, value in rows}
                    if (
                        len(rows) != len(keys) or len(values) != 1
                    ):  # one value but too few pairs: a write's deletes without its puts
                        seen = halves if len(values) < 2 else failures
                        seen.append(f"{len(rows)} pairs with the values of {len(values)} writes")
            except BaseException as error:
                failures.append(error)

        readers = [threading.Thread(target=read_until_ended) for _ in range(2)]
        for reader in readers:
            reader.start()
        try:
            for round in range(1, self.some(100) + 1):
                storage.write([(PREFIX, STOP)], [(key, b"%d" % round) for key in keys], round % 4 == 0)
        finally:
            ended.set()
            for reader in readers:
                reader.join()
        whole = f"{len(keys)} pairs with the values of one write"
        self.require("C5", "each scan gives", next(iter(failures), whole), whole)
        self.require("C1", "each scan gives", next(iter(halves), whole), whole)

    @checks("C1", "C2", "C3")
    def test_whenever_the_power_goes_a_write_of_deletes_and_puts_is_there_whole_or_not_at_all(self) -> None:
        self.key_values().close()
        self.only_with_strace()
        directory = self.new_place().parent
        recording = self.recorded(self.script("pairs", directory / "store", PAIRS_SEED, False, WRITES), directory)
        self.require_end(recording, "over")
        findings, pairs, tried = ClauseFindings(), Pairs(PAIRS_SEED), 0

        def judge(worker: WorkerHandle, state: PowerCutState) -> tuple[str, str, str] | None:
            place, lowest = self.new_place(), state.acknowledged or 0
            state.write_to(place.parent)
            try:
                return judge_pairs(worker.pairs(self.url_of(place)), pairs, lowest, max(lowest, state.offered or 0))
            finally:
                self.drop(place)

        def is_wrong(worker: WorkerHandle, state: PowerCutState) -> bool:
            return judge(worker, state) is not None

        with self.zygote.worker() as worker:
            for state in recording.states(
                random.Random(PAIRS_SEED), self.some(CUTS * (3 if self.is_quick else 1)), since="begin"
            ):
                tried += 1
                complaint = judge(worker, state)
                if complaint is not None and not self.is_excused(recording, state, is_wrong):
                    clause, wanted, found = complaint
                    findings.add(clause, [*state.story, "open, load and scan"], wanted, found, state.left_out)
        if self.excused and not findings:
            not_checked(
                f"strace cannot see what the store writes to {', '.join(sorted(self.unclear))[:200]} "
                f"(shared mapping or io_uring); {self.excused} of {tried} power cuts looked "
                "wrong, perhaps for lack of these bytes"
            )
        self.conclude(findings, tried)

    @checks("C8")
    def test_a_scan_that_cannot_read_does_not_end_as_if_there_were_nothing_more(self) -> None:
        """Make single reads of the files fail with EIO during a scan."""
        self.key_values().close()
        self.only_with_strace()
        whole, directory = self.new_place(), self.new_place().parent
        whole.parent.mkdir(parents=True)
        with self.zygote.worker() as worker:
            worker.fill(self.url_of(whole))
        place, tried = directory / "store", 0
        command, environment = self.script("scan", place, 0, False), self.child_environment()

        def prepared() -> list[str]:
            shutil.rmtree(directory, ignore_errors=True)
            copy_store(whole, place)
            return [str(place / file) for file in files_of(place)]

        with own_files():
            ended, count = count_calls(command, READS, paths=prepared(), environment=environment)
        if not said(ended.output) or said(ended.output)[0] != {"pairs": MANY, "raised": None}:
            not_checked(f"the scan does not return all of {MANY} pairs even if no read fails: {ended.output[-300:]}")
        findings = ClauseFindings()
        for back in FAILED_READS:
            for call in READS:
                if count[call] <= back or (self.is_quick and tried == QUICK_FAILED_READS):
                    continue
                fault = Fault(syscall=call, error="EIO", when=str(count[call] - back))
                with own_files():
                    ended = inject(command, fault, paths=prepared(), environment=environment, follow_marks=True)
                steps = [f"{call} number {count[call] - back} to the store's files fails with EIO"]
                tried += self.judge_scan(ended, steps, findings)
        if not tried:
            not_checked("no read of a scan could be made to fail: the store maps its files, or keeps them in memory")
        findings.raise_any(tried)
        self.count("failed reads", tried)

    def judge_scan(self, ended: Ended, steps: list[str], findings: ClauseFindings) -> bool:
        """Judge what the scan returned; return whether the read that failed belonged to the scan, not to ``load``."""
        steps = [f"write {MANY} pairs and close; open and load in a new process, scan", *steps]
        answers = said(ended.output)
        for answer in answers:
            if answer["raised"] is None and answer["pairs"] != MANY:
                wanted = f"an exception, or all {MANY} pairs"
                findings.add("C8", steps, wanted, f"the scan ends after {answer['pairs']} pairs without an exception")
        return bool(answers) and "loaded" in (ended.said_before_fault or ())


def _kind(value: object) -> str:
    return type(value).__name__
