"""Files that a store writes through a shared mapping: strace does not see the bytes, so a power cut cannot be drawn.

Many such files do not matter to the store, such as a lock table or statistics; these excuse no finding. A state that
seems wrong is a finding unless it depends on bytes that strace did not see.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from paxospp.testing.power_cut import PowerCutState, Recording
from paxospp.testing.storage_suite.base import SuiteBase
from paxospp.testing.storage_suite.file_damage import copy_store
from paxospp.testing.storage_suite.worker_pool import WorkerDied, WorkerHandle, WorkerStuck


class KilledStore(NamedTuple):
    """A store whose process was killed; everything that it wrote is still in the page cache."""

    directory: Path
    recording: Recording
    is_right: Callable[[WorkerHandle, Path], bool]
    """Whether the store at a path holds what was written."""


def harmless_files(suite: SuiteBase, unseen: Collection[str], killed: Iterable[KilledStore]) -> set[str]:
    """Return those of ``unseen`` whose bytes do not matter to any of the stores ``killed``.

    The bytes of a file do not matter if a store that is right stays right with zeros in the file and without the file.
    The first file that matters ends the search.
    """
    harmless, deciding = set[str](), set[str]()
    for dead in killed:
        for path in unseen:
            now = dead.recording.path_at_the_end(path)
            if now is None or not (dead.directory / now).is_file():
                continue
            if _is_right_after(suite, dead, _leave, now):  # a store that is wrong anyway proves nothing
                right = all(_is_right_after(suite, dead, change, now) for change in (_fill_with_zeros, os.unlink))
                (harmless if right else deciding).add(path)
        suite.drop(dead.directory / "store")
        if deciding:
            break
    return harmless - deciding


def _is_right_after(suite: SuiteBase, dead: KilledStore, change: Callable[[Path], None], path: str) -> bool:
    with _copied(suite, dead.directory) as place, suite.zygote.worker() as worker:
        change(place.parent / path)
        try:
            return dead.is_right(worker, place)
        except (WorkerDied, WorkerStuck):
            return False


def is_wrong_without(
    suite: SuiteBase,
    recording: Recording,
    state: PowerCutState,
    unseen: Collection[str],
    is_wrong: Callable[[WorkerHandle, PowerCutState], bool],
) -> bool:
    """Whether ``state`` is also wrong with other bytes in the files ``unseen``, and without these files."""
    for other in recording.without_trust(state, unseen):
        with suite.zygote.worker() as worker:
            try:
                if not is_wrong(worker, other):
                    return False
            except (WorkerDied, WorkerStuck):
                pass  # certainly wrong
    return True


@contextmanager
def _copied(suite: SuiteBase, directory: Path) -> Iterator[Path]:
    place = suite.new_place()
    copy_store(directory / place.name, place)
    try:
        yield place
    finally:
        suite.drop(place)


def _leave(path: Path) -> None:
    pass


def _fill_with_zeros(path: Path) -> None:
    size = path.stat().st_size
    os.truncate(path, 0)
    os.truncate(path, size)
