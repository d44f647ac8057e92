"""The file storage after a power cut at every moment of a run: clauses C1 to C4 and C10, and no false alarm."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest
from paxospp_file import FileStorage

from paxospp import DurableState
from paxospp.errors import StorageError
from tests.plugins.power_cut import Watch
from tests.plugins.test_file import Model, check_against, random_batch


def watched_lives(path: Path, seed: int, watch: Watch, patch: pytest.MonkeyPatch) -> list[Model]:
    """Open a store several times and write to it; some runs end with a failed write or sync.

    Return what the store may hold after each step. The notes in ``watch`` say which step was begun last
    ("begun N"), and up to which one nothing may be lost ("returned N").
    """
    chance = random.Random(seed)
    steps = [Model()]
    returned = 0
    with watch.watching(patch):
        for _ in range(6):
            storage = FileStorage(str(path), segment_bytes="4096")
            if chance.random() < 0.2 and len(steps) > 1:
                watch.fail_next = chance.choice(["pwrite", "fsync"])  # in load() itself
            try:
                state = storage.load()
            except StorageError:
                storage.close()
                watch.fail_next = None
                continue
            held = max(number for number in range(returned, len(steps)) if is_like(steps[number], storage, state))
            if held < len(steps) - 1:
                steps.append(steps[held].copy())
                watch.note(f"begun {len(steps) - 1}")
            returned = len(steps) - 1
            watch.note(f"returned {returned}")
            try:
                for _ in range(chance.randint(1, 25)):
                    batch = random_batch(steps[-1], chance, storage, seed * 1000 + len(steps))
                    steps.append(steps[-1].copy())
                    steps[-1].persist(batch)
                    watch.note(f"begun {len(steps) - 1}")
                    if chance.random() < 0.04:
                        watch.fail_next = chance.choice(["pwrite", "fdatasync"])
                    storage.persist(batch)
                    if batch.sync or batch.trim or batch.snapshot:
                        returned = len(steps) - 1
                        watch.note(f"returned {returned}")
                    if chance.random() < 0.1:
                        time.sleep(0.12)  # long enough for an idle store to sync its anchor
                storage.close()
                returned = len(steps) - 1
                watch.note(f"returned {returned}")
            except StorageError:
                storage.close()
            watch.fail_next = None
    return steps


def rebuild(path: Path, content: dict[str, bytes], root: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    for directory in ("log", "anchor", "snapshots"):
        (path / directory).mkdir(parents=True)
    for name, data in content.items():
        (path / Path(name).relative_to(root)).write_bytes(data)


def is_like(model: Model, storage: FileStorage, state: DurableState) -> bool:
    try:
        check_against(model, storage, state, damaged=False)
    except AssertionError:
        return False
    return True


def check_snapshot(storage: FileStorage, state: DurableState) -> None:
    reader = storage.open_snapshot()
    assert (reader is None) == (state.snapshot is None)
    if reader is not None:
        with reader:
            assert b"".join(iter(lambda: reader.read(99), b"")) == b"state at %d" % reader.meta.slot
            assert reader.meta == state.snapshot


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 6))])
def test_after_a_power_cut_at_any_moment_what_was_acknowledged_is_there_and_nothing_is_invented(
    ram: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    watch = Watch(ram / "store")
    steps = watched_lives(ram / "store", seed, watch, monkeypatch)
    chance = random.Random(seed)
    tried = 0
    for disk, notes in watch.moments():
        returned = max([int(note.split()[1]) for note in notes if note.startswith("returned")], default=None)
        begun = max([int(note.split()[1]) for note in notes if note.startswith("begun")], default=0)
        for _ in range(2):
            rebuild(ram / "cut", disk.cut(chance), ram / "store")
            possible = steps[returned or 0 : begun + 1]
            for _ in range(2):  # what one load() returned survives until the next
                storage = FileStorage(str(ram / "cut"), segment_bytes="4096")
                state = storage.load()
                possible = [model for model in possible if is_like(model, storage, state)]
                assert possible, f"{notes[-1:]}, returned {returned}: {state}"
                check_snapshot(storage, state)
                storage.close()
            tried += 1
    assert tried > 200
