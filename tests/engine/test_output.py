"""Which messages wait for a write, and how batches merge ("What may leave when" in ``paxospp/engine/README.md``)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxospp.engine.output import Output, leaves_at_once, merge
from paxospp.messages import (
    Accepted,
    CatchUp,
    DecidedEntries,
    Nack,
    Prepare,
    ProtocolMessage,
    ReadAnswer,
    ReadRequest,
)
from paxospp.model import Entry, Kind, Slot, SnapshotMeta
from paxospp.storage.contract import WriteBatch

from .words import N2, accept, answer, ballot, entry, heartbeat, promise

AT_ONCE: list[ProtocolMessage] = [
    accept(1, ballot(1)),
    heartbeat(),
    answer(1),
    DecidedEntries(entries=(), decided=Slot(0), first=Slot(1)),
    CatchUp(start=Slot(1), stop=Slot(2)),
    ReadRequest(counter=1),
    ReadAnswer(nonce=1, counter=1, slot=None),
]
WAITING: list[ProtocolMessage] = [
    Prepare(ballot=ballot(1), start=Slot(1)),
    promise(ballot(1)),
    Accepted(ballot=ballot(1), slot=Slot(1)),
    Nack(refused=ballot(1), promised=ballot(2)),
]


@pytest.mark.parametrize("message", AT_ONCE, ids=lambda message: type(message).__name__)
def test_a_message_that_says_nothing_about_this_disk_leaves_at_once(message: ProtocolMessage) -> None:
    output = Output()
    output.send(N2, message)

    assert leaves_at_once(message)
    assert [send.message for send in output.send_now] == [message]
    assert output.send_after_persist == []


@pytest.mark.parametrize("message", WAITING, ids=lambda message: type(message).__name__)
def test_a_message_that_depends_on_a_write_waits_for_it(message: ProtocolMessage) -> None:
    output = Output()
    output.send(N2, message)

    assert output.send_now == []
    assert [send.message for send in output.send_after_persist] == [message]


def test_the_later_of_two_writes_of_a_slot_wins() -> None:
    merged = merge(
        [WriteBatch(accepted=(entry(1, ballot(1), b"old"),)), WriteBatch(accepted=(entry(1, ballot(2), b"new"),))]
    )

    assert merged.accepted == (entry(1, ballot(2), b"new"),)


def test_a_merge_keeps_the_greatest_promise_decided_and_trim_and_the_last_value_of_each_meta_key() -> None:
    merged = merge(
        [
            WriteBatch(promised=ballot(3), decided=Slot(5), trim=Slot(2), meta={"a": b"1", "b": b"1"}, sync=False),
            WriteBatch(promised=ballot(2), decided=Slot(4), trim=Slot(3), meta={"b": b"2"}, sync=False),
        ]
    )

    assert merged == WriteBatch(
        promised=ballot(3), decided=Slot(5), trim=Slot(3), meta={"a": b"1", "b": b"2"}, sync=False
    )


def test_a_merge_is_synced_if_any_of_its_batches_is() -> None:
    assert merge([WriteBatch(sync=False), WriteBatch(sync=True)]).sync


def test_a_merge_publishes_at_most_one_snapshot() -> None:
    meta = SnapshotMeta(Slot(3), "a")
    assert merge([WriteBatch(snapshot=meta), WriteBatch()]).snapshot == meta
    with pytest.raises(AssertionError):
        merge([WriteBatch(snapshot=meta), WriteBatch(snapshot=meta)])


batches = st.lists(
    st.builds(
        WriteBatch,
        promised=st.none() | st.builds(ballot, st.integers(1, 5)),
        decided=st.none() | st.integers(0, 9).map(Slot),
        accepted=st.lists(
            st.builds(
                Entry,
                st.integers(1, 4).map(Slot),
                st.builds(ballot, st.integers(1, 5)),
                st.just(Kind.COMMANDS),
                st.binary(max_size=2),
            ),
            unique_by=lambda held: held.slot,
            max_size=3,
        ).map(tuple),
        meta=st.dictionaries(st.sampled_from("ab"), st.binary(max_size=1), max_size=2),
        sync=st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


@given(batches, st.data())
def test_merging_in_any_grouping_gives_the_same_batch(many: list[WriteBatch], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(many)))
    parts = [part for part in (many[:cut], many[cut:]) if part]
    at_once, in_steps = merge(many), merge([merge(part) for part in parts])

    assert {held.slot: held for held in at_once.accepted} == {held.slot: held for held in in_steps.accepted}
    assert (at_once.promised, at_once.decided, at_once.meta, at_once.sync) == (
        in_steps.promised,
        in_steps.decided,
        in_steps.meta,
        in_steps.sync,
    )
