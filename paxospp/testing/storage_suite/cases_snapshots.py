"""C10: a snapshot becomes current with the batch that names it, and the log may be trimmed up to a snapshot only."""

from __future__ import annotations

import threading

import pytest

from paxospp.errors import StorageError
from paxospp.model import Slot, SnapshotMeta
from paxospp.storage.contract import DurableState, WriteBatch
from paxospp.testing.storage_suite.base import SuiteBase
from paxospp.testing.storage_suite.checks import checks, raises
from paxospp.testing.storage_suite.file_damage import space_of
from paxospp.testing.storage_suite.words import accepted, entry, noise, read_all, read_snapshot, snapshot, value_of

REFUSED = (StorageError, ValueError)
SPACE_BYTES_MAX = 32 << 20
"""The most disk space, in bytes, that a store may use once much was written and almost all of it removed."""


class SnapshotCases(SuiteBase):
    @pytest.mark.parametrize("size", [0, 1, 100_000, 3 << 20])
    @checks("C10")
    def test_a_published_snapshot_comes_back_byte_for_byte(self, size: int) -> None:
        storage = self.fresh(self.path)
        data = bytes(i * 31 % 251 for i in range(251)) * (size // 251 + 1)
        chunks = [data[:size][at : at + 70_001] for at in range(0, size, 70_001)]
        meta = snapshot(storage, 12, "a-1", b"", *chunks)
        for read_size in (1 << 20, 4093):
            reader = storage.open_snapshot()
            assert reader is not None
            with reader:
                assert reader.meta == meta
                found = list(iter(lambda: reader.read(read_size), b""))  # noqa: B023
                assert reader.read(10) == b""
            assert b"".join(found) == data[:size]
            assert all(0 < len(part) <= read_size for part in found)

        storage, state = self.reopened(storage, self.path)

        assert state == DurableState(snapshot=meta)
        assert read_snapshot(storage) == data[:size]

    @checks("C10")
    def test_a_snapshot_counts_only_with_the_batch_that_names_it(self) -> None:
        storage = self.fresh(self.path)
        old = snapshot(storage, 1, "old", b"old")
        new = snapshot(storage, 2, "new", b"new", publish=False)
        storage.persist(WriteBatch(accepted=[entry(3)]))
        assert read_snapshot(storage) == b"old"

        storage.persist(WriteBatch(snapshot=new, decided=Slot(2), trim=Slot(3)))

        assert read_snapshot(storage) == b"new"
        assert old != self.reopened(storage, self.path)[1].snapshot == new

    @checks("C10")
    def test_a_snapshot_that_no_batch_named_is_gone_after_a_reopen(self) -> None:
        storage = self.fresh(self.path)
        snapshot(storage, 1, "named", b"named")
        orphan = snapshot(storage, 2, "orphan", b"orphan", publish=False)

        storage, state = self.reopened(storage, self.path)

        assert state.snapshot == SnapshotMeta(Slot(1), "named")
        with raises(*REFUSED):
            storage.persist(WriteBatch(snapshot=orphan))
        storage, state = self.reopened(storage, self.path)
        assert state.snapshot == SnapshotMeta(Slot(1), "named")
        assert read_snapshot(storage) == b"named"

    @checks("C10")
    def test_a_snapshot_left_half_written_is_gone_after_a_reopen(self) -> None:
        storage = self.fresh(self.path)
        writer = storage.create_snapshot(SnapshotMeta(Slot(2), "half"))
        writer.write(b"x" * 300_000)

        storage, state = self.reopened(storage, self.path)

        assert state.snapshot is None
        snapshot(storage, 2, "half", b"whole")
        assert read_snapshot(storage) == b"whole"

    @checks("C10")
    def test_an_aborted_snapshot_cannot_be_published(self) -> None:
        storage = self.fresh(self.path)
        for committed in (False, True):
            path = self.new_place()
            storage = self.fresh(path)
            meta = SnapshotMeta(Slot(2), "gone")
            writer = storage.create_snapshot(meta)
            writer.write(b"data")
            if committed:
                writer.commit()
            writer.abort()
            writer.abort()
            assert read_snapshot(storage) is None
            with raises(*REFUSED):
                storage.persist(WriteBatch(snapshot=meta))

    @checks("C10")
    def test_abort_after_the_batch_does_nothing(self) -> None:
        storage = self.fresh(self.path)
        meta = SnapshotMeta(Slot(2), "kept")
        writer = storage.create_snapshot(meta)
        writer.write(b"data")
        writer.commit()
        storage.persist(WriteBatch(snapshot=meta))
        writer.abort()

        assert read_snapshot(storage) == b"data"
        storage, _ = self.reopened(storage, self.path)
        assert read_snapshot(storage) == b"data"

    @checks("C10")
    def test_after_an_abort_the_next_attempt_succeeds(self) -> None:
        storage = self.fresh(self.path)
        writer = storage.create_snapshot(SnapshotMeta(Slot(2), "first"))
        writer.write(b"x" * 1000)
        writer.abort()
        snapshot(storage, 2, "second", b"data")

        assert read_snapshot(storage) == b"data"

    @checks("C10")
    def test_a_reader_keeps_the_former_snapshot_until_it_closes(self) -> None:
        storage = self.fresh(self.path)
        old = bytes(range(200)) * 5000
        meta = snapshot(storage, 1, "old", old)
        reader = storage.open_snapshot()
        assert reader is not None
        head = reader.read(1000)
        snapshot(storage, 2, "new", b"new")
        snapshot(storage, 3, "newer", b"newer")

        rest = b"".join(iter(lambda: reader.read(1 << 16), b""))

        assert (reader.meta, head + rest) == (meta, old)
        assert read_snapshot(storage) == b"newer"
        reader.close()
        reader.close()
        assert read_snapshot(storage) == b"newer"

    @checks("C10")
    def test_an_older_snapshot_is_never_published_over_a_newer_one(self) -> None:
        storage = self.fresh(self.path)
        newer = snapshot(storage, 10, "newer", b"newer")
        older = snapshot(storage, 9, "older", b"older", publish=False)
        with raises(*REFUSED):
            storage.persist(WriteBatch(snapshot=older))

        storage, state = self.reopened(storage, self.path)

        assert state.snapshot == newer
        assert read_snapshot(storage) == b"newer"

    @checks("C10")
    def test_accepted_slots_above_a_snapshot_stay(self) -> None:
        storage = self.fresh(self.path)
        storage.persist(accepted(3, 4, 8, 9))
        meta = snapshot(storage, 6, "s", b"data", publish=False)
        storage.persist(WriteBatch(snapshot=meta, trim=Slot(7), decided=Slot(6)))
        for _ in range(2):
            assert read_all(storage, 7) == {8: value_of(8), 9: value_of(9)}
            storage, state = self.reopened(storage, self.path)
            assert state == DurableState(decided=Slot(6), first=Slot(7), last=Slot(9), snapshot=meta)

    @checks("C10")
    def test_trim_reaches_at_most_to_the_slot_after_the_snapshot(self) -> None:
        for slot in (0, 4):
            path = self.new_place()
            storage = self.fresh(path)
            storage.persist(accepted(*range(1, 11)))
            if slot:
                snapshot(storage, slot, "s")
            with raises(*REFUSED):
                storage.persist(WriteBatch(trim=Slot(slot + 2), accepted=[entry(11)]))

            storage, state = self.reopened(storage, path)

            assert (state.first, state.last) == (1, 10)
            assert len(read_all(storage)) == 10

    @checks("C10")
    def test_a_snapshot_is_written_and_read_beside_persist(self) -> None:
        storage = self.fresh(self.path)
        old = b"old" * 100_000
        snapshot(storage, 1, "old", old)
        failures: list[object] = []

        def beside() -> None:
            try:
                for number in range(3):
                    snapshot(storage, 10, f"staged-{number}", *[b"data" * 20_000] * 4, publish=False)
                    if read_snapshot(storage) != old:
                        failures.append(number)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=beside)
        thread.start()
        slot = 1
        while thread.is_alive() or slot < 50:
            slot += 1
            storage.persist(accepted(slot))
        thread.join()
        assert failures == []
        storage.persist(WriteBatch(snapshot=SnapshotMeta(Slot(10), "staged-2")))
        storage, state = self.reopened(storage, self.path)

        assert state.snapshot == SnapshotMeta(Slot(10), "staged-2")
        assert state.faulty == ()
        assert read_all(storage) == {found: value_of(found) for found in range(2, slot + 1)}
        assert read_snapshot(storage) == b"data" * 80_000

    @checks("C10")
    def test_space_comes_back_when_the_log_is_trimmed_and_slots_are_written_again(self) -> None:
        self.only_with_a_directory()
        storage = self.fresh(self.path)
        random = memoryview(noise(1 << 17))
        for round in range(40):
            slots = range(round * 64 + 1, round * 64 + 65)
            for ballot_round in (1, 2):
                values = [bytes(random[(slot * 977) % 100_000 :][: 1 << 14]) for slot in slots]
                storage.persist(
                    WriteBatch(
                        accepted=[entry(slot, value, ballot_round) for slot, value in zip(slots, values, strict=True)]
                    )
                )
            meta = snapshot(storage, slots[-1], f"s-{round}", bytes(random[:50_000]), publish=False)
            storage.persist(WriteBatch(snapshot=meta, decided=meta.slot, trim=Slot(meta.slot + 1)))
        storage.close()

        size = space_of(self.path)
        assert size <= SPACE_BYTES_MAX, f"{size:,} bytes for an empty log and one small snapshot"

    @checks("C10")
    def test_space_comes_back_from_snapshots_that_no_batch_named(self) -> None:
        self.only_with_a_directory()
        storage = self.fresh(self.path)
        chunk = noise(1 << 20)
        for round in range(12):
            writer = storage.create_snapshot(SnapshotMeta(Slot(1), f"s-{round}"))
            for _ in range(8):
                writer.write(chunk)
            if round % 3:
                writer.commit()
            if round % 2:
                writer.abort()
            storage, _ = self.reopened(storage, self.path)
        storage.close()

        size = space_of(self.path)
        assert size <= SPACE_BYTES_MAX, f"{size:,} bytes for an empty store"
