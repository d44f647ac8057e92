"""Hypothesis strategies for every kind of message, within the bounds of the wire format."""

from __future__ import annotations

import sys
from collections.abc import Callable

from hypothesis import strategies as st

from paxospp.messages import (
    Accept,
    Accepted,
    CatchUp,
    Checkpoint,
    DecidedEntries,
    ForwardRuns,
    Heartbeat,
    HeartbeatAnswer,
    Message,
    Nack,
    Prepare,
    Promise,
    ReadAnswer,
    ReadRequest,
    Sender,
    SnapshotChunk,
    SnapshotRequest,
)
from paxospp.model import Ballot, Entry, Kind, NodeId, Slot

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", fullmatch=True).map(NodeId)
FIXED64 = st.integers(0, 2**64 - 1)
NUMBERS = st.integers(0, sys.maxsize) | st.integers(0, 300)
COUNTS = NUMBERS.map(Slot)
SLOTS = NUMBERS.map(lambda number: Slot(max(1, number)))
BALLOTS = st.builds(Ballot, NUMBERS, NAMES, FIXED64)
SNAPSHOT_IDS = st.from_regex(r"[a-z0-9-]{1,48}", fullmatch=True)
MAYBE_BALLOT = st.none() | BALLOTS
KINDS = st.sampled_from(Kind)
VALUES = st.binary(max_size=40) | st.integers(4_000, 9_000).map(bytes)
ENTRIES = st.lists(st.builds(Entry, SLOTS, BALLOTS, KINDS, VALUES), max_size=3).map(tuple)


@st.composite
def _ranges(draw: Callable[[st.SearchStrategy[int]], int]) -> range:
    start = draw(st.integers(1, sys.maxsize - 1))
    return range(start, draw(st.just(sys.maxsize) | st.integers(start + 1, sys.maxsize)))


@st.composite
def _promises(draw: Callable[[st.SearchStrategy[Promise]], Promise], parts: st.SearchStrategy[int]) -> Promise:
    count = draw(parts)  # type: ignore[arg-type]
    return draw(
        st.builds(
            Promise,
            ballot=BALLOTS,
            start=SLOTS,
            answer=NUMBERS,
            part=st.integers(0, count - 1),  # type: ignore[operator]
            parts=st.just(count),
            decided=COUNTS,
            first=SLOTS,
            last=COUNTS,
            entries=ENTRIES,
            faulty=st.lists(_ranges(), max_size=3).map(tuple),
        )
    )


@st.composite
def _catch_ups(draw: Callable[[st.SearchStrategy[Slot]], Slot]) -> CatchUp:
    start, stop = sorted((draw(SLOTS), draw(SLOTS)))
    return CatchUp(start=start, stop=stop)


MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Prepare, ballot=BALLOTS, start=SLOTS),
    _promises(st.integers(1, 1_000)),
    st.builds(Accept, ballot=BALLOTS, slot=SLOTS, kind=KINDS, value=VALUES, decided_up_to=COUNTS),
    st.builds(Accepted, ballot=BALLOTS, slot=SLOTS),
    st.builds(Nack, refused=BALLOTS, promised=BALLOTS),
    st.builds(
        Heartbeat,
        round=NUMBERS,
        leading=MAYBE_BALLOT,
        quorum_connected=st.booleans(),
        decided_up_to=COUNTS,
        promised=MAYBE_BALLOT,
        remembered=COUNTS,
        booted_with=MAYBE_BALLOT,
        checkpoint=st.none() | st.builds(Checkpoint, SLOTS, st.binary(max_size=32)),
        vouched_up_to=COUNTS,
    ),
    st.builds(
        HeartbeatAnswer,
        nonce=FIXED64,
        round=NUMBERS,
        promised=MAYBE_BALLOT,
        decided=COUNTS,
        disk_answers=st.booleans(),
        quorum_connected=st.booleans(),
        leader=st.none() | NAMES,
        remembered=COUNTS,
        booted_with=MAYBE_BALLOT,
        lease=NUMBERS,
        vouched_up_to=COUNTS,
    ),
    _catch_ups(),
    st.builds(DecidedEntries, entries=ENTRIES, decided=COUNTS, first=SLOTS),
    st.builds(ForwardRuns, runs=st.lists(VALUES, max_size=3).map(tuple)),
    st.builds(ReadRequest, counter=NUMBERS, lease=st.booleans()),
    st.builds(SnapshotRequest, id=st.just("") | SNAPSHOT_IDS, offset=NUMBERS, covers=NUMBERS),
    st.builds(
        SnapshotChunk,
        slot=COUNTS,
        id=st.just("") | SNAPSHOT_IDS,
        offset=NUMBERS,
        data=VALUES,
        last=st.booleans(),
        ballot=MAYBE_BALLOT,
    ),
    st.builds(ReadAnswer, nonce=FIXED64, counter=NUMBERS, slot=st.none() | COUNTS),
)

SENDERS = st.builds(
    Sender, st.binary(max_size=16), st.integers(0, 2**32 - 1), NAMES, FIXED64, st.integers(0, sys.maxsize), FIXED64
)
