"""C8 in every file: flip bits, overwrite and cut each file of a store, after a clean close and after SIGKILL.

Each damage is done to a copy of its own. A store that reports faulty slots is also used further: it is opened again,
written to, left by a close or by SIGKILL, and opened once more. What it reported must stay reported, and the new
batches must be there. After a close, one more bit flips in a file that was written since: a second damage must not hide
the first.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path

import pytest

from paxospp.model import Entry
from paxospp.testing.storage_suite.base import SuiteBase
from paxospp.testing.storage_suite.checks import ClauseFindings, checks, not_checked
from paxospp.testing.storage_suite.file_damage import Damage, copy_store, files_of, flips, flips_around, holes
from paxospp.testing.storage_suite.store_judge import Complaint, after_damage
from paxospp.testing.storage_suite.store_view import ExceptionReport, StoreView
from paxospp.testing.storage_suite.stream import DAMAGE_STREAM, LEAVE_STREAM, StorageModel, Stream
from paxospp.testing.storage_suite.words import told
from paxospp.testing.storage_suite.worker_pool import WorkerDied, WorkerHandle, WorkerStuck, side_by_side

FLIPS_PER_FILE = 64
HOLES_PER_FILE = 8
HOLES_OF_EACH_KIND = 64
"""Damage of each kind in all files together; at least three in each file."""
QUICK_FLIPS, QUICK_HOLES = 32, 24
"""About how many of each in all files together in a quick run."""
MORE = 7
"""How many batches are persisted after damage that the store reported: at least one of them trims."""


@dataclass(frozen=True)
class Ending:
    """The stream that a store is filled with, and the way it is left, before it is damaged."""

    left: str
    """``closed`` or ``killed``."""
    seed: int
    cutting: bool
    """The stream that is written."""
    synced: int
    """The last synced batch."""
    last: int
    """The last batch."""

    @cached_property
    def stream(self) -> Stream:
        """The stream; after ``last``, more of its batches trim."""
        return Stream(self.seed, cutting=self.cutting, cutting_after=self.last)

    @property
    def models(self) -> list[StorageModel]:
        """The states that a damaged store may show: batches after the last synced one look torn if they are damaged."""
        return [self.stream.model(number) for number in range(self.synced, self.last + 1)]

    def __str__(self) -> str:
        if self.left == "closed":
            return f"load, persist {self.last} batches, close it"
        return f"load, persist {self.last} batches, the last {self.last - self.synced} without a sync; SIGKILL"


ENDINGS = {
    "closed": Ending("closed", *DAMAGE_STREAM, synced=40, last=40),
    # If damage hits batch 48, the whole unsynced batches behind it must not count any more.
    "killed": Ending("killed", *LEAVE_STREAM, synced=48, last=50),
}
BATCHES = 60
"""How many batches a store must write without a fault to be damaged at all."""


class EveryFileCases(SuiteBase):
    @pytest.mark.parametrize("left", ["closed", "killed"])
    @checks("C8", "C2")
    def test_a_flipped_bit_anywhere_is_told_or_harmless(self, left: str) -> None:
        ending, whole = ENDINGS[left], self.make_store(ENDINGS[left])
        chance, number = random.Random(DAMAGE_STREAM[0]), self.some(FLIPS_PER_FILE)
        if self.is_quick:
            number = min(number, max(3, QUICK_FLIPS // len(files_of(whole))))
        anywhere = chain.from_iterable(flips(whole, file, number, chance) for file in files_of(whole))
        values = [entry.value for entry in ending.stream.step(ending.synced).batch.accepted if len(entry.value) > 8]
        last_synced = chain.from_iterable(flips_around(whole, value) for value in values)
        tried = self.try_damages(whole, ending, chain(anywhere, last_synced))
        self.count("bit flips", tried)
        if left == "closed":  # smaller files have every bit flipped
            sizes = [(whole / file).stat().st_size for file in files_of(whole)]
            self.count(f"files with {number} bit flips each", sum(size > 0 for size in sizes))

    @pytest.mark.parametrize("left", ["closed", "killed"])
    @checks("C8", "C2")
    def test_a_zeroed_or_overwritten_block_or_a_cut_anywhere_is_told_or_harmless(self, left: str) -> None:
        whole = self.make_store(ENDINGS[left])
        chance, files = random.Random(DAMAGE_STREAM[0]), files_of(whole)
        number = self.some(min(HOLES_PER_FILE, max(3, HOLES_OF_EACH_KIND // len(files))))
        damages: Iterator[Damage] = chain.from_iterable(holes(whole, file, number, chance) for file in files)
        if self.is_quick:  # not every kind of damage to every file, but every kind to some files
            damages = islice(damages, 0, None, max(1, 5 * len(files) // QUICK_HOLES))
        tried = self.try_damages(whole, ENDINGS[left], damages)
        self.count("blocks and cuts", tried)

    def make_store(self, ending: Ending) -> Path:
        """Write and leave a store as ``ending`` says, and return its directory."""
        self.only_with_a_directory()
        self.only_if_right_without_faults(ending.seed, ending.cutting, BATCHES)
        self.path.parent.mkdir(parents=True)
        with self.zygote.worker() as worker:
            raised = worker.open(self.url_of(self.path))
            assert raised is None, raised
            assert worker.load().refused is None
            half = ending.last // 2
            for first, stop in ((1, half), (half, ending.last + 1)):
                worker.begin("stream", ending.seed, ending.cutting, first, stop)
                for _ in range(first, stop):
                    answer = worker.answer()
                    assert isinstance(answer, int), answer
                worker.answer()
                if first == 1:  # reopen once: the files then also hold what ``load`` took over
                    assert worker.close() is None
                    assert worker.open(self.url_of(self.path)) is None
                    assert worker.load().refused is None
            if ending.left == "closed":
                assert worker.close() is None
        self.only_if_right_without_damage(ending)
        return self.path

    def only_if_right_without_damage(self, ending: Ending) -> None:
        """End the case as not checked if undamaged copies of the store are wrong, at once or after further use."""
        for end in ("close", "kill"):
            undamaged = self.new_place()
            copy_store(self.path, undamaged)
            with self.zygote.worker() as worker:
                view = worker.view(self.url_of(undamaged))
                if after_damage(view, ending.models) is not None and end == "kill":
                    not_checked(
                        "copies of the store's files share what is written: does it keep its files below {tmp}?"
                    )
                complaint, _ = self.use_further(worker, undamaged, ending, view, end).judge(ending)
            if complaint is not None or view.refused is not None or view.state.faulty:
                found = complaint.found if complaint is not None else view.refused or view.state.faulty
                not_checked(f"the {ending.left} store is wrong even without damage: {found}")

    def try_damages(self, whole: Path, ending: Ending, damages: Iterable[Damage]) -> int:
        """Do each damage to a copy of ``whole``, and judge what the store shows; return how many were tried."""
        findings, tried = ClauseFindings(), 0
        outcomes: Counter[str] = Counter()

        def use(worker: WorkerHandle, numbered: tuple[int, Damage]) -> DamagedRun:
            (number, damage), place = numbered, self.new_place()
            copy_store(whole, place)
            damage.do(place)
            try:
                view = worker.view(self.url_of(place))
                if view.refused is not None or not (view.state.faulty or view.unreadable):
                    return DamagedRun(view)
                if number % 2:
                    return self.use_further(worker, place, ending, view, "close", random.Random(number))
                with self.zygote.worker() as other:
                    return self.use_further(other, place, ending, view, "kill")
            finally:
                self.drop(place)

        for (_, damage), run in side_by_side(self.zygote, enumerate(damages), use):
            steps = [f"open {self.url}, {ending}", str(damage), "open and load"]
            tried += 1
            if isinstance(run, WorkerDied | WorkerStuck):
                findings.add("C8", steps, "CorruptedError from load, or faulty slots", str(run))
                continue
            view = run.view
            outcomes["told" if view.refused or view.state.faulty or view.unreadable else "harmless"] += 1
            outcomes["used further"] += run.after is not None
            complaint, more_steps = run.judge(ending)
            if complaint is not None:
                findings.add(complaint.clause, [*steps, *more_steps], complaint.wanted, complaint.found)
        findings.raise_any(tried)
        if not outcomes["told"]:
            not_checked(f"the store noticed none of {tried} damages: does it keep its files below {{tmp}}?")
        if outcomes["used further"]:
            self.count("damaged stores that were written to again", outcomes["used further"])
        return tried

    def use_further(
        self,
        worker: WorkerHandle,
        place: Path,
        ending: Ending,
        view: StoreView,
        end: str,
        chance: random.Random | None = None,
    ) -> DamagedRun:
        """Open a store that showed ``view`` again, persist ``MORE`` batches, close it or kill its process, and view it.

        With ``chance``, also view a copy in which one bit more is flipped.
        """
        url, before = self.url_of(place), {file: (place / file).stat().st_mtime_ns for file in files_of(place)}
        again, returned, raised, readable = worker.continue_stream(
            url, ending.seed, ending.cutting, ending.last, ending.last + 1 + MORE
        )
        if again.refused is not None:
            return DamagedRun(view, again)
        if end == "kill":
            worker.kill()
        else:
            worker.close()
        run = DamagedRun(view, again, returned, raised, readable, end)
        copy = self.new_place()
        written = [file for file in files_of(place) if before.get(file) != (place / file).stat().st_mtime_ns]
        if chance is not None and written:
            copy_store(place, copy)
            run.flip = next(flips(copy, chance.choice(written), 1, chance), None)
        with self.zygote.worker() as other:
            run.after = other.view(url)
            if run.flip is not None:
                run.flip.do(copy)
                run.after_flip = other.view(self.url_of(copy))
        self.drop(copy)
        return run


@dataclass(slots=True)
class DamagedRun:
    """The views of a store after damage and, if it reported faulty slots, after it was used further."""

    view: StoreView
    again: StoreView | None = None
    """The view of the store when it was opened a second time."""
    returned: int = 0
    """The last batch whose ``persist`` returned after that."""
    raised: ExceptionReport | None = None
    """The exception of the batch after that, if it raised one."""
    readable: Collection[int] = ()
    """The slots that these batches wrote and that ``read`` returned rightly before the store was left."""
    end: str = "close"
    """The way the store was left then: ``close`` or ``kill``."""
    after: StoreView | None = None
    """The view of the store after that."""
    flip: Damage | None = None
    """A second damage, done to a copy of the store at this point."""
    after_flip: StoreView | None = None
    """The view of the damaged copy."""

    def judge(self, ending: Ending) -> tuple[Complaint | None, list[str]]:
        """Return what is wrong, and the steps after the first ``load`` that led there."""
        models, steps = ending.models, list[str]()
        complaint = after_damage(self.view, models)
        if complaint is None and self.again is not None:
            steps.append("close it; open and load once more")
            complaint = after_damage(self.again, models)
        if complaint is not None or self.again is None or self.after is None:
            return complaint, steps
        models = [model for model in models if after_damage(self.again, [model]) is None]
        last, stream = ending.last, ending.stream
        steps += [f"persist({told(stream.step(number).batch)})" for number in range(last + 1, self.returned + 1)]
        highest = self.returned
        if self.raised is not None:
            highest += 1
            steps.append(f"persist({told(stream.step(highest).batch)}) raises {self.raised}")
            if not self.raised.storage_error:
                return Complaint("C8", "persist returns or raises StorageError", f"it raises {self.raised}"), steps
        steps.append("close it; open and load" if self.end == "close" else "SIGKILL; open and load in a new process")
        lowest = self.returned if self.end == "close" else max(stream.synced_by(self.returned), last)
        models = [
            stream.continued(model, range(last + 1, number + 1))
            for model in models
            for number in range(lowest, highest + 1)
        ]
        complaint = after_damage(self.after, models) or self._lost_since(stream.written(range(last + 1, lowest + 1)))
        if complaint is None and self.after_flip is not None:
            steps.insert(len(steps) - 1, f"close it; {self.flip}")
            steps[-1] = "open and load"
            complaint = after_damage(self.after_flip, models)
        return complaint, steps

    def _lost_since(self, written: Mapping[int, Entry]) -> Complaint | None:
        """Report an entry that was ``written`` after the damage, could be read then, and is not there any more."""
        if self.after is None or self.after.refused is not None:
            return None
        shown = self.after.entries
        lost = next((slot for slot in written if slot in self.readable and shown.get(slot) != written[slot]), None)
        if lost is None:
            return None
        found = "it is faulty" if any(lost in slots for slots in self.after.state.faulty) else "it is not there"
        return Complaint("C2", f"slot {lost} as it was written after the damage: {told(written[lost])}", found)
