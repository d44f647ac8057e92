"""C1, C2, C3, C8, C10 under power cuts: unsynced data may be lost, torn or kept.

A child process writes to the store under strace. ``power_cut`` derives from the trace what each sync made durable, and
draws what a power cut at any moment may have left. The batch under way may be there whole or not at all.
"""

from __future__ import annotations

import json
import random

import pytest

from paxospp.testing.power_cut import Fault
from paxospp.testing.storage_suite.checks import CRASH_CLAUSES, ClauseFindings, checks
from paxospp.testing.storage_suite.stream import LIVES, POWER_STREAMS, SYNC_STREAM, Stream
from paxospp.testing.storage_suite.tracing import SYNCS, TracingCases

STATES_PER_CASE = 160
SYNC_DELAY_MS = 10
QUICK_STREAMS = POWER_STREAMS[::2]


class PowerCases(TracingCases):
    @pytest.mark.parametrize(("seed", "cutting"), POWER_STREAMS)
    @checks(*CRASH_CLAUSES)
    def test_whenever_the_power_goes_what_was_acknowledged_is_there(self, seed: int, cutting: bool) -> None:
        """``cutting``: most cuts fall into a trim or the publishing of a snapshot."""
        self.only_with_strace()
        if (seed, cutting) not in QUICK_STREAMS:
            self.not_when_quick()
        self.only_if_right_without_faults(seed, cutting, sum(LIVES))
        command = self.script("live", self.path, seed, cutting, json.dumps(LIVES))
        recording = self.recorded(command, self.path.parent)
        self.require_end(recording, "over")
        findings = ClauseFindings()
        states = recording.states(random.Random(seed), self.some(STATES_PER_CASE * (4 if self.is_quick else 1)))
        tried = self.judge_states(states, recording, Stream(seed, cutting=cutting), findings)
        if self.excused and not findings:
            self.only_at_rest(seed, cutting, sum(LIVES), tried)
        self.conclude(findings, tried)

    @checks("C2")
    def test_every_synced_batch_syncs_a_file_before_it_returns(self) -> None:
        """Check it on a slow disk; and right after ``persist`` returned, cut the power and lose all unsynced data."""
        self.only_with_strace()
        (seed, cutting), lives = SYNC_STREAM, [20]
        self.only_if_right_without_faults(seed, cutting, lives[0])
        stream = Stream(seed)
        command = self.script("live", self.path, seed, cutting, json.dumps(lives))
        slow = Fault(
            syscall=SYNCS, delay_ms=SYNC_DELAY_MS, when="1+"
        )  # a store that does not wait for its syncs overtakes them
        recording = self.recorded(command, self.path.parent, fault=slow)
        self.require_end(recording, "over")
        self.steps.add("open and load, persist {} batches under strace", lives[0])
        unsynced = [
            number
            for number in range(1, lives[0] + 1)
            if stream.step(number).synced and not recording.syncs_between(f"offer {number}", f"ack {number}")
        ]
        self.require("C2", "the batches whose persist returned before any file was synced are", unsynced, [])
        findings, acknowledged = ClauseFindings(), [n for n in range(1, lives[0] + 1) if stream.step(n).synced]
        states = [recording.at(f"ack {number}") for number in acknowledged]
        tried = self.judge_states(states, recording, stream, findings)
        if self.excused and not findings:
            self.only_at_rest(seed, cutting, lives[0], tried)
        self.conclude(findings, tried)
        self.count("batches checked for a sync", sum(stream.step(n).synced for n in range(1, lives[0] + 1)))

    @checks("C2")
    def test_what_load_returned_after_a_kill_between_write_and_sync_survives_a_power_cut(self) -> None:
        """Kill the process where it would have synced, load in another one, and cut the power at once."""
        self.only_with_strace()
        seed, cutting = SYNC_STREAM
        self.only_if_right_without_faults(seed, cutting, 16)
        findings, cuts = ClauseFindings(), 0
        for sync in (None, "2", "4", "5", "8", "11", "15", "21")[: max(2, self.some(8))]:
            fault = None if sync is None else Fault(syscall=SYNCS, signal="SIGKILL", when=sync)
            directory = self.new_place().parent
            died = self.recorded(self.script("die", directory / "store", seed, False, 1, 16), directory, fault=fault)
            cuts += self.load_and_cut(died, directory, seed, findings)
        if self.excused and not findings:
            self.only_at_rest(seed, cutting, 16, cuts)
        self.conclude(findings, cuts)
