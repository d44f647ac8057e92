"""The encoding of a snapshot: it is read back however its bytes are cut, and every kind of damage is found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxospp.errors import CorruptedError
from paxospp.execution.snapshot import (
    BODY_BYTES_MAX,
    SnapshotCheck,
    SnapshotDecoder,
    SnapshotHead,
    check_snapshot,
    write_snapshot,
)
from paxospp.model import Slot
from paxospp.sessions.runs import SessionId
from paxospp.sessions.table import Session

SESSIONS = [
    Session(SessionId(5, b"a" * 16), 3, 1, 9, [b"two", b"three"]),
    Session(SessionId(0, b"b" * 16), 0, 0, 0, []),
]
PIECES = [msgspec.msgpack.encode([session]) for session in SESSIONS]


def head(sessions: int = 2) -> SnapshotHead:
    return SnapshotHead(Slot(7), 70, 1_700_000_000_000_000, -1, b"d" * 16, ((Slot(1), b"founding"),), sessions)


def written(machine: Iterable[bytes] = (b"state",)) -> bytes:
    return b"".join(write_snapshot(head(), PIECES, machine))


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def read(chunks: Iterable[bytes]) -> tuple[SnapshotHead, list[Session], list[bytes]]:
    reader = SnapshotDecoder(chunks)
    return reader.head, reader.sessions(), list(reader.machine())


@pytest.mark.parametrize("size", [1, 7, 64, 1_000_000])
def test_a_snapshot_is_read_back_however_it_is_cut(size: int) -> None:
    machine = [b"one", b"", b"two"]

    assert read(cut(written(machine), size)) == (head(), SESSIONS, machine)


def test_a_chunk_larger_than_a_frame_is_read_back_as_one_chunk() -> None:
    machine = [b"x" * (2 * BODY_BYTES_MAX), b"y" * (BODY_BYTES_MAX + 1), b"z"]
    frames = list(write_snapshot(head(), PIECES, machine))

    assert max(map(len, frames)) < BODY_BYTES_MAX + 64
    assert read(frames)[2] == machine


def test_a_snapshot_may_have_no_chunks_and_no_sessions() -> None:
    assert read(write_snapshot(head(sessions=0), [], [])) == (head(sessions=0), [], [])


def test_every_flipped_bit_is_found() -> None:
    data = written()
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(CorruptedError):
            check_snapshot([bytes(damaged)])


def test_every_truncation_is_found() -> None:
    data = written()
    for length in range(len(data)):
        with pytest.raises(CorruptedError):
            check_snapshot([data[:length]])


def test_a_lost_duplicated_or_swapped_frame_and_a_second_snapshot_are_found() -> None:
    frames = list(write_snapshot(head(), PIECES, [b"one", b"two", b"three"]))
    for i in range(len(frames)):
        with pytest.raises(CorruptedError):
            check_snapshot(frames[:i] + frames[i + 1 :])
        with pytest.raises(CorruptedError):
            check_snapshot(frames[: i + 1] + frames[i:])
    with pytest.raises(CorruptedError, match="the header of frame 3"):
        check_snapshot([*frames[:3], frames[4], frames[3], *frames[5:]])
    with pytest.raises(CorruptedError):
        check_snapshot(frames + frames)


def test_a_frame_of_another_snapshot_is_found_by_the_digest_over_all() -> None:
    frames = list(write_snapshot(head(), PIECES, [b"one"]))
    others = list(write_snapshot(head(), PIECES, [b"two"]))

    with pytest.raises(CorruptedError, match="digest"):
        check_snapshot([*frames[:-2], others[-2], frames[-1]])


def test_an_unknown_format_is_refused_with_its_number() -> None:
    with pytest.raises(CorruptedError, match="format 9"):
        check_snapshot([b"\x09" + written()[1:]])


def test_a_head_with_a_wrong_number_of_sessions_is_refused() -> None:
    with pytest.raises(CorruptedError, match="2 sessions instead of 3"):
        check_snapshot(write_snapshot(head(sessions=3), PIECES, []))


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_as_a_snapshot(data: bytes) -> None:
    with pytest.raises(CorruptedError):
        check_snapshot([data])


@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(1, 50))
def test_any_chunks_survive_any_cut(machine: list[bytes], size: int) -> None:
    assert read(cut(written(machine), size))[2] == machine


@pytest.mark.parametrize("size", [1, 7, 64, 1_000_000])
def test_a_check_takes_the_bytes_as_they_arrive_and_knows_the_head_before_the_end(size: int) -> None:
    check = SnapshotCheck()
    pieces = list(cut(written([b"one", b"two"]), size))
    for piece in pieces[:-1]:
        check.feed(piece)
    assert len(pieces) == 1 or check.head == head()
    check.feed(pieces[-1])

    assert check.finish() == head()


def test_a_check_without_the_last_bytes_does_not_pass() -> None:
    frames = list(write_snapshot(head(), PIECES, [b"one"]))
    for count in range(len(frames)):
        check = SnapshotCheck()
        for frame in frames[:count]:
            check.feed(frame)
        with pytest.raises(CorruptedError):
            check.finish()
