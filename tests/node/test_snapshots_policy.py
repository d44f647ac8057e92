"""When a snapshot is due and what stays in the log; pausing the garbage collector; progress in the log."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import paxospp
from paxospp import NodeId, Slot
from paxospp.config import NodeConfig
from paxospp.node.progress import ProgressLog
from paxospp.node.snapshots.gc_pause import collector_paused
from paxospp.node.snapshots.policy import ENTRY_BYTES, HELD_BYTES_MAX, Policy
from paxospp.state_machine.encoding import decoder

CONFIG = NodeConfig(
    snapshot_log_bytes_max=100_000, snapshot_log_slots_max=1000, kept_log_bytes_max=50_000, kept_log_slots_max=200
)


def policy(*, first: int = 1, applied: int = 0, snapshot_bytes: int = 0) -> Policy:
    return Policy(CONFIG, first=Slot(first), applied=Slot(applied), snapshot_bytes=snapshot_bytes)


def count(policy: Policy, start: int, stop: int, value_bytes: int = 0) -> None:
    for slot in range(start, stop):
        policy.count(Slot(slot), value_bytes)


def test_a_snapshot_is_due_by_bytes_and_by_slots_whichever_comes_first() -> None:
    by_bytes, by_slots = policy(), policy(applied=10)
    count(by_bytes, 1, 10, 10_000 - ENTRY_BYTES)
    assert not by_bytes.due
    count(by_bytes, 10, 11, 10_000 - ENTRY_BYTES)
    assert by_bytes.due

    loose = NodeConfig(snapshot_log_slots_max=1000)
    by_slots = Policy(loose, first=Slot(1), applied=Slot(10))
    count(by_slots, 11, 1010)
    assert not by_slots.due
    count(by_slots, 1010, 1011)
    assert by_slots.due


def test_entries_applied_while_a_snapshot_is_taken_count_for_the_next() -> None:
    it = policy()
    count(it, 1, 11, 10_000 - ENTRY_BYTES)
    it.begin()
    count(it, 11, 21, 10_000 - ENTRY_BYTES)
    it.taken(500)
    assert it.snapshot_slot == 10
    assert it.due
    it.begin()
    it.taken(500)
    assert not it.due
    assert not it.changed


def test_the_log_may_grow_to_the_size_of_the_last_snapshot() -> None:
    it = policy(snapshot_bytes=600_000)
    count(it, 1, 60, 10_000 - ENTRY_BYTES)
    assert not it.due
    count(it, 60, 61, 10_000 - ENTRY_BYTES)
    assert it.due


@pytest.mark.parametrize(("snapshot_bytes", "log_bytes"), [(10_000, 100_000), (50_000, 200_000), (300_000, 400_000)])
def test_a_small_log_may_grow_to_four_times_the_size_of_the_last_snapshot(snapshot_bytes: int, log_bytes: int) -> None:
    it = policy(snapshot_bytes=snapshot_bytes)
    last = log_bytes // 10_000
    count(it, 1, last, 10_000 - ENTRY_BYTES)
    assert not it.due
    count(it, last, last + 1, 10_000 - ENTRY_BYTES)
    assert it.due


def test_a_snapshot_that_failed_is_due_again() -> None:
    it = policy()
    count(it, 1, 2)
    it.begin()
    it.failed()
    assert it.due
    assert it.changed


@pytest.mark.parametrize("value_bytes", [0, 1000])
def test_the_tail_that_is_kept_is_close_to_its_limits_and_never_above(value_bytes: int) -> None:
    it = policy()
    count(it, 1, 1001, value_bytes)
    it.begin()
    it.taken(500)
    kept = 1000 - it.keep_from(None) + 1
    most = min(200, 50_000 // (value_bytes + ENTRY_BYTES))
    assert most * 0.9 <= kept <= most


def test_slots_that_a_peer_needs_are_kept_unless_they_are_too_many() -> None:
    it = policy()
    count(it, 1, 1001)
    it.begin()
    it.taken(500)
    assert it.keep_from(Slot(500)) <= 500
    assert it.keep_from(Slot(500)) > 480
    assert it.keep_from(None) > 790
    count(it, 1001, 1003, HELD_BYTES_MAX)
    it.begin()
    it.taken(500)
    assert it.keep_from(Slot(800)) > 1000


def test_slots_above_the_snapshot_are_always_kept() -> None:
    it = policy()
    count(it, 1, 501)
    it.begin()
    count(it, 501, 1001, 1000)
    it.taken(500)
    assert it.keep_from(None) <= 501
    count(it, 1001, 1003, HELD_BYTES_MAX)
    assert it.keep_from(Slot(100)) <= 501


def test_after_a_start_the_tail_of_unknown_size_is_kept_until_the_next_snapshot() -> None:
    it = policy(first=900, applied=1000)
    assert it.keep_from(None) == 900
    count(it, 1001, 1302)
    it.begin()
    it.taken(500)
    assert it.keep_from(None) > 1050


def test_an_installed_snapshot_keeps_no_slots_below_it() -> None:
    it = policy()
    count(it, 1, 100)
    it.installed(Slot(5000), 100)
    assert it.keep_from(None) == 5001
    assert not it.changed
    count(it, 5001, 5010)
    assert it.keep_from(None) == 5001
    assert it.changed


def test_the_garbage_collector_is_paused_and_resumed_unless_the_program_has_disabled_it() -> None:
    assert gc.isenabled()
    with collector_paused():
        assert not gc.isenabled()
        with collector_paused(promote=True):
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with collector_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_objects_made_while_the_collector_is_paused_are_in_the_oldest_generation_afterwards() -> None:
    with collector_paused(promote=True):
        made = [[number] for number in range(10_000)]
    assert gc.get_count()[0] < 5000
    assert len(made) == 10_000


def test_progress_is_reported_after_a_second_and_then_less_and_less_often(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    progress = ProgressLog(NodeId("n1"), "restoring", lambda: now[0])
    with caplog.at_level(logging.INFO, "paxospp.node"):
        for tenths in range(200):
            now[0] = tenths / 10
            progress.at(f"{tenths} done")
    assert [record.args[2] for record in caplog.records if isinstance(record.args, tuple)] == [
        "10 done",
        "20 done",
        "40 done",
        "80 done",
        "160 done",
    ]


@dataclass
class Point:
    """A part of a large state."""

    x: int
    y: float
    name: str


@pytest.mark.parametrize("kind", ["strings", "dataclasses"])
@pytest.mark.parametrize("keys", [100_000, pytest.param(1_000_000, marks=pytest.mark.long)])
def test_no_call_of_the_decoder_takes_long_however_large_the_state(
    keys: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a call holds the interpreter's lock and so blocks the node's event loop. The test prints the longest one."""
    slowest_s = 0.0

    def timed(hint: Any) -> Callable[[bytes], Any]:
        decode = decoder(hint)

        def decode_timed(data: bytes) -> Any:
            nonlocal slowest_s
            began = time.thread_time()
            value = decode(data)
            slowest_s = max(slowest_s, time.thread_time() - began)
            return value

        return decode_timed

    monkeypatch.setattr("paxospp.state_machine.annotated_state.decoder", timed)

    class Strings(paxospp.StateMachine):
        data: dict[str, str]

        def __init__(self) -> None:
            self.data = {}

    class Points(paxospp.StateMachine):
        data: dict[str, Point]

        def __init__(self) -> None:
            self.data = {}

    machine, copy = (Strings(), Strings()) if kind == "strings" else (Points(), Points())
    machine.data = {
        f"key{number}": f"value{number}" if kind == "strings" else Point(number, number / 2, f"point{number}")
        for number in range(keys)
    }  # type: ignore[assignment]
    began = time.thread_time()
    with collector_paused():
        chunks = list(machine.snapshot())
    encoded_s = time.thread_time() - began
    began = time.thread_time()
    with collector_paused():
        copy.restore(chunks)
    restored_s = time.thread_time() - began
    print(
        f"{keys} {kind}: encoded in {encoded_s * 1e3:.0f} ms, restored in {restored_s * 1e3:.0f} ms, "
        f"the slowest call of the decoder {slowest_s * 1e3:.1f} ms"
    )
    assert copy.data == machine.data
    assert 0 < slowest_s < 0.05
