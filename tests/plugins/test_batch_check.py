"""``check_batch``: which batches no store may accept."""

from __future__ import annotations

import pytest

from paxospp import SnapshotMeta, StorageError, WriteBatch
from paxospp.model import Slot
from paxospp.storage import check_batch


def snapshot(slot: int) -> SnapshotMeta:
    return SnapshotMeta(Slot(slot), "s")


@pytest.mark.parametrize(
    ("batch", "current", "first"),
    [
        (WriteBatch(), None, 1),
        (WriteBatch(trim=Slot(1)), None, 1),
        (WriteBatch(trim=Slot(8)), snapshot(7), 1),
        (WriteBatch(trim=Slot(8), snapshot=snapshot(7)), None, 1),
        (WriteBatch(trim=Slot(9)), snapshot(7), 9),
        (WriteBatch(snapshot=snapshot(7)), snapshot(7), 1),
    ],
)
def test_a_batch_that_keeps_the_contract_is_accepted(
    batch: WriteBatch, current: SnapshotMeta | None, first: int
) -> None:
    check_batch(batch, snapshot=current, first=first)


@pytest.mark.parametrize(
    ("batch", "current", "reason"),
    [
        (WriteBatch(trim=Slot(2)), None, "cannot trim to slot 2: the store has no snapshot"),
        (WriteBatch(trim=Slot(9)), snapshot(7), "cannot trim to slot 9: the snapshot ends at slot 7"),
        (WriteBatch(trim=Slot(9), snapshot=snapshot(7)), snapshot(3), "the snapshot ends at slot 7"),
        (WriteBatch(snapshot=snapshot(6)), snapshot(7), "slot 6 is older than the current one of slot 7"),
    ],
)
def test_a_batch_that_breaks_the_contract_is_refused(
    batch: WriteBatch, current: SnapshotMeta | None, reason: str
) -> None:
    with pytest.raises(StorageError, match=reason):
        check_batch(batch, snapshot=current, first=1)
