"""The anchor: how it judges the batches that a store found at load, and when its copies are written and synced."""

from __future__ import annotations

import errno
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from paxospp.errors import CorruptedError, LockedError, StorageError
from paxospp.model import Ballot, Entry, Kind, NodeId, Slot
from paxospp.storage import Anchor, Stamp, StoreAnchor, WriteBatch

DEADLINE_S = 20


def ballot(round: int) -> Ballot:
    return Ballot(round, NodeId("n" * 63), 2**64 - 1)


def accepted(*slots: int, decided: int | None = None, meta: dict[str, bytes] | None = None) -> WriteBatch:
    return WriteBatch(
        accepted=[Entry(Slot(slot), ballot(1), Kind.NOOP, b"") for slot in slots],
        decided=None if decided is None else Slot(decided),
        meta=meta or {},
    )


def opened(path: Path) -> StoreAnchor:
    return StoreAnchor(str(path))


def begun(path: Path) -> StoreAnchor:
    """Return the anchor of a new store."""
    anchor = opened(path)
    recovery = anchor.recover(None)
    assert recovery.new
    anchor.settle(recovery.stamp, None)
    return anchor


def persisted(anchor: StoreAnchor, batch: WriteBatch, round: int) -> Stamp:
    stamp = anchor.stamp_batch(batch, checksum=round)
    anchor.advance(stamp, ballot(round))
    return stamp


def copies(path: Path) -> list[bytes]:
    return [(path / name).read_bytes() for name in ("anchor-a", "anchor-b")]


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)  # another thread writes the files, and reports nothing


def test_opening_writes_nothing_but_the_lock(tmp_path: Path) -> None:
    anchor = opened(tmp_path / "anchor")
    assert [file.name for file in (tmp_path / "anchor").iterdir()] == ["LOCK"]
    with pytest.raises(LockedError):
        opened(tmp_path / "anchor")
    anchor.close()
    anchor.close()
    opened(tmp_path / "anchor").close()


def test_batches_are_numbered_from_one_and_know_what_is_undecided(tmp_path: Path) -> None:
    anchor = begun(tmp_path)
    first = persisted(anchor, accepted(1, 2), 1)
    second = persisted(anchor, accepted(3, decided=2, meta={"a": b""}), 2)
    third = persisted(anchor, accepted(4, decided=1), 3)
    assert [stamp.number for stamp in (first, second, third)] == [1, 2, 3]
    assert [stamp.undecided for stamp in (first, second, third)] == [1, 3, 3]
    assert [stamp.settled for stamp in (first, second, third)] == [0, 2, 2]
    assert {stamp.store for stamp in (first, second, third)} == {anchor.stamp.store}
    anchor.close()


def test_a_stamp_round_trips_through_bytes_and_any_flipped_bit_is_refused(tmp_path: Path) -> None:
    stamp = Stamp(2**64 - 1, 2**63, 2**32 - 1, Slot(2**62), 7, Slot(3))
    data = stamp.to_bytes()
    assert Stamp.from_bytes(data) == stamp
    for position in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(CorruptedError):
            Stamp.from_bytes(bytes(damaged))
    for wrong in (b"", data[:-1], data + b"\0"):
        with pytest.raises(CorruptedError):
            Stamp.from_bytes(wrong)


def test_everything_that_was_anchored_is_recovered(tmp_path: Path) -> None:
    anchor = begun(tmp_path)
    for round in (1, 2, 3):
        stamp = persisted(anchor, accepted(round), round)
    anchor.close()

    anchor = opened(tmp_path)
    recovery = anchor.recover(stamp)
    assert (recovery.stamp, recovery.promised, recovery.lost, recovery.new) == (stamp, ballot(3), None, False)
    anchor.settle(recovery.stamp, recovery.promised)
    assert persisted(anchor, accepted(4), 4).number == 4
    anchor.close()


def test_a_batch_newer_than_the_anchor_is_accepted_as_found(tmp_path: Path) -> None:
    anchor = begun(tmp_path)
    persisted(anchor, accepted(1), 1)
    unsynced = anchor.stamp_batch(accepted(2), checksum=2)
    anchor.close()

    anchor = opened(tmp_path)
    assert anchor.recover(unsynced).stamp == unsynced
    anchor.close()


def test_missing_batches_make_slots_faulty_from_the_lowest_undecided_one(tmp_path: Path) -> None:
    anchor = begun(tmp_path)
    early = persisted(anchor, accepted(1, 2, 3, decided=2), 1)
    late = persisted(anchor, accepted(4), 2)
    anchor.close()

    anchor = opened(tmp_path)
    recovery = anchor.recover(early)
    assert recovery.lost == range(3, sys.maxsize)
    assert recovery.promised == ballot(2), "the anchor repeats the promise"
    assert (recovery.stamp.number, recovery.stamp.checksum) == (late.number, late.checksum), "numbers are not reused"
    anchor.close()


def test_a_lost_change_of_meta_is_an_error_and_not_faulty_slots(tmp_path: Path) -> None:
    anchor = begun(tmp_path)
    early = persisted(anchor, accepted(1), 1)
    persisted(anchor, accepted(meta={"boot": b"2"}), 2)
    persisted(anchor, accepted(2), 3)
    anchor.close()

    anchor = opened(tmp_path)
    with pytest.raises(CorruptedError, match="meta"):
        anchor.recover(early)
    anchor.close()


def test_a_store_that_lost_everything_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    anchor = begun(tmp_path)
    persisted(anchor, accepted(1), 1)
    anchor.close()

    anchor = opened(tmp_path)
    with pytest.raises(CorruptedError, match="none is left"):
        anchor.recover(None)
    anchor.close()


def test_a_store_whose_making_was_interrupted_is_made_again(tmp_path: Path) -> None:
    begun(tmp_path).close()
    begun(tmp_path).close()
    (tmp_path / "anchor-b").unlink()
    begun(tmp_path).close()
    (tmp_path / "anchor-a").unlink()
    (tmp_path / "anchor-a.new").write_bytes(b"torn")
    (tmp_path / "anchor-b").unlink()
    begun(tmp_path).close()


def test_a_store_whose_making_was_interrupted_has_a_durable_anchor_before_it_is_written_to(
    tmp_path: Path, synced_paths: list[str]
) -> None:
    """Otherwise a kill before the directory is synced, then a load, then a power cut leave a log without an anchor."""
    begun(tmp_path).close()
    (tmp_path / "anchor-b").unlink()
    synced_paths.clear()
    anchor = opened(tmp_path)

    assert anchor.recover(None).new

    assert synced_paths[-1] == str(tmp_path)
    assert {str(tmp_path / "anchor-a"), str(tmp_path / "anchor-b")} <= set(synced_paths)
    anchor.close()


def test_another_history_under_the_same_number_is_refused(tmp_path: Path) -> None:
    anchor = begun(tmp_path)
    stamp = persisted(anchor, accepted(1), 1)
    anchor.close()
    for wrong in (stamp._replace(checksum=9), stamp._replace(store=9)):
        anchor = opened(tmp_path)
        with pytest.raises(CorruptedError):
            anchor.recover(wrong)
        anchor.close()


@pytest.mark.parametrize("copy", ["anchor-a", "anchor-b"])
def test_one_copy_is_enough_whatever_happens_to_the_other(tmp_path: Path, copy: str) -> None:
    anchor = begun(tmp_path)
    stamp = persisted(anchor, accepted(1), 1)
    anchor.close()
    whole = (tmp_path / copy).read_bytes()
    chance = random.Random(1)
    flipped = []
    for position in chance.sample(range(len(whole) * 8), 40):
        data = bytearray(whole)
        data[position // 8] ^= 1 << position % 8
        flipped.append(bytes(data))
    for damaged in [None, b"", whole[:-1], whole + b"\0", bytes(len(whole)), *flipped]:
        (tmp_path / copy).unlink(missing_ok=True)
        if damaged is not None:
            (tmp_path / copy).write_bytes(damaged)
        anchor = opened(tmp_path)
        recovery = anchor.recover(stamp)
        assert (recovery.stamp, recovery.promised) == (stamp, ballot(1))
        anchor.settle(recovery.stamp, recovery.promised)
        anchor.close()
        assert copies(tmp_path) == [whole, whole], "the damaged copy is repaired"


def test_without_a_whole_copy_nobody_can_say_what_was_promised(tmp_path: Path) -> None:
    anchor = begun(tmp_path)
    stamp = persisted(anchor, accepted(1), 1)
    anchor.close()
    for found in (stamp, None):
        for name in ("anchor-a", "anchor-b"):
            (tmp_path / name).write_bytes(b"\0" * 256)
        anchor = opened(tmp_path)
        with pytest.raises(CorruptedError):
            anchor.recover(found)
        anchor.close()


def test_the_copies_of_two_stores_are_not_taken_for_one(tmp_path: Path) -> None:
    for name in ("x", "y"):
        anchor = begun(tmp_path / name)
        stamp = persisted(anchor, accepted(1), 1)
        anchor.close()
    os.replace(tmp_path / "x" / "anchor-a", tmp_path / "y" / "anchor-a")
    anchor = opened(tmp_path / "y")
    with pytest.raises(CorruptedError, match="two different stores"):
        anchor.recover(stamp)
    anchor.close()


def test_the_first_copy_is_written_with_the_batch_and_the_second_when_the_store_idles(tmp_path: Path) -> None:
    anchor = begun(tmp_path)
    before = copies(tmp_path)
    persisted(anchor, accepted(1), 1)
    first, second = copies(tmp_path)
    assert first != before[0]
    assert second in (before[1], first)  # the thread may have synced already
    wait_until(lambda: copies(tmp_path) == [first, first])
    anchor.close()


def test_under_load_the_copies_are_synced_each_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    anchor = begun(tmp_path)
    synced = threading.Event()
    real = os.fdatasync

    def fdatasync(descriptor: int) -> None:
        real(descriptor)
        synced.set()

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    begin = time.monotonic()
    round = 0
    while not synced.is_set():
        round += 1
        persisted(anchor, accepted(round), round)
        assert time.monotonic() - begin < DEADLINE_S
    assert time.monotonic() - begin < 2.0
    anchor.close()


def test_closing_syncs_the_copies_and_leaves_no_thread(tmp_path: Path) -> None:
    anchor = begun(tmp_path)
    persisted(anchor, accepted(1), 1)
    assert [thread.name for thread in threading.enumerate()].count("paxospp-anchor") == 1
    anchor.close()
    assert "paxospp-anchor" not in [thread.name for thread in threading.enumerate()]
    first, second = copies(tmp_path)
    assert first == second


def test_after_a_failure_nothing_is_written_not_even_by_closing(tmp_path: Path) -> None:
    anchor = begun(tmp_path)
    stamp = persisted(anchor, accepted(1), 1)
    wait_until(lambda: len(set(copies(tmp_path))) == 1)
    before = copies(tmp_path)
    anchor.fail(OSError(errno.EIO, "no"))
    with pytest.raises(StorageError, match="earlier write failed"):
        anchor.check_usable()
    with pytest.raises(StorageError):
        anchor.advance(stamp._replace(number=2), ballot(2))
    anchor.check_readable()
    anchor.close()
    assert copies(tmp_path) == before


def test_a_sync_that_fails_while_idling_ends_the_handle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    anchor = begun(tmp_path)

    def fdatasync(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    persisted(anchor, accepted(1), 1)
    wait_until(lambda: anchor.failed)
    with pytest.raises(StorageError):
        anchor.check_usable()
    anchor.close()


def test_lowest_covers_every_slot_written_above_the_anchor_on_disk(tmp_path: Path) -> None:
    """``load`` writes the slots from ``lowest`` on again, so no batch after the last synced one may be below it."""
    anchor = begun(tmp_path)
    chance = random.Random(3)
    written: list[tuple[int, int]] = []  # number of the batch, slot
    top = 100
    for round in range(1, 800):
        slot = chance.choice([top, top, top, top - chance.randint(0, 60)])
        top += 1
        stamp = anchor.stamp_batch(accepted(slot), checksum=round)
        written.append((stamp.number, slot))
        synced = anchor._synced
        anchor.advance(stamp, ballot(1))
        above = [slot for number, slot in written if number > synced]
        assert stamp.lowest <= min(above)
        if round % 97 == 0:
            wait_until(lambda: anchor._synced == anchor.stamp.number)
    assert stamp.lowest > 600, "lowest has to advance"
    anchor.close()


def test_load_has_to_be_called_first_and_only_once(tmp_path: Path) -> None:
    anchor = opened(tmp_path)
    with pytest.raises(StorageError, match="load"):
        anchor.check_usable()
    recovery = anchor.recover(None)
    anchor.settle(recovery.stamp, None)
    anchor.check_usable()
    with pytest.raises(StorageError, match="once"):
        anchor.recover(None)
    anchor.close()
    with pytest.raises(StorageError, match="closed"):
        anchor.check_usable()


def test_a_store_may_inherit_the_anchor_instead_of_holding_one(tmp_path: Path) -> None:
    anchor = Anchor()
    anchor.open_anchor(str(tmp_path))
    assert anchor.read_anchor() is None
    anchor.check_unloaded()
    recovery = anchor.recover_anchor(None)
    anchor.settle_anchor(recovery.stamp, None)
    anchor.check_usable()
    stamp = anchor.stamp_batch(accepted(1), checksum=1)
    anchor.anchor_batch(stamp, ballot(1))
    assert anchor.stamp == stamp
    assert anchor.usable
    anchor.close_anchor()
    with pytest.raises(StorageError, match="closed"):
        anchor.check_readable()

    held = opened(tmp_path)
    assert held.recover(stamp).promised == ballot(1)
    held.close()


def test_an_inherited_anchor_fails_like_one_that_is_held(tmp_path: Path) -> None:
    anchor = Anchor()
    anchor.open_anchor(str(tmp_path))
    anchor.settle_anchor(anchor.recover_anchor(None).stamp, None)
    anchor.fail(OSError(errno.EIO, "no"))
    assert anchor.failed
    assert not anchor.usable
    with pytest.raises(StorageError, match="earlier write failed"):
        anchor.check_usable()
    anchor.check_readable()
    anchor.close_anchor()
