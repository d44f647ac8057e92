"""The report of the judge of a crash about a store that shows something else than the contract allows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from paxospp.model import Ballot, Entry, Kind, NodeId
from paxospp.testing.storage_suite.store_judge import after_crash
from paxospp.testing.storage_suite.store_view import StoreView
from paxospp.testing.storage_suite.stream import Stream
from paxospp.testing.storage_suite.words import entry, told_in_full

STREAM = Stream(31)
NUMBER, SLOT = 33, 28
"""Batch 33 writes this slot alone: 90 bytes."""


def view_after(number: int) -> StoreView:
    model = STREAM.model(number)
    return StoreView(state=model.state, entries=model.entries, content=model.content)


def with_bytes(written: Entry) -> Entry:
    return entry(written.slot, written.value[:-1] + b"!", NUMBER, written.kind)


def with_kind(written: Entry) -> Entry:
    return Entry(written.slot, written.ballot, Kind.NOOP, written.value)


def with_ballot(written: Entry) -> Entry:
    return Entry(written.slot, Ballot(NUMBER, NodeId("n1"), 8), written.kind, written.value)


@pytest.mark.parametrize(
    ("change", "clause", "differs"),
    [
        (with_bytes, "C7", lambda e: f"with SHA-256 {hashlib.sha256(e.value).hexdigest()}"),
        (with_kind, "C7", lambda e: f", {e.kind.name}, in slot 28"),
        (with_ballot, "C1", lambda e: f"incarnation {e.ballot.incarnation}"),
    ],
    ids=["bytes", "kind", "ballot"],
)
def test_an_entry_that_looks_like_the_written_one_is_told_with_what_differs(
    change: Callable[[Entry], Entry], clause: str, differs: Callable[[Entry], str]
) -> None:
    view, written = view_after(NUMBER), STREAM.model(NUMBER).entries[SLOT]
    other = change(written)

    complaint, _ = after_crash(replace(view, entries={**view.entries, SLOT: other}), STREAM, NUMBER, NUMBER + 1)

    assert complaint is not None
    assert complaint.clause == clause
    first, found, wrote = complaint.found.splitlines()
    assert "slot 28 is " in first
    assert first.endswith("which no batch ever wrote")
    assert found.strip() == f"it is {told_in_full(other)}"
    assert wrote.strip() == f"batch 33 wrote {told_in_full(written)}"
    assert differs(other) in found
    assert differs(written) in wrote


def test_what_a_store_shows_after_a_batch_is_the_state_after_that_batch() -> None:
    assert after_crash(view_after(NUMBER), STREAM, NUMBER, NUMBER + 1) == (None, NUMBER)


def test_a_slot_that_load_and_read_both_call_faulty_is_told_once() -> None:
    view, faulty = view_after(NUMBER), (range(2, 3), range(6, 7))
    view = replace(view, state=replace(view.state, faulty=faulty), unreadable=faulty)

    complaint, _ = after_crash(view, STREAM, NUMBER, NUMBER)

    assert complaint is not None
    assert complaint.found == "the slots 2, 6 are faulty, although nothing was damaged"


def test_one_faulty_slot_is_told_as_one() -> None:
    complaint, _ = after_crash(replace(view_after(NUMBER), unreadable=[range(2, 3)]), STREAM, NUMBER, NUMBER)

    assert complaint is not None
    assert complaint.found == "the slot 2 is faulty, although nothing was damaged"
