"""The states that a power cut draws: everything that the model of a disk allows, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from paxospp.testing.power_cut.content import Content
from paxospp.testing.power_cut.cut_states import Survivors, draw
from paxospp.testing.power_cut.recorded_disk import RecordedDisk
from paxospp.testing.power_cut.trace_events import (
    ROOT,
    FailedSync,
    FileWrite,
    Inode,
    InodeKind,
    NameChange,
    Rename,
    Resize,
    Sync,
    TraceEvent,
)

DIRECTORY, FILE, OTHER = 1, 2, 3
INODES = {
    ROOT: Inode(InodeKind.DIRECTORY),
    DIRECTORY: Inode(InodeKind.DIRECTORY),
    FILE: Inode(InodeKind.FILE),
    OTHER: Inode(InodeKind.FILE),
}


def write(offset: int, data: bytes, inode: int = FILE) -> FileWrite:
    return FileWrite(inode, offset, data, "file")


def resize(size: int) -> Resize:
    return Resize(FILE, size, "file")


def rename(*changes: tuple[int, str, int | None]) -> Rename:
    return Rename(tuple(NameChange(*change) for change in changes), "a change of names")


def sync(inode: int, since: int) -> Sync:
    return Sync(inode, since, "something")


def drawn(
    events: Sequence[TraceEvent],
    synced: bytes = b"",
    choices: Sequence[Survivors] = tuple(Survivors),
    *,
    kind: bool = False,
) -> set[tuple[tuple[str, bytes], ...]]:
    """Return what some hundred cuts after ``events`` leave: paths with contents."""
    disk = RecordedDisk(INODES, names_follow_syncs=kind)
    disk.start({FILE: Content(synced)}, {ROOT: {"file": FILE, "directory": DIRECTORY}})
    for index, event in enumerate(events):
        disk.apply(index, event)
    chance = random.Random(1)
    return {
        tuple(
            (left.path, bytes(left.content)) for left in draw(disk, survivors, chance)[0] if left.kind is InodeKind.FILE
        )
        for survivors in choices
        for _ in range(150)
    }


def contents(
    events: Sequence[TraceEvent], synced: bytes = b"", choices: Sequence[Survivors] = tuple(Survivors)
) -> set[bytes]:
    return {dict(left)["file"] for left in drawn(events, synced, choices)}


def names(events: Sequence[TraceEvent], *, kind: bool = False) -> set[tuple[str, ...]]:
    return {tuple(path for path, _ in left) for left in drawn(events, kind=kind)}


def test_what_was_synced_stays() -> None:
    assert contents([write(0, b"new"), sync(FILE, 1)], b"old") == {b"new"}


def test_what_was_not_synced_may_stay_or_go() -> None:
    assert contents([write(0, b"new")], b"old") == {b"old", b"new"}


def test_a_sync_covers_what_was_done_before_it_began() -> None:
    assert contents([write(0, b"1"), write(0, b"2"), sync(FILE, 1)], b"0") == {b"1", b"2"}


def test_a_sync_of_another_file_covers_nothing() -> None:
    assert contents([write(0, b"new"), sync(OTHER, 1)], b"old") == {b"old", b"new"}


def test_a_sector_is_never_torn_and_keeps_the_order_of_its_writes() -> None:
    found = contents([write(0, b"a" * 100), write(100, b"b" * 100)], bytes(512))

    assert found == {bytes(512), b"a" * 100 + bytes(412), b"a" * 100 + b"b" * 100 + bytes(312)}


def test_sectors_are_kept_dropped_and_written_out_of_order() -> None:
    found = contents([write(0, b"a" * 512), write(512, b"b" * 512)], b"0" * 1024)

    assert {(state[:512], state[512:]) for state in found} == {
        (first, second) for first in (b"0" * 512, b"a" * 512) for second in (b"0" * 512, b"b" * 512)
    }


def test_a_hole_is_one_sector_of_what_was_written() -> None:
    found = contents([write(0, b"a" * 512), write(512, b"b" * 1000)], b"0" * 4096, [Survivors.HOLE])

    rest = b"0" * (4096 - 1512)
    assert found == {
        b"0" * 512 + b"b" * 1000 + rest,
        b"a" * 512 + b"0" * 512 + b"b" * 488 + rest,
        b"a" * 512 + b"b" * 512 + b"0" * 488 + rest,
    }


def test_a_file_may_have_grown_by_zeros_before_its_bytes_came() -> None:
    found = contents([write(3, b"b" * 1021)], b"aaa")

    assert b"aaa" in found
    assert b"aaa" + bytes(1021) in found
    assert b"aaa" + b"b" * 509 + bytes(512) in found
    assert b"aaa" + b"b" * 509 in found  # half grown
    assert all(state.startswith(b"aaa") and set(state[3:]) <= {0, ord("b")} for state in found)


def test_what_a_cut_took_away_never_stands_beside_what_replaced_it() -> None:
    found = contents([resize(0), write(0, b"b" * 2048)], b"a" * 2048)

    assert b"a" * 2048 in found
    assert b"" in found
    assert b"b" * 2048 in found
    assert all(set(state) <= {ord("a")} or set(state) <= {0, ord("b")} for state in found)


def test_a_cut_of_the_end_leaves_the_rest_to_itself() -> None:
    found = contents([write(0, b"b" * 512), resize(1024)], b"a" * 2048)

    assert {len(state) for state in found} == {1024, 2048}
    assert {state[:512] for state in found} == {b"a" * 512, b"b" * 512}
    assert {state[512:1024] for state in found} == {b"a" * 512}
    assert {state[1024:] for state in found} == {b"", b"a" * 1024}


def test_a_failed_sync_loses_what_no_later_write_brings_back() -> None:
    lost: list[TraceEvent] = [write(0, b"b" * 4096), write(4096, b"b" * 4096), FailedSync(FILE, 2, "file")]

    assert contents([*lost, sync(FILE, 3)], b"a" * 8192) == {b"a" * 8192}
    assert contents([*lost, write(9, b"c"), sync(FILE, 4)], b"a" * 8192) == {
        b"b" * 9 + b"c" + b"b" * 4086 + b"a" * 4096
    }


def test_what_two_failed_syncs_lost_comes_back_page_by_page() -> None:
    failed = [
        event
        for page in range(2)
        for event in (write(page * 4096, b"b" * 4096), FailedSync(FILE, 2 * page + 1, "file"))
    ]

    assert contents([*failed, write(1, b"c"), sync(FILE, 5)], b"a" * 8192) == {b"bc" + b"b" * 4094 + b"a" * 4096}
    assert contents([*failed, write(8191, b"c"), sync(FILE, 5)], b"a" * 8192) == {b"a" * 4096 + b"b" * 4095 + b"c"}


def test_what_was_written_again_and_synced_is_not_undone_by_a_later_write_to_its_page() -> None:
    """LMDB does this: after a failed sync it writes a meta page again, and later the rest of the page."""
    lost: list[TraceEvent] = [write(0, b"b" * 4096), FailedSync(FILE, 1, "file")]
    again: list[TraceEvent] = [write(0, b"c" * 4096), sync(FILE, 3)]

    assert contents([*lost, *again, write(9, b"d"), sync(FILE, 5)], b"a" * 4096) == {b"c" * 9 + b"d" + b"c" * 4086}
    assert contents([*lost, *again, write(9, b"d"), FailedSync(FILE, 5, "file")], b"a" * 4096) == {b"c" * 4096}


def test_a_write_that_a_failed_sync_did_not_cover_brings_back_what_was_lost_of_its_page() -> None:
    beside: list[TraceEvent] = [write(0, b"b" * 4096), write(9, b"c"), FailedSync(FILE, 1, "file")]

    assert contents([*beside, sync(FILE, 3)], b"a" * 4096) == {b"b" * 9 + b"c" + b"b" * 4086}


def test_what_was_cut_off_after_a_failed_sync_does_not_come_back() -> None:
    lost: list[TraceEvent] = [write(0, b"b" * 8192), FailedSync(FILE, 1, "file"), resize(4096), resize(8192)]

    assert contents([*lost, write(8191, b"c"), sync(FILE, 5)], b"a" * 8192) == {b"a" * 4096 + bytes(4095) + b"c"}


def test_a_failed_sync_forgets_no_size() -> None:
    cut: list[TraceEvent] = [resize(4096), FailedSync(FILE, 1, "file")]

    assert contents(cut, b"a" * 8192) == {b"a" * 8192, b"a" * 4096}
    assert contents([*cut, sync(FILE, 2)], b"a" * 8192) == {b"a" * 4096}


def test_a_new_name_needs_a_sync_of_its_directory() -> None:
    new = rename((DIRECTORY, "new", OTHER))

    assert names([new, sync(OTHER, 1)]) == {("directory/new", "file"), ("file",)}
    assert names([new, sync(DIRECTORY, 1)]) == {("directory/new", "file")}
    assert names([new, sync(ROOT, 1)]) == {("directory/new", "file"), ("file",)}
    assert names([new, sync(OTHER, 1)], kind=True) == {("directory/new", "file")}


def test_a_name_given_while_its_directory_is_synced_may_be_left_out() -> None:
    new = rename((DIRECTORY, "new", OTHER))

    assert names([new, sync(DIRECTORY, 0)]) == {("directory/new", "file"), ("file",)}


def test_names_of_one_directory_stay_in_order_and_those_of_two_do_not() -> None:
    found = names([rename((ROOT, "1", OTHER)), rename((ROOT, "2", OTHER)), rename((DIRECTORY, "3", OTHER))])

    assert found == {
        (*first, *third, "file")
        for first in [(), ("1",), ("1", "2")]
        for third in [(), ("directory/3",)]
    }  # fmt: skip


@pytest.mark.parametrize("synced", [None, ROOT, DIRECTORY])
def test_a_rename_is_whole_or_not_there_between_directories_too(synced: int | None) -> None:
    moves = [
        rename((ROOT, "before", OTHER)),
        rename((ROOT, "file", None), (DIRECTORY, "moved", FILE)),
        rename((DIRECTORY, "after", OTHER)),
    ]
    found = names(moves if synced is None else [*moves, sync(synced, 2)])

    for state in found:
        assert ("file" in state) != ("directory/moved" in state)
        assert "file" in state or "before" in state, "the order within the first directory"
        assert "file" not in state or "directory/after" not in state, "the order within the second"
    if synced is not None:
        assert all("directory/moved" in state for state in found)
    else:
        assert len(found) == 4


def test_a_file_without_a_name_is_not_there() -> None:
    assert names([rename((ROOT, "file", None)), write(0, b"orphan"), sync(ROOT, 2)]) == {()}
