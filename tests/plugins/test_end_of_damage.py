"""``WriteBatch.faulty_until``: the end of the damage, once stored, is remembered, and it hides no later loss."""

from __future__ import annotations

import random
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import pytest
from paxospp_file import FileStorage
from paxospp_file.record import MAGIC

from paxospp import CorruptedError, DurableState, Entry, Slot, Storage, WriteBatch
from paxospp.testing.storage_suite.words import ballot, entry, snapshot, value_of
from tests.plugins.test_key_value import DictStorage, Pairs

LIVES, BATCHES_PER_LIFE = 12, 15


class Place(ABC):
    """A store on disk, and ways to damage it."""

    storage: Storage | None = None

    def open(self) -> DurableState:
        self.close()
        self.storage = self.make()
        return self.storage.load()

    def close(self) -> None:
        if self.storage is not None:
            self.storage.close()
        self.storage = None

    def persist(self, batch: WriteBatch) -> None:
        assert self.storage is not None
        self.storage.persist(batch)

    @abstractmethod
    def make(self) -> Storage: ...

    @abstractmethod
    def save(self) -> object:
        """Return everything that is stored, for ``restore``."""

    @abstractmethod
    def restore(self, saved: object) -> None: ...

    @abstractmethod
    def lose_last_batch(self) -> None: ...

    @abstractmethod
    def damage_one_entry(self, chance: random.Random) -> None: ...

    def damage_a_late_batch(self, chance: random.Random) -> None:
        """Damage one of the last batches; those after it stay intact."""
        self.damage_one_entry(chance)


class FilePlace(Place):
    def __init__(self, path: Path) -> None:
        self._path = path

    def make(self) -> Storage:
        return FileStorage(str(self._path), segment_bytes="4096")

    def save(self) -> object:
        return {file: file.read_bytes() for file in self._path.rglob("*") if file.is_file() and file.name != "lock"}

    def restore(self, saved: object) -> None:
        assert isinstance(saved, dict)
        for file in (self._path / "log").iterdir():
            if file not in saved:
                file.unlink()
        for file, data in saved.items():
            file.write_bytes(data)

    def _logs(self) -> list[Path]:
        return [file for file in sorted((self._path / "log").iterdir()) if file.stat().st_size]

    def lose_last_batch(self) -> None:
        log = self._logs()[-1]
        log.write_bytes(log.read_bytes()[:-1])

    def damage_one_entry(self, chance: random.Random) -> None:
        log = chance.choice(self._logs())
        data = bytearray(log.read_bytes())
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        log.write_bytes(data)

    def damage_a_late_batch(self, chance: random.Random) -> None:
        log = self._logs()[-1]
        data = bytearray(log.read_bytes())
        begins = [at for at in range(len(data)) if data.startswith(MAGIC, at)]
        if begins:
            data[chance.choice(begins[-5:]) + 20] ^= 1
            log.write_bytes(data)


class DictPlace(Place):
    """``KeyValueStorage`` over a dict."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pairs: Pairs = {}
        self._before: Pairs = {}

    def make(self) -> Storage:
        return DictStorage(self._path, self._pairs)

    def persist(self, batch: WriteBatch) -> None:
        self._before = dict(self._pairs)
        super().persist(batch)

    def save(self) -> object:
        anchor = {file: file.read_bytes() for file in self._path.rglob("anchor-*")}
        return dict(self._pairs), anchor

    def restore(self, saved: object) -> None:
        assert isinstance(saved, tuple)
        self._show(saved[0])
        for file, data in saved[1].items():
            file.write_bytes(data)

    def _show(self, pairs: Pairs) -> None:
        pairs = dict(pairs)
        self._pairs.clear()
        self._pairs.update(pairs)

    def lose_last_batch(self) -> None:
        self._show(self._before)

    def damage_one_entry(self, chance: random.Random) -> None:
        keys = [key for key in self._pairs if key[:1] == b"e"]
        if keys:
            key = chance.choice(sorted(keys))
            self._pairs[key] = self._pairs[key][:-1] + b"?"


PLACES = [FilePlace, DictPlace]


def is_faulty(state: DurableState, slot: int) -> bool:
    return any(slot in slots for slots in state.faulty)


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Yield a store that accepted slots 1 to 9, decided 1 to 4, and lost the batch that wrote slot 9."""
    place: Place = request.param(tmp_path / "store")
    place.open()
    for slot in range(1, 10):
        decided = Slot(min(slot - 1, 4))
        place.persist(WriteBatch(promised=ballot(3), accepted=[entry(slot, value_of(slot))], decided=decided))
    place.close()
    place.lose_last_batch()
    yield place
    place.close()


def test_the_end_of_the_damage_survives_every_restart(place: Place) -> None:
    assert place.open().faulty[-1].stop == sys.maxsize
    place.persist(WriteBatch(faulty_until=Slot(12)))
    for _ in range(3):
        state = place.open()
        assert is_faulty(state, 11)
        assert not is_faulty(state, 12)
        assert state.faulty[-1].stop == 12
    place.persist(WriteBatch(accepted=[entry(slot, value_of(slot, 4), 4) for slot in range(5, 12)]))
    for _ in range(2):
        assert place.open().faulty == ()


def test_what_is_decided_and_lost_stays_faulty(place: Place) -> None:
    place.open()
    place.persist(WriteBatch(decided=Slot(10), faulty_until=Slot(5)))
    for _ in range(2):
        state = place.open()
        assert is_faulty(state, 10)
        assert not is_faulty(state, 11)


def test_a_log_that_loses_its_end_again_is_damaged_without_an_end_again(place: Place) -> None:
    place.open()
    place.persist(WriteBatch(faulty_until=Slot(12)))
    place.persist(WriteBatch(accepted=[entry(13, value_of(13, 4), 4)]))
    place.close()
    place.lose_last_batch()
    assert is_faulty(place.open(), 13)
    place.persist(WriteBatch(faulty_until=Slot(20)))
    assert is_faulty(place.open(), 13)
    assert not is_faulty(place.open(), 20)
    place.close()
    place.lose_last_batch()
    assert place.open().faulty[-1].stop == sys.maxsize, "the batch that named the end is lost"


@pytest.mark.parametrize("make", PLACES)
@pytest.mark.parametrize("seed", [*range(8), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(8, 40))])
def test_no_entry_is_ever_taken_for_an_empty_slot(make: type[FilePlace | DictPlace], seed: int, tmp_path: Path) -> None:
    """Compare random batches, ends of damage, losses and kills with a dictionary that loses nothing."""
    chance = random.Random(seed)
    place = make(tmp_path / "store")
    wanted: dict[int, Entry] = {}
    ended = told = 0
    for life in range(1, LIVES):
        saved = place.save() if life > 1 else None
        harmed = life > 1 and chance.random() < 0.6
        if harmed:
            harms = [place.damage_one_entry, place.damage_a_late_batch, lambda _: place.lose_last_batch()]
            chance.choice(harms)(chance)
        try:
            state = place.open()
        except CorruptedError:  # a promise or a trim was lost, which the contract reports this way
            place.close()
            place.restore(saved)
            state = place.open()
        told += bool(state.faulty)
        assert place.storage is not None
        for slot, held in wanted.items():
            if slot >= state.first and not is_faulty(state, slot):
                assert list(place.storage.read(Slot(slot), Slot(slot + 1), 100)) == [held]
        known = {slot for slot in range(1, 200) if is_faulty(state, slot)}
        may_be = set(known)
        decided, first, until = int(state.decided), int(state.first), sys.maxsize
        for _ in range(chance.randrange(1, BATCHES_PER_LIFE)):
            open_slots = [slot for slot in range(first, 90) if slot > decided or slot in known]
            slots = sorted(chance.sample(open_slots, chance.randrange(4)))
            new = [entry(slot, chance.randbytes(chance.randrange(200)), life) for slot in slots]
            if chance.random() < 0.2:
                decided = max(decided, chance.randrange(1, 60))
            end = None
            if chance.random() < 0.3:
                end = Slot(chance.randrange(1, 90))
                ended += 1
            place.persist(WriteBatch(accepted=new, decided=Slot(decided), faulty_until=end))
            wanted.update({held.slot: held for held in new})
            known -= set(slots)
            if end is not None:
                until = min(until, end)
                for slot in [slot for slot in known if slot >= max(end, decided + 1)]:
                    known.remove(slot)
                    wanted.pop(slot, None)
        if chance.random() < 0.2 and decided >= first and not any(slot <= decided for slot in known):
            snapshot(place.storage, decided, f"s{life}", b"state")
            first = decided
            place.persist(WriteBatch(trim=Slot(first)))
            place.persist(WriteBatch(promised=ballot(life)))
            known = {slot for slot in known if slot >= first}
        state = place.open()
        holes = {slot for slot in range(first, decided + 1) if slot not in wanted}
        faulty = {slot for slot in range(first, 200) if is_faulty(state, slot)}
        assert known | holes <= faulty <= may_be | holes, f"life {life}"
        assert until == sys.maxsize or not state.faulty or state.faulty[-1].stop < sys.maxsize, "the damage has to end"
        killed = chance.random() < 0.5
        if killed:
            for _ in range(chance.randrange(3)):
                place.persist(WriteBatch(decided=Slot(decided), sync=False))
            saved = place.save()
        place.close()
        if killed:
            place.restore(saved)
    assert ended
    assert told
